"""What is recorded is applied, and whoever waits for what will never be hears of it; over the fake log and the real."""

from pathlib import Path

import pytest
import trio

from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from eventlog.errors import LogClosed, LogFailed
from gateway.serve.ledger import Ledger
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock, MemoryLog, memory_ledger


async def test_recorded_is_applied() -> None:
    async with memory_ledger(WordsView) as ledger:
        assert await ledger.record([said(b"a"), said(b"b")]) == 0
        assert ledger.views["words"].db.execute("SELECT count(*) FROM words").fetchone() == (2,)


async def test_a_log_that_breaks_tells_whoever_waits() -> None:
    async with memory_ledger(WordsView) as ledger:
        _, ticket = ledger.submit([said(b"a")])
        assert isinstance(ledger.log, MemoryLog)
        ledger.log.break_down()
        with pytest.raises(LogFailed):
            await ticket.wait()
        with pytest.raises(LogFailed):
            await ledger.record([said(b"b")])


async def test_a_restart_finds_what_was_durable() -> None:
    async with memory_ledger(WordsView) as ledger:
        await ledger.record([said(b"a")])
        log = ledger.log
    assert isinstance(log, MemoryLog)
    async with memory_ledger(WordsView, log=log) as ledger:
        assert ledger.views["words"].position == 1
        with trio.fail_after(30):
            assert await ledger.record([said(b"b")]) == 1


async def test_a_ledger_that_ends_tells_whoever_waits() -> None:
    async with memory_ledger(WordsView) as ledger:
        await ledger.record([said(b"a")])
        _, ticket = ledger.submit([said(b"b")])
    with pytest.raises(LogClosed):
        await ticket.wait()


async def test_what_was_durable_before_the_failure_is_still_answered() -> None:
    async with memory_ledger(WordsView) as ledger:
        log = ledger.log
        assert isinstance(log, MemoryLog)
        _, ticket = ledger.submit([said(b"a")])
        log.durable_size = 1
        log.break_down()
        with trio.fail_after(30):
            await ticket.wait()
        assert ledger.views["words"].position == 1


async def test_views_are_sealed_at_the_end_where_the_log_has_a_root(tmp_path: Path) -> None:
    async with running(open_log(tmp_path, FakeClock())) as log:
        views = open_views(log, tmp_path / "views", [WordsView])
        ledger = Ledger(log, views)
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            for word in (b"a", b"b", b"a"):
                await ledger.record([said(word)])
            nursery.cancel_scope.cancel()
        assert views["words"].bookmark() == (1, log.origin, 3, log.root)
        views["words"].db.close()
    with open_log(tmp_path, FakeClock()) as log:
        view = open_views(log, tmp_path / "views", [WordsView])["words"]
        assert view.position == 3
        view.db.close()
