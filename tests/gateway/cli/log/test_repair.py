"""A repair by command: done and verified, or refused with nothing changed; a refused start points to it."""

from pathlib import Path

import pytest

from eventlog.disk.log import open_log
from eventlog.errors import Corrupt
from gateway.cli.main import exit_code
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import run


def damage(data: Path) -> Path:
    (path,) = (data / "log").glob("*.evl")
    content = bytearray(path.read_bytes())
    content[content.index(b"EVLF") + 200] ^= 1
    path.write_bytes(content)
    return path


async def test_a_damaged_log_points_to_the_repair_and_is_made_whole(data: Path) -> None:
    copy = str(data / "copy")
    run("backup", copy, "--data", str(data), "--jobs", "1")
    path = damage(data)
    with pytest.raises(Corrupt, match="heliograph log repair --from"):
        open_log(data, FakeClock())
    result = run("repair", "--from", copy, "--data", str(data))
    assert result.exit_code == 0, result.output
    assert f"repaired: {path}: records 0 to 4" in result.output
    assert "the damaged file is kept as torn-damaged-" in result.output
    assert "ok: 5 records, level audit" in result.output
    with open_log(data, FakeClock()) as log:
        assert log.durable_size == 5


async def test_what_cannot_be_proven_is_refused_with_nothing_changed(data: Path) -> None:
    copy = data / "copy"
    run("backup", str(copy), "--data", str(data), "--jobs", "1")
    before = damage(data).read_bytes()
    damage(copy)
    refused = run("repair", "--from", str(copy), "--data", str(data))
    assert refused.exception is not None
    assert exit_code(refused.exception) == 3
    assert "nothing was changed: the copy lacks records" in str(refused.exception)
    assert next((data / "log").glob("*.evl")).read_bytes() == before


async def test_a_log_that_a_server_writes_is_left_alone(data: Path) -> None:
    with open_log(data, FakeClock()):
        refused = run("repair", "--from", str(data), "--data", str(data))
    assert refused.exception is not None
    assert "one process may write a log" in str(refused.exception)
