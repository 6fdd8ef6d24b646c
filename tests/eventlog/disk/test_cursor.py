"""A cursor gives every durable record once, from disk or from the tail, and never more than is durable."""

import trio

from eventlog.disk.cursor import Tail
from eventlog.disk.writer import Batch
from eventlog.record import encode
from tests.eventlog.logs import draft, filled, open_sim, running
from tests.sim.disk import SimDisk


def batch(first_seq: int, count: int) -> Batch:
    made = Batch(first_seq)
    drafts = [draft(n) for n in range(first_seq, first_seq + count)]
    encoded = encode(drafts)
    made.join(drafts, encoded, sum(map(len, encoded.stored)))
    made.root = bytes([first_seq]) * 32
    return made


def test_the_tail_is_bounded_by_records() -> None:
    tail = Tail(records_max=10)
    for first in range(0, 40, 4):
        tail.add(batch(first, 4))
    assert tail.starting_at(28) is None
    assert [record.seq for record in tail.starting_at(32) or []] == [32, 33, 34, 35]
    assert tail.root_at(36) == b"\x20" * 32
    assert tail.root_at(32) is None
    assert tail.starting_at(33) is None


def test_the_tail_is_bounded_by_bytes_even_for_one_batch() -> None:
    tail = Tail(bytes_max=100)
    tail.add(batch(0, 4))
    assert tail.starting_at(0) is None


async def test_live_records_never_touch_the_disk() -> None:
    disk = SimDisk()
    await filled(disk, 20)
    async with running(open_sim(disk)) as log:
        cursor = log.follow(0)
        assert [record.seq for record in await anext(cursor)] == list(range(20))
        disk.trace.clear()
        for n in range(20, 30):
            await log.append_many([draft(n)])
            assert [record.seq for record in await anext(cursor)] == [n]
        assert not [path for call, path, _ in disk.trace if call == "open" and path.endswith(".evl")]


async def test_a_slow_follower_falls_back_to_the_disk_and_loses_nothing() -> None:
    async with running(open_sim(SimDisk())) as log:
        log.tail = Tail(records_max=5)
        cursor = log.follow(0)
        for n in range(50):
            await log.append_many([draft(n)])
        seqs: list[int] = []
        while len(seqs) < 50:
            seqs += [record.seq for record in await anext(cursor)]
        assert seqs == list(range(50))
        assert cursor.position == 50


async def test_a_cursor_that_waits_is_woken_and_one_that_is_cancelled_skips_nothing() -> None:
    async with running(open_sim(SimDisk())) as log:
        cursor = log.follow(0)
        with trio.move_on_after(0.01) as scope:
            await anext(cursor)
        assert scope.cancelled_caught
        log.submit([draft(0)])
        with trio.fail_after(30):
            assert [record.seq for record in await anext(cursor)] == [0]


async def test_what_is_not_durable_is_not_given() -> None:
    log = open_sim(SimDisk())
    log.submit([draft(0)])
    with trio.move_on_after(0.01) as scope:
        await anext(log.follow(0))
    assert scope.cancelled_caught
    log.close()
