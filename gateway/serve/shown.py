"""Stored events as one reader may see them: rows of the index, held against the events themselves.

Invariant: the index finds tags and addressees by hash; of what it lets through, the event itself has the last word.
What was erased since it was indexed is passed over. This module must not know sockets or what is done with its finds.
"""

from collections.abc import Iterable, Iterator, Sequence

import cbor2

from eventlog.disk.log import Readable
from gateway.facts import SALT_BYTES
from gateway.negentropy import Item
from gateway.nostr.event import Event, stored_event
from gateway.nostr.filter import Filter
from gateway.nostr.reader import Reader
from gateway.views.eventscan import Row

_ID = slice(len('{"id":"'), len('{"id":"') + 64)


def event_json(payload: bytes) -> bytes:
    """Give an event as it was stored: in every version of the fact it is the last field."""
    raw = cbor2.loads(payload[SALT_BYTES:])[-1]
    assert isinstance(raw, bytes)
    return raw


def shows(event: Event, filters: Iterable[Filter], reader: Reader) -> bool:
    """Whether an event is asked for, and its reader may see it."""
    return reader.may_read(event) and any(one.matches(event) for one in filters)


def shown(log: Readable, page: Sequence[Row], filters: Sequence[Filter], reader: Reader) -> Iterator[tuple[Row, bytes]]:
    """Give the events of a page of the index that match and may be seen, as they were stored."""
    if not page:
        return
    unsure = any(one.tags or one.search is not None for one in filters)
    for row, payload in zip(page, log.payloads([row.seq for row in page]), strict=True):
        if payload is None:
            continue
        raw = event_json(payload)
        if not (unsure or row.kind in reader.private) or shows(stored_event(raw), filters, reader):
            yield row, raw


def identities(
    log: Readable, pages: Iterable[Sequence[Row]], filters: Sequence[Filter], reader: Reader
) -> Iterator[list[Item]]:
    """Give (created_at, id) of what pages of the index hold, page by page."""
    for page in pages:
        yield [(row.created, bytes.fromhex(raw[_ID].decode())) for row, raw in shown(log, page, filters, reader)]
