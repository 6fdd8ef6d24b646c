"""Rows behind a cursor: the log itself is read from the place that the cursor names, the rows view is left alone.

    cursor ─▶ place ─▶ the log, piece by piece ─▶ rows of the filters ─▶ EVENT or EVENTS, each with its cursor ─▶ EOSE
So a replica that is a million rows behind costs a scan and no search, stored bytes are framed as they are, and catching
up meets live rows at one position of the log. Rows whose payload is gone (erased) are passed over.
Invariants: rows come in the order of the log, none twice; a cursor is sent only with or behind all rows before it. What
a relay had before it was taken away is not its any more. This module must not know sessions' rights or the live rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from eventlog.disk.log import Appendable
from eventlog.errors import Absent, Removed
from eventlog.record import Record
from gateway.facts import SALT_BYTES, RowStored, row_prefix, stored_row
from gateway.limits.mirror import BATCH_BYTES_MAX, BATCH_ROWS_MAX
from gateway.replication import frame as wire
from gateway.replication.audience import Subscription
from gateway.replication.cursor import MARK_BYTES, START, Cursors, CursorUnknown, Place
from gateway.replication.filter import Filter
from gateway.views.rows import RowsView

One = TypeVar("One")
OLD = "retention has taken rows behind this cursor: start anew, or compare"


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was asked for, and where it stands."""

    row: bytes
    record: Record


class Selection:
    """Picks the rows of one subscription out of records; what is another relay's is not even decoded."""

    def __init__(self, relay_key: str, filters: Sequence[Filter], visible: frozenset[bool]) -> None:
        asked = [each for each in filters if not each.nothing]
        relay_ids = {relay_id for each in asked for relay_id in each.relay_ids}
        self._prefixes = tuple(row_prefix(relay_key, relay_id) for relay_id in sorted(relay_ids))
        self._relay_key, self._filters, self._visible = relay_key, asked, visible
        self._whole = frozenset(relay_id for each in asked if each.takes_all for relay_id in each.relay_ids)

    def of(self, records: Sequence[Record]) -> Iterator[Found]:
        """Give the rows among records, in order."""
        kind, schema, prefixes = RowStored.kind, RowStored.schema, self._prefixes
        for record in records:
            payload = record.payload
            if record.kind != kind or payload is None:
                continue
            if record.schema == schema and not payload.startswith(prefixes, SALT_BYTES):
                continue
            fact = stored_row(record)
            if fact is not None and self._asked(fact):
                yield Found(fact.row, record)

    def _asked(self, fact: RowStored) -> bool:
        if fact.relay_key != self._relay_key or fact.is_open not in self._visible:
            return False
        return fact.relay_id in self._whole or any(each.matches(fact) for each in self._filters)


class Places:
    """Turns cursors into places of a log and back."""

    def __init__(self, log: Appendable, rows: RowsView) -> None:
        self._log, self._rows = log, rows
        self.cursors = Cursors(log.origin)

    def start(self, cursor: str, relay_key: str) -> int:
        """Give the seq that a pull begins with; CursorUnknown where the cursor leads nowhere any more."""
        floor = self._rows.floor(relay_key)
        if not cursor:
            return floor
        place = self.cursors.read(cursor)
        if place.seq < self._rows.retained_floor:
            raise CursorUnknown(OLD)
        mark = self._mark(place.seq)
        if mark is not None and mark != place.mark:
            raise CursorUnknown("the log went on differently: it was put back to an older state")
        return max(place.seq, floor)

    def cursor(self, seq: int) -> str:
        """Write the cursor of the place before record ``seq``."""
        return self.cursors.at(Place(seq, self._mark(seq) or START))

    def _mark(self, seq: int) -> bytes | None:
        """Give the mark of the record before; None where retention took it and nothing behind it."""
        if seq == 0:
            return START
        try:
            return self._log.record(seq - 1).commitment[:MARK_BYTES]
        except Removed as gone:
            if seq < gone.first_seq:
                raise CursorUnknown(OLD) from gone
            return None
        except Absent as gone:
            raise CursorUnknown("the log is not that long: it was put back to an older state") from gone


def frames(subscription: Subscription, found: Sequence[Found], cursors: Cursors | None) -> Iterator[str]:
    """Wrap rows as the subscription wants them: one by one or in batches, with cursors or without."""
    sub_id = subscription.sub_id
    if not subscription.batch:
        for each in found:
            yield wire.row_event(sub_id, each.row, _behind(each, cursors))
        return
    for batch in _batches(found, lambda each: len(each.row)):
        yield wire.row_events(sub_id, [each.row for each in batch], _behind(batch[-1], cursors))


def plain_frames(subscription: Subscription, rows: Sequence[bytes]) -> list[str]:
    """Wrap rows that were searched, not pulled: there is no cursor behind any of them."""
    if not subscription.batch:
        return [wire.row_event(subscription.sub_id, row) for row in rows]
    return [wire.row_events(subscription.sub_id, batch, None) for batch in _batches(rows, len)]


def _behind(found: Found, cursors: Cursors | None) -> str | None:
    return None if cursors is None else cursors.behind(found.record.seq, found.record.commitment)


def _batches(found: Sequence[One], size_of: Callable[[One], int]) -> Iterator[list[One]]:
    """Cut rows into batches within their limits; a row that is larger alone is a batch."""
    batch: list[One] = []
    size = 0
    for each in found:
        if batch and (len(batch) >= BATCH_ROWS_MAX or size + size_of(each) > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += size_of(each)
    if batch:
        yield batch


def taken(found: Iterator[Found], count: int | None) -> list[Found]:
    """Take what is left of a page; None: everything."""
    return list(found if count is None else islice(found, count))
