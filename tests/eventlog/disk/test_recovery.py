"""What a crash left is a log again, and what no crash can have left is refused, with its byte."""

from collections.abc import Callable
from zlib import crc32

import cbor2
import pytest
import trio

from eventlog import index as indexes
from eventlog.chronicle import Recovered
from eventlog.errors import Corrupt, LogFailed
from eventlog.index import FrameIndex
from eventlog.segment import decode_head as decode_segment_head
from tests.eventlog.logs import draft, filled, open_sim, payloads, running
from tests.sim.disk import FAIL, FAIL_PERSISTED, File, SimDisk

LOG = "/data/log"
FIRST = "00000000000000000000.evl"


def file_of(disk: SimDisk, name: str = FIRST) -> File:
    return disk.directories[LOG].cache[name]


def names(disk: SimDisk) -> list[str]:
    return sorted(name for name in disk.directories[LOG].cache if name.endswith(".evl"))


def frame_starts(disk: SimDisk, name: str = FIRST) -> list[int]:
    content, found, at = bytes(file_of(disk, name).cache), [], 0
    while (at := content.find(b"\x83\x58\x50EVLF", at)) >= 0:
        found.append(at)
        at += 1
    return found


async def unclean(disk: SimDisk, signed: int, unsigned: int) -> None:
    """Leave a log with so many records under its checkpoint and so many behind it, as a kill -9 does."""
    await filled(disk, signed)
    writer = open_sim(disk)._writer
    for first in range(signed, signed + unsigned, 10):
        writer.submit([draft(n) for n in range(first, first + 10)])
        await writer._commit(writer._waiting.popleft())
    disk.restart()


async def reopened(disk: SimDisk) -> list[bytes]:
    async with running(open_sim(disk)) as log:
        await log.durable(log.next_seq)
        return payloads(log)


async def test_a_clean_stop_leaves_nothing_to_do(autojump_clock: trio.testing.MockClock) -> None:
    disk = SimDisk()
    await filled(disk, 30)
    before = bytes(file_of(disk).cache)
    disk.trace.clear()
    with open_sim(disk) as log:
        assert log.durable_size == 30
    assert not [call for call, path, _ in disk.trace if path.startswith(LOG) and call not in {"open", "sync-directory"}]
    assert bytes(file_of(disk).cache) == before


@pytest.mark.parametrize("cut", [1, 40, 82, 83, 90, 300])
async def test_a_torn_tail_is_cut_kept_aside_and_told(cut: int) -> None:
    disk = SimDisk()
    await filled(disk, 30)
    whole = bytes(file_of(disk).cache)
    torn = whole[frame_starts(disk)[-1] :][:cut]
    file_of(disk).write(len(whole), torn)  # as if a fourth frame had been cut off
    found = await reopened(disk)
    assert found[:30] == [draft(n).payload for n in range(30)]
    file, offset, size, kept = cbor2.loads(found[30])
    assert (file, offset, size) == (FIRST, len(whole), cut)
    assert bytes(disk.directories[LOG].cache[kept].cache) == torn
    with open_sim(disk) as log:
        assert log.record(30).kind == Recovered.kind
        assert log.torn is None


async def test_zeros_behind_the_last_frame_are_a_torn_tail() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    file_of(disk).write(len(file_of(disk).cache), bytes(4096))
    assert len(await reopened(disk)) == 11


@pytest.mark.parametrize("frame", [0, 1, 2])
async def test_a_flipped_bit_in_acknowledged_records_is_refused(frame: int) -> None:
    disk = SimDisk()
    await filled(disk, 30)
    at = frame_starts(disk)[frame]
    file_of(disk).cache[at + 200] ^= 1
    before = bytes(file_of(disk).cache)
    with pytest.raises(Corrupt, match=rf"{FIRST}: byte {at}: .*truncate -s {at}") as refused:
        open_sim(disk)
    assert refused.value.offset == at
    assert bytes(file_of(disk).cache) == before
    disk.restart()


