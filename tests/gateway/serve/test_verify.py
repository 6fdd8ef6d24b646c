"""The verifier: whose verdict is whose, and what it does at its limits."""

import threading
from collections.abc import Sequence

import pytest
import trio

from gateway.limits.nostr import (
    VERIFY_HOP_EVENTS_MAX,
    VERIFY_HOP_EVENTS_MIN,
    VERIFY_INLINE_MAX,
    VERIFY_QUEUE_EVENTS_MAX,
)
from gateway.nostr.signature import Claim
from gateway.serve import verify
from gateway.serve.verify import Verifier
from tests.signing import BOB, pubkey, signed

GOOD = Claim(signed().pubkey, signed().id, signed().sig)
BAD = GOOD._replace(pubkey=pubkey(BOB))


class Gate:
    """Stands in for the library: verdicts by name, counted, and held back until opened."""

    def __init__(self) -> None:
        self.hops: list[int] = []
        self.open = threading.Event()

    def __call__(self, claims: Sequence[Claim]) -> list[bool]:
        self.hops.append(len(claims))
        assert self.open.wait(60)
        return [claim.id == "good" for claim in claims]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    held = Gate()
    monkeypatch.setattr(verify, "all_hold", held)
    return held


def claims(count: int, good: bool = True) -> list[Claim]:
    return [Claim("", "good" if good else "bad", "")] * count


async def test_each_caller_gets_the_verdicts_of_its_own_claims_in_its_own_order(nursery: trio.Nursery) -> None:
    verifier = Verifier(threads=2)
    await nursery.start(verifier.run)
    wanted = [[number % (index + 2) == 0 for number in range(40)] for index in range(5)]

    async def ask(index: int) -> None:
        got = await verifier.verify([GOOD if good else BAD for good in wanted[index]])
        assert got == wanted[index]

    async with trio.open_nursery() as asking:
        for index in range(5):
            asking.start_soon(ask, index)
    assert verifier.waiting == 0


async def test_a_few_claims_are_verified_at_once_without_a_thread() -> None:
    assert await Verifier(threads=1).verify([GOOD, BAD, GOOD][:VERIFY_INLINE_MAX]) == [True, False, True]


async def test_a_hop_takes_from_all_callers_and_never_more_than_its_limit(nursery: trio.Nursery, gate: Gate) -> None:
    verifier = Verifier(threads=1)
    await nursery.start(verifier.run)
    async with trio.open_nursery() as asking:
        for _ in range(4):
            asking.start_soon(verifier.verify, claims(VERIFY_HOP_EVENTS_MAX // 2 + 10))
        gate.open.set()
    assert max(gate.hops) <= VERIFY_HOP_EVENTS_MAX
    assert sum(gate.hops) == 4 * (VERIFY_HOP_EVENTS_MAX // 2 + 10)
    assert len(gate.hops) <= 4


async def test_claims_are_shared_out_between_threads_but_in_no_smaller_parts_than_are_worth_a_hop(
    nursery: trio.Nursery, gate: Gate
) -> None:
    verifier = Verifier(threads=8)
    await nursery.start(verifier.run)
    gate.open.set()
    await verifier.verify(claims(3 * VERIFY_HOP_EVENTS_MIN))
    assert gate.hops == [VERIFY_HOP_EVENTS_MIN] * 3
    gate.hops.clear()
    await verifier.verify(claims(32 * VERIFY_HOP_EVENTS_MIN))
    assert len(gate.hops) >= 8
    assert max(gate.hops) == 4 * VERIFY_HOP_EVENTS_MIN


async def test_at_the_limit_callers_wait_before_they_are_queued(nursery: trio.Nursery, gate: Gate) -> None:
    verifier = Verifier(threads=1)
    await nursery.start(verifier.run)
    async with trio.open_nursery() as asking:
        for _ in range(12):
            asking.start_soon(verifier.verify, claims(VERIFY_QUEUE_EVENTS_MAX // 8))
        await trio.testing.wait_all_tasks_blocked()
        assert verifier.waiting <= VERIFY_QUEUE_EVENTS_MAX
        gate.open.set()
    assert sum(gate.hops) == 12 * (VERIFY_QUEUE_EVENTS_MAX // 8)


async def test_what_a_cancelled_caller_asked_is_not_verified_and_leaves_its_room(
    nursery: trio.Nursery, gate: Gate
) -> None:
    verifier = Verifier(threads=1)
    await nursery.start(verifier.run)
    async with trio.open_nursery() as asking:
        asking.start_soon(verifier.verify, claims(10))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await verifier.verify(claims(50))
        assert verifier.waiting == 0
        gate.open.set()
    assert await verifier.verify(claims(5, good=False)) == [False] * 5
    assert gate.hops == [10, 5]
