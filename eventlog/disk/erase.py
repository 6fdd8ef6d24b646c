"""Erasures carried out: payloads taken out of the log's files, whatever happens in between.

    job file ─▶ the record of it ─▶ segments, one after the other ─▶ what was made from them ─▶ job file removed
Invariant: no payload goes before the record that says so is durable, and once the job file is durable the erasure will
end: a start that finds one finishes it before anything is read (`finish`). Each step may be done again. The job names
seqs and files, never whom they are about. Segments that grow no more are staged beside the old file and renamed over
it, so the open one is ended first.
This module must not know what was in the payloads, or why they go.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from os.path import dirname, join
from typing import Protocol

import cbor2
import msgspec

from eventlog import chronicle
from eventlog import frame as frames
from eventlog.chronicle import Erased, Range, erasures
from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.recovery import seal
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY, Store
from eventlog.disk.writer import Hop
from eventlog.erasure import Change, Gone, erasing, rewritten
from eventlog.errors import Corrupt
from eventlog.index import FrameIndex
from eventlog.limits import ERASURE_JOB_BYTES_MAX
from eventlog.record import Draft, Record, encode

JOB_FILE = "erasing"
VERSION = 1


class Job(msgspec.Struct, frozen=True, array_like=True):
    """An erasure under way. ``after`` was the log's size when it began: its record stands there or behind.

    ``drop`` names the files (relative to the data directory) that hold what was made from the payloads: a start that
    finds the job removes them, since it cannot know how far their remaking had come.
    """

    version: int
    after: int
    by: str
    reason: str
    what: str
    ranges: tuple[Range, ...]
    drop: tuple[str, ...]

    def entries(self) -> list[Erased]:
        """Give what the log is to record of it."""
        return erasures(self.by, self.reason, self.what, self.ranges)


class Erasable(Protocol):
    """What an erasure needs of an open log."""

    @property
    def store(self) -> Store: ...

    def read(self, start: int, stop: int | None = None) -> Iterator[list[Record]]: ...

    async def append_many(self, drafts: Sequence[Draft]) -> int: ...

    def forget_tail(self) -> None: ...


def pending(disk: Disk, directory: str) -> Job | None:
    """Read the job that was begun and has not ended, or None. Corrupt where the file is no job."""
    path = _path(directory)
    data = durable.read_whole(disk, path, ERASURE_JOB_BYTES_MAX)
    if data is None:
        return None
    try:
        job = msgspec.convert(cbor2.loads(data), type=Job)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise Corrupt("this is not an erasure's job; put it back from a copy, or remove it", path, 0) from error
    if job.version != VERSION:
        raise Corrupt(f"an erasure's job of version {job.version}: a newer release wrote it", path, 0)
    return job


def begin(disk: Disk, directory: str, job: Job) -> None:
    """Write the job down: from here on it will be carried out."""
    data = cbor2.dumps(msgspec.to_builtins(job))
    assert len(data) <= ERASURE_JOB_BYTES_MAX, len(data)
    durable.replace(disk, _path(directory), data)


def end(disk: Disk, directory: str) -> list[str]:
    """Remove what torn tails were kept aside, since they may hold anything, then the job; name those tails."""
    log_directory = join(directory, LOG_DIRECTORY)
    torn = [name for name in disk.entries(log_directory) if name.startswith("torn-") and name.endswith(".bytes")]
    for name in torn:
        durable.remove(disk, join(log_directory, name))
    durable.remove(disk, _path(directory))
    return torn


def _path(directory: str) -> str:
    return join(directory, LOG_DIRECTORY, JOB_FILE)


def rewrite(disk: Disk, segments: Segments, gone: Gone, progress: Callable[[int], None] = lambda _: None) -> list[int]:
    """Take the payloads out of every segment that holds some; give these segments' first seqs. Blocks.

    Safe beside readers and the writer: none of the segments is the open one.
    """
    files = list(segments)
    ends = [file.first_seq for file in files[1:]]
    touched = [file for file, stop in zip(files, ends, strict=False) if gone.touches(file.first_seq, stop)]
    assert not files or not gone.touches(files[-1].first_seq, 2**63), "the open segment was ended before"
    for done, file in enumerate(touched):
        rewrite_segment(disk, file, erasing(gone, file.head().salt))
        progress(done + 1)
    return [file.first_seq for file in touched]


def rewrite_segment(disk: Disk, file: SegmentFile, change: Change) -> None:
    """Put a changed segment in the place of one that grows no more: after a crash there is the old or the new one.

    Its index follows: one that does not fit the file is not believed. OSError: the old one stands.
    """
    index = FrameIndex(file.head_bytes, file.first_seq)
    opening = durable.read_whole(disk, file.path, file.head_bytes - 1)
    assert opening is not None, file.path
    with closing(file.pieces_from(file.first_seq)) as pieces:
        parts = rewritten((found for _, found in pieces), change, index)
        durable.stage(disk, file.path, chain([opening], parts))
    file.take_over(index)
    durable.settle(disk, dirname(file.path))
    seal(disk, file, index)


async def erase(
    log: Erasable,
    directory: str,
    job: Job,
    now_ns: int,
    hop: Hop,
    *,
    begun: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Carry a job out on a running log: its record, then the segments. The caller remakes what is derived, then `end`.

    ``begun``: the job file is there already. ``progress`` is told after each segment, and may raise to stop.
    Raises LogFailed, OSError or Corrupt, or is cancelled: the job is then finished by the next start, or the next call.
    """
    disk = log.store.disk
    entries = job.entries()

    def ready() -> None:
        if begun:
            entries[:] = unrecorded(entries, log.read(job.after))
        else:
            begin(disk, directory, job)

    await hop(ready)
    log.store.roll()
    # Recorded once more even where it was before: the commit is what ends the open segment.
    await log.append_many([chronicle.draft(entry, now_ns) for entry in entries or job.entries()])
    segments, touched = log.store.segments, list[int]()
    await hop(lambda: touched.extend(rewrite(disk, segments, Gone(job.ranges), progress)))
    for first_seq in touched:
        segments.let_go(first_seq)
    log.forget_tail()


