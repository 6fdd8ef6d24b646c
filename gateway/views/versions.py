"""Which version of a replaceable or addressable event a relay holds (NIP-01, NIP-33).

Invariant: a place holds the newest version that came, by time and then by the lowest id; what it points to may have
been dropped since, and is then no version. This module must not know who drops.
"""

import sqlite3
from hashlib import blake2b
from typing import NamedTuple

from gateway.nostr.event import Event, Keeping, address, identifier, keeping
from gateway.views.eventkeys import Mark

NAME_BYTES = 16
SCHEMA = """
    CREATE TABLE IF NOT EXISTS address (
        relay INTEGER, author INTEGER, kind INTEGER, name BLOB, seq INTEGER,
        PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
"""
_AT = "relay = ? AND author = ? AND kind = ? AND name = ?"


class Place(NamedTuple):
    """Where a version belongs: numbers of relay and author, kind, hashed name."""

    relay: int
    author: int
    kind: int
    name: bytes


def place_of(relay: int, author: int, event: Event) -> Place | None:
    """Give the place of an event; None where every one is kept."""
    if keeping(event.kind) in (Keeping.NEWEST, Keeping.NEWEST_ADDRESSED):
        return Place(relay, author, event.kind, _hashed(identifier(event)))
    return None


def named_place(relay: int, author: int, pubkey: str, value: str) -> Place | None:
    """Read an ``a`` tag (``kind:pubkey:name``); None unless it names something replaceable of the same author."""
    named = address(value, pubkey)
    return None if named is None else Place(relay, author, named[0], _hashed(named[1]))


class Versions:
    """The places, in the view's tables."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def is_superseded(self, place: Place, mark: Mark) -> bool:
        """Whether a version is stored that is newer, or as old with a lower id, or the same."""
        query = f"SELECT e.created, e.tie, e.half FROM address a JOIN event e ON e.seq = a.seq WHERE {_AT_A}"  # noqa: S608
        row = self._db.execute(query, place).fetchone()
        return row is not None and row >= mark

    def current(self, place: Place) -> int | None:
        """Give the seq of the version that came to stay there last."""
        row = self._db.execute(f"SELECT seq FROM address WHERE {_AT}", place).fetchone()  # noqa: S608 - a constant
        return row[0] if row else None

    def put(self, place: Place, seq: int) -> None:
        """Let a version take a place."""
        self._db.execute("INSERT OR REPLACE INTO address VALUES (?, ?, ?, ?, ?)", (*place, seq))


_AT_A = "a.relay = ? AND a.author = ? AND a.kind = ? AND a.name = ?"


def _hashed(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()
