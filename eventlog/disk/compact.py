"""Making the log's files fewer: short segments put together, and what retention takes removed.

    snapshots of the views ─▶ state file (not done) ─▶ log.retained records ─▶ segments dropped or rewritten ─▶ done
Invariant: nothing goes before the record that says so is durable and a signed checkpoint covers it, and a state that is
not done is carried out again at the next start, to the same end. Putting segments together changes no byte of a frame:
the first one's file is replaced, whole and synced, before those that it took in are removed; recovery removes what a
crash left of them. The open segment is never touched. Blocking parts run in a thread; the row of segments is changed in
the log's own thread.
This module must not know views, or what the operator wants: rules and positions come in.
"""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from os.path import join
from typing import Protocol

from eventlog import chronicle, retention
from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.erase import rewrite_segment
from eventlog.disk.recovery import remove_segments, seal
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import Store
from eventlog.disk.writer import Hop
from eventlog.frame import Frame
from eventlog.index import FrameIndex
from eventlog.record import Draft
from eventlog.retention import Census, State, expiring, steps
from eventlog.tile import WIDTH


class Compactable(Protocol):
    """What this needs of an open log."""

    @property
    def store(self) -> Store: ...

    async def append_many(self, drafts: Sequence[Draft]) -> int: ...


def take_census(file: SegmentFile) -> Census:
    """Count what a segment holds; blocks while it is read whole (a quarter of a second for 64 MiB)."""
    payload_bytes: Counter[str] = Counter()
    youngest_ns = 0
    for _, found in file.pieces_from(file.first_seq):
        for frame in found:
            youngest_ns = max(youngest_ns, frame.head.time_ns)
            for record in frame.records():
                payload_bytes[record.kind] += len(record.payload or b"")
                youngest_ns = max(youngest_ns, record.ts_ns)
    return Census(file.first_seq, file.index.end_seq, file.file_bytes(), youngest_ns, dict(payload_bytes))


