"""Cursors: a place in one log's one history, as the opaque string that a replica stores beside its rows.

A cursor holds three things: which log (a hash of its origin), the record before the place (the head of its commitment)
and the seq behind it. So one of another log, or of a log that was put back to an older state and went on differently,
is recognised instead of silently skipping rows. Erasure and compaction change neither commitments nor seqs.
Invariant: what `Cursors.behind` writes, `Cursors.read` reads, and nothing else. This module must not know the log.
"""

import re
from hashlib import sha256
from typing import NamedTuple

MARK_BYTES = 6
START = bytes(MARK_BYTES)
"""The mark of a place that no record stands before."""

_SHAPE = re.compile(r"([0-9a-f]{12})([0-9a-f]{12})([0-9a-f]{1,16})")
UNKNOWN = "cursor-unknown: "


class CursorUnknown(Exception):
    """The cursor names no place in this log; the text is CLOSED's reason."""

    def __init__(self, why: str) -> None:
        super().__init__(UNKNOWN + why)


class Place(NamedTuple):
    """What a cursor says: the seq of the next record, and the mark of the one before it."""

    seq: int
    mark: bytes


class Cursors:
    """The cursors of one log."""

    def __init__(self, origin: str) -> None:
        self._log = sha256(origin.encode()).digest()[:6].hex()

    def behind(self, seq: int, commitment: bytes) -> str:
        """Write the cursor behind the record ``seq``, whose commitment this is."""
        return f"{self._log}{commitment[:MARK_BYTES].hex()}{seq + 1:x}"

    def at(self, place: Place) -> str:
        """Write the cursor of a place."""
        return self.behind(place.seq - 1, place.mark)

    def read(self, text: str) -> Place:
        """Read a cursor; CursorUnknown where it is none, or another log's."""
        found = _SHAPE.fullmatch(text)
        if found is None:
            raise CursorUnknown("this is no cursor of a log")
        log, mark, seq = found.groups()
        if log != self._log:
            raise CursorUnknown("this cursor belongs to another log")
        return Place(int(seq, 16), bytes.fromhex(mark))
