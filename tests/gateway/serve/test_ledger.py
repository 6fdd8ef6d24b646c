"""What is recorded is applied, and whoever waits for what will never be hears of it; over the fake log and the real."""

import sqlite3
from pathlib import Path

import pytest
import trio

from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from eventlog.errors import LogClosed, LogFailed
from eventlog.view import TableView
from gateway.serve.ledger import Ledger
from tests.eventlog.logs import open_sim, running
from tests.eventlog.words import WordsView, oracle, said
from tests.fakes import FakeClock, MemoryLog, memory_ledger
from tests.sim.disk import SimDisk


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


async def test_after_a_reopening_facts_are_taken_only_once_the_views_show_what_the_failure_left() -> None:
    async with memory_ledger(WordsView) as ledger:
        log = ledger.log
        assert isinstance(log, MemoryLog)
        _, ticket = ledger.submit([said(b"a")])
        log.break_down()
        with pytest.raises(LogFailed):
            await ticket.wait()
        assert await ledger.failed()
        log.restore(lost=False)
        # Reopened, but the views do not show record 0 yet: a decision over them would be one over the past.
        with pytest.raises(LogFailed):
            ledger.submit([said(b"b")])
        with trio.fail_after(30):
            await ledger.restored()
        assert ledger.views["words"].position == 1
        assert await ledger.record([said(b"b")]) == 1


async def test_seqs_that_were_lost_are_given_again_and_nobody_takes_anothers_record_for_his_own() -> None:
    async with memory_ledger(WordsView) as ledger:
        log = ledger.log
        assert isinstance(log, MemoryLog)
        first, ticket = ledger.submit([said(b"lost")])
        log.break_down()
        await ledger.failed()
        await trio.testing.wait_all_tasks_blocked()
        log.restore()
        with trio.fail_after(30):
            await ledger.restored()
        assert await ledger.record([said(b"kept")]) == first
        with pytest.raises(LogFailed):
            await ticket.wait()


class BusyView(WordsView):
    """A view that is sealed often, as one under load is."""

    name = "busy"

    @property
    def due(self) -> bool:
        return self.position - self._sealed >= 3


def pages(view: TableView, count: int | None = None) -> int:
    """Let a view's file hold no more pages than it has (or ``count``): SQLite then says that the disk is full."""
    asked = view.db.execute("PRAGMA page_count").fetchone()[0] if count is None else count
    return int(view.db.execute(f"PRAGMA max_page_count = {asked}").fetchone()[0])


@pytest.mark.parametrize("view_class", [WordsView, BusyView])
async def test_a_view_on_a_full_disk_stops_writes_and_is_whole_again_once_there_is_room(
    view_class: type[WordsView], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Each word needs a page of its own, so the next one is refused; what SQLite gave up is folded again.

    Harsher than a disk: here not even memory takes the rows. `tests/faults` has the real thing.
    """
    disk = SimDisk()
    words = [bytes([65 + n]) * 3_000 for n in range(8)]
    with open_sim(disk) as log:
        views = open_views(log, tmp_path / "views", [view_class])
        view = views[view_class.name]
        assert isinstance(view, WordsView)
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            ledger = Ledger(log, views)
            await nursery.start(ledger.run)
            for word in words[:4]:
                await ledger.record([said(word)])
            pages(view)
            with pytest.raises(LogFailed, match="a view cannot be written"):
                await ledger.record([said(word) for word in words[4:]])
            with pytest.raises(LogFailed):
                await ledger.record([said(b"refused")])
            await trio.sleep(60)  # tries come to nothing, and change nothing
            assert ledger.failure is not None
            pages(view, 10_000)
            await ledger.restored()
            await ledger.record([said(b"after")])
            records = [record for piece in log.read(0) for record in piece]
            assert view.found() == oracle(records)
            assert b"refused" not in view.found()
            nursery.cancel_scope.cancel()
        view.db.close()
    with open_sim(disk) as log:
        again = open_views(log, tmp_path / "views", [view_class])[view_class.name]
        assert isinstance(again, WordsView)
        assert again.found() == oracle(records)
        again.db.close()


async def test_a_view_that_cannot_be_sealed_at_the_end_is_folded_again_at_the_next_start(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    disk = SimDisk()
    with open_sim(disk) as log:
        views = open_views(log, tmp_path / "views", [WordsView])
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            ledger = Ledger(log, views)
            await nursery.start(ledger.run)
            await ledger.record([said(b"a")])
            pages(views["words"])
            with pytest.raises(LogFailed):
                await ledger.record([said(b"b" * 9_000)])
            nursery.cancel_scope.cancel()
        views["words"].db.close()
    with open_sim(disk) as log:
        views = open_views(log, tmp_path / "views", [WordsView])
        assert views["words"].position == log.durable_size == 2
        views["words"].db.close()


async def test_a_bug_in_a_views_sql_is_not_taken_for_a_full_disk() -> None:
    with pytest.raises(ExceptionGroup) as failed:  # noqa: PT012 - the ledger ends with the block
        async with memory_ledger(WordsView) as ledger:
            ledger.views["words"].db.execute("DROP TABLE words")
            await ledger.record([said(b"a")])
    assert failed.group_contains(sqlite3.OperationalError, match="no such table")
