"""One pass over one segment: what an audit finds in it, to its first flaw. Runs in a worker process.

A segment's head carries the tree's frontier, so each is audited by itself; what ties them together (`Passage` begins
where the one before ended, what excuses a missing payload stands in a later segment) is `audit`'s to check. So a
`Passage` is a value: it crosses processes, and can be kept for an audit that goes on later.
Nothing here trusts the index beside a segment: the frames are walked, and the index is held against them.
"""

import os
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from os.path import join

import msgspec

from eventlog import frame as frames
from eventlog import index as indexes
from eventlog import segment
from eventlog.disk.durable import RealDisk, read_part, read_whole
from eventlog.disk.segments import INDEX_BYTES_MAX, SegmentFile
from eventlog.disk.tilecheck import TileCheck
from eventlog.disk.views import no_collections
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.index import FrameIndex
from eventlog.inspection import inspect
from eventlog.merkle import Tree
from eventlog.record import Record
from eventlog.segment import Refuse


class Finding(msgspec.Struct, frozen=True):
    """Damage, or a word about what is none: where, and what."""

    path: str
    offset: int
    what: str


Findings = tuple[Finding, ...]


class Task(msgspec.Struct, frozen=True):
    """What a worker needs to audit one segment; ``watched`` are the sizes at which the tree's root is wanted."""

    directory: str
    first_seq: int
    origin: str
    salt: int
    tree: bool
    checkpoint_size: int
    watched: tuple[int, ...]
    last: bool
    tiles: bool = False


class Identity(msgspec.Struct, frozen=True):
    """What makes a file the one that was read; the change time is the kernel's own."""

    size: int
    inode: int
    modified_ns: int
    changed_ns: int


