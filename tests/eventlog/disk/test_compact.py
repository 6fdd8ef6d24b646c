"""Fewer files, the same log: whatever is put together or dropped, roots and places stay; any crash is finished."""

import copy
from collections.abc import Awaitable, Callable

import pytest

from eventlog.chronicle import Retained
from eventlog.disk import durable
from eventlog.disk.compact import groups, merge, plan_merges, reach, retain, take_census, write_state
from eventlog.disk.log import Log
from eventlog.disk.recovery import read_state
from eventlog.errors import Absent, Corrupt, LogFailed, Removed
from eventlog.retention import State
from tests.eventlog.logs import at_once, draft, open_sim, running
from tests.sim.disk import FAIL, PowerLost, SimDisk

LOG = "/data/log"
PER, COUNT = 64, 512  # records of a segment, and of all eight
LARGE = 40_000  # bytes: four or five of them


def names(disk: SimDisk) -> list[str]:
    return sorted(name for name in disk.directories[LOG].cache if name.endswith(".evl"))


async def made(kinds: tuple[str, ...] = ("thing.happened",)) -> SimDisk:
    """Eight segments of one frame of 64 records, kinds by turns."""
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        for first in range(0, COUNT, PER):
            log.store.roll()
            await log.append_many([draft(n, kind=kinds[n % len(kinds)]) for n in range(first, first + PER)])
    return disk


async def merged(log: Log, bytes_max: int = LARGE) -> None:
    for group in plan_merges(log.store.segments, bytes_max):
        await merge(log, group, at_once)


def everything(log: Log) -> tuple[list[object], list[bytes]]:
    records = [record for piece in log.read(log.store.segments.first_seq) for record in piece]
    return [*records], [log.root_at(size) for size in range(log.store.segments.first_seq, COUNT + 1, PER)]


async def test_short_segments_become_one_and_nothing_else_changes() -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        before = everything(log)
        assert len(names(disk)) == 8
        await merged(log)
        assert len(names(disk)) < 4
        assert everything(log) == before
        assert [log.record(seq).payload for seq in (0, 333, 511)] == [draft(seq).payload for seq in (0, 333, 511)]
    disk.lose_power()
    async with running(open_sim(disk)) as log:
        assert everything(log) == before
        assert log.torn is None


async def test_a_reader_in_between_goes_on_in_the_new_file() -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        pieces, one = log.read(0), log.read(0)
        found = [record.seq for record in next(pieces)]
        log.record(65), log.record(335)  # descriptors of the old files are open
        await merged(log)
        found += [record.seq for piece in pieces for record in piece]
        assert found == list(range(COUNT))
        assert [record.seq for piece in one for record in piece] == list(range(COUNT))
        assert log.record(335).payload == draft(335).payload


def test_groups_fill_a_segment_and_leave_the_open_one() -> None:
    sizes = [(40, 0), (30, 1), (30, 2), (90, 3), (10, 4), (5, 5), (1, 6)]
    assert groups(sizes, 100) == [range(3), range(3, 5)]
    assert groups(sizes, 100, age_ns_max=2) == [range(2), range(3, 5)]
    assert groups([(1, 9), (1, 1), (1, 2), (1, 3), (1, 4)], 100, age_ns_max=2) == [range(3)]  # set back
    assert groups(sizes, 10) == []
    assert groups(sizes[:1], 100) == groups([], 100) == []


@pytest.mark.parametrize("power", [True, False])
async def test_a_crash_at_any_step_of_putting_together_leaves_the_same_log(power: bool) -> None:
    whole = await made()
    async with running(open_sim(copy.deepcopy(whole))) as log:
        before = everything(log)
    step = 0
    while await crashed(copy.deepcopy(whole), step, merged, before, power=power):
        step += 1 if power else 5
    assert step > 10


async def crashed(
    disk: SimDisk, step: int, work: Callable[[Log], Awaitable[None]], before: object, *, power: bool
) -> bool:
    """Let the machine stop at one call; whether it came to that. Afterwards the log must be as before."""
    count = [0]

    def stop(call: str, path: str) -> str:
        count[0] += 1
        if count[0] > step:
            disk.turn_off()
            raise PowerLost
        return ""

    log = open_sim(disk)
    disk.fault = stop
    came = False
    try:
        await work(log)
    except PowerLost:
        came = True
    disk.fault = lambda call, path: ""
    disk.off = False
    disk.lose_power() if power else disk.restart()
    async with running(open_sim(disk)) as again:
        assert everything(again) == before
        await merged(again)
        assert everything(again) == before
    return came


async def test_a_disk_that_fails_or_is_full_leaves_all_as_it_was() -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        before = everything(log)
        disk.fault = lambda call, path: FAIL if call == "write" and path.endswith(durable.TEMPORARY) else ""
        with pytest.raises(OSError, match="simulated"):
            await merged(log)
        disk.fault = lambda call, path: ""
        assert everything(log) == before
        await log.append_many([draft(COUNT)])  # and the log goes on


async def test_a_damaged_segment_is_not_put_together() -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        disk.directories[LOG].cache[names(disk)[2]].cache[-5] ^= 1
        with pytest.raises(Corrupt, match="fails its CRC"):
            await merged(log)
    assert len(names(disk)) == 8


