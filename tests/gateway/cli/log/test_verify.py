"""A log is found whole or damaged, whether its server runs or not; damage is named."""

from pathlib import Path

from eventlog.disk.log import open_log
from tests.eventlog.logs import running
from tests.eventlog.words import said
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import lines, run


async def test_verify_says_ok_and_on_damage_exits_1_with_file_and_byte(data: Path) -> None:
    for level in ("crc", "audit"):
        result = run("verify", "--data", str(data), "--level", level)
        assert result.exit_code == 0
        assert result.stdout.startswith("ok: 5 records in 3 frames and 1 segments")
    path = data / "log" / "00000000000000000000.evl"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    result = run("verify", "--data", str(data))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"damaged: {path}: byte ")


async def test_verify_and_show_work_while_a_log_is_open(data: Path) -> None:
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([said(b"four")])
        assert run("verify", "--data", str(data)).stdout.startswith("ok: 6 records")
        assert len(lines(run("show", "--data", str(data)))) == 6
