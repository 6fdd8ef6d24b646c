"""Auditing a log's files, without its lock: on a stopped server's data or a running one's, never writing.

Level ``crc`` checks every frame's CRCs, order and shape. Level ``audit`` recomputes the Merkle tree from the leaves,
holds it against every frame's root, every segment's frontier, the signed checkpoint and those kept elsewhere, and
every payload against its commitment; one that is missing must be excused by a `log.erased` or `log.retained` record,
wherever in the log that stands. Each segment is a `Passage` of its own, sealed ones in parallel. What stands beside
them is held against them (`companions`).
Bytes behind the last frame of the last segment are not damage: a commit in flight, or what a crash left.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext, suppress
from itertools import chain
from multiprocessing import get_context
from os.path import join

import msgspec

from eventlog import origin as origins
from eventlog.checkpoint import Checkpoint
from eventlog.chronicle import Excused, entry_of
from eventlog.disk import companions
from eventlog.disk.companions import Claim
from eventlog.disk.durable import Disk, RealDisk
from eventlog.disk.passage import Finding, Passage, Task, unlike, verify_segment
from eventlog.disk.recovery import CHECKPOINT_FILE, read_checkpoint
from eventlog.disk.resumption import Resumption
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.disk.tilecheck import Tiled, has_tiles, root_of
from eventlog.errors import Absent, Corrupt
from eventlog.merkle import Tree
from eventlog.origin import Origin
from eventlog.record import Record

_FINDINGS_MAX = 100  # of one sort: whoever erased a million payloads is found out by the first hundred


class Kept(msgspec.Struct, frozen=True):
    """A checkpoint kept elsewhere, and where; its signature was checked by whoever hands it in."""

    path: str
    checkpoint: Checkpoint


class Report(msgspec.Struct, frozen=True):
    """A log as it was found. It is whole where ``findings`` is empty; ``torn_bytes`` stand behind the last frame.

    ``erased`` counts the records without a payload, each excused; ``resumed`` the segments taken over from an earlier
    run; ``notes`` are about what is derived and mends itself.
    """

    origin: str
    first_seq: int
    end_seq: int
    frames: int
    segments: int
    file_bytes: int
    root: bytes
    checkpoint_size: int
    torn_bytes: int
    erased: int
    resumed: int
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    @property
    def records(self) -> int:
        """How many records are there."""
        return self.end_seq - self.first_seq


def verify(
    directory: str,
    *,
    tree: bool,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
    kept: Sequence[Kept] = (),
    resume: str | None = None,
) -> Report | None:
    """Verify the log under a data directory; None if there is none. ``progress`` is told the bytes read so far.

    ``resume`` names a file, not of this log's directory, that keeps what was done if this is cut off.
    Raises Absent where segments were replaced or removed while they were read: the audit is then to be made again.
    """
    disk = RealDisk()
    log_directory = join(directory, LOG_DIRECTORY)
    try:
        origin = read_origin(disk, directory)
    except Corrupt as flaw:
        return _nameless(Finding(flaw.path, flaw.offset, flaw.what))
    if origin is None:
        return _without_origin(disk, log_directory)
    checkpoint, findings = _checkpoint(disk, log_directory, origin)
    beside = companions.look(disk, log_directory, origin, deep=tree)
    claims = [_own_claim(log_directory, checkpoint), *map(_kept_claim, kept), *beside.claims]
    # What makes a claim was read first: on a running server the segments only grow meanwhile.
    tasks = _tasks(disk, log_directory, origin, checkpoint, claims, tree=tree)
    with Resumption(resume, origin, tree=tree) if resume else nullcontext() as state:
        passages, resumed = _passages(tasks, jobs, progress or (lambda _: None), state)
    _demand_unchanged(disk, log_directory, tasks)
    findings += [finding for one in passages for finding in one.findings]
    findings += unlike(passages, tree=tree)
    notes = [note for one in passages for note in one.notes]
    if state is not None and state.ignored:
        notes.append(Finding(resume or "", 0, f"nothing was taken over from it: {state.ignored}"))
    if not findings:  # what is unreadable was named; that other things are then missing goes without saying
        findings += _unexcused(passages, log_directory) if tree else []
        tiled = Tiled(disk, log_directory, checkpoint.size) if tree and has_tiles(disk, log_directory) else None
        findings += _below(tiled, passages) if tiled is not None else []
        end_seq = passages[-1].end_seq if passages else 0
        findings += companions.disagreements(claims, _roots(tiled, passages, claims), end_seq)
        findings += _unlike_told(disk, log_directory, beside.retention, passages) if tree else []
    findings += [flaw for one in passages for flaw in one.tile_flaws]
    findings += beside.findings
    return _report(origin, checkpoint, passages, resumed=resumed, findings=findings, notes=notes)


def _without_origin(disk: Disk, directory: str) -> Report | None:
    try:
        count = len(Segments.found(disk, directory))
    except FileNotFoundError:
        return None
    what = "there are segments but no origin; put it back from a copy"
    return _nameless(Finding(join(directory, origins.FILE), 0, what)) if count else None


def _nameless(finding: Finding) -> Report:
    """Report of a log whose origin cannot be read: without it no frame's CRC means anything."""
    origin = Origin("", 0, bytes(32), 0)
    return _report(origin, Checkpoint("", 0, b""), (), resumed=0, findings=[finding], notes=())


