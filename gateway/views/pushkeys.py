"""Pushkeys of the Matrix door that are gone, so that whoever asks again is told (push §7).

A homeserver may have missed the answer that rejected a pushkey, or the push service may have said so only after the
answer was given. Invariant: a pushkey is gone from the moment its removal is in the log, until it is set anew later
than that, or nobody asked for 90 days.
"""

from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Removed, fact_of
from gateway.limits.ways import PUSHKEYS_GONE_MS
from gateway.push.matrix import is_matrix


class PushkeysView(TableView):
    """When each pushkey was found to be gone."""

    name: ClassVar[str] = "pushkeys"
    kinds: ClassVar[frozenset[str]] = frozenset((Removed.kind,))
    tables: ClassVar[tuple[str, ...]] = ("gone",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS gone (
            tenant TEXT, pushkey TEXT, gone_ms INTEGER, PRIMARY KEY (tenant, pushkey)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS gone_age ON gone (gone_ms);
    """

    def fold(self, record: Record) -> None:
        """Take in one record."""
        fact = fact_of(record)
        now_ms = record.ts_ns // 1_000_000
        if isinstance(fact, Removed) and is_matrix(fact.tenant):
            self.db.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (fact.tenant, fact.user, now_ms))
        self.db.execute("DELETE FROM gone WHERE gone_ms < ?", (now_ms - PUSHKEYS_GONE_MS,))

    def is_gone(self, tenant: str, pushkey: str, since_ms: int) -> bool:
        """Whether a pushkey that was set at ``since_ms`` has been found to be gone since."""
        row = self.db.execute("SELECT gone_ms FROM gone WHERE tenant = ? AND pushkey = ?", (tenant, pushkey)).fetchone()
        return row is not None and since_ms <= row[0]
