"""The writer's own thread: calls run elsewhere, what they raise arrives, and one that is left behind goes on."""

import threading
from functools import partial

import pytest
import trio

from eventlog.disk.ownthread import OwnThread

WAIT_S = 30


async def test_calls_run_in_another_thread_one_after_another() -> None:
    own = OwnThread()
    ran: list[tuple[int, bool]] = []

    def call(number: int) -> None:
        ran.append((number, threading.current_thread() is threading.main_thread()))

    for number in range(3):
        with trio.fail_after(WAIT_S):
            await own(partial(call, number))
    assert ran == [(0, False), (1, False), (2, False)]


async def test_what_a_call_raises_is_raised_and_the_next_call_is_not_touched_by_it() -> None:
    def fail() -> None:
        raise OSError("no space")

    own = OwnThread()
    with trio.fail_after(WAIT_S):
        with pytest.raises(OSError, match="no space"):
            await own(fail)
        await own(lambda: None)


async def test_other_tasks_go_on_while_a_call_blocks() -> None:
    let_go = threading.Event()

    def call() -> None:
        assert let_go.wait(WAIT_S)

    with trio.fail_after(WAIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(OwnThread(), call)
            await trio.testing.wait_all_tasks_blocked()
            let_go.set()


async def test_a_call_that_is_left_behind_goes_on_and_ends_well_with_nobody_there_to_hear_of_it() -> None:
    begun, let_go, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        let_go.wait(WAIT_S)
        ended.set()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(OwnThread(), call)
            assert await trio.to_thread.run_sync(begun.wait, WAIT_S)
            scope.cancel()
    assert scope.cancelled_caught
    assert not ended.is_set()
    let_go.set()
    assert await trio.to_thread.run_sync(ended.wait, WAIT_S)