def _checkpoint(disk: Disk, directory: str, origin: Origin) -> tuple[Checkpoint, list[Finding]]:
    try:
        return read_checkpoint(disk, directory, origin.name, origin.public_key), []
    except Corrupt as flaw:
        return Checkpoint(origin.name, 0, Tree().root()), [Finding(flaw.path, flaw.offset, flaw.what)]


def _tasks(
    disk: Disk, directory: str, origin: Origin, checkpoint: Checkpoint, claims: Sequence[Claim], *, tree: bool
) -> list[Task]:
    watched = tuple(sorted({one.size for one in claims}))
    files = list(Segments.found(disk, directory))
    tiles = tree and has_tiles(disk, directory)
    return [
        Task(
            directory,
            file.first_seq,
            origin.name,
            origin.salt,
            tree,
            checkpoint.size,
            watched,
            last=file is files[-1],
            tiles=tiles,
        )
        for file in files
    ]


def _demand_unchanged(disk: Disk, directory: str, tasks: Sequence[Task]) -> None:
    """Retention and compaction take segments away beside a reader: what it missed is not damage."""
    there = {file.first_seq for file in Segments.found(disk, directory)}
    gone = [task.first_seq for task in tasks if task.first_seq not in there]
    if gone:
        raise Absent(f"the segment at seq {gone[0]} was removed while the log was read: start again")


def _passages(
    tasks: Sequence[Task], jobs: int, progress: Callable[[int], None], state: Resumption | None
) -> tuple[list[Passage], int]:
    """Walk the segments, in order, but for those that an earlier run has done: (passages, how many of these)."""
    known = [None if state is None else state.passage(task) for task in tasks]
    fresh = _run([task for task, done in zip(tasks, known, strict=True) if done is None], jobs)
    passages: list[Passage] = []
    done_bytes = 0
    for task, done in zip(tasks, known, strict=True):
        passage = done or next(fresh)
        passages.append(passage)
        if state is not None and done is None and not task.last:
            state.add(passage)
        done_bytes += passage.file_bytes
        progress(done_bytes)
    return passages, sum(one is not None for one in known)


