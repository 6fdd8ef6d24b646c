"""Auditing a log's files, without its lock: on a stopped server's data or a running one's, never writing.

Level ``crc`` checks every frame's CRCs, order and shape. Level ``audit`` recomputes the Merkle tree from the leaves,
holds it against every frame's root, every segment's frontier and the signed checkpoint, and every payload against its
commitment. A segment carries the tree's frontier, so each is audited by itself, and sealed ones in parallel.
Bytes behind the last frame of the last segment are not damage: a commit in flight, or what a crash left.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import pairwise
from os.path import join

import msgspec

from eventlog import frame as frames
from eventlog import segment
from eventlog.checkpoint import Checkpoint
from eventlog.disk.durable import Disk, RealDisk
from eventlog.disk.recovery import read_checkpoint
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.merkle import Tree
from eventlog.origin import Origin
from eventlog.segment import Refuse


class Finding(msgspec.Struct, frozen=True):
    """Damage: where, and what is wrong."""

    path: str
    offset: int
    what: str


class SegmentReport(msgspec.Struct, frozen=True):
    """One segment as it was found: seqs, counts, how the tree stands at its end, and what is wrong with it."""

    path: str
    first_seq: int
    end_seq: int
    frames: int
    good_bytes: int
    file_bytes: int
    start_frontier: tuple[bytes, ...]
    end_frontier: tuple[bytes, ...]
    end_root: bytes
    checkpoint_root: bytes | None  # the tree's root where the checkpoint's size lies, if it does within
    findings: tuple[Finding, ...]


class Report(msgspec.Struct, frozen=True):
    """A log as it was found. It is whole where ``findings`` is empty; ``torn_bytes`` stand behind the last frame."""

    origin: str
    records: int
    frames: int
    segments: int
    file_bytes: int
    root: bytes
    checkpoint_size: int
    torn_bytes: int
    findings: tuple[Finding, ...]


class Task(msgspec.Struct, frozen=True):
    """What a worker needs to audit one segment."""

    directory: str
    first_seq: int
    tree: bool
    checkpoint_size: int
    last: bool


def verify(
    directory: str,
    *,
    tree: bool,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
    kept: Checkpoint | None = None,
) -> Report | None:
    """Verify the log under a data directory; None if there is none. ``progress`` is told the bytes read so far.

    ``kept`` is a checkpoint from elsewhere (its signature checked by whoever hands it in) that the log must contain.
    """
    disk = RealDisk()
    origin = read_origin(disk, directory)
    if origin is None:
        return None
    log_directory = join(directory, LOG_DIRECTORY)
    checkpoint, findings = _checkpoint(disk, log_directory, origin)
    if kept is not None and kept.size >= checkpoint.size:
        checkpoint = kept
    # The checkpoint was read first: on a running server the segments only grow meanwhile.
    files = list(Segments.found(disk, log_directory))
    tasks = [Task(log_directory, file.first_seq, tree, checkpoint.size, last=file is files[-1]) for file in files]
    reports = _run(tasks, jobs, progress or (lambda _: None))
    findings += [finding for report in reports for finding in report.findings]
    findings += _row_findings(reports, origin, tree=tree)
    findings += _checkpoint_findings(reports, checkpoint, log_directory, tree=tree)
    last = reports[-1] if reports else None
    return Report(
        origin.name,
        last.end_seq if last else 0,
        sum(report.frames for report in reports),
        len(reports),
        sum(report.file_bytes for report in reports),
        last.end_root if last else Tree().root(),
        checkpoint.size,
        last.file_bytes - last.good_bytes if last else 0,
        tuple(findings),
    )


def _checkpoint(disk: Disk, directory: str, origin: Origin) -> tuple[Checkpoint, list[Finding]]:
    try:
        return read_checkpoint(disk, directory, origin.name, origin.public_key), []
    except Corrupt as flaw:
        return Checkpoint(origin.name, 0, Tree().root()), [Finding(flaw.path, flaw.offset, flaw.what)]


def _run(tasks: Sequence[Task], jobs: int, progress: Callable[[int], None]) -> list[SegmentReport]:
    done, reports = 0, []
    if jobs < 2 or len(tasks) < 2:
        for report in map(verify_segment, tasks):
            reports.append(report)
            done += report.file_bytes
            progress(done)
        return reports
    with ProcessPoolExecutor(min(jobs, len(tasks))) as pool:
        for report in pool.map(verify_segment, tasks):
            reports.append(report)
            done += report.file_bytes
            progress(done)
    return reports


def verify_segment(task: Task) -> SegmentReport:
    """Verify one segment to its first flaw; runs in a worker process."""
    file = SegmentFile(RealDisk(), task.directory, task.first_seq)
    try:
        file_bytes, head = file.file_bytes(), file.head()
    except (Corrupt, OSError) as flaw:
        what = flaw.what if isinstance(flaw, Corrupt) else str(flaw)
        findings = (Finding(file.path, 0, what),)
        return SegmentReport(file.path, task.first_seq, task.first_seq, 0, 0, 0, (), (), b"", None, findings)
    walk = _Walk(file, head, task)
    finding = walk.run(file_bytes)
    return SegmentReport(
        file.path,
        task.first_seq,
        walk.seq,
        walk.frames,
        walk.at,
        file_bytes,
        head.frontier,
        walk.tree.frontier(),
        walk.root,
        walk.checkpoint_root,
        (finding,) if finding is not None else (),
    )


class _Walk:
    """One pass over a segment."""

    def __init__(self, file: SegmentFile, head: segment.Head, task: Task) -> None:
        self.file, self.head, self.task = file, head, task
        self.seq, self.at, self.frames = head.first_seq, file.head_bytes, 0
        self.tree = Tree(head.first_seq, head.frontier)
        self.root = self.tree.root()
        self.checkpoint_root = self.root if task.checkpoint_size == self.seq else None

    def run(self, file_bytes: int) -> Finding | None:
        """Walk to the end or to the first flaw; a torn tail is none."""
        try:
            for _, found in self.file.pieces(self.at, file_bytes):
                for frame in found:
                    self._frame(frame)
        except Corrupt as flaw:
            return self._judge(flaw, file_bytes)
        return None

    def _frame(self, frame: Frame) -> None:
        head = frame.head
        if head.first_seq != self.seq:
            raise Corrupt(f"a frame begins with seq {head.first_seq}, not {self.seq}", self.file.path, self.at)
        try:
            self._records(frame)
        except Corrupt as flaw:
            raise flaw if flaw.path else flaw.at(self.file.path, self.at) from None
        self.seq, self.root = head.end_seq, head.root
        self.at += head.frame_bytes
        self.frames += 1
        if self.seq == self.task.checkpoint_size:
            self.checkpoint_root = head.root

    def _records(self, frame: Frame) -> None:
        records = frame.records()
        if not self.task.tree:
            return
        self.tree.extend(frame.leaves(records))
        if self.tree.root() != frame.head.root:
            raise Corrupt(f"the tree's root after seq {frame.head.end_seq} is not what the frame says")
        for record in records:
            if record.payload is None:
                raise Corrupt(f"record {record.seq} has no payload, and no record says that it was erased")
            if sha256(record.payload).digest() != record.commitment:
                raise Corrupt(f"record {record.seq} does not match its commitment")

    def _judge(self, flaw: Corrupt, file_bytes: int) -> Finding | None:
        fd = self.file.disk.open(self.file.path)
        try:
            tail = self.file.disk.read(fd, file_bytes - self.at, self.at)
        finally:
            self.file.disk.close(fd)
        later = frames.evidence(tail, self.head.salt, self.seq)
        verdict = segment.judge_tail(
            good_bytes=self.at,
            file_bytes=file_bytes,
            last=self.task.last,
            later_frame=None if later is None else self.at + later,
            size=self.seq,
            checkpoint_size=self.task.checkpoint_size,
        )
        return Finding(self.file.path, self.at, flaw.what) if isinstance(verdict, Refuse) else None


def _row_findings(reports: Sequence[SegmentReport], origin: Origin, *, tree: bool) -> list[Finding]:
    found: list[Finding] = []
    for before, after in pairwise(reports):
        if before.findings or after.findings:
            continue
        if before.end_seq != after.first_seq:
            what = f"the segment ends with seq {before.end_seq}, the next begins with {after.first_seq}"
            found.append(Finding(before.path, before.good_bytes, what))
        elif tree and before.end_frontier != after.start_frontier:
            found.append(Finding(after.path, 0, f"{origin.name}: the frontier is not where the segment before ended"))
    return found


def _checkpoint_findings(
    reports: Sequence[SegmentReport], checkpoint: Checkpoint, directory: str, *, tree: bool
) -> list[Finding]:
    if any(report.findings for report in reports):
        return []  # what is unreadable was named; that the rest is then missing goes without saying
    path = join(directory, "checkpoint")
    size = reports[-1].end_seq if reports else 0
    if size < checkpoint.size:
        return [Finding(path, 0, f"the checkpoint vouches for {checkpoint.size} records, {size} are there")]
    roots = {report.checkpoint_root for report in reports if report.checkpoint_root is not None}
    if tree and checkpoint.size and roots != {checkpoint.root}:
        return [Finding(path, 0, f"the first {checkpoint.size} records are not those that the checkpoint signed")]
    return []
