"""The matrix of the log's faults: every call to the disk, failed in every way, and both ways back.

A run opens a log, appends over a rotation and under checkpoints, and closes; a first run counts its calls. Then each
call in turn fails once (nothing happened), fails although it happened, is short, or fails from then on as a full disk
does; and the log comes back by being reopened in the process, by a restart, or by a restart after a power loss.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from eventlog.disk.log import Log
from eventlog.errors import LogFailed
from tests.eventlog.logs import draft, filled, open_sim, payloads
from tests.sim.disk import FAIL, FAIL_PERSISTED, SHORT, SimDisk

BATCH = 10
STOP_SEQ = 60
FULL = "full"  # every write from that call on fails, until there is room
PROCESS, RESTART, POWER = "reopened in the process", "restarted", "restarted after a power loss"


def no_fault(call: str, path: str) -> str:
    return ""


class Nth:
    """Fail the n-th call, or all writes from it on; 0 fails none and counts."""

    def __init__(self, n: int, fault: str) -> None:
        self.n, self.fault, self.seen = n, fault, 0
        self.what = ""

    def __call__(self, call: str, path: str) -> str:
        self.seen += 1
        if self.seen == self.n:
            self.what = f"{call} {path}"
            return FAIL if self.fault == FULL else self.fault
        full = self.fault == FULL and 0 < self.n < self.seen and call == "write"
        return FAIL if full else ""


async def worked(log: Log, disk: SimDisk, nth: Nth, *, goes_on: bool) -> int:
    """Append until all is there or, unless it goes on, the log fails; how many were acknowledged."""
    acknowledged = log.durable_size
    disk.fault = nth
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        while acknowledged < STOP_SEQ:
            try:
                await log.append_many([draft(n) for n in range(acknowledged, acknowledged + BATCH)])
                acknowledged += BATCH
                await trio.sleep(0.4)  # time for a checkpoint now and then
            except LogFailed:
                if not goes_on:
                    break
                await trio.sleep(20)  # a full disk stays full for a while
                disk.fault = no_fault
                await log.reopened()
                acknowledged = counted(log)
        nursery.cancel_scope.cancel()
    return acknowledged


def counted(log: Log) -> int:
    """How many of our records are in the log: some that were refused may be, the log's own do not count."""
    return len(ours(log))


def ours(log: Log) -> list[bytes]:
    return [payload for payload in payloads(log) if payload[:1] == b"."]


async def one(n: int, fault: str, back: str) -> tuple[bool, Counter[str]]:
    """One cell; whether the fault was met, and the calls that were made."""
    disk, nth = SimDisk(random.Random(n)), Nth(n, fault)
    await filled(disk, BATCH)
    log = open_sim(disk, segment_bytes_max=2_500)
    acknowledged = await worked(log, disk, nth, goes_on=back == PROCESS)
    log.close()
    disk.fault = no_fault
    if back == POWER:
        disk.lose_power()
    else:
        disk.restart()
    with open_sim(disk) as log:
        found = ours(log)
        assert len(found) >= acknowledged, f"{nth.what}: {acknowledged} were acknowledged, {len(found)} are there"
        assert len(found) % BATCH == 0, f"{nth.what}: half a batch is there"
        assert found == [draft(number).payload for number in range(len(found))], nth.what
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            await log.append_many([draft(len(found))])
            nursery.cancel_scope.cancel()
    return bool(nth.what), Counter(call for call, _, _ in disk.trace)


def run(work: Callable[[], object]) -> None:
    trio.run(work, clock=MockClock(autojump_threshold=0))  # type: ignore[arg-type]


@pytest.mark.parametrize("back", [PROCESS, RESTART, POWER])
@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED, SHORT, FULL])
def test_whatever_call_fails_nothing_acknowledged_is_lost_and_the_log_comes_back(fault: str, back: str) -> None:
    async def table() -> None:
        n, met = 1, True
        while met:
            met, _ = await one(n, fault, back)
            n += 1
        assert n > 40, "the table has every call in it"

    run(table)


def test_the_matrix_meets_every_call_that_changes_a_disk() -> None:
    async def count() -> None:
        _, calls = await one(0, "", RESTART)
        assert set(calls) >= {"open", "write", "datasync", "rename", "sync-directory", "unlink"}
        # Cutting a file is recovery's: a torn frame behind the proven ones, met where a full disk takes half of one.
        torn = Counter[str]()
        for n in range(1, 40):
            torn += (await one(n, FULL, PROCESS))[1]
        assert torn["truncate"]

    run(count)


@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED])
def test_a_reopening_that_fails_at_any_step_is_tried_again_until_it_succeeds(fault: str) -> None:
    """The second fault falls into the reopening that the first one made necessary: each of its calls in turn."""

    async def table() -> None:
        step, met = 1, True
        while met:
            disk = SimDisk(random.Random(step))
            await filled(disk, BATCH)
            log = open_sim(disk, segment_bytes_max=2_500)
            met = await failing_twice(log, disk, step, fault)
            log.close()
            disk.fault = no_fault
            disk.lose_power()
            with open_sim(disk) as log:
                found = ours(log)
                assert found[: 2 * BATCH] == [draft(number).payload for number in range(2 * BATCH)], step
                assert len(found) in (2 * BATCH, 3 * BATCH)
            step += 1
        assert step > 10

    run(table)


async def failing_twice(log: Log, disk: SimDisk, step: int, fault: str) -> bool:
    """Fail a sync, then the ``step``-th call of the reopening; whether there was one."""
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        disk.fault = lambda call, path: FAIL if call == "datasync" and path.endswith(".evl") else ""
        with pytest.raises(LogFailed):
            await log.append_many([draft(n) for n in range(BATCH, 2 * BATCH)])
        disk.fault = nth = Nth(step, fault)
        with trio.fail_after(60):
            await log.reopened()
        met = bool(nth.what)
        assert log.reopenings_failed <= met  # opening a file for reading does not fail
        assert log.durable_size == 2 * BATCH, "the frame was readable, and is durable now"
        nursery.cancel_scope.cancel()
    return met