async def test_damage_behind_the_checkpoint_is_refused_where_a_good_frame_follows() -> None:
    disk = SimDisk()
    await unclean(disk, 10, 30)
    at = frame_starts(disk)[2]
    file_of(disk).cache[at + 200] ^= 1
    with pytest.raises(Corrupt, match=f"unreadable, yet a valid frame follows at byte {frame_starts(disk)[3]}"):
        open_sim(disk)


async def test_a_name_that_was_not_synced_is_synced_before_it_is_built_upon() -> None:
    disk = SimDisk()
    disk.fault = lambda call, path: (
        FAIL if (call, path) == ("sync-directory", LOG) and FIRST in disk.entries(LOG) else ""
    )
    with pytest.raises(OSError, match="simulated"):
        open_sim(disk)
    disk.fault = lambda call, path: ""
    disk.restart()
    await filled(disk, 10)
    disk.directories[LOG].dirty.clear()  # at a power loss, nothing of the journal comes through
    disk.lose_power()
    assert len(await reopened(disk)) == 10


async def test_a_log_cut_at_a_frames_end_is_refused_for_its_checkpoint() -> None:
    disk = SimDisk()
    await filled(disk, 30)
    at = frame_starts(disk)[2]
    file_of(disk).truncate(at)
    with pytest.raises(Corrupt, match="vouches for 30 records, 20 are readable"):
        open_sim(disk)


async def test_a_rewritten_past_is_refused_for_its_checkpoint() -> None:
    disk, other = SimDisk(), SimDisk()
    await filled(disk, 20)
    async with running(open_sim(other)) as log:
        for first in (0, 10):
            await log.append_many([draft(n + 100) for n in range(first, first + 10)])
    # Every CRC and every root is right, only it is another past.
    file_of(disk).cache[:] = file_of(other).cache
    with pytest.raises(Corrupt, match="not the one that the checkpoint signed"):
        open_sim(disk)


async def test_a_forged_checkpoint_is_refused() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    note = disk.directories[LOG].cache["checkpoint"].cache
    note[note.index(b"\n") + 1] ^= 1
    with pytest.raises(Corrupt, match="checkpoint"):
        open_sim(disk)


async def test_a_segment_that_is_missing_is_named() -> None:
    disk = SimDisk()
    await filled(disk, 60, segment_bytes_max=1500)
    del disk.directories[LOG].cache[names(disk)[1]]
    with pytest.raises(Corrupt, match="the segment ends with seq 10, the next begins with 20"):
        open_sim(disk)


async def test_unproven_frames_are_rewritten_before_anything_else() -> None:
    disk = SimDisk()
    await unclean(disk, 20, 20)
    with open_sim(disk) as log:
        assert log.durable_size == 40
    assert names(disk) == [FIRST, "00000000000000000020.evl"]
    disk.lose_power()
    assert await reopened(disk) == [draft(n).payload for n in range(40)]


async def test_a_segment_with_nothing_proven_is_replaced_whole() -> None:
    disk = SimDisk()
    await unclean(disk, 0, 20)
    assert len(await reopened(disk)) == 20
    assert names(disk) == [FIRST]


async def test_what_a_failed_sync_left_readable_is_made_durable_on_reopening() -> None:
    """The heart of fail-closed: readable pages that are not on the disk must not be built upon."""
    disk = SimDisk()
    await filled(disk, 10)
    log = open_sim(disk)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        disk.fault = lambda call, path: FAIL if call == "datasync" and path.endswith(".evl") else ""
        with pytest.raises(LogFailed, match="disk failed"):
            await log.append_many([draft(n) for n in range(10, 20)])
        with pytest.raises(LogFailed):
            await log.append_many([draft(99)])
        assert log.durable_size == 10
        nursery.cancel_scope.cancel()
    log.close()
    disk.fault = lambda call, path: ""
    disk.restart()  # the process died, the machine did not: the pages are readable, and clean
    async with running(open_sim(disk)) as log:
        await log.append_many([draft(20)])
    disk.lose_power()
    assert await reopened(disk) == [draft(n).payload for n in range(21)]


