"""The outbox: what was accepted and is not settled, and the memory of notification ids (push §4, §5).

Invariant: pending = accepted − settled, from the log alone, so that a replay sends nothing and a restart goes on where
the last run ended. An id is remembered until its ``created_at`` is stale, or for good where it had none; the rows of
what is still pending stay in any case. Texts are not copied here: ``seq`` points at the record that has them.
A device gets its notifications in the order in which they were accepted: only its first pending one is at its head and
may be tried; when that is settled the next one is. So a deferred one holds those behind it, until its time is over.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Accepted, Answered, Deferred, PushTarget, Settled, fact_of
from gateway.limits.push import RETRY_AFTER_MS_MAX
from gateway.push.turns import Delivery, device_number


class Figures(msgspec.Struct, frozen=True, gc=False):
    """How far a notification has come; ``answered`` is what the first answer said, where it was given early."""

    seq: int
    delivered: int
    pending: int
    answered: tuple[int, int] | None  # (delivered, queued)


class OutboxView(TableView):
    """Notifications by id, and the deliveries that are still to do."""

    name: ClassVar[str] = "outbox"
    version: ClassVar[int] = 3
    kinds: ClassVar[frozenset[str]] = frozenset((Accepted.kind, Answered.kind, Deferred.kind, Settled.kind))
    tables: ClassVar[tuple[str, ...]] = ("notification", "pending")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS notification (
            seq INTEGER PRIMARY KEY, tenant TEXT, id TEXT, forget_ms INTEGER,
            delivered INTEGER, pending INTEGER, answered_delivered INTEGER, answered_queued INTEGER);
        CREATE UNIQUE INDEX IF NOT EXISTS notification_id ON notification (tenant, id);
        CREATE INDEX IF NOT EXISTS notification_age ON notification (forget_ms) WHERE forget_ms IS NOT NULL;
        CREATE TABLE IF NOT EXISTS pending (
            seq INTEGER, idx INTEGER, tenant TEXT, project TEXT, target TEXT, target_kind TEXT,
            attempt INTEGER, expires_ms INTEGER, not_before_ms INTEGER,
            device INTEGER, head INTEGER,  -- head: 1 for the first of its device, else 0
            PRIMARY KEY (seq, idx)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS pending_lane ON pending (tenant, project, not_before_ms, seq, idx) WHERE head = 1;
        CREATE INDEX IF NOT EXISTS pending_device ON pending (device, seq, idx);
        CREATE INDEX IF NOT EXISTS pending_wait ON pending (not_before_ms) WHERE not_before_ms > 0;
        CREATE INDEX IF NOT EXISTS pending_expiry ON pending (expires_ms);
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._queued = Counter(dict(db.execute("SELECT tenant, COUNT(*) FROM pending GROUP BY tenant")))
        self._behind = Counter(dict(db.execute("SELECT device, COUNT(*) FROM pending GROUP BY device")))

    def fold(self, record: Record) -> None:
        """Take in one record."""
        match fact_of(record):
            case Accepted() as fact:
                self._prune(record.ts_ns // 1_000_000)
                self._accepted(fact, record.seq)
            case Deferred() as fact:
                self.db.execute(
                    "UPDATE pending SET attempt = ?, not_before_ms = ? WHERE seq = ? AND idx = ?",
                    (fact.attempt, fact.not_before_ms, fact.accepted_seq, fact.index),
                )
            case Settled() as fact:
                self._settled(fact)
            case Answered() as fact:
                self.db.execute(
                    "UPDATE notification SET answered_delivered = ?, answered_queued = ?"
                    " WHERE seq = ? AND answered_queued IS NULL",
                    (fact.delivered, fact.queued, fact.accepted_seq),
                )
            case _:
                pass  # erased

    def _prune(self, now_ms: int) -> None:
        self.db.execute("DELETE FROM notification WHERE forget_ms < ? AND pending = 0", (now_ms,))

    def _accepted(self, fact: Accepted, seq: int) -> None:
        self.db.execute(
            "INSERT INTO notification VALUES (?, ?, ?, ?, 0, ?, NULL, NULL)",
            (seq, fact.tenant, fact.notification_id, fact.forget_ms, len(fact.targets)),
        )
        self.db.executemany(
            "INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, 0, ?, 0, ?, ?)",
            [
                (
                    seq,
                    index,
                    fact.tenant,
                    to.project,
                    to.target,
                    to.target_kind,
                    fact.expires_ms,
                    *self._lined_up(fact.tenant, to),
                )
                for index, to in enumerate(fact.targets)
            ],
        )
        self._queued[fact.tenant] += len(fact.targets)

    def _lined_up(self, tenant: str, to: PushTarget) -> tuple[int, bool]:
        """The device, and whether nothing stands before it."""
        device = device_number(tenant, to.target_kind, to.target)
        self._behind[device] += 1
        return device, self._behind[device] == 1

    def _settled(self, fact: Settled) -> None:
        row = self.db.execute(
            "DELETE FROM pending WHERE seq = ? AND idx = ? RETURNING tenant, device, head",
            (fact.accepted_seq, fact.index),
        ).fetchone()
        if row is None:
            return  # settled before, or its notification was erased
        self.db.execute(
            "UPDATE notification SET pending = pending - 1, delivered = delivered + ? WHERE seq = ?",
            (fact.outcome == "delivered", fact.accepted_seq),
        )
        tenant, device, head = row
        self._queued[tenant] -= 1
        if not self._queued[tenant]:
            del self._queued[tenant]
        self._behind[device] -= 1
        if not self._behind[device]:
            del self._behind[device]
        elif head:
            self.db.execute(
                "UPDATE pending SET head = 1 WHERE (seq, idx) ="
                " (SELECT seq, idx FROM pending WHERE device = ? ORDER BY seq, idx LIMIT 1)",
                (device,),
            )

    def figures(self, tenant: str, notification_id: str) -> Figures | None:
        """How far this tenant's notification has come; None for an id that is not remembered."""
        row = self.db.execute(
            "SELECT seq, delivered, pending, answered_delivered, answered_queued FROM notification"
            " WHERE tenant = ? AND id = ?",
            (tenant, notification_id),
        ).fetchone()
        if row is None:
            return None
        return Figures(row[0], row[1], row[2], None if row[4] is None else (row[3], row[4]))

    def standing(self, device: int) -> int:
        """How many deliveries of a device are still to do."""
        return self._behind[device]

    def of_device(self, device: int, limit: int) -> list[Delivery]:
        """The deliveries of a device that are still to do, first accepted first."""
        rows = self.db.execute(
            "SELECT seq, idx, tenant, project, target, target_kind, attempt, expires_ms, device FROM pending"
            " WHERE device = ? ORDER BY seq, idx LIMIT ?",
            (device, limit),
        )
        return [Delivery(*row) for row in rows]

    def projects(self, accepted_seq: int) -> list[str]:
        """The projects by which something of a notification is still to do."""
        rows = self.db.execute("SELECT DISTINCT project FROM pending WHERE seq = ?", (accepted_seq,))
        return [project for (project,) in rows]

    def is_deferred(self, accepted_seq: int, now_ms: int) -> bool:
        """Whether all that is pending of a notification waits for a later time."""
        row = self.db.execute("SELECT MIN(not_before_ms) FROM pending WHERE seq = ?", (accepted_seq,)).fetchone()
        return row[0] is not None and row[0] > now_ms

    def oldest_pending(self) -> int | None:
        """The seq of the oldest notification with a delivery that is still to do; None where there is none."""
        row = self.db.execute("SELECT min(seq) FROM pending").fetchone()
        return row[0] if row else None

    def queued(self, tenant: str) -> int:
        """Deliveries of a tenant that are still to do."""
        return self._queued[tenant]

    def queued_by_tenant(self) -> Mapping[str, int]:
        """The same for every tenant that has any."""
        return self._queued

    def waiting(self, from_seq: int, limit: int) -> list[tuple[int, str]]:
        """(seq, tenant) of notifications with something to do, from ``from_seq`` on, the oldest first."""
        return self.db.execute(
            "SELECT seq, tenant FROM pending WHERE seq >= ? GROUP BY seq ORDER BY seq LIMIT ?", (from_seq, limit)
        ).fetchall()

    def queued_all(self) -> int:
        """Deliveries of all tenants that are still to do."""
        return self._queued.total()

    def ready(self, tenant: str, project: str, now_ms: int, limit: int) -> list[Delivery]:
        """Deliveries of one lane that may be tried now, fresh ones first, then by when they became due.

        Of each device only the one at its head. One whose time lies farther ahead than any wait of ours was put off by
        a clock that ran ahead, and may be tried too.
        """
        rows = self.db.execute(
            "SELECT seq, idx, tenant, project, target, target_kind, attempt, expires_ms, device FROM pending"
            " WHERE head = 1 AND tenant = ? AND project = ? AND (not_before_ms <= ? OR not_before_ms > ?)"
            " ORDER BY not_before_ms, seq, idx LIMIT ?",
            (tenant, project, now_ms, now_ms + 2 * RETRY_AFTER_MS_MAX, limit),
        )
        return [Delivery(*row) for row in rows]

    def lanes(self) -> list[tuple[str, str]]:
        """Every (tenant, project) that has something to do."""
        return self.db.execute("SELECT DISTINCT tenant, project FROM pending ORDER BY 1, 2").fetchall()

    def ripe(self, after_ms: int, now_ms: int) -> list[tuple[str, str]]:
        """The lanes in which something deferred became due: after ``after_ms``, up to ``now_ms``, or see `ready`."""
        # "> 0" is what makes SQLite take the index of those that wait: else it reads all that is queued.
        return self.db.execute(
            "SELECT tenant, project FROM pending WHERE not_before_ms > 0 AND not_before_ms > ? AND not_before_ms <= ?"
            " UNION SELECT tenant, project FROM pending WHERE not_before_ms > 0 AND not_before_ms > ?",
            (after_ms, now_ms, now_ms + 2 * RETRY_AFTER_MS_MAX),
        ).fetchall()

    def next_ripe_ms(self, after_ms: int) -> int | None:
        """When the next deferred delivery becomes due; None where none is deferred."""
        row = self.db.execute(
            "SELECT MIN(not_before_ms) FROM pending WHERE not_before_ms > 0 AND not_before_ms > ?", (after_ms,)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def expired(self, now_ms: int, limit: int) -> list[Delivery]:
        """Deliveries whose time is up, the oldest first."""
        rows = self.db.execute(
            "SELECT seq, idx, tenant, project, target, target_kind, attempt, expires_ms, device FROM pending"
            " WHERE expires_ms <= ? ORDER BY expires_ms, seq, idx LIMIT ?",
            (now_ms, limit),
        )
        return [Delivery(*row) for row in rows]
