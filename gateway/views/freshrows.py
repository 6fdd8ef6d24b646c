"""Events that are to be written: their rows, and the keys by which they will be found.

Invariant: rows and keys are in the order of the log, and of an event all or nothing is here. It is what every event
passes, so a batch is laid out in one loop, and nothing is made twice. This module must not know what is stored.
"""

from collections.abc import Collection, Sequence
from struct import Struct

from eventlog.runs import STAMP_BYTES
from gateway.nostr.event import LETTERS, Event
from gateway.views.authors import Writes
from gateway.views.eventkeys import AFTER_TAG, TAG, from_time, streams, tag_key

Noted = tuple[int, int, int, Event, int | None]
"""An event on its way: seq, relay, author, the event, expires."""
Row = tuple[int, int, int, int, int, int, int, bytes, int | None, bytes]
"""As in the table: seq, relay, author, kind, created, tie, half, tags, expires, rest."""
Name = tuple[int, int, int]
"""What tells events apart: relay, tie, half."""

_NUMBERS = Struct(">QQ16s").unpack
_TOP = 2**63 - 1


class FreshRows:
    """Rows, their prefixes in the index of ids, their orders, and their keys in order."""

    def __init__(self, noted: Sequence[Noted]) -> None:
        self._noted = noted
        self.rows: list[Row] = []
        self.prefixes: list[bytes] = []
        self.orders: list[bytes] = []
        self.keys: list[bytes] = []
        self._lay_out()

    def _lay_out(self) -> None:
        rows, prefixes, orders, keys = self.rows, self.prefixes, self.orders, self.keys
        for seq, relay, author, event, expires in self._noted:
            name, kind, created = bytes.fromhex(event.id), event.kind, event.created_at
            order = from_time(created) + name[:8] + seq.to_bytes(STAMP_BYTES, "big")
            every, alike, theirs = streams(relay, author, kind)
            keys += (every + order, alike + order, theirs + order)
            # As `indexed_tags` has them, without a set of pairs between.
            hashes = {tag_key(relay, tag[0], tag[1]) for tag in event.tags if len(tag) > 1 and tag[0] in LETTERS}
            tags = sorted(hashes)
            if tags:
                behind = AFTER_TAG + order
                keys += [TAG + key + behind for key in tags]
            tie, half, rest = _NUMBERS(name)
            rows.append((seq, relay, author, kind, created, _TOP - tie, _TOP - half, b"".join(tags), expires, rest))
            prefixes.append(name[8:16] + relay.to_bytes(4, "big"))
            orders.append(order)

    @property
    def names(self) -> list[Name]:
        """Tell the events."""
        return [(row[1], row[5], row[6]) for row in self.rows]

    @property
    def writes(self) -> set[Writes]:
        """Tell who writes what."""
        return {row[1:4] for row in self.rows}

    @property
    def ids(self) -> list[bytes]:
        """Give the keys in the index of ids."""
        return [prefix + order[-STAMP_BYTES:] for prefix, order in zip(self.prefixes, self.orders, strict=True)]

    def without(self, known: Collection[Name]) -> "FreshRows":
        """Give those that are not known, and of several of one name the first."""
        left, seen = list[Noted](), set(known)
        for one, name in zip(self._noted, self.names, strict=True):
            if name not in seen:
                seen.add(name)
                left.append(one)
        return FreshRows(left)
