"""Devices: where each user's notifications go, and who holds which target (push §3).

Invariant: a target belongs to one user of a tenant, and the last ``issuedAt`` per (tenant, target) decides, whatever
the user; so a captured older envelope never undoes a later one. What is deregistered leaves a mark until no older
envelope can still be valid. Users' pseudonyms are kept here too: the log's subjects for their records.
"""

import sqlite3
from collections import Counter
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Accepted, Deregistered, Registered, Removed, fact_of
from gateway.limits.push import LIFETIME_MS_MAX, SKEW_MS_MAX
from gateway.push.device import Device
from gateway.push.target import identity


class DevicesView(TableView):
    """The live devices, the marks of those that went, and the pseudonyms of users."""

    name: ClassVar[str] = "devices"
    kinds: ClassVar[frozenset[str]] = frozenset((Registered.kind, Deregistered.kind, Removed.kind, Accepted.kind))
    tables: ClassVar[tuple[str, ...]] = ("device", "pseudonym")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS device (
            tenant TEXT, target_kind TEXT,
            target TEXT,            -- its identity: of a subscription the endpoint alone
            user TEXT,              -- NULL: a mark of a device that went
            platform TEXT, app_id TEXT, issued_ms INTEGER, seq INTEGER,
            whole TEXT,             -- the target with its keys, where that is more than its identity
            PRIMARY KEY (tenant, target_kind, target)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS device_of_user ON device (tenant, user, seq);
        CREATE INDEX IF NOT EXISTS device_mark ON device (issued_ms) WHERE user IS NULL;
        CREATE TABLE IF NOT EXISTS pseudonym (
            tenant TEXT, user TEXT, subject BLOB,
            PRIMARY KEY (tenant, user, subject)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        held = db.execute("SELECT tenant, COUNT(*) FROM device WHERE user IS NOT NULL GROUP BY tenant")
        self._held = Counter[str](dict(held))

    def fold(self, record: Record) -> None:
        """Take in one record."""
        match fact_of(record):
            case Registered() as fact:
                self._name(fact.tenant, fact.user, record.subject)
                self._registered(fact, record)
            case Deregistered() as fact:
                self._name(fact.tenant, fact.user, record.subject)
                self._deregistered(fact, record)
            case Removed() as fact:
                self._name(fact.tenant, fact.user, record.subject)
                self._take_away(fact.tenant, fact.target_kind, identity(fact.target_kind, fact.target))
            case Accepted() as fact:
                self._name(fact.tenant, fact.user, record.subject)
            case _:
                pass  # erased
        # A mark is needed while an envelope older than it may still be valid.
        oldest_ms = record.ts_ns // 1_000_000 - LIFETIME_MS_MAX - SKEW_MS_MAX
        self.db.execute("DELETE FROM device WHERE user IS NULL AND issued_ms < ?", (oldest_ms,))

    def _name(self, tenant: str, user: str, subject: bytes) -> None:
        self.db.execute("INSERT OR IGNORE INTO pseudonym VALUES (?, ?, ?)", (tenant, user, subject))

    def _registered(self, fact: Registered, record: Record) -> None:
        key = (fact.tenant, fact.target_kind, identity(fact.target_kind, fact.target))
        if self.superseded(*key, fact.issued_ms):
            return
        whole = None if key[2] == fact.target else fact.target
        self._held[fact.tenant] += self.holder(*key) is None
        self.db.execute(
            "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key, fact.user, fact.platform, fact.app_id, fact.issued_ms, record.seq, whole),
        )
        evicted = self.db.execute(
            "SELECT target_kind, target FROM device WHERE tenant = ? AND user = ? ORDER BY seq DESC LIMIT -1 OFFSET ?",
            (fact.tenant, fact.user, fact.devices_max),
        ).fetchall()
        for target_kind, target in evicted:
            self._take_away(fact.tenant, target_kind, target)

    def _deregistered(self, fact: Deregistered, record: Record) -> None:
        key = (fact.tenant, fact.target_kind, identity(fact.target_kind, fact.target))
        if self.superseded(*key, fact.issued_ms):
            return
        holder = self.holder(*key)
        if holder in (None, fact.user):
            self._held[fact.tenant] -= holder is not None
            self.db.execute(
                "INSERT OR REPLACE INTO device VALUES (?, ?, ?, NULL, '', '', ?, ?, NULL)",
                (*key, fact.issued_ms, record.seq),
            )
        else:
            self.db.execute(
                "UPDATE device SET issued_ms = ? WHERE tenant = ? AND target_kind = ? AND target = ?",
                (fact.issued_ms, *key),
            )

    def _take_away(self, tenant: str, target_kind: str, target: str) -> None:
        self._held[tenant] -= self.holder(tenant, target_kind, target) is not None
        self.db.execute(
            "UPDATE device SET user = NULL, platform = '', app_id = '', whole = NULL"
            " WHERE tenant = ? AND target_kind = ? AND target = ?",
            (tenant, target_kind, target),
        )

    def superseded(self, tenant: str, target_kind: str, target: str, issued_ms: int) -> bool:
        """Whether a later envelope about this target has been taken in."""
        row = self.db.execute(
            "SELECT issued_ms FROM device WHERE tenant = ? AND target_kind = ? AND target = ?",
            (tenant, target_kind, identity(target_kind, target)),
        ).fetchone()
        return row is not None and issued_ms < row[0]

    def holder(self, tenant: str, target_kind: str, target: str) -> str | None:
        """The user whom this target belongs to; None where it is nobody's."""
        row = self.db.execute(
            "SELECT user FROM device WHERE tenant = ? AND target_kind = ? AND target = ?",
            (tenant, target_kind, identity(target_kind, target)),
        ).fetchone()
        return row[0] if row else None

    def has_left(self, user: str, tenant: str, target_kind: str, target: str) -> bool:
        """Whether a target that was this user's is known to be another's now, or nobody's."""
        row = self.db.execute(
            "SELECT user FROM device WHERE tenant = ? AND target_kind = ? AND target = ?",
            (tenant, target_kind, identity(target_kind, target)),
        ).fetchone()
        return row is not None and row[0] != user

    def held(self, tenant: str) -> int:
        """How many live devices a tenant's users have together."""
        return self._held[tenant]

    def tenants(self) -> list[str]:
        """The tenants that have a live device."""
        return [tenant for tenant, count in self._held.items() if count]

    def held_by(self, tenant: str, user: str) -> int:
        """How many live devices one user has."""
        row = self.db.execute("SELECT COUNT(*) FROM device WHERE tenant = ? AND user = ?", (tenant, user)).fetchone()
        return int(row[0])

    def devices(self, tenant: str, user: str) -> list[Device]:
        """A user's live devices, first registered first."""
        rows = self.db.execute(
            "SELECT COALESCE(whole, target), target_kind, platform, app_id FROM device"
            " WHERE tenant = ? AND user = ? ORDER BY seq",
            (tenant, user),
        )
        return [Device(*row) for row in rows]

    def pseudonym(self, tenant: str, user: str) -> bytes | None:
        """The subject under which this user's records stand; None for a user without any."""
        row = self.db.execute(
            "SELECT subject FROM pseudonym WHERE tenant = ? AND user = ? LIMIT 1", (tenant, user)
        ).fetchone()
        return bytes(row[0]) if row else None
