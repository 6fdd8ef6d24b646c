"""Reading: every piece checked, every record found, every flaw named with file and byte."""

import random

import pytest

from eventlog.disk.segments import SegmentFile, Segments
from eventlog.errors import Absent, Corrupt
from eventlog.limits import READ_BYTES
from eventlog.record import Draft
from tests.eventlog.logs import NOW_NS, draft, filled, open_sim, running
from tests.sim.disk import SimDisk

LOG = "/data/log"


async def test_any_record_is_read_alone_across_segments() -> None:
    disk = SimDisk()
    await filled(disk, 100, batch=7, segment_bytes_max=1500)
    segments = Segments.found(disk, LOG)
    assert len(segments) > 5
    for seq in random.Random(0).sample(range(105), 105):
        assert segments.record(seq).payload == draft(seq).payload
    assert segments.payloads([3, 99, 4]) == [draft(3).payload, draft(99).payload, draft(4).payload]
    segments.close()
    for seq in (-1, 105):
        with pytest.raises(Absent):
            segments.record(seq)


async def test_a_range_is_read_from_and_to_any_seq() -> None:
    disk = SimDisk()
    await filled(disk, 50, segment_bytes_max=1500)
    segments = Segments.found(disk, LOG)
    for start in range(0, 50, 3):
        for stop in range(start, 51, 4):
            seqs = [record.seq for records in segments.pieces(start, stop) for record in records]
            assert seqs == list(range(start, stop))


async def test_frames_larger_than_a_piece_are_read_whole() -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([Draft("a.b", bytes(READ_BYTES // 2), NOW_NS + n) for n in range(5)])
        assert [record.seq for records in log.read(0) for record in records] == list(range(5))


async def test_a_lost_index_is_rebuilt_and_a_wrong_one_ignored() -> None:
    disk = SimDisk()
    await filled(disk, 50, segment_bytes_max=1500)
    names = disk.directories[LOG].cache
    indexes = [name for name in names if name.endswith(".idx")]
    del names[indexes[0]]
    names[indexes[1]].cache[50] ^= 1
    names[indexes[2]] = names[indexes[3]]
    segments = Segments.found(disk, LOG)
    assert [segments.record(seq).seq for seq in range(50)] == list(range(50))


async def test_bit_rot_is_found_by_a_single_read_too() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    content = disk.directories[LOG].cache["00000000000000000000.evl"].cache
    content[content.index(draft(4).payload) + 19] ^= 1
    segments = Segments.found(disk, LOG)
    assert segments.record(3).payload == draft(3).payload
    with pytest.raises(Corrupt, match="record 4 does not match its commitment"):
        segments.record(4)
    with pytest.raises(Corrupt, match=r"evl: byte \d+: the frame at seq 0 fails its CRC"):
        list(segments.pieces(0, 10))


async def test_roots_are_known_where_frames_end() -> None:
    disk = SimDisk()
    async with running(open_sim(disk, segment_bytes_max=1500)) as log:
        roots = {0: log.root}
        for first in range(0, 40, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
            roots[first + 10] = log.root
    segments = Segments.found(disk, LOG)
    for size in range(41):
        assert segments.root_at(size) == roots.get(size)


async def test_a_file_under_another_segments_name_is_corrupt() -> None:
    disk = SimDisk()
    await filled(disk, 10)
    names = disk.directories[LOG].cache
    names["00000000000000000007.evl"] = names["00000000000000000000.evl"]
    with pytest.raises(Corrupt, match="says it begins with seq 0"):
        SegmentFile(disk, LOG, 7).head()
