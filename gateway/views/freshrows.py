"""Events that were noted and are not written yet: their rows, and the keys by which they will be found.

Invariant: rows and keys are in the order of the log, and of an event all or nothing is here. It is what every event
passes, so a key is made where it is needed and nothing is made twice. This module must not know what is stored.
"""

from collections.abc import Collection
from struct import Struct

from eventlog.runs import STAMP_BYTES
from gateway.nostr.event import LETTERS, Event
from gateway.views import eventkeys
from gateway.views.authors import Writes
from gateway.views.eventkeys import tag_key

Row = tuple[int, int, int, int, int, int, int, bytes, int | None]
"""As in the table: seq, relay, author, kind, created, tie, half, tags, expires."""
Name = tuple[int, int, int]
"""What tells events apart: relay, tie, half."""

_NUMBERS = Struct(">QQ").unpack
_TOP = 2**63 - 1


class FreshRows:
    """Rows, who writes what, the rows' prefixes in the index of ids, their orders, and their keys in order."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.writes: set[Writes] = set()
        self.prefixes: list[bytes] = []
        self.orders: list[bytes] = []
        self.keys: list[bytes] = []

    def note(self, seq: int, relay: int, author: int, event: Event, expires: int | None) -> None:
        """Note one event."""
        name, kind = bytes.fromhex(event.id[:32]), event.kind
        order = eventkeys.from_time(event.created_at) + name[:8] + seq.to_bytes(STAMP_BYTES, "big")
        every, alike, theirs = eventkeys.streams(relay, author, kind)
        self.keys += (every + order, alike + order, theirs + order)
        # As `indexed_tags` has them, without a set of pairs between.
        hashes = {tag_key(relay, tag[0], tag[1]) for tag in event.tags if len(tag) > 1 and tag[0] in LETTERS}
        tags = sorted(hashes)
        if tags:
            behind = eventkeys.AFTER_TAG + order
            self.keys += [eventkeys.TAG + key + behind for key in tags]
        tie, half = _NUMBERS(name)
        row = (seq, relay, author, kind, event.created_at, _TOP - tie, _TOP - half, b"".join(tags), expires)
        self.rows.append(row)
        self.writes.add((relay, author, kind))
        self.prefixes.append(name[8:] + relay.to_bytes(4, "big"))
        self.orders.append(order)

    @property
    def names(self) -> list[Name]:
        """Tell the events."""
        return [(row[1], row[5], row[6]) for row in self.rows]

    @property
    def ids(self) -> list[bytes]:
        """Give the keys in the index of ids."""
        return [prefix + order[-STAMP_BYTES:] for prefix, order in zip(self.prefixes, self.orders, strict=True)]

    def without(self, known: Collection[Name]) -> "FreshRows":
        """Give those that are not known, and of several of one name the first."""
        left, seen = FreshRows(), set(known)
        for row, prefix, order, name in zip(self.rows, self.prefixes, self.orders, self.names, strict=True):
            if name not in seen:
                seen.add(name)
                left.rows.append(row)
                left.writes.add(row[1:4])
                left.prefixes.append(prefix)
                left.orders.append(order)
        stamps = {order[-STAMP_BYTES:] for order in left.orders}
        left.keys = [key for key in self.keys if key[-STAMP_BYTES:] in stamps]
        return left