def unrecorded(entries: Sequence[Erased], pieces: Iterable[Sequence[Record]]) -> list[Erased]:
    """Give those of an erasure's entries that the log does not hold yet."""
    found = {chronicle.entry_of(record) for records in pieces for record in records if record.kind == Erased.kind}
    return [entry for entry in entries if entry not in found]


def finish(disk: Disk, directory: str, store: Store, now_ns: int) -> Job | None:
    """At a start, before anything is read: end the erasure that a crash or a failure cut off. None: there is none.

    Raises OSError or Corrupt; the job is still there then.
    """
    job = pending(disk, directory)
    if job is None:
        return None
    size = store.tree.size
    for entry in unrecorded(job.entries(), store.segments.pieces(job.after, size)):
        _append(store, chronicle.draft(entry, now_ns), now_ns)
    gone = Gone(job.ranges)
    if gone.touches(store.segments[-1].first_seq, size):
        store.rotate(now_ns)
    for first_seq in rewrite(disk, store.segments, gone):
        store.segments.let_go(first_seq)
    for name in job.drop:
        durable.remove(disk, join(directory, name))
    end(disk, directory)
    return job


def _append(store: Store, draft: Draft, now_ns: int) -> None:
    """Commit one record where no writer runs yet."""
    encoded, tree = encode([draft]), store.tree
    first_seq, frontier = tree.size, tree.frontier()
    tree.extend(encoded.leaves)
    frame = frames.encode(
        encoded.stored,
        first_seq=first_seq,
        time_ns=now_ns,
        epoch=store.epoch,
        root=tree.root(),
        salt=store.origin.salt,
    )
    store.commit(frame, first_seq=first_seq, count=1, time_ns=now_ns, frontier=frontier)
