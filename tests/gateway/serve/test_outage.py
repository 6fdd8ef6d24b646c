"""FCM goes away for ten minutes and comes back: what was accepted leaves in order, slowly at first, and once."""

import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import pytest
import trio
import trio.testing

from eventlog.record import Record
from gateway.facts import Accepted, PushTarget, Settled, draft, fact_of
from gateway.limits.push import RAMP_PER_S
from gateway.push.content import Content
from gateway.push.fcm import Braked, Delivered, Transient, Verdict
from gateway.push.turns import Delivery
from gateway.serve.delivery.dispatch import Dispatcher
from gateway.serve.delivery.wayout import WayOut
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.views.devices import DevicesView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView
from tests.fakes import MemoryLog, memory_ledger
from tests.gateway.serve.delivery.dispatching import CLOCK

OUTAGE_S = 600
DEVICES = 80
TTL_MS = 3_600_000


class Service(WayOut):
    """A push service that can be down; remembers what it took, and when it was asked."""

    def __init__(self) -> None:
        self.answer: Verdict = Delivered()
        self.asked: list[float] = []
        self.half_way = trio.Event()
        self.taken: list[tuple[float, str, tuple[int, int]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def knows(self, project: str) -> bool:
        return True

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        self.asked.append(trio.current_time())
        await trio.sleep(0.05)
        if isinstance(self.answer, Delivered):
            self.taken.append((trio.current_time(), delivery.target, delivery.key))
            if len(self.taken) == 300:
                self.half_way.set()
        return self.answer

    def in_order(self) -> bool:
        """Whether no device got a notification after a later one; the same one again does not count."""
        by_device = defaultdict(list)
        for _, target, key in self.taken:
            by_device[target].append(key)
        return all(one <= other for keys in by_device.values() for one, other in itertools.pairwise(keys))


@asynccontextmanager
async def running(service: Service, log: MemoryLog | None = None) -> AsyncIterator[Ledger]:
    async with memory_ledger(DevicesView, NoncesView, OutboxView, log=log) as ledger, trio.open_nursery() as nursery:
        await nursery.start(Dispatcher(ledger, {"token": service}, CLOCK, Metrics(), slots=100).run)
        yield ledger
        nursery.cancel_scope.cancel()


async def accept(ledger: Ledger, count: int, ttl_ms: int = TTL_MS, pause_s: float = 0.0) -> None:
    for number in range(count):
        to = (PushTarget(f"t{number % DEVICES}", "token", "", "p"),)
        body = b'{"notification":{"id":"n","type":"t","message":"m"}}'
        id_ = f"n{ledger.log.next_seq}"
        fact = Accepted("a", "alice", id_, None, None, CLOCK.now_ms() + ttl_ms, to, "", body)
        await ledger.record([draft(fact, ts_ns=CLOCK.now_ns(), salt=b"s" * 16)])
        await trio.sleep(pause_s)


def records(ledger: Ledger) -> list[Record]:
    assert isinstance(ledger.log, MemoryLog)
    return ledger.log.records


def delivered(ledger: Ledger) -> set[tuple[int, int]]:
    facts = [fact_of(record) for record in records(ledger) if record.kind == Settled.kind]
    return {(one.accepted_seq, one.index) for one in facts if isinstance(one, Settled) and one.outcome == "delivered"}


def accepted(ledger: Ledger) -> set[tuple[int, int]]:
    return {(record.seq, 0) for record in records(ledger) if record.kind == Accepted.kind}


@pytest.mark.parametrize(
    "answer",
    [Transient("unavailable"), Braked("project", "")],
    ids=lambda one: type(one).__name__,
)
async def test_all_that_did_not_expire_is_delivered_once_and_in_order(
    autojump_clock: trio.testing.MockClock, answer: Verdict
) -> None:
    service = Service()
    service.answer = answer
    async with running(service) as ledger:
        await accept(ledger, 100, ttl_ms=60_000)
        early = accepted(ledger)
        await accept(ledger, 600, pause_s=0.75)
        await trio.sleep(OUTAGE_S - 450)
        assert len(service.asked) < 200, "a service that is down is left alone"
        service.answer = Delivered()
        await trio.sleep(900)
    assert delivered(ledger) == accepted(ledger) - early
    assert len(service.taken) == len(delivered(ledger)), "none twice"
    assert service.in_order()
    first = service.taken[0][0]
    assert sum(at < first + 3 for at, _, _ in service.taken) < 3 * RAMP_PER_S * 1.5
    assert service.taken[-1][0] - first > 10, "it comes back slowly"


async def test_a_kill_while_it_comes_back_loses_none_and_repeats_only_what_was_not_settled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    service.answer = Transient("unavailable")
    async with running(service) as ledger:
        await accept(ledger, 600, pause_s=0.1)
        service.answer = Delivered()
        await service.half_way.wait()
        count, settled = len(service.taken), delivered(ledger)
        assert 0 < count < 600
        dead = MemoryLog(records(ledger))  # what the disk holds at the kill; the rest of this world does not count
    del service.taken[count:]
    async with running(service, dead) as ledger:
        await trio.sleep(4000)
    assert delivered(ledger) == accepted(ledger)
    again = [key for _, _, key in service.taken[count:]]
    assert not settled & set(again), "what was settled is not sent again"
    assert len(again) == len(set(again))
    assert {key for _, _, key in service.taken} == accepted(ledger)
    assert service.in_order()


async def test_during_an_outage_a_device_gets_its_first_before_its_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    service = Service()
    service.answer = Transient("internal")
    async with running(service) as ledger:
        await accept(ledger, 1)
        await trio.sleep(1)
        service.answer = Delivered()
        await accept(ledger, DEVICES)
        await trio.sleep(1)
        assert len(service.taken) == DEVICES - 1, "the second of the device that failed waits, nobody else does"
        await trio.sleep(20)
    to_first = [key for _, target, key in service.taken if target == "t0"]
    assert len(to_first) == 2
    assert to_first == sorted(to_first)
