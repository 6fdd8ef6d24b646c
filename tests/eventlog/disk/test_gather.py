"""Many payloads at once: the same as one by one, with fewer reads, and a flaw is named as one alone would name it."""

import random

import pytest

from eventlog.disk.segments import Segments
from eventlog.errors import Absent, Corrupt
from eventlog.limits import GAP_BYTES_MAX
from eventlog.record import Draft
from tests.eventlog.logs import NOW_NS, draft, filled, open_sim, running
from tests.sim.disk import SimDisk

LOG = "/data/log"


async def test_many_at_once_are_what_they_are_one_by_one_in_the_order_asked_for() -> None:
    disk = SimDisk()
    await filled(disk, 200, batch=17, segment_bytes_max=4000)
    segments, dice = Segments.found(disk, LOG), random.Random(1)
    for count in (1, 2, 5, 50, 200):
        seqs = dice.choices(range(200), k=count)
        assert segments.payloads(seqs) == [draft(seq).payload for seq in seqs]
    assert segments.payloads([]) == []
    with pytest.raises(Absent):
        segments.payloads([3, 205])


async def test_neighbours_take_one_read_and_what_lies_apart_takes_its_own() -> None:
    disk = SimDisk()
    async with running(open_sim(disk)) as log:
        await log.append_many([Draft("a.b", bytes(GAP_BYTES_MAX // 2), NOW_NS + n) for n in range(40)])
        segments, reads = log.store.segments, 0
        read = disk.read

        def counted(fd: int, size: int, offset: int) -> bytes:
            nonlocal reads
            reads += 1
            return read(fd, size, offset)

        disk.read = counted  # type: ignore[method-assign]
        for seqs, expected in [(range(40), 2), ([0, 1, 3], 2), ([0, 20], 3), ([39], 2)]:
            segments.payloads(list(seqs))
            assert reads == expected, seqs
            reads = 0


async def test_bit_rot_among_many_is_named_as_in_one() -> None:
    disk = SimDisk()
    await filled(disk, 20, batch=20)
    (name,) = [name for name in disk.directories[LOG].cache if name.endswith(".evl")]
    file = disk.directories[LOG].cache[name].cache
    at = bytes(file).index(draft(7).payload)
    file[at] ^= 1
    segments = Segments.found(disk, LOG)
    with pytest.raises(Corrupt, match="record 7 does not match its commitment"):
        segments.payloads(range(20))
    assert segments.payloads([6, 8]) == [draft(6).payload, draft(8).payload]
