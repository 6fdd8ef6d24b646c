"""Two copies of a log are compared, and what differs is JSON."""

import shutil
from pathlib import Path

import pytest

from eventlog.disk.log import open_log
from gateway.cli.main import exit_code
from tests.eventlog.logs import running
from tests.eventlog.words import said
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import run


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data / "log", tmp_path / "copy" / "log")).parent


async def test_a_copy_is_the_same_and_one_that_went_on_is_longer(data: Path, copy: Path) -> None:
    result = run("diff", str(data), str(copy))
    assert (result.exit_code, result.stdout) == (0, "")
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([said(b"four")])
    result = run("diff", str(copy), str(data))
    assert (result.exit_code, result.stdout) == (
        1,
        '{"differs": "longer", "longer": "b", "seq": 5, "records": 1}\n',
    )


async def test_where_they_part_both_records_are_shown(data: Path, copy: Path) -> None:
    shutil.copytree(data / "keys", copy / "keys")
    for where, word in ((data, b"four"), (copy, b"vier")):
        async with running(open_log(where, FakeClock())) as log:
            await log.append_many([said(word)])
    result = run("diff", str(data), str(copy))
    assert result.exit_code == 1
    parted, record = result.stdout.splitlines()
    assert parted == '{"differs": "parted", "seq": 5}'
    assert '"payload": "four"' in record
    assert '"payload": "vier"' in record


async def test_an_export_can_be_one_of_the_two_and_no_log_is_said(data: Path, tmp_path: Path) -> None:
    run("export", str(tmp_path / "log.tar"), "--data", str(data))
    assert run("diff", str(data), str(tmp_path / "log.tar")).exit_code == 0
    (tmp_path / "empty").mkdir()
    missing = run("diff", str(data), str(tmp_path / "empty"))
    assert missing.exception is not None
    assert exit_code(missing.exception) == 3