# -- retention ----------------------------------------------------------------------------------------------------


async def retained(log: Log, after: State) -> list[int]:
    before = read_state(log.store.disk, LOG)
    censuses = {file.first_seq: take_census(file) for file in list(log.store.segments)[:-1]}
    return await retain(log, before, after, censuses, now_ns=1, hop=at_once)


async def test_a_log_may_begin_later_and_opens_reads_and_proves_from_there(autojump_clock: object) -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        roots = [log.root_at(size) for size in (256, 320, COUNT)]
        assert await retained(log, State(256, done=False)) == [0, 64, 128, 192]
    disk.lose_power()
    async with running(open_sim(disk)) as log:
        assert log.store.segments.first_seq == 256
        assert log.record(COUNT).kind == Retained.kind
        assert [log.root_at(size) for size in (256, 320, COUNT)] == roots
        assert log.payloads([255, 256]) == [None, draft(256).payload]
        for ask in (lambda: log.record(255), lambda: next(log.read(0))):
            with pytest.raises(Removed, match="removed by retention: the log begins with record 256"):
                ask()
        with pytest.raises(Absent):
            log.root_at(128)
        with pytest.raises(Removed):
            await anext(log.follow(5))
        await log.append_many([draft(99)])
        assert [record.seq for piece in log.read(256) for record in piece] == list(range(256, COUNT + 2))


async def test_payloads_of_an_expired_kind_go_and_no_root_changes(autojump_clock: object) -> None:
    disk = await made(("a.one", "b.one"))
    async with running(open_sim(disk)) as log:
        root, size = log.root, log.durable_size
        assert await retained(log, State(0, {"a.one": 128}, done=False)) == [0, 64]
        assert log.root_at(size) == root
        gone = [record.seq for piece in log.read(0, COUNT) for record in piece if record.payload is None]
        assert gone == list(range(0, 128, 2))
        assert await retained(log, State(0, {"a.one": 128}, done=False)) == []  # nothing is rewritten twice
    assert draft(38).payload not in b"".join(bytes(disk.directories[LOG].cache[name].cache) for name in names(disk))


async def test_first_segments_that_retention_did_not_take_are_missed() -> None:
    disk = await made()
    del disk.directories[LOG].cache[names(disk)[0]]
    with pytest.raises(Corrupt, match="begins with record 64, and retention did not take those before"):
        open_sim(disk)


async def test_what_retention_took_is_found_in_the_log_where_its_file_is_lost(autojump_clock: object) -> None:
    disk = await made()
    async with running(open_sim(disk)) as log:
        await retained(log, State(256, {"a": 20}, done=False))
    del disk.directories[LOG].cache["retention"]
    with open_sim(disk):
        assert read_state(disk, LOG) == State(256, {"a": 20})


async def test_retention_that_was_cut_off_anywhere_is_carried_out_by_the_next_call(autojump_clock: object) -> None:
    wanted, whole = State(128, {"b.one": 256}, done=False), await made(("a.one", "b.one"))
    step, made_it = 0, False
    while not made_it:
        step += 1
        disk = copy.deepcopy(whole)
        made_it = await cut_off(disk, wanted, step)
        disk.lose_power()
        async with running(open_sim(disk)) as log:
            first_seq = log.store.segments.first_seq
            kept = [record for piece in log.read(first_seq) for record in piece]
            told = any(record.kind == Retained.kind for record in kept)
            assert told or (first_seq == 0 and all(record.payload for record in kept))
            if not (state := read_state(disk, LOG)).done:
                await retained(log, state)
            if state != State():
                gone = [r.seq for piece in log.read(128) for r in piece if r.payload is None]
                assert (log.store.segments.first_seq, gone) == (128, list(range(129, 256, 2)))
    assert step > 30


async def cut_off(disk: SimDisk, wanted: State, step: int) -> bool:
    """Carry retention out on a disk whose call number ``step`` fails; whether it was done before."""
    count = [0]

    def fail(call: str, path: str) -> str:
        count[0] += call != "open"
        return FAIL if count[0] == step else ""

    async with running(open_sim(disk)) as log:
        disk.fault = fail
        try:
            await retained(log, wanted)
        except (OSError, LogFailed):
            return False
        finally:
            disk.fault = lambda call, path: ""
    return count[0] < step


def test_the_state_is_written_whole() -> None:
    disk = SimDisk()
    durable.make_directories(disk, "/data")
    durable.make_directories(disk, LOG)
    write_state(disk, LOG, State(5, {"a": 9}, done=False))
    disk.lose_power()
    disk.directories[LOG].change("00000000000000000005.evl", disk.directories[LOG].cache["retention"])
    assert read_state(disk, LOG) == State(5, {"a": 9}, done=False)


async def test_retention_reaches_no_record_that_a_tile_is_still_to_be_made_of() -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(n) for n in range(700)])
    with open_sim(disk) as log:
        assert (log.store.signed.size, log.store.tiles.settled) == (700, 700)
        assert reach(log.store) == 512
