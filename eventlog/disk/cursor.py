"""Cursors: a reader's place in the log, and the tail that keeps live readers off the disk.

A cursor gives every record from its position on, once, in order, only durable ones; from disk where it is behind, from
the tail where it is not, through one loop: catching up and following live are the same thing.
"""

from collections import deque
from typing import Protocol

import trio

from eventlog.disk.writer import Batch
from eventlog.limits import TAIL_BYTES_MAX, TAIL_RECORDS_MAX
from eventlog.record import Record


class Tail:
    """The batches committed last, bounded by records and bytes; the oldest go first."""

    def __init__(self, records_max: int = TAIL_RECORDS_MAX, bytes_max: int = TAIL_BYTES_MAX) -> None:
        self._records_max, self._bytes_max = records_max, bytes_max
        self._order: deque[Batch] = deque()
        self._by_first: dict[int, Batch] = {}
        self._by_end: dict[int, bytes] = {}
        self._records = self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Take in the batch that was just committed. One larger than the bounds is not kept."""
        self._order.append(batch)
        self._by_first[batch.first_seq] = batch
        self._by_end[batch.end_seq] = batch.root
        self._records += len(batch.drafts)
        self._bytes += batch.bytes
        while self._records > self._records_max or self._bytes > self._bytes_max:
            self._drop(self._order.popleft())

    def clear(self) -> None:
        """Let go of every batch."""
        while self._order:
            self._drop(self._order.popleft())

    def _drop(self, batch: Batch) -> None:
        del self._by_first[batch.first_seq], self._by_end[batch.end_seq]
        self._records -= len(batch.drafts)
        self._bytes -= batch.bytes

    def starting_at(self, seq: int) -> list[Record] | None:
        """Give the batch that begins with ``seq``: a follower's place is always between batches."""
        batch = self._by_first.get(seq)
        return None if batch is None else batch.records()

    def root_at(self, size: int) -> bytes | None:
        """Give the tree's root after ``size`` records, if a batch here ends there."""
        return self._by_end.get(size)


class Source(Protocol):
    """What a cursor reads: a log."""

    tail: Tail
    news: trio.lowlevel.ParkingLot

    @property
    def durable_size(self) -> int: ...

    async def piece(self, start: int) -> list[Record]: ...


class Cursor:
    """An async iterator over pieces of the log; ``position`` is the seq of the next record it will give.

    It holds nothing open, so it may be dropped at any time. After the log failed or closed it gives what is durable and
    then waits for good: there is no more news, and its owner is cancelled with the rest.
    """

    def __init__(self, source: Source, position: int) -> None:
        self._source = source
        self.position = position

    def __aiter__(self) -> "Cursor":
        return self

    async def __anext__(self) -> list[Record]:
        """Give the next records, at least one. Cancelled: the position stays, nothing is skipped."""
        await trio.lowlevel.checkpoint()
        source = self._source
        # Between this check and the parking there is no await, so no wake-up is lost.
        while self.position >= source.durable_size:
            await source.news.park()
        records = source.tail.starting_at(self.position) or await source.piece(self.position)
        assert records[0].seq == self.position, (records[0].seq, self.position)
        self.position = records[-1].seq + 1
        return records