@pytest.mark.parametrize("fault", [FAIL, FAIL_PERSISTED])
async def test_a_recovery_that_fails_at_any_step_is_done_again(fault: str) -> None:
    """Table over every I/O step of an opening with a torn tail and unproven frames: failed, or failed but persisted."""
    step = 0
    while True:
        disk = SimDisk()
        await unclean(disk, 20, 20)
        file_of(disk).write(len(file_of(disk).cache), b"\x83\x58\x50EVLF torn")
        calls = 0

        def nth(call: str, path: str, wanted: int = step) -> str:
            nonlocal calls
            calls += 1
            return fault if calls == wanted + 1 else ""

        disk.fault = nth
        try:
            open_sim(disk).close()
        except OSError:
            pass
        else:
            if calls <= step:
                break
        disk.fault = lambda call, path: ""
        disk.lose_power()
        found = await reopened(disk)
        assert found[:20] == [draft(n).payload for n in range(20)], step
        # The 20 behind the checkpoint were acknowledged before the crash: synced, so they are there too.
        assert found[20:40] == [draft(n).payload for n in range(20, 40)], step
        step += 1
    assert step > 15


# -- where segments meet ----------------------------------------------------------------------------------------------


async def three_segments() -> SimDisk:
    disk = SimDisk()
    await filled(disk, 60, segment_bytes_max=2600)
    assert len(names(disk)) == 3
    return disk


def blank(content: bytearray, at: int) -> None:
    content[at:] = bytes(len(content) - at)


def flip_payload(content: bytearray, at: int) -> None:
    content[at + 300] ^= 1


def flip_root(content: bytearray, at: int) -> None:
    """Another root, every CRC right: only the next segment's frontier tells."""
    content[at + 47] ^= 1
    head = content[at : at + 79]
    salt = decode_segment_head(bytes(content))[0].salt
    content[at + 79 : at + 83] = crc32(head, salt).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (blank, "there is no frame here"),
        (flip_payload, "fails its CRC"),
        (flip_root, "the tree after seq 20 is not the one that the next segment begins with"),
    ],
)
async def test_a_sealed_segment_that_ends_otherwise_than_the_next_begins_is_refused(
    damage: Callable[[bytearray, int], None], what: str
) -> None:
    disk = await three_segments()
    at = frame_starts(disk)[-1]
    damage(file_of(disk).cache, at)
    before = bytes(file_of(disk).cache)
    with pytest.raises(Corrupt, match=what) as refused:
        open_sim(disk)
    assert refused.value.path.endswith(FIRST)
    assert bytes(file_of(disk).cache) == before


async def test_an_index_that_leads_astray_at_the_end_is_made_anew() -> None:
    disk = await three_segments()
    path = FIRST.replace(".evl", ".idx")
    good = bytes(file_of(disk, path).cache)
    index = indexes.decode(good, 0)
    forged = FrameIndex(index.find(0).offset, 0)
    forged.add(0, 15, index.find(10).offset - index.find(0).offset + 7)
    forged.add(15, 5, index.end_bytes - forged.end_bytes)
    file_of(disk, path).cache[:] = indexes.encode(forged)
    with open_sim(disk) as log:
        assert [log.record(seq).payload for seq in range(60)] == [draft(n).payload for n in range(60)]
    assert bytes(file_of(disk, path).cache) == good


async def test_of_a_large_last_frame_only_the_head_is_read() -> None:
    """A start must stay short: whether its records are whole is an audit's to say."""
    disk = SimDisk()
    async with running(open_sim(disk, segment_bytes_max=400_000)) as log:
        for number in range(2):
            await log.append_many([draft(number, 1_000)] * 300)
    assert len(names(disk)) == 2
    content = file_of(disk).cache
    content[-1] ^= 1
    open_sim(disk).close()
    content[frame_starts(disk)[-1] + 10] ^= 1
    with pytest.raises(Corrupt, match=r"there is no frame here|fails its CRC"):
        open_sim(disk)
