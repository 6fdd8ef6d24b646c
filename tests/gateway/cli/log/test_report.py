"""One page says what the log holds, and whether it is whole."""

from pathlib import Path

import pytest

from eventlog.chronicle import Erased, Range
from eventlog.chronicle import draft as entry_draft
from eventlog.disk.log import open_log
from gateway.facts import Accepted, Settled, draft
from tests.eventlog.logs import running
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import AT, run


@pytest.fixture
async def pushed(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    fact = Accepted("chat.example", "u", "n", 1, None, 2, (), "s", b"body")
    async with running(open_log(data, FakeClock(), origin="log.example")) as log:
        await log.append_many(
            [
                draft(fact, ts_ns=AT, subject=b"p" * 16, salt=bytes(16)),
                draft(Settled(0, 0, "removed", "UNREGISTERED"), ts_ns=AT),
                entry_draft(Erased("dpo", "asked", "user", 3, (Range(0, 1),)), AT),
            ]
        )
    return data


async def test_the_report_says_what_is_there_and_writes_nothing_beside_the_log(pushed: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in pushed.rglob("*") if path.is_file()}  # noqa: ASYNC240
    out = tmp_path / "report.html"
    result = run("report", "--data", str(pushed), "--out", str(out))
    assert (result.exit_code, result.stdout) == (0, f"written: {out}\n")
    page = out.read_text("utf-8")
    for words in (
        "Whole: 3 records in 1 commits",
        "chat.example",
        "UNREGISTERED",
        "1 of 1 settled deliveries did not reach their device",
        "3 payloads about a user erased; asked by dpo: asked",
        "Requests that the gateway refused left no record",
        "log.example+",
        "<svg",
        "2025-11-14",
    ):
        assert words in page, words
    assert {path: path.read_bytes() for path in pushed.rglob("*") if path.is_file()} == before  # noqa: ASYNC240
    assert run("report", "--data", str(pushed), "--out", str(pushed / "r.html")).exit_code == 2


async def test_a_damaged_log_is_called_so_on_its_report(pushed: Path, tmp_path: Path) -> None:
    path = pushed / "log" / "00000000000000000000.evl"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    out = tmp_path / "report.html"
    assert run("report", "--data", str(pushed), "--out", str(out)).exit_code == 1
    assert "The log is damaged" in out.read_text("utf-8")
    assert run("report", "--data", str(pushed), "--out", str(out), "--no-verify").exit_code == 1
    assert "was not audited" in out.read_text("utf-8")


async def test_an_empty_log_has_a_report_too(tmp_path: Path) -> None:
    async with running(open_log(tmp_path / "data", FakeClock())):
        pass
    result = run("report", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "r.html"))
    assert result.exit_code == 0, result.output
    assert "The log is empty." in (tmp_path / "r.html").read_text("utf-8")
