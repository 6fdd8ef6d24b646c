"""A dispatcher over a ledger in memory, a scripted FCM, and a clock that follows trio's: what its tests share."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import trio
import trio.testing

from eventlog.record import Draft
from gateway.facts import (
    Accepted,
    Fact,
    PushTarget,
    draft,
    fact_of,
)
from gateway.push.content import Content
from gateway.push.fcm import Delivered, Verdict
from gateway.push.turns import Delivery
from gateway.serve.delivery.dispatch import Dispatcher
from gateway.serve.delivery.fcm import TokenUnavailable
from gateway.serve.delivery.wayout import WayOut
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.views.devices import DevicesView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView
from tests.fakes import MemoryLog, memory_ledger

BASE_MS = 1_763_126_872_000
HOUR_MS = 3_600_000


class JumpingClock:
    """Wall time that follows trio's, dice that never add."""

    def now_ns(self) -> int:
        return self.now_ms() * 1_000_000

    def now_ms(self) -> int:
        return BASE_MS + round(trio.current_time() * 1000)

    def random_bytes(self, count: int) -> bytes:
        return b"r" * count

    def uniform(self, low: float, high: float) -> float:
        return low


CLOCK = JumpingClock()


class Script(WayOut):
    """An FCM that says what a test says, and remembers when it was asked for what."""

    def __init__(self, verdict: Callable[[str], Verdict] = lambda _: Delivered(), latency_s: float = 0.01) -> None:
        self.verdict, self.latency_s = verdict, latency_s
        self.sent: list[tuple[float, str]] = []
        self.begun: list[tuple[float, str]] = []
        self.no_token = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def knows(self, project: str) -> bool:
        return project != "unknown"

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        target = delivery.target
        if self.no_token:
            await trio.sleep(self.latency_s)
            raise TokenUnavailable("no")
        self.begun.append((round(trio.current_time(), 2), target))
        await trio.sleep(self.latency_s)
        self.sent.append((round(trio.current_time(), 2), target))
        return self.verdict(target)

    @property
    def targets(self) -> list[str]:
        return [target for _, target in self.sent]


class World:
    """A running dispatcher and what a test does to it."""

    def __init__(self, ledger: Ledger, fcm: Script) -> None:
        self.ledger, self.fcm = ledger, fcm
        self.count = 0

    @property
    def log(self) -> MemoryLog:
        assert isinstance(self.ledger.log, MemoryLog)
        return self.ledger.log

    @property
    def queued(self) -> int:
        outbox = self.ledger.view(OutboxView)
        return outbox.queued_all()

    async def accept(self, *targets: str, **changes: Any) -> None:
        await self.ledger.record([self.accepted(*targets, **changes)])

    def accepted(
        self, *targets: str, tenant: str = "a", project: str = "p", ttl_ms: int = HOUR_MS, user: str = "alice"
    ) -> Draft:
        self.count += 1
        to = tuple(PushTarget(target, kind_of(target), "", project) for target in targets)
        body = b'{"notification":{"id":"n%d","type":"t","message":"m"}}' % len(self.log.records)
        id_ = f"n{len(self.log.records)}-{self.count}"
        fact = Accepted(tenant, user, id_, None, None, CLOCK.now_ms() + ttl_ms, to, "", body)
        return draft(fact, ts_ns=CLOCK.now_ns(), salt=b"s" * 16)

    def facts(self, kind: type[Fact]) -> list[Any]:
        return [fact_of(record) for record in self.log.records if record.kind == kind.kind]


def kind_of(target: str) -> str:
    return "webpush" if "https://" in target else "token"


@asynccontextmanager
async def world(fcm: Script, log: MemoryLog | None = None, slots: int = 100) -> AsyncIterator[World]:
    async with memory_ledger(DevicesView, NoncesView, OutboxView, log=log) as ledger:
        dispatcher = Dispatcher(ledger, {"token": fcm, "webpush": fcm}, CLOCK, Metrics(), slots=slots)
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            yield World(ledger, fcm)
            nursery.cancel_scope.cancel()
