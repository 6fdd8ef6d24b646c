"""The contract of a log, held against the real one and against the fake that other tests use."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import cbor2
import pytest
import trio

from eventlog.disk.log import Appendable, open_log
from eventlog.errors import Absent, Locked, LogClosed, LogFailed
from eventlog.limits import FRAME_RECORDS_MAX, REOPEN_S_MAX
from eventlog.record import Draft, Record
from tests.eventlog.logs import draft, open_sim, payloads, running
from tests.fakes import FakeClock, MemoryLog
from tests.sim.disk import FAIL, FAIL_PERSISTED, SimDisk

Opener = Callable[[], AbstractAsyncContextManager[Appendable]]


@pytest.fixture(params=["real", "fake"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    kept: list[Record] = []

    @asynccontextmanager
    async def real() -> AsyncIterator[Appendable]:
        async with running(open_log(tmp_path, FakeClock())) as log:
            yield log

    @asynccontextmanager
    async def fake() -> AsyncIterator[Appendable]:
        log = MemoryLog(kept)
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            yield log
            nursery.cancel_scope.cancel()
        kept[:] = log.records

    return real if request.param == "real" else fake


async def take(log: Appendable, start: int, stop: int) -> list[Record]:
    """Follow from ``start`` until ``stop`` was given."""
    taken: list[Record] = []
    async for records in log.follow(start):
        taken += records
        if taken[-1].seq + 1 >= stop:
            break
    return taken


async def test_what_is_appended_is_durable_numbered_and_read(opened: Opener) -> None:
    async with opened() as log:
        assert await log.append_many([draft(0), draft(1)]) == 0
        assert await log.append_many([draft(2)]) == 2
        assert log.durable_size == log.next_seq == 3
        assert [record.payload for record in await take(log, 0, 3)] == [draft(n).payload for n in range(3)]
        assert log.record(1).payload == draft(1).payload
        assert log.payloads([2, 0]) == [draft(2).payload, draft(0).payload]
        assert [record.seq for records in log.read(1) for record in records] == [1, 2]
        assert [record.seq for records in log.read(0, 2) for record in records] == [0, 1]


async def test_a_restart_finds_it_all_and_goes_on(opened: Opener) -> None:
    async with opened() as log:
        await log.append_many([draft(n) for n in range(5)])
        root = log.root
    async with opened() as log:
        assert (log.durable_size, log.root) == (5, root)
        assert await log.append_many([draft(5)]) == 5
        assert log.root_at(5) == root
        assert len(await take(log, 0, 6)) == 6


async def test_seqs_are_known_at_once_and_records_later(opened: Opener) -> None:
    async with opened() as log:
        assert log.submit([draft(0)]) == 0
        assert log.submit([draft(1), draft(2)]) == 1
        assert (log.next_seq, log.durable_size) == (3, 0)
        with pytest.raises(Absent):
            log.record(0)
        await log.durable(3)
        assert log.durable_size == 3


async def test_every_follower_gets_every_record_once(opened: Opener) -> None:
    async with opened() as log, trio.open_nursery() as nursery:
        await log.append_many([draft(n) for n in range(10)])
        taken: dict[int, list[int]] = {}

        async def follow(start: int) -> None:
            taken[start] = [record.seq for record in await take(log, start, 40)]

        for start in (0, 3, 10, 25):
            nursery.start_soon(follow, start)
        for first in range(10, 40, 5):
            await log.append_many([draft(n) for n in range(first, first + 5)])
    assert taken == {start: list(range(start, 40)) for start in (0, 3, 10, 25)}


async def test_nothing_at_all_is_appended_as_nothing(opened: Opener) -> None:
    async with opened() as log:
        assert await log.append_many([]) == 0
        assert list(log.read(0)) == []


async def test_what_is_queued_at_the_end_is_still_written(opened: Opener) -> None:
    async with opened() as log:
        await log.append_many([draft(0)])
        await trio.testing.wait_all_tasks_blocked()
        waiting = log.next_seq
        if not isinstance(log, MemoryLog):
            log.submit([draft(1)])
            waiting = 2
    async with opened() as log:
        assert log.durable_size == waiting


async def test_a_closed_log_says_so(opened: Opener) -> None:
    async with opened() as log:
        pass
    with pytest.raises(LogClosed):
        log.submit([draft(0)])
    with pytest.raises(LogClosed):
        await log.room()
    assert isinstance(await log.failed(), LogClosed)
    assert isinstance(log.failure, LogFailed)


async def test_a_bad_draft_is_refused_and_leaves_nothing(opened: Opener) -> None:
    async with opened() as log:
        with pytest.raises(ValueError, match="kind"):
            log.submit([draft(0), Draft("", b"", 0)])
        assert log.next_seq == 0


async def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    with open_log(tmp_path, FakeClock()), pytest.raises(Locked, match="one process may write a log"):
        open_log(tmp_path, FakeClock())
    open_log(tmp_path, FakeClock()).close()


async def test_more_than_a_frame_holds_becomes_several(tmp_path: Path) -> None:
    count = 2 * FRAME_RECORDS_MAX + 1
    async with running(open_log(tmp_path, FakeClock())) as log:
        await log.append_many([draft(n) for n in range(count)])
        assert log.root_at(FRAME_RECORDS_MAX) != log.root
        assert [record.seq for records in log.read(0) for record in records] == list(range(count))


async def test_the_data_directory_is_laid_out_as_promised(tmp_path: Path) -> None:
    async with running(open_log(tmp_path, FakeClock(), segment_bytes_max=1500)) as log:
        for first in range(0, 40, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
        end = log.durable_size
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}  # noqa: ASYNC240
    partial = {name for name in files if name.startswith("log/tile/0/000.p/")}  # one for each checkpoint
    assert "log/tile/0/000.p/40" in partial
    assert sorted(files - partial) == [
        "LOCK",
        "keys/log.pem",
        "log/00000000000000000000.evl",
        "log/00000000000000000000.idx",
        "log/00000000000000000010.evl",
        "log/00000000000000000010.idx",
        "log/00000000000000000020.evl",
        "log/00000000000000000020.idx",
        "log/00000000000000000030.evl",
        "log/checkpoint",
        "log/origin.cbor",
        "log/tiled",
    ]
    assert end == 40


async def test_plain_cbor_reads_a_segment_as_a_sequence(tmp_path: Path) -> None:
    async with running(open_log(tmp_path, FakeClock())) as log:
        for first in range(0, 30, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
    with (tmp_path / "log" / "00000000000000000000.evl").open("rb") as file:
        decoder = cbor2.CBORDecoder(file)
        head, _ = decoder.decode()
        assert cbor2.loads(head)[0] == "evl"
        found = []
        for _ in range(3):
            _, _, records = decoder.decode()
            found += [fields[5] for fields in records]
        assert found == [draft(n).payload for n in range(30)]
        assert not file.read(1)


# -- a disk that fails while the log is open ---------------------------------------------------------------------------


def on_syncs(disk: SimDisk, fault: str) -> None:
    disk.fault = lambda call, path: fault if call == "datasync" and path.endswith(".evl") else ""


@pytest.mark.parametrize(("fault", "kept"), [(FAIL, 2), (FAIL_PERSISTED, 2)])
async def test_a_follower_is_given_what_a_failed_sync_left_and_reopening_proved(
    fault: str, kept: int, autojump_clock: trio.testing.MockClock
) -> None:
    disk = SimDisk()
    seen: list[bytes] = []

    async def follow() -> None:
        async for records in log.follow(0):
            seen.extend(record.payload or b"" for record in records)

    async with running(open_sim(disk)) as log, trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await log.append_many([draft(0)])
        on_syncs(disk, fault)
        with pytest.raises(LogFailed):
            await log.append_many([draft(1)])
        assert len(seen) == log.durable_size == 1
        assert log.record(0).payload == draft(0).payload, "reading goes on"
        disk.fault = lambda call, path: ""
        await log.reopened()
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [draft(n).payload for n in range(kept)]
        assert await log.append_many([draft(9)]) == kept
        nursery.cancel_scope.cancel()


async def test_a_segment_whose_write_failed_is_not_written_to_again(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(0)])
        whole_bytes = log.store.segments[0].file_bytes()
        disk.fault = lambda call, path: FAIL if call == "write" else ""
        with pytest.raises(LogFailed):
            await log.append_many([draft(1)])
        disk.fault = lambda call, path: ""
        await log.reopened()
        await log.append_many([draft(2)])
        assert log.store.segments[0].file_bytes() == whole_bytes
        assert log.store.segments[1].first_seq == 1


async def test_nothing_submitted_before_a_failure_is_taken_for_what_got_its_seq_after(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        disk.fault = lambda call, path: FAIL if call == "write" else ""
        term, first = log.term, log.submit([draft(0)])
        await log.failed()
        disk.fault = lambda call, path: ""
        await log.reopened()
        await log.append_many([draft(1)])
        assert log.durable_size > first
        with pytest.raises(LogFailed, match="reopened since"):
            await log.durable(first + 1, term)
        await log.durable(first + 1, log.term)


async def test_a_disk_that_stays_full_is_tried_for_ever_at_a_bounded_pace_and_frees_what_it_wrote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(0)])
        disk.fault = lambda call, path: FAIL if call == "write" else ""
        with pytest.raises(LogFailed):
            await log.append_many([draft(1)])
        await trio.sleep(120)
        assert 120 / REOPEN_S_MAX - 1 <= log.reopenings_failed < 120
        assert "cannot be reopened yet" in str(log.failure)
        assert not [name for name in disk.entries("/data/log") if name.endswith(".tmp")]
        assert len(disk._files) < 10, "no descriptor is left behind by a try"
        with pytest.raises(LogFailed):
            await log.room()
        disk.fault = lambda call, path: ""
        await trio.sleep(REOPEN_S_MAX + 1)
        assert log.failure is None
        await log.append_many([draft(2)])


async def test_a_log_that_is_closed_while_it_has_failed_ends_at_once_and_the_next_start_recovers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(0)])
        disk.fault = lambda call, path: FAIL if call == "write" else ""
        with pytest.raises(LogFailed):
            await log.append_many([draft(1)])
        await trio.sleep(30)
        ended = trio.current_time()
    assert trio.current_time() == ended
    disk.fault = lambda call, path: ""
    with open_sim(disk) as log:
        assert payloads(log)[:1] == [draft(0).payload]
