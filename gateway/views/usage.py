"""Usage: what each tenant sent and what became of it, by day and in all, and which of its devices died.

For the tenant's own report, for the operator, and for quotas by the day, which a restart must not renew.
Invariant: sums and positions alone: nothing here names a user, a device or a text. A dead device is the seq of the
record that says so; what that holds is read from the log, so erasing the record is enough. The sums are of what the
log holds: with erased notifications, what they counted for goes too. Must not know limits.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from eventlog.chronicle import Retained
from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Accepted, Removed, Settled, fact_of
from gateway.limits.tenants import (
    DEAD_KEPT_MS,
    DEAD_PER_TENANT_MAX,
    OUTCOME_CHARS_MAX,
    OUTCOMES_PER_TENANT_MAX,
    USAGE_DAYS,
)
from gateway.push.instant import DAY_MS

OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usage:
    """Notifications accepted and their bytes; deliveries asked for, and done with, by (outcome, reason)."""

    accepted: int
    deliveries: int
    size_bytes: int
    outcomes: dict[tuple[str, str], int]

    def settled(self, outcome: str) -> int:
        """How many deliveries ended so."""
        return sum(count for (one, _), count in self.outcomes.items() if one == outcome)


class UsageView(TableView):
    """Sums by tenant; a batch of records is summed up in memory and written once."""

    name: ClassVar[str] = "usage"
    kinds: ClassVar[frozenset[str]] = frozenset((Accepted.kind, Settled.kind, Removed.kind))
    tables: ClassVar[tuple[str, ...]] = ("day", "outcome", "dead", "open")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS day (  -- of the last days; what came before them under day -1
            tenant TEXT, day INTEGER, accepted INTEGER, deliveries INTEGER, bytes INTEGER,
            PRIMARY KEY (tenant, day)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS outcome (
            tenant TEXT, outcome TEXT, reason TEXT, count INTEGER,
            PRIMARY KEY (tenant, outcome, reason)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS dead (seq INTEGER PRIMARY KEY, tenant TEXT, at_ms INTEGER);
        CREATE INDEX IF NOT EXISTS dead_of_tenant ON dead (tenant, seq);
        CREATE TABLE IF NOT EXISTS open (  -- whose a notification is that is not settled for every device
            seq INTEGER PRIMARY KEY, tenant TEXT, unsettled BLOB);  -- a bit for each, the first lowest
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._accepted: Counter[tuple[str, int]] = Counter()
        self._deliveries: Counter[tuple[str, int]] = Counter()
        self._bytes: Counter[tuple[str, int]] = Counter()
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._open: dict[int, tuple[str, int]] = {}  # of this batch: tenant, and a bit for each unsettled delivery

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold a batch, then write its sums."""
        super().apply(records, position)
        if self._accepted or self._outcomes:
            self._write()

    def fold(self, record: Record) -> None:
        """Take in one record."""
        match fact_of(record):
            case Accepted() as fact:
                key = (fact.tenant, record.ts_ns // 1_000_000 // DAY_MS)
                self._accepted[key] += 1
                self._deliveries[key] += len(fact.targets)
                self._bytes[key] += len(fact.body)
                if fact.targets:
                    self._open[record.seq] = (fact.tenant, (1 << len(fact.targets)) - 1)
            case Settled() as fact:
                self._settled(fact)
            case Removed() as fact:
                self._died(fact.tenant, record)
            case _:
                pass  # erased

    def _settled(self, fact: Settled) -> None:
        found = self._open.get(fact.accepted_seq) or self._stored(fact.accepted_seq)
        bit = 1 << fact.index
        if found is None or not found[1] & bit:
            return  # erased; or recorded twice, which counts once
        tenant, unsettled = found
        self._open[fact.accepted_seq] = (tenant, unsettled - bit)
        self._outcomes[tenant, fact.outcome, fact.reason[:OUTCOME_CHARS_MAX]] += 1

    def _stored(self, seq: int) -> tuple[str, int] | None:
        row = self.db.execute("SELECT tenant, unsettled FROM open WHERE seq = ?", (seq,)).fetchone()
        return None if row is None else (row[0], int.from_bytes(row[1], "little"))

    def _died(self, tenant: str, record: Record) -> None:
        at_ms = record.ts_ns // 1_000_000
        self.db.execute("INSERT INTO dead VALUES (?, ?, ?)", (record.seq, tenant, at_ms))
        self.db.execute("DELETE FROM dead WHERE tenant = ? AND at_ms < ?", (tenant, at_ms - DEAD_KEPT_MS))
        self.db.execute(
            "DELETE FROM dead WHERE tenant = ? AND seq <="
            " (SELECT seq FROM dead WHERE tenant = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (tenant, tenant, DEAD_PER_TENANT_MAX),
        )

    def retained(self, entry: Retained) -> None:
        """Let go of dead devices whose record retention took."""
        self.db.execute("DELETE FROM dead WHERE seq < ?", (entry.floor(Removed.kind),))

    def _write(self) -> None:
        for (tenant, day), accepted in self._accepted.items():
            sums = (accepted, self._deliveries[tenant, day], self._bytes[tenant, day])
            self._add(tenant, day, sums)
            self._roll_up(tenant)
        for (tenant, outcome, reason), count in self._outcomes.items():
            self._count(tenant, outcome, reason, count)
        left = [
            (seq, tenant, unsettled.to_bytes(unsettled.bit_length() // 8 + 1, "little"))
            for seq, (tenant, unsettled) in self._open.items()
            if unsettled
        ]
        self.db.executemany("INSERT OR REPLACE INTO open VALUES (?, ?, ?)", left)
        self.db.executemany("DELETE FROM open WHERE seq = ?", [(seq,) for seq, one in self._open.items() if not one[1]])
        for sums_of in (self._accepted, self._deliveries, self._bytes, self._outcomes, self._open):
            sums_of.clear()

    def _add(self, tenant: str, day: int, sums: tuple[int, int, int]) -> None:
        self.db.execute(
            "INSERT INTO day VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " accepted = accepted + excluded.accepted, deliveries = deliveries + excluded.deliveries,"
            " bytes = bytes + excluded.bytes",
            (tenant, day, *sums),
        )

    def _roll_up(self, tenant: str) -> None:
        """Keep the newest days apart, and the sum of those before them."""
        rows = self.db.execute(
            "SELECT day, accepted, deliveries, bytes FROM day WHERE tenant = ? AND day >= 0"
            " ORDER BY day DESC LIMIT -1 OFFSET ?",
            (tenant, USAGE_DAYS),
        ).fetchall()
        for day, *sums in rows:
            self.db.execute("DELETE FROM day WHERE tenant = ? AND day = ?", (tenant, day))
            self._add(tenant, -1, (sums[0], sums[1], sums[2]))

    def _count(self, tenant: str, outcome: str, reason: str, count: int) -> None:
        """Add to one reason; push services choose the words, so beyond a number of them they are counted together."""
        known = self.db.execute(
            "SELECT COUNT(*), MAX(outcome = ? AND reason = ?) FROM outcome WHERE tenant = ?", (outcome, reason, tenant)
        ).fetchone()
        if known[0] >= OUTCOMES_PER_TENANT_MAX and not known[1]:
            reason = OTHER
        self.db.execute(
            "INSERT INTO outcome VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            (tenant, outcome, reason, count),
        )

    def usage(self, tenant: str) -> Usage:
        """What a tenant sent and what became of it, as far as the log remembers."""
        accepted, deliveries, size_bytes = self.db.execute(
            "SELECT SUM(accepted), SUM(deliveries), SUM(bytes) FROM day WHERE tenant = ?", (tenant,)
        ).fetchone()
        outcomes = self.db.execute("SELECT outcome, reason, count FROM outcome WHERE tenant = ?", (tenant,))
        by_reason = {(outcome, reason): count for outcome, reason, count in outcomes}
        return Usage(accepted or 0, deliveries or 0, size_bytes or 0, by_reason)

    def accepted_on(self, tenant: str, day: int) -> int:
        """Notifications that were accepted of a tenant on one of the last days (days since 1970, UTC)."""
        row = self.db.execute("SELECT accepted FROM day WHERE tenant = ? AND day = ?", (tenant, day)).fetchone()
        return row[0] if row else 0

    def dead(self, tenant: str, since_ms: int, after_seq: int, limit: int) -> list[int]:
        """Seqs of the records that say of a tenant's devices that they are gone, the oldest first."""
        rows = self.db.execute(
            "SELECT seq FROM dead WHERE tenant = ? AND seq > ? AND at_ms >= ? ORDER BY seq LIMIT ?",
            (tenant, after_seq, since_ms, limit),
        )
        return [seq for (seq,) in rows]

    def tenants(self) -> list[str]:
        """Every tenant that ever sent something, those that sent most first."""
        rows = self.db.execute("SELECT tenant FROM day GROUP BY tenant ORDER BY SUM(accepted) DESC, tenant")
        return [tenant for (tenant,) in rows]
