"""Stored events as one reader may see them: rows of the index, held against the events themselves.

Invariant: the index finds tags and addressees by hash; of what it lets through, the event itself has the last word.
What was erased since it was indexed is passed over, though its id may be told until its row goes. This module must not
know sockets or what is done with its finds.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from gateway.facts import SALT_BYTES
from gateway.negentropy import Item
from gateway.nostr.event import Event, stored_event
from gateway.nostr.filter import Filter
from gateway.nostr.reader import Reader
from gateway.views.eventscan import Row, names

_HEAD = b'{"id":"'  # of every event as it was stored
_ID_CHARS = 64


def event_json(payload: bytes) -> bytes:
    """Give an event as it was stored: in every version of the fact it is the last field."""
    return payload[payload.index(_HEAD, SALT_BYTES) :]  # no relay's key in front of it holds such a head


def shows(event: Event, filters: Iterable[Filter], reader: Reader) -> bool:
    """Whether an event is asked for, and its reader may see it."""
    return reader.may_read(event) and any(one.matches(event) for one in filters)


class Payloads(Protocol):
    """What events are read from: the log, or a memory of it."""

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]: ...


def shown(log: Payloads, page: Sequence[Row], filters: Sequence[Filter], reader: Reader) -> Iterator[tuple[Row, bytes]]:
    """Give the events of a page of the index that match and may be seen, as they were stored."""
    if not page:
        return
    unsure = _unsure(filters)
    for row, payload in zip(page, log.payloads([row.seq for row in page]), strict=True):
        if payload is None:
            continue
        raw = event_json(payload)
        if not (unsure or row.kind in reader.private) or shows(stored_event(raw), filters, reader):
            yield row, raw


def identities(
    log: Payloads, pages: Iterable[Sequence[Row]], filters: Sequence[Filter], reader: Reader
) -> Iterator[list[Item]]:
    """Give (created_at, id) of what pages of a `NameScan` hold, page by page; most of it costs no look at the log."""
    unsure = _unsure(filters)
    for page in pages:
        if unsure or any(row.kind in reader.private for row in page):
            yield [(row.created, _id(raw)) for row, raw in shown(log, page, filters, reader)]
        else:
            yield names(page)


def _unsure(filters: Iterable[Filter]) -> bool:
    return any(one.tags or one.search is not None for one in filters)


def _id(raw: bytes) -> bytes:
    return bytes.fromhex(raw[len(_HEAD) : len(_HEAD) + _ID_CHARS].decode())