def identity(path: str) -> Identity | None:
    """Tell which file is under ``path`` now; None where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return Identity(found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


class Passage(msgspec.Struct, frozen=True):
    """One segment as it was found: seqs, counts, how the tree stands at its end, and what is wrong with it.

    ``missing`` are the seqs of records without a payload, by kind, eight bytes each (a segment may have many); ``own``
    are the records that the log wrote of itself. ``notes`` are about what is derived and mended by itself.
    """

    path: str
    identity: Identity | None
    first_seq: int
    end_seq: int
    frames: int
    good_bytes: int
    file_bytes: int
    start_frontier: tuple[bytes, ...]
    end_frontier: tuple[bytes, ...]
    end_root: bytes
    roots: dict[int, bytes]
    missing: dict[str, bytes]
    own: tuple[Record, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    tile_flaws: tuple[Finding, ...] = ()

    def absent(self) -> Iterator[tuple[str, int]]:
        """Give kind and seq of every record without a payload."""
        for kind, packed in self.missing.items():
            seqs = array("Q")
            seqs.frombytes(packed)
            for seq in seqs:
                yield kind, seq


def verify_segment(task: Task) -> Passage:
    """Verify one segment to its first flaw. Where it was replaced meanwhile (an erasure), once more from the start."""
    while True:
        path = join(task.directory, segment.name_of(task.first_seq))
        before = identity(path)
        with no_collections():
            passage = _verify(SegmentFile(RealDisk(), task.directory, task.first_seq), task, before)
        after = identity(path)
        if before is None or after is None or before.inode == after.inode:
            return passage


def _verify(file: SegmentFile, task: Task, before: Identity | None) -> Passage:
    try:
        file_bytes, head = file.file_bytes(), file.head()
        _demand_of_log(file, head, task)
    except (Corrupt, OSError) as flaw:
        what = flaw.what if isinstance(flaw, Corrupt) else str(flaw)
        findings = (Finding(file.path, 0, what),)
        return Passage(
            file.path, before, task.first_seq, task.first_seq, 0, 0, 0, (), (), b"", {}, {}, (), findings, ()
        )
    return _Walk(file, head, task).run(file_bytes, before)


def _demand_of_log(file: SegmentFile, head: segment.Head, task: Task) -> None:
    if head.origin != task.origin or head.salt != task.salt:
        what = f"the segment is of another log, {head.origin}, or the log's origin file was changed"
        raise Corrupt(what, file.path, 0)


class _Walk:
    """The pass: one frame after another is held against the tree, its records against their commitments."""

    def __init__(self, file: SegmentFile, head: segment.Head, task: Task) -> None:
        self.file, self.head, self.task = file, head, task
        self.index = FrameIndex(file.head_bytes, head.first_seq)
        self.tree = Tree(head.first_seq, head.frontier)
        self.root = self.tree.root()
        self.roots = {head.first_seq: self.root} if head.first_seq in task.watched else {}
        self.missing: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))
        self.own: list[Record] = []
        self.tiles = TileCheck(head.first_seq)

    def run(self, file_bytes: int, before: Identity | None) -> Passage:
        """Walk to the end or to the first flaw; a torn tail is none."""
        finding = None
        try:
            for _, found in self.file.pieces(self.index.end_bytes, file_bytes):
                for frame in found:
                    self._frame(frame)
        except Corrupt as flaw:
            finding = self._judge(flaw, file_bytes)
        findings: Findings = () if finding is None else (finding,)
        notes: Findings = ()
        if not findings and not self.task.last:
            findings, notes = index_findings(self.file, self.index)
        flaws: Findings = ()
        if not findings and self.task.tiles:
            found_flaws = self.tiles.flaws(self.file.disk, self.task.directory, self.task.checkpoint_size)
            flaws = tuple(Finding(path, 0, what) for path, what in found_flaws)
        return Passage(
            self.file.path,
            before,
            self.head.first_seq,
            self.index.end_seq,
            len(self.index),
            self.index.end_bytes,
            file_bytes,
            self.head.frontier,
            self.tree.frontier(),
            self.root,
            self.roots,
            {kind: seqs.tobytes() for kind, seqs in self.missing.items()},
            tuple(self.own),
            findings,
            notes,
            flaws,
        )

    def _frame(self, frame: Frame) -> None:
        head, index = frame.head, self.index
        try:
            self._check(frame)
        except Corrupt as flaw:
            raise flaw if flaw.path else flaw.at(self.file.path, index.end_bytes) from None
        self.root = head.root
        index.add(head.first_seq, head.count, head.frame_bytes)
        if head.end_seq in self.task.watched:
            self.roots[head.end_seq] = head.root

    def _check(self, frame: Frame) -> None:
        if frame.head.first_seq != self.index.end_seq:
            raise Corrupt(f"a frame begins with seq {frame.head.first_seq}, not {self.index.end_seq}")
        if self.task.tree:
            self._records(frame)
        else:
            frame.items()

    def _records(self, frame: Frame) -> None:
        found = inspect(frame)
        head = frame.head
        within = [size - head.first_seq for size in self.task.watched if head.first_seq < size < head.end_seq]
        for start, end in pairwise([0, *sorted(within), head.count]):
            new = self.tree.extend(found.leaves[start:end])
            if self.task.tiles:
                self.tiles.add(new)
            if end < head.count:
                self.roots[head.first_seq + end] = self.tree.root()
        if self.tree.root() != head.root:
            raise Corrupt(f"the tree's root after seq {head.end_seq} is not what the frame says")
        for kind, seq in found.missing:
            self.missing[kind].append(seq)
        self.own += found.own

    def _judge(self, flaw: Corrupt, file_bytes: int) -> Finding | None:
        at = self.index.end_bytes
        tail = read_part(self.file.disk, self.file.path, at, file_bytes - at)
        later = frames.evidence(tail, self.head.salt, self.index.end_seq)
        verdict = segment.judge_tail(
            good_bytes=at,
            file_bytes=file_bytes,
            last=self.task.last,
            later_frame=None if later is None else at + later,
            size=self.index.end_seq,
            checkpoint_size=self.task.checkpoint_size,
        )
        return Finding(self.file.path, at, flaw.what) if isinstance(verdict, Refuse) else None


def index_findings(file: SegmentFile, walked: FrameIndex) -> tuple[Findings, Findings]:
    """Hold the index file beside a sealed segment against the frames: (findings, notes).

    One that cannot be read, or is of another length of the segment, is rebuilt by whoever reads: a note. One that
    passes its CRC and leads elsewhere would be believed: that is damage.
    """
    path = file.index_path
    data = read_whole(file.disk, path, INDEX_BYTES_MAX)
    if data is None or data == indexes.encode(walked):
        return (), ()
    try:
        believed = indexes.decode(data, file.first_seq).end_bytes == walked.end_bytes
    except Corrupt:
        believed = False
    if believed:
        what = "the index leads to other places than the frames are at; remove it: it is rebuilt from its segment"
        return (Finding(path, 0, what),), ()
    return (), (Finding(path, 0, "the index is not its segment's; it is derived, and rebuilt by whoever reads it"),)


def unlike(passages: Sequence[Passage], *, tree: bool) -> list[Finding]:
    """Name where a segment does not begin as the one before it ended."""
    found: list[Finding] = []
    for before, after in pairwise(passages):
        if before.findings or after.findings:
            continue
        if before.end_seq != after.first_seq:
            what = f"the segment ends with seq {before.end_seq}, the next begins with {after.first_seq}"
            found.append(Finding(before.path, before.good_bytes, what))
        elif tree and before.end_frontier != after.start_frontier:
            found.append(Finding(after.path, 0, "the frontier is not where the segment before ended"))
    return found
