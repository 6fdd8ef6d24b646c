"""The dispatcher: sends what the outbox says is still to do, and records what came of it (push §4, §5).

    ledger ── what was just applied ──▶ turns ──▶ a sender takes one ── its way out ──▶ settler ──▶ log
Invariants: only what the outbox shows as pending is sent; a delivery stays taken until its outcome is durable and
applied, so none is sent again after it was settled, and the next one of its device only then; what was accepted and
not settled when the last run ended is found in the outbox at the start. A project that fails is left alone by its
breaker, and comes back slowly. This module must not know requests, signatures, HTTP, or what a way out speaks.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import trio

from eventlog.record import Record
from gateway.facts import Accepted, Deferred, Deregistered, Registered, Settled, fact_of
from gateway.limits.push import (
    DRAIN_S,
    EXPIRED_BATCH,
    RAMP_BACKLOG,
    SWEEP_S,
    TAKEN_ALONG,
    UNSETTLED_MAX,
)
from gateway.push.allowance import Allowance
from gateway.push.breaker import State
from gateway.push.fcm import Delivered, Failed, Gone, Mismatched, Transient, Verdict
from gateway.push.settle import Decision, deferred, settled
from gateway.push.target import FCM_KINDS, identity
from gateway.push.tenantclass import TenantClasses
from gateway.push.turns import Delivery, Turns, device_number
from gateway.serve.clock import Clock
from gateway.serve.delivery.breakers import Breakers
from gateway.serve.delivery.settler import Alarms, Ended, Settler
from gateway.serve.delivery.texts import Texts
from gateway.serve.delivery.waiting import Waiting
from gateway.serve.delivery.wayout import NotNow, WayOut
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.push.figures import PushFigures
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView


class Dispatcher:
    """Sends the outbox, each delivery by the way out for its kind of target. `run` it.

    ``texts`` and ``waiting`` are for whoever accepts notifications.
    """

    def __init__(
        self,
        ledger: Ledger,
        ways: Mapping[str, WayOut],
        clock: Clock,
        metrics: Metrics,
        *,
        slots: int,
        classes: TenantClasses | None = None,
    ) -> None:
        self._devices, outbox = ledger.view(DevicesView), ledger.view(OutboxView)
        self._outbox, self._ledger, self._ways, self._clock = outbox, ledger, ways, clock
        self._slots, self._turns = slots, Turns(outbox, slots)
        self._figures = PushFigures(metrics, outbox, ledger.log, classes or TenantClasses())
        self._alarms, self.waiting, self.texts = Alarms(), Waiting(), Texts(ledger, clock)
        self.breakers = Breakers(clock, metrics, self._alarms, self._turned)
        self._allowance = Allowance()
        self._settler = Settler(ledger, clock, self._figures, self._alarms)
        self._nursery: trio.Nursery | None = None
        self._senders = self._flying = 0
        self._ending = trio.Event()
        self._idle, self._timing, self._landing = (trio.lowlevel.ParkingLot() for _ in range(3))

    def reclassify(self, classes: TenantClasses) -> None:
        """Count tenants by other classes from now on."""
        self._figures.reclassify(classes)

    def is_resting(self, accepted_seq: int) -> bool:
        """Whether all that is pending of a notification waits for a later time, or for breakers."""
        if self._outbox.is_deferred(accepted_seq, self._clock.now_ms()):
            return True
        return self.breakers.are_open(self._outbox.projects(accepted_seq), accepted_seq)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send for ever. Cancelled: nothing more is begun, and sends in flight have `DRAIN_S` to end and be settled.

        What does not end in time is abandoned, found pending at the next start, and sent again.
        """
        self._ledger.watchers.append(self._applied)
        try:
            for tenant, project in self._outbox.lanes():
                self._turns.mark(tenant, project)
                if self._outbox.queued_all() > RAMP_BACKLOG:
                    self.breakers.begin_slowly(project)
            async with AsyncExitStack() as entered:
                for way in dict.fromkeys(self._ways.values()):
                    await entered.enter_async_context(way)
                await self._drain_at_the_end(task_status)
        finally:
            self._ledger.watchers.remove(self._applied)

    async def _drain_at_the_end(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as outer:
            draining = trio.CancelScope(shield=True)
            outer.start_soon(self._work, draining)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                draining.deadline = trio.current_time() + DRAIN_S
                self._ending.set()

    async def _work(self, scope: trio.CancelScope) -> None:
        """Send and settle until nothing is in flight at the end."""
        with scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._settler.run, self._settled)
                nursery.start_soon(self._keep_time)
                await self._ending.wait()
                while self._flying or self._settler.unsettled:
                    await self._landing.park()
                nursery.cancel_scope.cancel()

    # -- what comes in ------------------------------------------------------------------------------------------------

    def _applied(self, records: Sequence[Record]) -> None:
        """Take in what the ledger has just applied: newly accepted deliveries queue up."""
        count = 0
        for record in records:
            if record.kind in (Registered.kind, Deregistered.kind):
                fact = fact_of(record)
                if isinstance(fact, Registered | Deregistered):
                    reason = "deregistered" if isinstance(fact, Deregistered) else "moved"
                    self._take_along(fact.tenant, fact.target_kind, fact.target, reason)
            elif record.kind == Accepted.kind:
                fact = fact_of(record)
                if isinstance(fact, Accepted) and fact.targets:
                    self.waiting.expect(record.seq, len(fact.targets))
                    count += len(fact.targets)
                    self._figures.accepted(fact.tenant, len(fact.targets))
                    self._offer(record.seq, fact)
        if count:
            self._rouse(count)

    def _offer(self, seq: int, fact: Accepted) -> None:
        tenant = fact.tenant
        for index, to in enumerate(fact.targets):
            device = device_number(tenant, to.target_kind, to.target)
            if self._outbox.standing(device) > 1:
                self._turns.mark(tenant, to.project)  # the outbox knows which is first
            else:
                self._turns.offer(
                    Delivery(seq, index, tenant, to.project, to.target, to.target_kind, 0, fact.expires_ms, device)
                )

    async def _keep_time(self) -> None:
        """Do what becomes due by itself: deferred deliveries, brakes that end, ramps that rise, what is too old."""
        ripe_ms, sweep_s = 0, 0.0
        while True:
            now_ms = self._clock.now_ms()
            if trio.current_time() >= sweep_s:
                self._sweep(now_ms)
                sweep_s = trio.current_time() + SWEEP_S
            for tenant, project in self._outbox.ripe(ripe_ms, now_ms):
                self._turns.mark(tenant, project)
            ripe_ms = now_ms
            if self._turns.are_due:
                self._rouse(1)
            with trio.move_on_after(min(self._quiet_s(now_ms), max(0.0, sweep_s - trio.current_time()))):
                await self._timing.park()

    def _quiet_s(self, now_ms: int) -> float:
        """Seconds until something may become due by itself."""
        times: list[int | None] = [*self.breakers.next_ms(now_ms)] if self._turns.are_due else []
        times += [self._outbox.next_ripe_ms(now_ms), self._turns.rested_ms(now_ms)]
        return min([(time_ms - now_ms) / 1000 + 0.001 for time_ms in times if time_ms is not None], default=SWEEP_S)

    def _sweep(self, now_ms: int) -> None:
        """Settle what expired while it had to wait."""
        for delivery in self._outbox.expired(now_ms, EXPIRED_BATCH):
            if self._turns.withdraw(delivery):
                self._settler.end(delivery, settled(delivery, "expired", "braked"), remove=False)
        self._figures.sweep(now_ms)
        self.breakers.show(now_ms)

    # -- senders ------------------------------------------------------------------------------------------------------

    def _rouse(self, count: int) -> None:
        """Have so many more senders look for something to send, as far as there are slots."""
        resting = len(self._idle)
        if resting:
            self._idle.unpark(count=min(count, resting))
        if self._nursery is not None and not self._ending.is_set():
            for _ in range(min(count - resting, self._slots - self._senders)):
                self._senders += 1
                self._nursery.start_soon(self._send_on)

    async def _send_on(self) -> None:
        """One of the senders: take a delivery, send it, hand its outcome on, for ever."""
        while not self._ending.is_set():
            now_ms = self._clock.now_ms()
            delivery = self._next(now_ms)
            if delivery is None:
                await self._idle.park()
                continue
            if self._turns.are_due and self._idle:
                self._rouse(1)
            begun = self.breakers.began(delivery, now_ms)
            self._flying += 1
            try:
                await self._deliver(delivery, begun)
            finally:
                self._flying -= 1
                self._turns.landed(delivery)
                if self._landing:  # at the end alone; to look costs a tenth of what waking nobody does
                    self._landing.unpark_all()

    def _next(self, now_ms: int) -> Delivery | None:
        # What is sent while the log has failed could not be settled, and would be sent again after a crash.
        if self._settler.unsettled >= UNSETTLED_MAX or self._ledger.failure is not None:
            return None
        return self._turns.next(now_ms, lambda project: self.breakers.admits(project, now_ms))

    async def _deliver(self, delivery: Delivery, begun: int) -> None:
        try:
            decision = await self._attempt(delivery)
        except NotNow as why:
            self._turns.put_back(delivery)
            self.breakers.stop(delivery.project, str(why))
            return
        self.breakers.hear(delivery.project, decision, begun)
        if decision.alarm:
            self._alarms.sound(delivery.project, decision.alarm)
        self._settler.end(delivery, decision.fact, remove=decision.remove)

    async def _attempt(self, delivery: Delivery) -> Decision:
        """Try one send; raise NotNow where nothing was sent for the project's sake, and its turn comes again."""
        now_ms, way = self._clock.now_ms(), self._ways.get(delivery.target_kind)
        if delivery.expires_ms <= now_ms:
            return _unasked(settled(delivery, "expired"))
        if way is None or not way.knows(delivery.project):
            return _unasked(settled(delivery, "failed", "no-project"), alarm="no-project")
        wait_s = self._allowance.wait_s(delivery.device, trio.current_time())
        if wait_s:
            return _unasked(deferred(delivery, now_ms + int(wait_s * 1000) + 1, "device-rate", tried=False))
        text = self.texts.of(delivery.seq)
        if text is None:
            return _unasked(settled(delivery, "failed", "erased"))
        if text.user and self._devices.has_left(text.user, delivery.tenant, delivery.target_kind, delivery.target):
            return _unasked(settled(delivery, "removed", "moved"))
        began = trio.current_time()
        verdict = await way.send(delivery, text.content, dry_run=text.dry_run)
        self._figures.sent(delivery.target_kind, trio.current_time() - began)
        if not isinstance(verdict, Delivered):
            self._heed(verdict, delivery)
        decision = self.breakers.decide(verdict, delivery)
        if isinstance(decision.fact, Settled):
            self._figures.waited(delivery.tenant, text.accepted_ms, now_ms)
        return decision

    def _heed(self, verdict: Verdict, delivery: Delivery) -> None:
        """Charge for what was refused, and say what an operator must hear of."""
        if isinstance(verdict, Gone | Failed | Mismatched) and delivery.target_kind in FCM_KINDS:
            self._charge(delivery)
        if isinstance(verdict, Transient) and verdict.scope == "project":
            self._alarms.sound(delivery.project, f"the push service cannot take it now: {verdict.reason}")

    def _charge(self, delivery: Delivery) -> None:
        """Count what FCM refused for a tenant, whose turn is passed over where that was too much."""
        lane = delivery.tenant, delivery.project
        wait_s = self._allowance.refused(lane, trio.current_time())
        if wait_s:
            self._turns.rest(*lane, self._clock.now_ms() + int(wait_s * 1000) + 1)
            self._timing.unpark_all()

    # -- outcomes -----------------------------------------------------------------------------------------------------

    def _turned(self, state: State) -> None:
        """Look at the time anew where a breaker has changed its state; where it opened, whoever waits looks again."""
        self._timing.unpark_all()
        if state == "open":
            self.waiting.let_all_go()

    def _settled(self, ended: Sequence[Ended]) -> None:
        """Let go of what the views show as done, or as due later; what stood behind it comes forward."""
        gone: dict[int, tuple[Delivery, str]] = {}
        for delivery, fact in ended:
            self._turns.forget(delivery)
            if isinstance(fact, Deferred):
                self._timing.unpark_all()
            elif self._outbox.standing(delivery.device):
                self._turns.mark(delivery.tenant, delivery.project)
                if fact.outcome == "removed":
                    gone[delivery.device] = delivery, fact.reason
            self.waiting.tell(delivery.seq)
        for delivery, reason in gone.values():
            self._take_along(delivery.tenant, delivery.target_kind, delivery.target, reason)
        if self._turns.are_due:
            self._rouse(len(ended))
        self._landing.unpark_all()

    def _take_along(self, tenant: str, target_kind: str, target: str, reason: str) -> None:
        """Settle what else waits for a device that is gone, unsent; the rest when the views show these as settled.

        One 404 is enough for a device, and whoever has logged out is told nothing more: under other keys of the same
        endpoint neither. Where it was registered meanwhile, what waits for that user stays, and for no other: whoever
        logs in reads nothing that was meant for the one before.
        """
        device, number = identity(target_kind, target), device_number(tenant, target_kind, target)
        holder = self._devices.holder(tenant, target_kind, device)
        if holder is not None and all(self.texts.user(one.seq) == holder for one in self._outbox.of_device(number, 1)):
            return  # and so are those behind the first: one look, since whoever likes registers again and again
        for one in self._outbox.of_device(number, TAKEN_ALONG):
            its = (one.tenant, one.target_kind, identity(one.target_kind, one.target))
            if its != (tenant, target_kind, device) or (holder is not None and self.texts.user(one.seq) == holder):
                continue
            if self._turns.withdraw(one):
                self._settler.end(one, settled(one, "removed", reason), remove=False)


def _unasked(fact: Settled | Deferred, alarm: str = "") -> Decision:
    """What needs no push service to be known."""
    return Decision(fact, alarm=alarm, service="unasked")
