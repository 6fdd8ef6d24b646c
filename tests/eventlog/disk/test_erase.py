"""After an erasure no byte of a payload is left on the disk and every root is as it was, wherever a crash came."""

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest
import trio

from eventlog import chronicle
from eventlog.chronicle import Erased, ranges_of
from eventlog.disk import erase as erasures
from eventlog.disk.erase import Job
from eventlog.disk.log import Log
from eventlog.errors import Corrupt
from eventlog.record import Draft, Record
from tests.eventlog.logs import NOW_NS, at_once, draft, open_sim, running
from tests.sim.disk import FAIL, FAIL_PERSISTED, PowerLost, SimDisk

LOG, VIEWS = "/data/log", "/data/views"
SECRET = b"SECRET"
SMALL = 1_500  # bytes a segment: a few frames each
GONE = (3, 4, 5, 17, 30, 31)
COUNT = 32


def payload(seq: int) -> bytes:
    return (SECRET if seq in GONE else b"plain.") + b"%04d" % seq * 5


async def prepared(disk: SimDisk) -> list[bytes]:
    """Fill several segments, the open one too; leave a view and a torn tail with the secret. The roots, by size."""
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        for first in range(0, COUNT, 4):
            await log.append_many([Draft("thing.happened", payload(seq), NOW_NS) for seq in range(first, first + 4)])
        roots = [log.root_at(size) for size in range(0, COUNT + 1, 4)]
    disk.make_directory(VIEWS)
    for path in (f"{VIEWS}/people.db", f"{LOG}/torn-00000000000000000000-9.bytes"):
        fd = disk.open(path, create=True)
        disk.write(fd, b"a copy of " + SECRET, 0)
        disk.datasync(fd)
        disk.sync_directory(path.rpartition("/")[0])
        disk.close(fd)
    return roots


def job(after: int = COUNT) -> Job:
    ranges = ranges_of(GONE)
    return Job(erasures.VERSION, after, "operator", "asked", "user", ranges, ("views/people.db", "views/people.db-wal"))


async def erased(disk: SimDisk, begin: Callable[[], None] = lambda: None) -> None:
    """Erase on a running log, as the server does; what was derived is removed in the end."""
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        log.record(3)  # a descriptor of the former bytes is open
        begin()
        await erasures.erase(log, "/data", job(), NOW_NS, at_once)
        for name in job().drop:
            erasures.durable.remove(disk, f"/data/{name}")
        erasures.end(disk, "/data")
        assert_erased(log)


def everything(log: Log) -> list[Record]:
    return [record for records in log.read(0) for record in records]


def assert_erased(log: Log) -> None:
    records = everything(log)
    assert {record.seq for record in records if record.payload is None} == set(GONE)
    for record in records[:COUNT]:
        assert record.payload in (None, payload(record.seq))
        assert log.record(record.seq) == record
    excused = chronicle.Excused()
    for record in records:
        excused.take(chronicle.entry_of(record))
    assert all(record in excused for record in records if record.payload is None)


def holding(disk: SimDisk, needle: bytes = SECRET) -> set[str]:
    """Name every file that holds the needle, as it reads now or after a power loss."""
    return {
        name
        for directory in disk.directories.values()
        for names in (directory.cache, directory.media)
        for name, file in names.items()
        if needle in file.cache or needle in file.media
    }


async def assert_whole(disk: SimDisk, roots: list[bytes]) -> bool:
    """Open again: whether it was erased; in any case nothing else is lost, and every root is the same."""
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        assert [log.root_at(size) for size in range(0, COUNT + 1, 4)] == roots
        records = everything(log)
        said = any(record.kind == Erased.kind for record in records)
        if said:
            assert_erased(log)
        else:
            assert [record.payload for record in records[:COUNT]] == [payload(seq) for seq in range(COUNT)]
    return said


async def test_an_erasure_leaves_no_byte_and_every_root() -> None:
    disk = SimDisk()
    roots = await prepared(disk)
    assert holding(disk)
    await erased(disk)
    assert holding(disk) == set()
    assert not [name for name in disk.directories[LOG].cache if name == erasures.JOB_FILE]
    assert await assert_whole(disk, roots)


def at_call(number: int, then: Callable[[SimDisk], str], disk: SimDisk) -> None:
    """Let something happen at the numbered call from now on."""
    calls = 0

    def fault(call: str, path: str) -> str:
        nonlocal calls
        calls += 1
        return then(disk) if calls == number else ""

    disk.fault = fault


def lights_out(disk: SimDisk) -> str:
    disk.turn_off()
    return ""


