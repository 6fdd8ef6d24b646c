"""The dispatcher: sends what the outbox says is still to do, and records what came of it (push §4, §5).

    ledger ── what was just applied ──▶ turns ── a slot is free ──▶ one task a send ── fact ──▶ settler ──▶ log
Invariants: only what the outbox shows as pending is sent; a delivery stays taken until its outcome is durable and
applied, so none is sent again after it was settled; what was accepted and not settled when the last run ended is found
in the outbox at the start. Outcomes are recorded in batches: one wait for the disk serves all that ended meanwhile.
This module must not know requests, signatures or HTTP.
"""

from collections import defaultdict
from collections.abc import Sequence

import structlog
import trio
from cachetools import LRUCache, TTLCache

from eventlog.errors import LogFailed
from eventlog.record import Draft, Record
from gateway.facts import SALT_BYTES, Accepted, Deferred, Removed, Settled, draft, fact_of
from gateway.limits import DEVICE_PER_HOUR, DEVICE_PER_MINUTE, DEVICES_BRAKED_MAX, RETRY_MS_MIN, SWEEP_S
from gateway.push.bucket import Buckets
from gateway.push.content import Content, content_of, fcm
from gateway.push.fcm import Transient
from gateway.push.matrix import is_matrix
from gateway.push.settle import Decision, ProjectState, decide, deferred, settled
from gateway.push.turns import Delivery, Turns
from gateway.serve.clock import Clock
from gateway.serve.fcm import Sender, TokenUnavailable
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView

TEXTS_MAX = 4096  # notifications whose text is kept at hand between acceptance and sending
UNSETTLED_MAX = 2048  # outcomes waiting for the disk; beyond, nothing more is sent
DRAIN_S = 1.5  # FCM answers in 0.1 s; the whole server has 10 s to end
ALARMS_MAX, ALARM_S = 256, 60.0  # one line a minute for each project and reason
EXPIRED_BATCH = 1000  # expired deliveries settled in one record batch


