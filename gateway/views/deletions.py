"""What authors deleted (NIP-09): remembered for ever, so that a deletion also bars what arrives after it.

Invariant: an id is barred for the author who named it alone, an address up to the newest deletion of it.
This module must not know what is stored.
"""

import sqlite3

from gateway.views.versions import Place

SCHEMA = """
    CREATE TABLE IF NOT EXISTS gone_id (
        relay INTEGER, author INTEGER, id BLOB, PRIMARY KEY (relay, author, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS gone_address (
        relay INTEGER, author INTEGER, kind INTEGER, name BLOB, until INTEGER,
        PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
"""


class Deletions:
    """The deletions, in the view's tables; ``author`` is a number."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def bar_id(self, relay: int, author: int, event_id: str) -> None:
        """Bar an id."""
        self._db.execute("INSERT OR IGNORE INTO gone_id VALUES (?, ?, ?)", (relay, author, bytes.fromhex(event_id)))

    def bars_id(self, relay: int, author: int, event_id: str) -> bool:
        """Whether an author deleted an id."""
        query = "SELECT 1 FROM gone_id WHERE relay = ? AND author = ? AND id = ?"
        return self._db.execute(query, (relay, author, bytes.fromhex(event_id))).fetchone() is not None

    def bar_address(self, place: Place, until: int) -> None:
        """Bar the versions of a place that were made up to a second."""
        raised = "ON CONFLICT DO UPDATE SET until = max(until, excluded.until)"
        self._db.execute(f"INSERT INTO gone_address VALUES (?, ?, ?, ?, ?) {raised}", (*place, until))  # noqa: S608

    def bars_address(self, place: Place, created: int) -> bool:
        """Whether a version made then is deleted."""
        query = "SELECT until FROM gone_address WHERE relay = ? AND author = ? AND kind = ? AND name = ?"
        row = self._db.execute(query, place).fetchone()
        return row is not None and created <= row[0]