async def calls_of_an_erasure() -> int:
    disk = SimDisk()
    await prepared(disk)
    await erased(disk, disk.trace.clear)
    return len(disk.trace)


async def broken_off(number: int, then: Callable[[SimDisk], str]) -> tuple[SimDisk, list[bytes]]:
    """Erase, with a fault at the numbered call: the disk as the next start finds it after a power loss."""
    disk = SimDisk(Random(number))
    roots = await prepared(disk)
    with suppress(BaseExceptionGroup, PowerLost):  # which only the fault may have caused: what is left is judged
        await erased(disk, lambda: at_call(number, then, disk))
    disk.fault = lambda call, path: ""
    disk.lose_power()
    return disk, roots


async def test_wherever_the_power_goes_the_erasure_ends_at_the_next_start_or_never_began() -> None:
    outcomes = set[bool]()
    for number in range(1, await calls_of_an_erasure() + 1):
        disk, roots = await broken_off(number, lights_out)
        said = await assert_whole(disk, roots)
        outcomes.add(said)
        if said:
            assert holding(disk) == set(), number
            assert erasures.JOB_FILE not in disk.directories[LOG].media, number
    assert outcomes == {True, False}


@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED])
async def test_whichever_call_fails_the_erasure_ends_at_the_next_start_or_never_began(
    fault: str, autojump_clock: trio.testing.MockClock
) -> None:
    for number in range(1, await calls_of_an_erasure() + 1, 3):
        disk, roots = await broken_off(number, lambda _: fault)
        if await assert_whole(disk, roots):
            assert holding(disk) == set(), number


async def test_a_start_that_is_cut_off_while_it_finishes_is_finished_by_the_next() -> None:
    halfway = await calls_of_an_erasure() // 2
    number, broke = 0, True
    while broke:
        number += 2
        disk, roots = await broken_off(halfway, lights_out)
        at_call(number, lights_out, disk)
        try:
            open_sim(disk, segment_bytes_max=SMALL).close()
            broke = False
        except PowerLost:
            disk.lose_power()
        disk.fault = lambda call, path: ""
        assert await assert_whole(disk, roots)
        assert holding(disk) == set(), number
    assert number > 20


async def test_a_start_that_finishes_an_erasure_also_tells_of_the_tail_that_it_cut() -> None:
    disk = SimDisk()
    await prepared(disk)
    erasures.begin(disk, "/data", job())
    last = max(name for name in disk.entries(LOG) if name.endswith(".evl"))
    fd = disk.open(f"{LOG}/{last}")
    disk.write(fd, b"\x83\x58\x50EVLF\x01 and no more", disk.size(fd))
    disk.close(fd)
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        await log.durable(log.next_seq)
        kinds = [record.kind for record in everything(log)]
        assert (kinds.count(chronicle.Recovered.kind), kinds.count(Erased.kind)) == (1, 1)
        assert holding(disk) == set()


async def test_followers_of_a_running_log_see_the_payloads_no_more() -> None:
    disk = SimDisk()
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        await log.append_many([draft(n) for n in range(20)])
        begun = Job(erasures.VERSION, 20, "", "", "user", ranges_of([7]), ())
        await erasures.erase(log, "/data", begun, NOW_NS, at_once)
        found: list[Record] = []
        async for records in log.follow(0):
            found += records
            if len(found) == 21:
                break
        assert [record.seq for record in found if record.payload is None] == [7]


async def test_a_job_that_was_begun_before_is_recorded_again_only_where_it_was_not() -> None:
    disk = SimDisk()
    await prepared(disk)
    erasures.begin(disk, "/data", job())
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        assert erasures.pending(disk, "/data") is None
        assert [record.kind for record in everything(log)].count(Erased.kind) == 1
        assert_erased(log)


async def test_a_job_whose_record_is_there_is_ended_without_another() -> None:
    disk = SimDisk()
    await prepared(disk)
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        await log.append_many([chronicle.draft(entry, NOW_NS) for entry in job().entries()])
    erasures.begin(disk, "/data", job())
    async with running(open_sim(disk, segment_bytes_max=SMALL)) as log:
        assert [record.kind for record in everything(log)].count(Erased.kind) == len(job().entries())
        assert_erased(log)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80", b"\x87\x02\x00\x60\x60\x60\x80\x80"])
def test_a_file_that_is_no_job_of_ours_stops_the_start(data: bytes) -> None:
    disk = SimDisk()
    open_sim(disk).close()
    erasures.durable.replace(disk, f"{LOG}/{erasures.JOB_FILE}", data)
    with pytest.raises(Corrupt, match="erasing"):
        open_sim(disk)
    disk.restart()
    assert disk.lock("/data/LOCK")  # the lock was given back
