"""Pushkeys of the Matrix door: which are gone, so that whoever asks again is told (push §7), and how many an app has.

A homeserver may have missed the answer that rejected a pushkey, or the push service may have said so only after the
answer was given. Nobody registers pushkeys, so one that was notified within `PUSHKEY_HELD_DAYS` counts as a device.
Invariant: a pushkey is gone from the moment its removal is in the log, until it is set anew later than that, or nobody
asked for 90 days. Must not know limits.
"""

import sqlite3
from collections import Counter
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import SALT_BYTES, Accepted, Removed, fact_of
from gateway.limits.ways import PUSHKEY_HELD_DAYS, PUSHKEYS_GONE_MS
from gateway.push.instant import DAY_MS
from gateway.push.matrix import TENANT, is_matrix

_TENANT = TENANT.encode()
_TENANT_ENDS = SALT_BYTES + 4 + len(_TENANT)  # CBOR's head of an array, and of a text of up to 64 KiB, before it


class PushkeysView(TableView):
    """When each pushkey was found to be gone, and on which day each was last notified."""

    name: ClassVar[str] = "pushkeys"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset((Accepted.kind, Removed.kind))
    tables: ClassVar[tuple[str, ...]] = ("gone", "held")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS gone (
            tenant TEXT, pushkey TEXT, gone_ms INTEGER, PRIMARY KEY (tenant, pushkey)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS gone_age ON gone (gone_ms);
        CREATE TABLE IF NOT EXISTS held (
            tenant TEXT, pushkey TEXT, day INTEGER, PRIMARY KEY (tenant, pushkey)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS held_age ON held (day);
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._held = Counter[str](dict(db.execute("SELECT tenant, COUNT(*) FROM held GROUP BY tenant")))

    def fold(self, record: Record) -> None:
        """Take in one record."""
        if record.kind == Accepted.kind and not _may_be_matrix(record):
            return
        now_ms = record.ts_ns // 1_000_000
        match fact_of(record):
            case Accepted(tenant=tenant, user=pushkey) if is_matrix(tenant):
                self._notified(tenant, pushkey, now_ms // DAY_MS)
            case Removed(tenant=tenant, user=pushkey) if is_matrix(tenant):
                self.db.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (tenant, pushkey, now_ms))
                self._let_go("tenant = ? AND pushkey = ?", (tenant, pushkey))
            case _:
                pass  # an instance's, or erased
        self.db.execute("DELETE FROM gone WHERE gone_ms < ?", (now_ms - PUSHKEYS_GONE_MS,))

    def _notified(self, tenant: str, pushkey: str, day: int) -> None:
        self._let_go("day < ?", (day - PUSHKEY_HELD_DAYS,))
        self._held[tenant] += not self.holds(tenant, pushkey)
        self.db.execute(
            "INSERT INTO held VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET day = excluded.day WHERE day < excluded.day",
            (tenant, pushkey, day),
        )

    def _let_go(self, where: str, values: tuple[str | int, ...]) -> None:
        for (tenant,) in self.db.execute(f"DELETE FROM held WHERE {where} RETURNING tenant", values).fetchall():  # noqa: S608 - ours
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]

    def is_gone(self, tenant: str, pushkey: str, since_ms: int) -> bool:
        """Whether a pushkey that was set at ``since_ms`` has been found to be gone since."""
        row = self.db.execute("SELECT gone_ms FROM gone WHERE tenant = ? AND pushkey = ?", (tenant, pushkey)).fetchone()
        return row is not None and since_ms <= row[0]

    def holds(self, tenant: str, pushkey: str) -> bool:
        """Whether a pushkey counts as a device of its app."""
        row = self.db.execute("SELECT 1 FROM held WHERE tenant = ? AND pushkey = ?", (tenant, pushkey)).fetchone()
        return row is not None

    def held(self, tenant: str) -> int:
        """How many devices an app has."""
        return self._held[tenant]


def _may_be_matrix(record: Record) -> bool:
    """Whether a notification may be of the Matrix door: most are not, and need not be decoded to know."""
    return record.payload is not None and _TENANT in record.payload[SALT_BYTES:_TENANT_ENDS]