def reach(store: Store) -> int:
    """Give the seq that nothing may go beyond: a signed checkpoint covers it, and no tile is to be made of what is
    below it."""
    return min(store.signed.size, store.tiles.settled // WIDTH * WIDTH)


def write_state(disk: Disk, directory: str, state: State) -> None:
    """Write down what retention took, or is about to take."""
    durable.replace(disk, join(directory, retention.FILE), retention.encode(state))


async def retain(
    log: Compactable, before: State, after: State, censuses: Mapping[int, Census], *, now_ns: int, hop: Hop
) -> list[int]:
    """Carry out what was planned (`eventlog.retention.plan`); give the first seqs of the segments that were changed.

    ``censuses`` are by first seq; a segment without one is rewritten if it lies below what is to go. Raises LogFailed,
    OSError or Corrupt, or is cancelled: then what is left to do is done by the next call, from the state file.
    """
    store = log.store
    disk, directory = store.disk, store.segments.directory
    assert max([after.first_seq, *after.below.values()]) <= reach(store), "a checkpoint and the tiles cover what goes"
    await hop(lambda: write_state(disk, directory, after))
    for entry in steps(before, after):
        await log.append_many([chronicle.draft(entry, now_ns)])
    dropped = [file for file, end_seq in _sealed(store.segments) if end_seq <= after.first_seq]
    await _let_out(log, dropped, hop)
    changed = [file for file, end_seq in _sealed(log.store.segments) if _due(file, end_seq, after, censuses)]
    for file in changed:
        await hop(partial(rewrite_segment, disk, file, expiring(after, file.head().salt)))
        log.store.segments.let_go(file.first_seq)
    await hop(lambda: write_state(disk, directory, State(after.first_seq, after.below, done=True)))
    return [file.first_seq for file in (*dropped, *changed)]


def _due(file: SegmentFile, end_seq: int, state: State, censuses: Mapping[int, Census]) -> bool:
    census = censuses.get(file.first_seq)
    if census is None:
        return any(seq >= end_seq for seq in state.below.values())
    return retention.due(census, state)


def _sealed(segments: Segments) -> list[tuple[SegmentFile, int]]:
    """List the segments that grow no more, each with the seq after its last record."""
    return [(file, after.first_seq) for file, after in pairwise(segments)]


async def _let_out(log: Compactable, files: Sequence[SegmentFile], hop: Hop) -> None:
    """Take segments out of the row, then remove their files; a log that was reopened meanwhile has a new row."""
    if not files:
        return
    disk, gone = log.store.disk, {file.first_seq for file in files}
    log.store.segments.let_out(gone)
    await hop(lambda: remove_segments(disk, files))
    log.store.segments.let_out(gone)


def groups(sizes: Sequence[tuple[int, int]], bytes_max: int, age_ns_max: int | None = None) -> list[range]:
    """Say which neighbours to put together: those that fit into ``bytes_max``, as ranges of places.

    ``sizes`` are bytes and the beginning's time of all segments in order, the open one last, which is left alone.
    ``age_ns_max``: no group spans more time than this, so that nothing expires later for the company it is in; where
    the clock was set back, from the earliest beginning on.
    """
    found, start, total, began_ns = list[range](), 0, 0, sizes[0][1] if sizes else 0
    for at, (size, time_ns) in enumerate(sizes[:-1]):
        began_ns = min(began_ns, time_ns)
        too_long = age_ns_max is not None and sizes[at + 1][1] - began_ns > age_ns_max
        if at > start and (total + size > bytes_max or too_long):
            found.append(range(start, at))
            start, total, began_ns = at, 0, time_ns
        total += size
    found.append(range(start, max(len(sizes) - 1, 0)))
    return [group for group in found if len(group) > 1]


def plan_merges(segments: Segments, bytes_max: int, age_ns_max: int | None = None) -> list[list[SegmentFile]]:
    """Find the segments to put together (`groups`)."""
    files = list(segments)
    sizes = [(file.file_bytes(), file.head().time_ns) for file in files]
    return [[files[at] for at in group] for group in groups(sizes, bytes_max, age_ns_max)]


async def merge(log: Compactable, group: Sequence[SegmentFile], hop: Hop) -> None:
    """Put neighbouring segments that grow no more into the first one's file. OSError or Corrupt: all is as it was.

    Every frame's CRC is checked on the way. Cancelled: what was done stands, what a cut-off step left, the next start
    removes.
    """
    disk, first, rest = log.store.disk, group[0], group[1:]
    index = FrameIndex(first.head_bytes, first.first_seq)
    await hop(lambda: _stage(disk, group, index))
    store = log.store
    await hop(lambda: _take_over(disk, first, index))
    _reindex(log.store.segments, first, index)
    await _let_out(log, rest, hop)
    assert log.store is store or _reindex(log.store.segments, first, index)


def _stage(disk: Disk, group: Sequence[SegmentFile], index: FrameIndex) -> None:
    # Closed here, not when somebody gets to it: what they hold open is a disk's.
    with closing(_joined(disk, group, index)) as parts:
        durable.stage(disk, group[0].path, parts)


def _joined(disk: Disk, group: Sequence[SegmentFile], index: FrameIndex) -> Generator[bytes, None, None]:
    first = group[0]
    fd = disk.open(first.path)
    try:
        yield disk.read(fd, first.head_bytes, 0)
    finally:
        disk.close(fd)
    for file in group:
        with closing(file.pieces_from(file.first_seq)) as pieces:
            for _, found in pieces:
                yield _noted(found, index)


def _noted(found: Sequence[Frame], index: FrameIndex) -> bytes:
    for frame in found:
        index.add(frame.head.first_seq, frame.head.count, frame.head.frame_bytes)
    return b"".join(frame.raw() for frame in found)


def _take_over(disk: Disk, first: SegmentFile, index: FrameIndex) -> None:
    first.take_over(index)
    durable.settle(disk, first.path.rpartition("/")[0])
    seal(disk, first, index)


def _reindex(segments: Segments, first: SegmentFile, index: FrameIndex) -> bool:
    """Have the row read the first segment by its new places, also a row that was made while it was written."""
    for file in segments:
        if file.first_seq == first.first_seq:
            file.index = index
            segments.let_go(file.first_seq)
    return True
