"""Who asked to vanish (NIP-62), from which relay, and up to when: remembered for ever.

Invariant: what somebody made up to then, or had wrapped for them, stays away; the requests themselves do not.
This module must not know what is stored.
"""

import sqlite3

from gateway.nostr.event import GIFT_WRAP, VANISH, Event, indexed_tags, is_hex_64

SCHEMA = """
    CREATE TABLE IF NOT EXISTS vanished (
        relay INTEGER, pubkey BLOB, until INTEGER, PRIMARY KEY (relay, pubkey)) WITHOUT ROWID;
"""
EVERY_RELAY = 0  # stands for all of them: SQLite numbers rows from 1


def addressees(event: Event) -> list[str]:
    """List whom a gift wrap is for: it is theirs to delete (NIP-59)."""
    if event.kind != GIFT_WRAP:
        return []
    return sorted(value for letter, value in indexed_tags(event) if letter == "p" and is_hex_64(value))


class Vanishings:
    """The requests, in the view's table; ``any``: whether there is one."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.any = db.execute("SELECT 1 FROM vanished").fetchone() is not None

    def add(self, relay: int, pubkey: bytes, until_s: int) -> None:
        """Take a request in; for `EVERY_RELAY` also those to come."""
        raised = "ON CONFLICT DO UPDATE SET until = max(until, excluded.until)"
        self._db.execute(f"INSERT INTO vanished VALUES (?, ?, ?) {raised}", (relay, pubkey, until_s))  # noqa: S608
        self.any = True

    def bars(self, relay: int, event: Event) -> bool:
        """Whether its author, or somebody whom it was wrapped for, asked to vanish since."""
        if not self.any or event.kind == VANISH:
            return False
        return any(event.created_at <= self._until(relay, pubkey) for pubkey in {event.pubkey, *addressees(event)})

    def _until(self, relay: int, pubkey: str) -> int:
        query = "SELECT max(until) FROM vanished WHERE relay IN (?, ?) AND pubkey = ?"
        row = self._db.execute(query, (EVERY_RELAY, relay, bytes.fromhex(pubkey))).fetchone()
        return -1 if row[0] is None else int(row[0])
