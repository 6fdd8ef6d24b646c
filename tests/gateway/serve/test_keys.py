"""Secrets of our own making: made once, kept, readable by nobody else."""

from pathlib import Path

import pytest

from gateway.config import Config, Registration
from gateway.errors import Unavailable
from gateway.serve.keys import stored_key, with_registration_secret
from tests.fakes import FakeClock


def test_a_key_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second start reads what the first made; its making is said, its content is not."""
    directory = tmp_path / "data" / "keys"
    made = stored_key(directory, "token.key", FakeClock())
    assert len(bytes.fromhex(made)) == 32
    assert stored_key(directory, "token.key", FakeClock(1)) == made
    assert [path.name for path in directory.iterdir()] == ["token.key"]
    assert (directory / "token.key").stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in (directory, directory.parent)} == {0o700}
    said = capsys.readouterr().out
    assert said.count("made a secret") == 1
    assert made not in said


def test_a_crash_while_making_one_leaves_none(tmp_path: Path) -> None:
    """What was half written under the other name is not taken for a key."""
    (tmp_path / "token.key.new").write_text("half")
    made = stored_key(tmp_path, "token.key", FakeClock())
    assert made != "half"
    assert (tmp_path / "token.key").read_text() == made + "\n"


def test_a_key_that_cannot_be_is_said(tmp_path: Path) -> None:
    """An empty file, a directory in its place: never silently another key."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for directory, name in ((tmp_path, "empty"), (tmp_path, "folder"), (tmp_path / "file", "key")):
        with pytest.raises(Unavailable):
            stored_key(directory, name, FakeClock())


def test_the_operators_secret_comes_first(tmp_path: Path) -> None:
    """Nothing is made where one is configured."""
    config = Config(data=str(tmp_path), registration=Registration(secret="theirs"))
    assert with_registration_secret(config, FakeClock()) is config
    assert list(tmp_path.iterdir()) == []
    made = with_registration_secret(Config(data=str(tmp_path)), FakeClock()).registration.secret
    assert (tmp_path / "keys" / "registration.secret").read_text().strip() == made
