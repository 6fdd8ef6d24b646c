"""Bars against the return of what was erased of a nostr key: who is barred is kept as a keyed hash alone.

A request to vanish (NIP-62) names its author, so it goes with everything else when an operator erases the key; what it
barred must stay barred. Why not a plain hash? Keys are public: whoever has a copy of the log could try them all.
Invariant: nothing in the log and in this view tells whose bar it is without the secret under ``data/keys``; the last
word on a relay and a mark counts. This module must not know where the secret lies.
"""

import hashlib
import hmac
import sqlite3
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Barred, RelayUnregistered, fact_of

EVERYWHERE = ""


def mark_of(secret: bytes, pubkey: str) -> bytes:
    """Hash a key (64 hex digits) under the gateway's secret: 32 bytes."""
    return hmac.new(secret, b"bar\0" + bytes.fromhex(pubkey), hashlib.sha256).digest()


class BarsView(TableView):
    """(relay, mark) → the time up to which nothing of that key is taken."""

    name: ClassVar[str] = "bars"
    kinds: ClassVar[frozenset[str]] = frozenset((Barred.kind, RelayUnregistered.kind))
    tables: ClassVar[tuple[str, ...]] = ("bar",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS bar (mark BLOB, relay TEXT, until INTEGER, PRIMARY KEY (mark, relay)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self.is_empty = db.execute("SELECT 1 FROM bar LIMIT 1").fetchone() is None

    def fold(self, record: Record) -> None:
        """Take in one bar, or let go of a relay's that was unregistered: who registers its key next starts empty."""
        match fact_of(record):
            case Barred(relay_key, mark, until_s):
                self.db.execute("INSERT OR REPLACE INTO bar VALUES (?, ?, ?)", (mark, relay_key, until_s))
                self.is_empty = False
            case RelayUnregistered(relay_key=relay_key):
                self.db.execute("DELETE FROM bar WHERE relay = ? AND relay != ''", (relay_key,))
            case _:
                pass  # taken by retention: the snapshot that carried it is where this fold began

    def until_s(self, relay_key: str, mark: bytes) -> int:
        """Give the time up to which a relay takes nothing of a key, -1 where it is not barred."""
        query = "SELECT max(until) FROM bar WHERE mark = ? AND relay IN (?, ?)"
        until = self.db.execute(query, (mark, relay_key, EVERYWHERE)).fetchone()[0]
        return -1 if until is None else int(until)
