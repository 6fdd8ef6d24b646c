"""Tiles on disk: there before a checkpoint names them, there again after whatever befell the machine."""

import random
from contextlib import suppress

import pytest

from eventlog.checkpoint import verifier_key
from eventlog.disk import tiles
from eventlog.disk.durable import read_whole
from eventlog.disk.log import Log
from eventlog.disk.segments import Segments
from eventlog.disk.tiles import open_tiles, read_tile
from eventlog.errors import Corrupt
from eventlog.tile import Tile
from tests.conformance import tlog
from tests.eventlog.logs import draft, open_sim, running
from tests.sim.disk import FAIL, PowerLost, SimDisk

LOG = "/data/log"


def checked(disk: SimDisk, log: Log) -> tlog.Head:
    """Hold the tiles on the disk against the checkpoint on it, with code that is not ours; give what it signs."""
    note = read_whole(disk, f"{LOG}/checkpoint", 4_096)
    assert note is not None
    assert note == log.store.note
    head = tlog.read_checkpoint(note, tlog.Key.parse(verifier_key(log.origin, log.public_key)))
    tlog.check_whole_tree(lambda path: read_whole(disk, f"{LOG}/{path}", 8_192), head)
    return head


async def filled(disk: SimDisk, *counts: int) -> None:
    """Live once: append batches, sign, end in good order."""
    async with running(open_sim(disk)) as log:
        for count in counts:
            await log.append_many([draft(n) for n in range(count)])


async def test_every_checkpoint_has_its_tiles() -> None:
    disk = SimDisk()
    for count in (1, 254, 1, 1, 600, 4_000):
        await filled(disk, count)
        with open_sim(disk) as log:
            assert checked(disk, log).size == log.durable_size


async def test_a_partial_tile_goes_when_its_full_one_is_there_and_can_still_be_read() -> None:
    disk = SimDisk()
    await filled(disk, 200)
    narrow = Tile(0, 0, 200)
    before = read_tile(disk, LOG, narrow)
    assert disk.entries(f"{LOG}/tile/0/000.p") == ["200"]
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(n) for n in range(100)])
    assert f"{LOG}/tile/0/000.p" not in disk.directories
    assert read_tile(disk, LOG, narrow) == before is not None
    assert read_tile(disk, LOG, Tile(0, 1, 45)) is None, "a width that was never published"


async def test_tiles_are_brought_to_the_disk_before_a_checkpoint_each_so_many_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiles, "TILES_LAG_RECORDS", 300)
    async with running(open_sim(SimDisk())) as log:
        store = log.store
        for count, settled in ((299, 0), (1, 300), (299, 300)):
            await log.append_many([draft(n) for n in range(count)])
            store.tiles.publish()
            store.sign(log.durable_size, log.root)
            assert store.tiles.settled == settled


async def test_a_clean_stop_leaves_nothing_to_do() -> None:
    disk = SimDisk()
    await filled(disk, 700)
    disk.trace.clear()
    with open_sim(disk):
        written = {path for call, path, _ in disk.trace if call == "write"}
    assert not {path for path in written if "/tile/" in path}


@pytest.mark.parametrize("lost", ["tile", "tiled", "both"])
async def test_lost_tiles_are_made_anew_from_the_leaves(lost: str) -> None:
    disk = SimDisk()
    await filled(disk, 700)
    if lost != "tiled":
        for path in [path for path in disk.directories if path.startswith(f"{LOG}/tile")]:
            del disk.directories[path]
    if lost != "tile":
        disk.unlink(f"{LOG}/tiled")
    with open_sim(disk) as log:
        assert checked(disk, log).size == 700


async def test_a_damaged_edge_is_made_anew() -> None:
    disk = SimDisk()
    await filled(disk, 700)
    fd = disk.open(f"{LOG}/tile/0/001", create=True)
    disk.write(fd, bytes(64), 320)
    disk.close(fd)
    with open_sim(disk) as log:
        assert checked(disk, log).size == 700


async def test_a_mark_beyond_the_log_is_taken_back() -> None:
    disk = SimDisk()
    await filled(disk, 300)
    fd = disk.open(f"{LOG}/tiled", create=True)
    disk.write(fd, b"99999\n", 0)
    disk.close(fd)
    with open_sim(disk) as log:
        assert checked(disk, log).size == 300
    assert read_whole(disk, f"{LOG}/tiled", 99) == b"300\n"


async def test_tiles_whose_records_are_gone_are_kept_but_never_guessed() -> None:
    disk = SimDisk()
    async with running(open_sim(disk, segment_bytes_max=30_000)) as log:
        for _ in range(6):
            await log.append_many([draft(n) for n in range(100)])
        root = log.root
    left = Segments(disk, LOG, list(Segments.found(disk, LOG))[1:])
    assert left[0].first_seq > 256
    open_tiles(disk, LOG, left, size=600, root=root, signed=600)  # what retention left is enough
    disk.unlink(f"{LOG}/tile/0/000")
    with pytest.raises(Corrupt, match="put them back from a copy"):
        open_tiles(disk, LOG, left, size=600, root=root, signed=600)


async def cut_off(disk: SimDisk, at: int) -> bool:
    """Fill a log on a disk whose power goes at the call number ``at``; whether it came so far."""
    calls = 0

    def fault(call: str, path: str) -> str:
        nonlocal calls
        calls += 1
        if calls == at:
            disk.turn_off()
        return ""

    disk.fault = fault
    try:
        await filled(disk, 200, 100, 300, 3)
    except* PowerLost:
        pass
    disk.fault = lambda call, path: ""
    return calls >= at


@pytest.mark.parametrize("ending", ["kill", "power"])
async def test_a_crash_at_any_call_leaves_a_log_whose_checkpoint_has_its_tiles(ending: str) -> None:
    at = 0
    while True:
        at += 1
        disk = SimDisk(random.Random(at))
        await filled(disk, 250)
        if not await cut_off(disk, at):
            break
        disk.lose_power() if ending == "power" else disk.restart()
        async with running(open_sim(disk)) as log:
            assert checked(disk, log).size >= 250
            await log.append_many([draft(0)])
        with open_sim(disk) as log:
            assert checked(disk, log).size == log.durable_size
    assert at > 40, "there are calls to cut off"


@pytest.mark.parametrize("call", ["sync-all", "write", "mkdir"])
async def test_a_disk_that_refuses_a_tile_fails_the_log_and_no_checkpoint_names_it(call: str) -> None:
    disk = SimDisk()
    await filled(disk, 250)
    with open_sim(disk) as log:
        before = checked(disk, log)
    disk.fault = lambda made, path: FAIL if made == call and (made == "sync-all" or "/tile/" in path) else ""
    with suppress(OSError, ExceptionGroup):  # the opening, or the writing, is refused
        await filled(disk, 300)
    disk.fault = lambda made, path: ""
    disk.restart()
    assert read_whole(disk, f"{LOG}/checkpoint", 4_096) is not None
    with open_sim(disk) as log:
        assert checked(disk, log).size >= before.size
