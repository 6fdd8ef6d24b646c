"""Who waits for what comes of a notification."""

import trio
import trio.testing

from gateway.serve.delivery.waiting import Waiting


async def woken(waiting: Waiting, seq: int, told: list[int]) -> None:
    await waiting.progress(seq)
    told.append(seq)


async def test_whoever_waits_is_woken_by_the_last_outcome_and_nobody_else_is() -> None:
    waiting, told = Waiting(), list[int]()
    waiting.expect(1, 2)
    waiting.expect(2, 1)
    async with trio.open_nursery() as nursery:
        for seq in (1, 1, 2):
            nursery.start_soon(woken, waiting, seq, told)
        await trio.testing.wait_all_tasks_blocked()
        waiting.tell(1)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        waiting.tell(1)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [1, 1]
        waiting.tell(2)
    assert told == [1, 1, 2]


async def test_of_what_an_earlier_run_accepted_each_outcome_counts() -> None:
    waiting, told = Waiting(), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(woken, waiting, 1, told)
        await trio.testing.wait_all_tasks_blocked()
        waiting.tell(1)
    assert told == [1]


async def test_one_or_all_are_let_go_before_there_is_an_outcome() -> None:
    waiting, told = Waiting(), list[int]()
    waiting.let_go(1)  # nobody waits
    async with trio.open_nursery() as nursery:
        for seq in (1, 2, 3):
            waiting.expect(seq, 1)
            nursery.start_soon(woken, waiting, seq, told)
        await trio.testing.wait_all_tasks_blocked()
        waiting.let_go(2)
        await trio.testing.wait_all_tasks_blocked()
        assert told == [2]
        waiting.let_all_go()
    assert sorted(told) == [1, 2, 3]


async def test_whoever_gives_up_is_not_held_on_to() -> None:
    waiting = Waiting()
    with trio.CancelScope() as scope:
        scope.cancel()
        await waiting.progress(1)
    assert scope.cancelled_caught
    waiting.let_all_go()
