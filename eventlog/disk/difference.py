"""Where two copies of a log part, and what differs: two data directories, or one and an export.

Most of it is not read. A tree's root at a size stands for every record before it, so the last place where two logs
agree is found by bisecting over what they both say of sizes: the frontiers at which segments begin, then the roots in
the heads of frames; only between the last common size with one root and the next with two are records compared.
Payloads are under no root; where both have a frame alike but for its CRC, one was erased, or is not what its root says.
Roots and CRCs are believed here as they stand: whether a log's bytes are what they say is for an audit to find.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from os.path import isdir, join
from typing import cast

import msgspec
from msgspec import structs

from eventlog import frame as frames
from eventlog.checkpoint import verifier_key
from eventlog.disk.archive import ArchiveDisk
from eventlog.disk.durable import Disk, RealDisk
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.disk.tiles import leaves
from eventlog.errors import Corrupt
from eventlog.index import Place
from eventlog.origin import Origin
from eventlog.record import Record


class Side(msgspec.Struct, frozen=True):
    """One of the two: where it is, who it is, and its segments."""

    path: str
    disk: Disk
    origin: Origin
    segments: Segments

    @property
    def first_seq(self) -> int:
        """The first record that is there."""
        return self.segments[0].first_seq if len(self.segments) else 0

    @property
    def end_seq(self) -> int:
        """The seq after the last record."""
        return self.segments.end_seq


class OtherLog(msgspec.Struct, frozen=True, tag="other log"):
    """They are not copies of one log: by name and key (as signed-note tools write them), or time of creation."""

    a: str
    b: str


class OtherBeginning(msgspec.Struct, frozen=True, tag="begins elsewhere"):
    """Retention took more from one than from the other."""

    a: int
    b: int


class Parted(msgspec.Struct, frozen=True, tag="parted"):
    """From record ``seq`` on they are different logs: one of them was rewritten."""

    seq: int


class Changed(msgspec.Struct, frozen=True, tag="record"):
    """A record that differs, as each has it; None where one ends before."""

    seq: int
    a: Record | None
    b: Record | None


class Erased(msgspec.Struct, frozen=True, tag="erased"):
    """A record whose payload only one of them still has."""

    seq: int
    kind: str
    erased_in: str


class Longer(msgspec.Struct, frozen=True, tag="longer"):
    """One goes on where the other ends."""

    longer: str
    seq: int
    records: int


Difference = OtherLog | OtherBeginning | Parted | Changed | Erased | Longer


def open_side(path: str) -> Side | None:
    """Open a data directory or an export for comparing; None where there is no log. Close its segments when done."""
    disk, directory = (cast("Disk", RealDisk()), path) if isdir(path) else (cast("Disk", ArchiveDisk(path)), "")
    origin = read_origin(disk, directory)
    if origin is None:
        return None
    return Side(path, disk, origin, Segments.found(disk, join(directory, LOG_DIRECTORY)))


def differences(a: Side, b: Side, records_max: int) -> Iterator[Difference]:
    """Give what differs, in the order of the log; at most ``records_max`` records where they part. Raises Corrupt."""
    if a.origin != b.origin:
        yield OtherLog(*(verifier_key(one.origin.name, one.origin.public_key) for one in (a, b)))
        return
    if a.first_seq != b.first_seq:
        yield OtherBeginning(a.first_seq, b.first_seq)
    start, stop = max(a.first_seq, b.first_seq), min(a.end_seq, b.end_seq)
    parted = _parted(a, b, start, stop) if start < stop else None
    yield from _unlike(a, b, start, stop if parted is None else parted, max(records_max, 1))
    if parted is not None:
        yield Parted(parted)
        yield from _changed(a, b, parted, records_max)
    elif a.end_seq != b.end_seq:
        longer = "a" if a.end_seq > b.end_seq else "b"
        yield Longer(longer, stop, abs(a.end_seq - b.end_seq))


def _parted(a: Side, b: Side, start: int, stop: int) -> int | None:
    """Find the first record that differs, or None."""
    heads = {file.first_seq: file.head().frontier for file in a.segments}
    shared = {file.first_seq: file for file in b.segments if start < file.first_seq < stop}
    sizes = sorted(shared.keys() & heads.keys())
    same, other = _bisected(sizes, lambda size: heads[size] == shared[size].head().frontier)
    low, high = (start if same is None else same), (stop if other is None else other)
    ends = _ends(a, low, high) & _ends(b, low, high)
    same, other = _bisected(sorted(ends), lambda size: a.segments.root_at(size) == b.segments.root_at(size))
    if other is None and high in ends:
        return None
    low, high = (low if same is None else same), (high if other is None else other)
    rows = (chain.from_iterable(leaves(side.segments, low, high)) for side in (a, b))
    return next((seq for seq, (one, two) in enumerate(zip(*rows, strict=True), low) if one != two), None)


def _bisected(sizes: Sequence[int], agree: Callable[[int], bool]) -> tuple[int | None, int | None]:
    """Give the last of the sizes at which they agree, and the first at which they do not; they never agree again."""
    at = bisect_right(sizes, False, key=lambda size: not agree(size))
    return (sizes[at - 1] if at else None), (sizes[at] if at < len(sizes) else None)


def _places(side: Side, start: int, stop: int) -> Iterator[tuple[SegmentFile, Place]]:
    for file in side.segments:
        seq, end = max(start, file.first_seq), min(stop, file.index.end_seq)
        while seq < end:
            place = file.index.find(seq)
            yield file, place
            seq = place.first_seq + place.count


def _ends(side: Side, start: int, stop: int) -> set[int]:
    ends = {place.first_seq + place.count for _, place in _places(side, start, stop)}
    return {end for end in ends if start < end <= stop}


def _unlike(a: Side, b: Side, start: int, stop: int, records_max: int) -> Iterator[Erased | Changed]:
    """Compare records where frames are not alike; most are, and then only their heads are read.

    Under one root two records that both have a payload are the same, or somebody set a CRC right.
    """
    told = 0
    alike = {place.first_seq: (place.count, _head(b, file, place)) for file, place in _places(b, start, stop)}
    for file, place in _places(a, start, stop):
        if alike.get(place.first_seq) == (place.count, _head(a, file, place)):
            continue
        low, high = max(place.first_seq, start), min(place.first_seq + place.count, stop)
        for one, two in zip(_records(a, low, high), _records(b, low, high), strict=True):
            if (one.payload is None) != (two.payload is None) and _leaf(one) == _leaf(two):
                yield Erased(one.seq, one.kind, "a" if one.payload is None else "b")
            elif one != two and told < records_max:
                told += 1
                yield Changed(one.seq, one, two)


def _leaf(record: Record) -> Record:
    return structs.replace(record, payload=None)


def _head(side: Side, file: SegmentFile, place: Place) -> tuple[int, int]:
    fd = side.disk.open(file.path)
    try:
        head = frames.decode_head(side.disk.read(fd, frames.HEAD_BYTES, place.offset), 0, file.head().salt)
    except Corrupt as flaw:
        raise flaw.at(file.path, place.offset) from None
    finally:
        side.disk.close(fd)
    return head.body_bytes, head.body_crc


def _records(side: Side, start: int, stop: int) -> Iterator[Record]:
    return chain.from_iterable(side.segments.pieces(start, min(stop, side.end_seq)))


def _changed(a: Side, b: Side, start: int, records_max: int) -> Iterator[Changed]:
    stop = start + records_max
    for one, two in zip_longest(_records(a, start, stop), _records(b, start, stop)):
        if one != two:
            some = one or two
            assert some is not None
            yield Changed(some.seq, one, two)