def _run(tasks: Sequence[Task], jobs: int) -> Iterator[Passage]:
    if jobs < 2 or len(tasks) < 2:
        yield from map(verify_segment, tasks)
        return
    # Workers begin with nothing of this process, which may have threads (a fork then copies locks that nobody will ever
    # free). They share the terminal's Ctrl-C, which is this process's to take.
    pool = ProcessPoolExecutor(
        min(jobs, len(tasks)),
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield from pool.map(verify_segment, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _unexcused(passages: Sequence[Passage], directory: str) -> list[Finding]:
    """Name what is missing without excuse. On a running server the excuse may have come after the walk: look again."""
    excused = Excused()
    for record in chain.from_iterable(passage.own for passage in passages):
        _take(excused, record)
    if not _absences(passages, excused, directory):
        return []
    segments = Segments.found(RealDisk(), directory)
    for record in chain.from_iterable(segments.pieces(passages[-1].end_seq, segments.end_seq)):
        _take(excused, record)
    return _absences(passages, excused, directory)


def _take(excused: Excused, record: Record) -> None:
    if record.payload is not None:
        excused.take(entry_of(record))


def _absences(passages: Sequence[Passage], excused: Excused, directory: str) -> list[Finding]:
    """Name the records that lack their payload though nothing in the log excuses them, and a beginning that is gone."""
    first = passages[0].first_seq if passages else 0
    if first > excused.first_seq:
        return [
            Finding(directory, 0, f"the records before {first} are gone, and no record says that they were removed")
        ]
    found: list[Finding] = []
    for passage in passages:
        for kind, seq in passage.absent():
            if Record(seq, 0, 0, kind, b"", b"", None) in excused:
                continue
            if len(found) == _FINDINGS_MAX:
                return [*found, Finding(passage.path, 0, "there are more records without a payload; not all are named")]
            what = f"record {seq} ({kind}) has no payload, and no record says that it was erased"
            found.append(Finding(passage.path, _offset(directory, passage.first_seq, seq), what))
    return found


def _offset(directory: str, first_seq: int, seq: int) -> int:
    return SegmentFile(RealDisk(), directory, first_seq).index.find(seq).offset


def _below(tiled: Tiled, passages: Sequence[Passage]) -> list[Finding]:
    """Hold the tiles of what retention removed against the first segment."""
    if not passages or not passages[0].first_seq:
        return []
    flaws = tiled.flaws_below(passages[0].first_seq, passages[0].start_frontier)
    return [Finding(path, 0, what) for path, what in flaws]


def _roots(tiled: Tiled | None, passages: Sequence[Passage], claims: Sequence[Claim]) -> dict[int, bytes]:
    """Give the tree's root at each watched size: as walked, or, of what retention removed, as its tiles say."""
    roots = {size: root for passage in passages for size, root in passage.roots.items()}
    first = passages[0].first_seq if passages else 0
    for size in {one.size for one in claims if one.size < first}:
        with suppress(Corrupt):  # named by `_below`
            if tiled is not None:
                roots[size] = root_of(tiled.frontier(size))
    return roots


def _own_claim(directory: str, checkpoint: Checkpoint) -> Claim:
    size = checkpoint.size
    beyond = f"the checkpoint vouches for {size} records, {{}} are there"
    other = f"the first {size} records are not those that the checkpoint signed"
    return Claim(join(directory, CHECKPOINT_FILE), size, checkpoint.root, beyond, other)


def _kept_claim(kept: Kept) -> Claim:
    size = kept.checkpoint.size
    beyond = f"the log was rolled back: the checkpoint vouches for {size} records, {{}} are there"
    other = f"the first {size} records are not those that this checkpoint signed: the log was forked or rewritten"
    return Claim(kept.path, size, kept.checkpoint.root, beyond, other)


def _unlike_told(disk: Disk, directory: str, before: bytes | None, passages: Sequence[Passage]) -> list[Finding]:
    own = chain.from_iterable(passage.own for passage in passages)
    return companions.unlike_told(before, companions.read_retention(disk, directory), own, directory)


def _report(
    origin: Origin,
    checkpoint: Checkpoint,
    passages: Sequence[Passage],
    *,
    resumed: int,
    findings: Sequence[Finding],
    notes: Sequence[Finding],
) -> Report:
    last = passages[-1] if passages else None
    return Report(
        origin=origin.name,
        first_seq=passages[0].first_seq if passages else 0,
        end_seq=last.end_seq if last else 0,
        frames=sum(one.frames for one in passages),
        segments=len(passages),
        file_bytes=sum(one.file_bytes for one in passages),
        root=last.end_root if last else Tree().root(),
        checkpoint_size=checkpoint.size,
        torn_bytes=last.file_bytes - last.good_bytes if last else 0,
        erased=sum(len(seqs) // 8 for one in passages for seqs in one.missing.values()),
        resumed=resumed,
        findings=tuple(findings),
        notes=tuple(notes),
    )
