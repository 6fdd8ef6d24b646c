"""The settler: makes the outcomes of sends durable, all that ended meanwhile in one batch.

Invariant: an outcome is handed on as settled only when its record is durable and every view shows it. While the log
takes nothing outcomes wait here, and are recorded when it does; recorded twice they count once.
This module must not know how anything is sent.
"""

from collections.abc import Callable, Sequence

import structlog
import trio
from cachetools import TTLCache

from eventlog.errors import LogFailed
from eventlog.record import Draft
from gateway.facts import SALT_BYTES, Deferred, Removed, Settled, draft, settled_draft
from gateway.push.matrix import holder, is_matrix
from gateway.push.turns import Delivery
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.serve.push.figures import PushFigures
from gateway.views.devices import DevicesView

ALARMS_MAX, ALARM_S = 256, 60.0  # one line a minute for each project and reason

Ended = tuple[Delivery, Settled | Deferred]


class Alarms:
    """Lines that an operator must see, each at most once a minute."""

    def __init__(self) -> None:
        self._raised: TTLCache[tuple[str, str], bool] = TTLCache(ALARMS_MAX, ALARM_S, timer=trio.current_time)

    def sound(self, project: str, reason: str) -> None:
        """Say it, unless it was said within the last minute."""
        if (project, reason) not in self._raised:
            self._raised[project, reason] = True
            structlog.get_logger().error("push alarm", project=project, reason=reason)


class Settler:
    """Takes outcomes (`end`) and records them (`run`); ``unsettled`` of them are not durable yet."""

    def __init__(self, ledger: Ledger, clock: Clock, figures: PushFigures, alarms: Alarms) -> None:
        self._ledger, self._devices, self._clock = ledger, ledger.view(DevicesView), clock
        self._figures, self._alarms = figures, alarms
        self._outcomes: list[tuple[Ended, list[Draft]]] = []
        self._news = trio.lowlevel.ParkingLot()
        self.unsettled = 0

    def end(self, delivery: Delivery, fact: Settled | Deferred, *, remove: bool) -> None:
        """Take an outcome; ``remove`` where the device goes with it."""
        self._figures.ended(fact)
        now_ns = self._clock.now_ns()
        drafts = [settled_draft(fact, ts_ns=now_ns) if isinstance(fact, Settled) else draft(fact, ts_ns=now_ns)]
        if remove and isinstance(fact, Settled):
            drafts += self._removal(delivery, fact.reason, now_ns)
        self._outcomes.append(((delivery, fact), drafts))
        self.unsettled += 1
        if self._news:
            self._news.unpark_all()

    def _removal(self, delivery: Delivery, reason: str, now_ns: int) -> list[Draft]:
        user = self._devices.holder(delivery.tenant, delivery.target_kind, delivery.target)
        if is_matrix(delivery.tenant):
            user = holder(delivery.target_kind, delivery.target)  # nobody registered it here; who asks again is told
        if user is None:
            return []
        fact = Removed(delivery.tenant, user, delivery.target, delivery.target_kind, reason)
        subject = self._devices.pseudonym(delivery.tenant, user) or b""
        return [draft(fact, ts_ns=now_ns, subject=subject, salt=self._clock.random_bytes(SALT_BYTES))]

    async def run(self, settled: Callable[[Sequence[Ended]], None]) -> None:
        """Record for ever, and hand on what the views show."""
        while True:
            while not self._outcomes:
                await self._news.park()
            taken, self._outcomes = self._outcomes, []
            try:
                await self._ledger.record([made for _, drafts in taken for made in drafts])
            except LogFailed:
                # Whether they are in the log shows when it is reopened.
                self._outcomes = taken + self._outcomes
                self._alarms.sound("", "the log has failed; pushes wait until it takes records")
                await self._ledger.restored()
                continue
            self.unsettled -= len(taken)
            settled([ended for ended, _ in taken])
