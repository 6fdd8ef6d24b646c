"""A backup by command, and a log made from it: what is said, and what is refused."""

from pathlib import Path

from eventlog.disk.log import open_log
from gateway.cli.main import exit_code
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import run


async def test_a_backup_beside_a_log_that_is_open_and_a_log_made_from_it(data: Path) -> None:
    copy, new = str(data / "copy"), data / "new"
    with open_log(data, FakeClock()):
        result = run("backup", copy, "--data", str(data), "--with-keys", "--jobs", "1")
        assert result.exit_code == 0, result.output
        assert "ok: 5 records, verified" in result.output
    result = run("restore", copy, "--data", str(new), "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert f"ok: 5 records in {new}" in result.output
    assert run("show", "--data", str(new)).stdout == run("show", "--data", str(data)).stdout


async def test_without_keys_it_says_what_a_restore_will_need(data: Path) -> None:
    copy = str(data / "copy")
    assert "keep data/keys/log.pem elsewhere" in run("backup", copy, "--data", str(data), "--jobs", "1").output
    refused = run("restore", copy, "--data", str(data / "new"), "--jobs", "1")
    assert refused.exception is not None
    assert exit_code(refused.exception) == 3
    assert "the log's key is not in this backup" in str(refused.exception)
    keys = str(data / "keys")
    assert run("restore", copy, "--data", str(data / "new"), "--keys", keys, "--jobs", "1").exit_code == 0


async def test_neither_a_backup_nor_an_export_goes_among_the_logs_own_files(data: Path) -> None:
    before = sorted((data / "log").rglob("*"))
    for words in (["backup", str(data / "log" / "copy")], ["export", str(data / "log" / "log.tar")]):
        refused = run(*words, "--data", str(data))
        assert refused.exit_code == 2
        assert "must be outside" in refused.output
    assert sorted((data / "log").rglob("*")) == before


def test_no_log_is_refused_in_a_sentence(tmp_path: Path) -> None:
    refused = run("backup", str(tmp_path / "copy"), "--data", str(tmp_path))
    assert refused.exception is not None
    assert exit_code(refused.exception) == 3
    assert "there is no log under" in str(refused.exception)
