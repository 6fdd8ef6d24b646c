"""Keys under decision: one holder at a time, no deadlock, nothing left behind."""

import pytest
import trio
import trio.testing

from gateway.serve.inflight import Inflight


async def test_two_holders_of_one_key_come_one_after_the_other(autojump_clock: trio.testing.MockClock) -> None:
    inflight, order = Inflight(), []

    async def decide(name: str) -> None:
        async with inflight.hold(("nonce", "t", "n")):
            order.append(f"{name} begins")
            await trio.sleep(1)
            order.append(f"{name} ends")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(decide, "a")
        nursery.start_soon(decide, "b")
    first, second = order[0][0], order[2][0]
    assert order == [f"{first} begins", f"{first} ends", f"{second} begins", f"{second} ends"]
    assert {first, second} == {"a", "b"}


async def test_holders_of_different_keys_do_not_wait_for_each_other(autojump_clock: trio.testing.MockClock) -> None:
    inflight = Inflight()

    async def decide(key: str) -> None:
        async with inflight.hold(("nonce", "t", key)):
            await trio.sleep(1)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(decide, str(number))
    assert trio.current_time() - began == 1


async def test_keys_taken_in_opposite_orders_do_not_deadlock(autojump_clock: trio.testing.MockClock) -> None:
    inflight = Inflight()

    async def decide(*keys: tuple[str, ...]) -> None:
        async with inflight.hold(*keys):
            await trio.sleep(1)

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide, ("a",), ("b",))
            nursery.start_soon(decide, ("b",), ("a",))


async def test_a_key_named_twice_is_held_once() -> None:
    with trio.fail_after(30):
        async with Inflight().hold(("a",), ("a",)):
            pass


async def test_whoever_is_cancelled_while_waiting_leaves_the_rest_to_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    inflight = Inflight()

    async def wait_in_vain() -> None:
        with trio.move_on_after(1):
            async with inflight.hold(("a",), ("b",)):
                pytest.fail("b is held by another")

    async with inflight.hold(("b",)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_in_vain)
            await trio.testing.wait_all_tasks_blocked()
        async with inflight.hold(("a",)):
            pass
    assert inflight._locks == {}