class Dispatcher:
    """Sends the outbox. `run` it; `known` and `progress` are for whoever accepts notifications."""

    def __init__(
        self, ledger: Ledger, sender: Sender, clock: Clock, metrics: Metrics, *, title: str, slots: int
    ) -> None:
        devices, outbox = ledger.views["devices"], ledger.views["outbox"]
        assert isinstance(devices, DevicesView)
        assert isinstance(outbox, OutboxView)
        self._devices, self._outbox = devices, outbox
        self._ledger, self._sender, self._clock, self._metrics = ledger, sender, clock, metrics
        self._title, self._slots = title, slots
        self._turns = Turns(outbox, slots)
        self._texts: LRUCache[int, tuple[Content, bool]] = LRUCache(TEXTS_MAX)
        self._projects: defaultdict[str, ProjectState] = defaultdict(ProjectState)
        self._per_minute = Buckets(DEVICE_PER_MINUTE / 60, DEVICE_PER_MINUTE, DEVICES_BRAKED_MAX)
        self._per_hour = Buckets(DEVICE_PER_HOUR / 3600, DEVICE_PER_HOUR, DEVICES_BRAKED_MAX)
        self._alarmed: TTLCache[tuple[str, str], bool] = TTLCache(ALARMS_MAX, ALARM_S, timer=trio.current_time)
        self._flying = self._unsettled = 0
        self._ending = False
        self._outcomes: list[tuple[Delivery, list[Draft]]] = []
        self._wake, self._ended = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()
        self._progress: defaultdict[int, trio.lowlevel.ParkingLot] = defaultdict(trio.lowlevel.ParkingLot)

    def known(self, accepted_seq: int, notification: Content, *, dry_run: bool) -> None:
        """Keep at hand what the log holds anyway: it saves reading it back a moment later."""
        self._texts[accepted_seq] = (notification, dry_run)

    async def progress(self, accepted_seq: int) -> None:
        """Wait until an outcome of this notification has been applied. The caller has a deadline."""
        lot = self._progress[accepted_seq]
        try:
            await lot.park()
        finally:
            if not lot:
                self._progress.pop(accepted_seq, None)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send for ever. Cancelled: nothing more is begun, and sends in flight have `DRAIN_S` to end and be settled.

        What does not end in time is abandoned, found pending at the next start, and sent again.
        """
        self._ledger.watchers.append(self._applied)
        try:
            for tenant, project in self._outbox.lanes():
                self._turns.mark(tenant, project)
            async with self._sender, trio.open_nursery() as outer:
                draining = trio.CancelScope(shield=True)
                outer.start_soon(self._work, draining)
                task_status.started()
                try:
                    await trio.sleep_forever()
                finally:
                    self._ending = True
                    draining.deadline = trio.current_time() + DRAIN_S
                    self._wake.unpark_all()
        finally:
            self._ledger.watchers.remove(self._applied)

    async def _work(self, scope: trio.CancelScope) -> None:
        """Send and settle until nothing is in flight at the end. While the log has failed nothing new is sent."""
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settle_all)
                await self._dispatch_all(nursery)
                while self._flying or self._unsettled:
                    await self._wake.park()
                nursery.cancel_scope.cancel()

    def _applied(self, records: Sequence[Record]) -> None:
        """Take in what the ledger has just applied: newly accepted deliveries queue up."""
        for record in records:
            if record.kind == Accepted.kind:
                fact = fact_of(record)
                assert isinstance(fact, Accepted)
                for index, to in enumerate(fact.targets):
                    self._turns.offer(
                        Delivery(
                            record.seq,
                            index,
                            fact.tenant,
                            to.project,
                            to.target,
                            to.target_kind,
                            0,
                            fact.expires_ms,
                        )
                    )
                self._wake.unpark_all()

    async def _dispatch_all(self, nursery: trio.Nursery) -> None:
        swept_ms, sweep_s = 0, 0.0
        while not self._ending:
            now_ms = self._clock.now_ms()
            if trio.current_time() >= sweep_s:
                self._sweep(now_ms)
                sweep_s = trio.current_time() + SWEEP_S
            for tenant, project in self._outbox.ripe(swept_ms, now_ms):
                self._turns.mark(tenant, project)
            swept_ms = now_ms
            while self._has_room() and (delivery := self._turns.next(now_ms)) is not None:
                self._flying += 1
                nursery.start_soon(self._deliver, delivery)
            with trio.move_on_after(min(self._idle_s(now_ms), max(0.0, sweep_s - trio.current_time()))):
                await self._wake.park()

    def _has_room(self) -> bool:
        # What is sent while the log has failed could not be settled, and would be sent again after a crash.
        return self._flying < self._slots and self._unsettled < UNSETTLED_MAX and self._ledger.failure is None

    def _idle_s(self, now_ms: int) -> float:
        """Seconds until something may become due by itself."""
        times = (self._turns.braked_until_ms(now_ms), self._outbox.next_ripe_ms(now_ms))
        return min([(time_ms - now_ms) / 1000 + 0.001 for time_ms in times if time_ms is not None], default=SWEEP_S)

    def _sweep(self, now_ms: int) -> None:
        """Settle what expired while its lane was braked."""
        for delivery in self._outbox.expired(now_ms, EXPIRED_BATCH):
            if self._turns.withdraw(delivery):
                self._end(delivery, Decision(settled(delivery, "expired", "braked")))
        self._metrics.push_queued.set(self._outbox.queued_all())

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            decision = await self._attempt(delivery)
        finally:
            self._flying -= 1
            self._turns.landed(delivery)
            self._wake.unpark_all()
        if decision is None:
            self._turns.put_back(delivery)
        else:
            self._end(delivery, decision)

    async def _attempt(self, delivery: Delivery) -> Decision | None:
        """Try one send; None where nothing was sent for the project's sake, and its turn comes again."""
        now_ms = self._clock.now_ms()
        if delivery.expires_ms <= now_ms:
            return Decision(settled(delivery, "expired"))
        if not self._sender.knows(delivery.project):
            return Decision(settled(delivery, "failed", "no-project"), alarm="no-project")
        wait_s = self._device_wait_s(delivery)
        if wait_s:
            return Decision(deferred(delivery, now_ms + int(wait_s * 1000) + 1, "device-rate", tried=False))
        text = self._text(delivery.seq)
        if text is None:
            return Decision(settled(delivery, "failed", "erased"))
        notification, dry_run = text
        body = fcm(notification, delivery.target_kind, delivery.target, self._title)
        try:
            verdict = await self._sender.send(delivery.project, body, delivery.target, validate_only=dry_run)
        except TokenUnavailable as why:
            self._alarm(delivery.project, f"no OAuth token: {why}")
            self._turns.brake(delivery.project, self._clock.now_ms() + RETRY_MS_MIN)
            return None
        if isinstance(verdict, Transient):
            self._alarm(delivery.project, f"FCM cannot take it now: {verdict.reason}")
        state = self._projects[delivery.project]
        return decide(verdict, delivery, state, self._clock.now_ms(), self._clock.uniform(0.0, 1.0))

    def _device_wait_s(self, delivery: Delivery) -> float:
        key, now_s = (delivery.project, delivery.target_kind, delivery.target), trio.current_time()
        wait_s = max(self._per_minute.wait_s(key, now_s), self._per_hour.wait_s(key, now_s))
        if not wait_s:
            self._per_minute.take(key, now_s)
            self._per_hour.take(key, now_s)
        return wait_s

    def _text(self, accepted_seq: int) -> tuple[Content, bool] | None:
        """The notification's text, from memory or from the log; None where it was erased."""
        found = self._texts.get(accepted_seq)
        if found is None:
            fact = fact_of(self._ledger.log.record(accepted_seq))
            if not isinstance(fact, Accepted):
                return None
            found = self._texts[accepted_seq] = content_of(fact)
        return found

    def _end(self, delivery: Delivery, decision: Decision) -> None:
        """Hand an outcome to the settler."""
        if decision.alarm:
            self._alarm(delivery.project, decision.alarm)
        if decision.brake_until_ms:
            self._turns.brake(delivery.project, decision.brake_until_ms)
        fact = decision.fact
        self._metrics.push_deliveries.labels("deferred" if isinstance(fact, Deferred) else fact.outcome).inc()
        now_ns = self._clock.now_ns()
        drafts = [draft(fact, ts_ns=now_ns)]
        if decision.remove and isinstance(fact, Settled):
            drafts += self._removal(delivery, fact.reason, now_ns)
        self._outcomes.append((delivery, drafts))
        self._unsettled += 1
        self._ended.unpark_all()

    def _removal(self, delivery: Delivery, reason: str, now_ns: int) -> list[Draft]:
        user = self._devices.holder(delivery.tenant, delivery.target_kind, delivery.target)
        if is_matrix(delivery.tenant):
            user = delivery.target  # nobody registered it here; the homeserver is told
        if user is None:
            return []
        fact = Removed(delivery.tenant, user, delivery.target, delivery.target_kind, reason)
        subject = self._devices.pseudonym(delivery.tenant, user) or b""
        return [draft(fact, ts_ns=now_ns, subject=subject, salt=self._clock.random_bytes(SALT_BYTES))]

    async def _settle_all(self) -> None:
        while True:
            while not self._outcomes:
                await self._ended.park()
            ended, self._outcomes = self._outcomes, []
            try:
                await self._ledger.record([made for _, drafts in ended for made in drafts])
            except LogFailed:
                # Whether they are in the log shows when it is reopened; recorded twice they count once.
                self._outcomes = ended + self._outcomes
                self._alarm("", "the log has failed; pushes wait until it takes records")
                await self._ledger.restored()
                self._wake.unpark_all()
                continue
            self._unsettled -= len(ended)
            for delivery, _ in ended:
                self._turns.forget(delivery)
                if (lot := self._progress.get(delivery.seq)) is not None:
                    lot.unpark_all()
            self._wake.unpark_all()

    def _alarm(self, project: str, reason: str) -> None:
        if (project, reason) not in self._alarmed:
            self._alarmed[project, reason] = True
            structlog.get_logger().error("fcm alarm", project=project, reason=reason)
