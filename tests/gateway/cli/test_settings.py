"""A command's configuration: the file, then the environment, then its own options."""

from pathlib import Path

import pytest

from gateway.cli.settings import load
from gateway.errors import ConfigInvalid


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text('data = "d"\n[server]\nbind = "127.0.0.1:1"\n')
    assert load(file).data == str(tmp_path / "d")
    config = load(file, data=tmp_path / "other", bind="127.0.0.1:2")
    assert (config.data, config.server.bind) == (str(tmp_path / "other"), "127.0.0.1:2")


def test_secret_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("hush\n")
    file = tmp_path / "h.toml"
    file.write_text('[registration]\nsecret_file = "s"\n')
    assert load(file).registration.secret == "hush"


def test_a_file_at_fault_is_named(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text("x = 1\n")
    with pytest.raises(ConfigInvalid, match=r"h\.toml: unknown key 'x'"):
        load(file)
    with pytest.raises(ConfigInvalid, match="No such file"):
        load(tmp_path / "missing.toml")
    for flaw in (
        '[log.retention."push.setled"]\ndays = 3\n',
        '[instances.slug]\ndomain = "a.example"\nurl = "ftp://x"\n',
    ):
        file.write_text(flaw)
        with pytest.raises(ConfigInvalid, match=r"h\.toml: (log\.retention|instances)"):
            load(file)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigInvalid, match="UTF-8"):
        load(file)
