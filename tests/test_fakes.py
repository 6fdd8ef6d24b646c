"""The fakes keep the promises that other tests build on."""

import pytest
import trio

from eventlog.errors import LogFailed
from eventlog.record import Draft, Record
from eventlog.view import TableView
from tests.fakes import MemoryLog, memory_ledger


class Words(TableView):
    name = "words"
    kinds = frozenset({"word.said"})
    tables = ("said",)
    schema = "CREATE TABLE IF NOT EXISTS said (seq INTEGER, word BLOB)"

    def fold(self, record: Record) -> None:
        self.db.execute("INSERT INTO said VALUES (?, ?)", (record.seq, record.payload))


def said(word: bytes) -> Draft:
    return Draft("word.said", word, 1)


async def test_recorded_is_applied() -> None:
    async with memory_ledger(Words) as ledger:
        assert await ledger.record([said(b"a"), said(b"b")]) == 0
        assert ledger.views["words"].db.execute("SELECT count(*) FROM said").fetchone() == (2,)


async def test_a_log_that_breaks_tells_whoever_waits() -> None:
    async with memory_ledger(Words) as ledger:
        _, ticket = ledger.submit([said(b"a")])
        assert isinstance(ledger.log, MemoryLog)
        ledger.log.break_down()
        with pytest.raises(LogFailed):
            await ticket.wait()
        with pytest.raises(LogFailed):
            await ledger.record([said(b"b")])


async def test_a_restart_finds_what_was_durable() -> None:
    async with memory_ledger(Words) as ledger:
        await ledger.record([said(b"a")])
        log = ledger.log
    assert isinstance(log, MemoryLog)
    async with memory_ledger(Words, log=log) as ledger:
        assert ledger.views["words"].position == 1
        with trio.fail_after(1):
            assert await ledger.record([said(b"b")]) == 1
