"""The figures of the push path: what came in, how long it waited, what waits, and why something was not delivered.

Invariant: labels are classes of tenants, ways and reasons from closed sets, never a tenant, a device or a text of
somebody else. Depth and age are counted in the sweep, since the oldest of each class costs a look at what waits, which
is bounded; all else as it happens. This module must not know how anything is sent.
"""

from collections.abc import Sequence
from typing import Protocol

from eventlog.record import Record
from gateway.facts import Deferred, Settled
from gateway.push.reason import label
from gateway.push.tenantclass import CLASSES, TenantClasses
from gateway.serve.metrics import Metrics
from gateway.views.outbox import OutboxView

# Notifications looked at in a sweep for the oldest of a class: mostly it is the first, as nothing older waits; where it
# stands behind many of another class, so many more, which costs from 1 to 10 ms by their devices.
GLANCE, LOOKED_MAX = 16, 2_000
WAYS = {"token": "fcm", "fid": "fcm", "webpush": "webpush", "unifiedpush": "webpush", "apns": "apns"}
OUTCOMES = ("delivered", "deferred", "failed", "removed", "expired")


class Records(Protocol):
    """Where the time of a record is found."""

    def record(self, seq: int) -> Record:
        """One durable record."""
        ...


class PushFigures:
    """Counts for the dispatcher and the settler; a label's value is there from the start, at zero."""

    def __init__(self, metrics: Metrics, outbox: OutboxView, log: Records, classes: TenantClasses) -> None:
        self._metrics, self._outbox, self._log, self._classes = metrics, outbox, log, classes
        self._looked = dict.fromkeys(CLASSES, 0)  # by class, the seq below which nothing of it waits
        # Looked up once: `labels` costs more than counting does.
        self._accepted = {name: metrics.push_accepted.labels(name) for name in CLASSES}
        self._waited = {name: metrics.push_waited_seconds.labels(name) for name in CLASSES}
        self._sent = {kind: metrics.push_send_seconds.labels(way) for kind, way in WAYS.items()}
        self._ended = {outcome: metrics.push_deliveries.labels(outcome) for outcome in OUTCOMES}

    def reclassify(self, classes: TenantClasses) -> None:
        """Count by other classes from now on."""
        self._classes, self._looked = classes, dict.fromkeys(CLASSES, 0)

    def accepted(self, tenant: str, count: int) -> None:
        """So many deliveries of a tenant were accepted."""
        self._accepted[self._classes.of(tenant)].inc(count)

    def sent(self, target_kind: str, seconds: float) -> None:
        """A push service took so long to answer, or not to."""
        self._sent[target_kind].observe(seconds)

    def waited(self, tenant: str, accepted_ms: int, now_ms: int) -> None:
        """A delivery waited until the send that settled it; a clock that went back makes it no less than nothing."""
        self._waited[self._classes.of(tenant)].observe(max(0, now_ms - accepted_ms) / 1000)

    def ended(self, fact: Settled | Deferred) -> None:
        """A delivery has an outcome, for now or for good."""
        outcome = "deferred" if isinstance(fact, Deferred) else fact.outcome
        self._ended[outcome].inc()
        if outcome != "delivered":
            self._metrics.push_undelivered.labels(outcome, label(fact.reason)).inc()

    def sweep(self, now_ms: int) -> None:
        """Say how much waits, and for how long the oldest has, by class."""
        depth = dict.fromkeys(CLASSES, 0)
        for tenant, count in self._outbox.queued_by_tenant().items():
            depth[self._classes.of(tenant)] += count
        self._metrics.push_queued.set(sum(depth.values()))
        for name in CLASSES:
            seq = self._oldest(name) if depth[name] else None
            accepted_ms = now_ms if seq is None else self._log.record(seq).ts_ns // 1_000_000
            self._metrics.push_queue_depth.labels(name).set(depth[name])
            self._metrics.push_queue_age.labels(name).set(max(0, now_ms - accepted_ms) / 1000)

    def _oldest(self, name: str) -> int | None:
        """The seq of a class's oldest notification that waits, or how far was looked: it is no older than that.

        What was settled never waits again, so each look begins where the last one ended.
        """
        looked = self._looked[name]
        found = self._outbox.waiting(looked, GLANCE)
        seq = self._first(name, found)
        if seq is None:
            found = self._outbox.waiting(looked, LOOKED_MAX)
            seq = self._first(name, found)
        if seq is None and found:
            seq = found[-1][0]
        self._looked[name] = looked if seq is None else seq
        return seq

    def _first(self, name: str, found: Sequence[tuple[int, str]]) -> int | None:
        return next((seq for seq, tenant in found if self._classes.of(tenant) == name), None)
