"""One writer: natural batches, limits that hold, and no second word after a failure."""

from collections.abc import Callable

import pytest
import trio

from eventlog.disk.log import open_log
from eventlog.errors import LogClosed, LogFailed, LogFull
from eventlog.record import Draft
from tests.eventlog.logs import NOW_NS, draft, filled, open_sim, payloads, running
from tests.fakes import FakeClock
from tests.sim.disk import FAIL, FAIL_PERSISTED, SHORT, SimDisk


async def test_what_gathers_during_a_sync_is_one_commit() -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(0)])
        disk.trace.clear()
        async with trio.open_nursery() as nursery:
            for n in range(1, 101):
                nursery.start_soon(log.append_many, [draft(n)])
        syncs = [path for call, path, _ in disk.trace if call == "datasync" and path.endswith(".evl")]
        assert len(syncs) <= 3
        assert len(payloads(log)) == 101


async def test_submits_up_to_a_frame_are_never_split() -> None:
    async with running(open_sim(SimDisk())) as log:
        log.submit([draft(n) for n in range(4000)])
        log.submit([draft(n) for n in range(4000, 4200)])  # would not fit: begins a frame of its own
        await log.durable(4200)
        assert log.root_at(4000)
        assert len(payloads(log)) == 4200


async def test_large_payloads_split_frames_by_bytes() -> None:
    async with running(open_sim(SimDisk())) as log:
        await log.append_many([Draft("big.one", bytes(1_500_000), NOW_NS + n) for n in range(5)])
        assert log.root_at(2)
        assert log.root_at(4)
        assert [len(payload) for payload in payloads(log)] == [1_500_000] * 5


async def test_room_waits_at_the_limit_and_submit_refuses_beyond_it() -> None:
    log = open_sim(SimDisk(), queue_records_max=10)
    log.submit([draft(n) for n in range(10)])
    with trio.move_on_after(0.01) as waited:
        await log.room()
    assert waited.cancelled_caught
    log.submit([draft(n) for n in range(10, 20)])
    with pytest.raises(LogFull, match=r"await room\(\) first"):
        log.submit([draft(20)])
    assert log.queued[0] == 20
    assert log.queued[1] > 20 * 60
    async with running(log):
        with trio.fail_after(30):
            await log.room()
        await log.durable(20)
        assert log.queued == (0, 0)


async def test_bytes_are_a_limit_too() -> None:
    log = open_sim(SimDisk(), queue_bytes_max=1000)
    log.submit([draft(0, size=1000)])
    with trio.move_on_after(0.01) as waited:
        await log.room()
    assert waited.cancelled_caught
    log.close()


async def test_whoever_waits_for_room_hears_of_a_failure() -> None:
    disk = SimDisk()
    log = open_sim(disk, queue_records_max=1)
    log.submit([draft(0), draft(1)])
    disk.fault = lambda call, path: FAIL if call == "write" else ""
    heard: list[str] = []

    async def wait() -> None:
        try:
            await log.append_many([draft(2)])
        except LogFailed as failure:
            heard.append(str(failure))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await nursery.start(log.run)
        with pytest.raises(LogFailed):
            await log.durable(2)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(heard) == 2
    assert "simulated" in heard[0]


@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED])
async def test_a_commit_that_fails_at_any_step_is_never_acknowledged(fault: str) -> None:
    """Table over every I/O step of commits, a rotation and checkpoints: failed, or failed but persisted."""
    step = 0
    while True:
        disk = SimDisk()
        await filled(disk, 10)
        log = open_sim(disk, segment_bytes_max=2500)
        calls, acknowledged = 0, 10

        def nth(call: str, path: str, wanted: int = step) -> str:
            nonlocal calls
            calls += 1
            return fault if calls == wanted + 1 else ""

        disk.fault = nth
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            try:
                for first in range(10, 60, 10):
                    await log.append_many([draft(n) for n in range(first, first + 10)])
                    acknowledged = first + 10
            except LogFailed:
                with pytest.raises(LogFailed):
                    log.submit([draft(0)])
            nursery.cancel_scope.cancel()
        done = calls <= step
        disk.fault = lambda call, path: ""
        disk.lose_power()
        with open_sim(disk) as log:
            found = [payload for payload in payloads(log) if payload[:1] == b"."]
        assert len(found) >= acknowledged, step
        assert len(found) % 10 == 0, step
        assert found == [draft(n).payload for n in range(len(found))], step
        if done:
            break
        step += 1
    assert step > 25


async def test_short_writes_lose_nothing() -> None:
    disk = SimDisk()
    disk.fault = lambda call, path: SHORT if call == "write" else ""
    await filled(disk, 50)
    disk.lose_power()
    with open_sim(disk) as log:
        assert payloads(log) == [draft(n).payload for n in range(50)]


async def test_a_checkpoint_follows_within_a_second_and_only_after_news(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        for n in range(20):
            await log.append_many([draft(n)])
            await trio.sleep(0.1)
        await trio.sleep(10)
        signed = [call for call, path, _ in disk.trace if call == "rename" and path.endswith("checkpoint")]
        assert 2 <= len(signed) <= 4
        assert log.store.signed.size == 20
        await trio.sleep(100)
        assert len([1 for call, path, _ in disk.trace if call == "rename" and path.endswith("checkpoint")]) == len(
            signed
        )


async def test_cancelled_while_it_commits_it_still_commits() -> None:
    async with running(open_sim(SimDisk())) as log:
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.append_many([draft(0)])
        assert scope.cancelled_caught
        await log.durable(1)
        assert payloads(log) == [draft(0).payload]


async def test_a_disk_that_hangs_at_shutdown_is_left_behind(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(call: Callable[[], None]) -> None:
        await trio.sleep_forever()

    disk = SimDisk()
    log = open_log("/data", FakeClock(), disk=disk, hop=hang)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        log.submit([draft(0)])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with pytest.raises(LogFailed, match="longer than") as failed:
        log.submit([draft(1)])
    assert not isinstance(failed.value, LogClosed)
    log.close()  # keeps the files: a thread may still hold them
    assert disk._locks
