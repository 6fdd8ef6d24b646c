"""Damage made good from another copy of the same log: a backup, or another data directory.

    own good frames + the copy's frames ─▶ one row of frames ─▶ proven ─▶ damaged file kept aside ─▶ swapped
What is bad is replaced frame by frame, so records that only this log has, behind the damage, stay. A frame of either
side is taken only where it goes on from the tree before it to the root that it names, with every payload as its
commitment says. What was put together is proven against what the damage did not touch: the frontier in the head of the
next good segment, or, at the log's end, a checkpoint that the log's key signed. What the log says was erased is erased
from the copy's frames before they are taken.
Invariant: where anything is missing or unproven, nothing is changed, and the error says what is missing. The caller
holds the log's lock. This module must not know what records mean.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from os.path import join

import msgspec

from eventlog import frame as frames
from eventlog import retention, segment
from eventlog.checkpoint import Checkpoint
from eventlog.chronicle import Excused, entry_of
from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.recovery import CHECKPOINT_FILE, read_checkpoint, seal
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.erasure import without
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.limits import CHECKPOINT_BYTES_MAX
from eventlog.merkle import Tree
from eventlog.origin import Origin


class Unproven(Exception):
    """The repair was not done: the text says which records the copy lacks, or what would prove them."""


class Repaired(msgspec.Struct, frozen=True):
    """A segment that was made good: which records of it came from the copy, and the name that the old file has now."""

    path: str
    first_seq: int
    end_seq: int
    from_copy: int  # records
    kept_as: str


class _Part(msgspec.Struct):
    """One segment to be: its head, and its frames' bytes."""

    head: segment.Head
    data: list[bytes]
    end_seq: int
    from_copy: int = 0


class _Side:
    """One copy of the log: its files, and the good frames in them by first seq."""

    def __init__(self, disk: Disk, directory: str, salt: int) -> None:
        self.disk, self.directory, self.salt = disk, join(directory, LOG_DIRECTORY), salt
        self.files = list(Segments.found(disk, self.directory))

    def frames(self, first: int, stop: int | None) -> dict[int, Frame]:
        """Find the frames that pass their CRCs and begin within ``first`` to ``stop``, damage between them or not."""
        found: dict[int, Frame] = {}
        for at, file in enumerate(self.files):
            after = self.files[at + 1].first_seq if at + 1 < len(self.files) else None
            if (after is None or after > first) and (stop is None or file.first_seq < stop):
                found |= {one.head.first_seq: one for one in self.within(file)}
        return {seq: one for seq, one in found.items() if seq >= first and (stop is None or seq < stop)}

    def within(self, file: SegmentFile) -> Iterator[Frame]:
        """Read a file's good frames, searching on behind bad ones."""
        data = _whole(self.disk, file.path)
        try:
            at: int | None = segment.decode_head(data)[1]
        except Corrupt:
            at = data.find(frames.MAGIC)
        while at is not None and 0 <= at < len(data):
            # From here, so that a frame's place is right; a copy of a segment's bytes costs less than reading it did.
            found = frames.split(data[at:], self.salt)
            yield from found.frames
            last = found.frames[-1].head.first_seq if found.frames else file.first_seq - 1
            at = None if found.flaw is None else frames.search(data, at + found.used + 1, self.salt, last)


def _whole(disk: Disk, path: str) -> bytes:
    fd = disk.open(path)
    try:
        return disk.read(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)


def repair(disk: Disk, directory: str, copy: str) -> list[Repaired]:
    """Make the log under the data directory whole again from ``copy``; an empty list where nothing was damaged. Blocks.

    Raises Unproven with nothing changed, Corrupt where the identity of either side cannot be read, or OSError.
    """
    origin, anchors, note = _identity(disk, directory, copy)
    own, other = _Side(disk, directory, origin.salt), _Side(disk, copy, origin.salt)
    excused = _excused(own, other)
    assembly = _Assembly(own, other, origin, excused)
    runs = _runs(own, _first_seq(disk, own), anchors, excused)
    made = [(run, assembly.parts(run, anchors)) for run in runs]
    done = [one for run, parts in made for one in _swap(disk, own, run, parts)]
    if note is not None:
        durable.replace(disk, join(own.directory, CHECKPOINT_FILE), note)
    return done


def _identity(disk: Disk, directory: str, copy: str) -> tuple[Origin, list[Checkpoint], bytes | None]:
    """Read whose log it is, what was signed of it, and the copy's signed note where our own cannot be read."""
    origin, other = read_origin(disk, directory), read_origin(disk, copy)
    if origin is None or other is None:
        raise Unproven(f"there is no log under {directory if origin is None else copy}")
    if (origin.name, origin.public_key, origin.salt) != (other.name, other.public_key, other.salt):
        raise Unproven(f"{copy} is a copy of another log, {other.name}")
    anchors, unreadable = [], 0
    for at, one in enumerate((directory, copy)):
        try:
            anchors.append(read_checkpoint(disk, join(one, LOG_DIRECTORY), origin.name, origin.public_key))
        except Corrupt:
            unreadable += at == 0
    if not anchors:
        raise Unproven("neither the log nor the copy has a checkpoint that the log's key signed")
    path = join(copy, LOG_DIRECTORY, CHECKPOINT_FILE)
    return origin, anchors, durable.read_whole(disk, path, CHECKPOINT_BYTES_MAX) if unreadable else None


def _first_seq(disk: Disk, own: _Side) -> int:
    """Give the seq that the log should begin with, by what retention wrote down."""
    data = durable.read_whole(disk, join(own.directory, retention.FILE), retention.FILE_BYTES_MAX)
    try:
        return 0 if data is None else retention.decode(data).first_seq
    except Corrupt:
        return own.files[0].first_seq if own.files else 0


def _excused(own: _Side, other: _Side) -> Excused:
    """Gather which payloads may be missing: what our log says, and where that is damaged, what the copy says there."""
    excused, said = Excused(), set[int]()
    for side in (own, other):
        for file in side.files:
            for frame in side.within(file):
                if frame.head.first_seq in said:
                    continue
                try:
                    for record in frame.records():
                        excused.take(entry_of(record))
                except Corrupt:
                    continue  # found again, and named, where the frame is asked for
                if side is own:
                    said.add(frame.head.first_seq)
    return excused


# -- what is damaged ------------------------------------------------------------------------------------------------


class _Run(msgspec.Struct, frozen=True):
    """Records that are to be put together anew: neighbouring bad files, and what is missing between them.

    ``frontier`` is the tree's before it where a good segment says so; ``after`` the head of the good one behind it.
    """

    first: int
    stop: int | None
    files: tuple[SegmentFile, ...]
    frontier: tuple[bytes, ...] | None
    after: segment.Head | None


def _runs(own: _Side, first_seq: int, anchors: Sequence[Checkpoint], excused: Excused) -> list[_Run]:
    runs: list[_Run] = []
    seq, begin, bad = first_seq, first_seq, list[SegmentFile]()
    before: tuple[bytes, ...] | None = () if first_seq == 0 else None
    for at, file in enumerate(own.files):
        after = own.files[at + 1].first_seq if at + 1 < len(own.files) else None
        tree = _checked(file, after, own.salt, anchors, excused)
        if tree is None:
            bad.append(file)
            continue
        if bad or file.first_seq > seq:
            runs.append(_Run(begin, file.first_seq, tuple(bad), before, file.head()))
        bad = []
        seq = begin = tree.size
        before = tree.frontier()
    if bad or seq < max(one.size for one in anchors[:1]):
        runs.append(_Run(begin, None, tuple(bad), before, None))
    return runs


def _checked(
    file: SegmentFile, after: int | None, salt: int, anchors: Sequence[Checkpoint], excused: Excused
) -> Tree | None:
    """Give the tree at a good segment's end; None for a bad one. A torn tail that nothing vouches for is not bad."""
    known = {one.size: one.root for one in anchors}
    try:
        head = file.head()
        tree, at = Tree(head.first_seq, head.frontier), file.head_bytes
        found = frames.split(_whole(file.disk, file.path)[at:], salt)
        for frame in found.frames:
            tree = _gone_on(tree, frame, excused)
            if known.get(tree.size, tree.root()) != tree.root():
                return None
    except Corrupt:
        return None
    if after is not None:
        # One that ends too early, with a whole frame, is good as far as it goes: what follows is missing.
        return tree if found.flaw is None and tree.size <= after else None
    if found.flaw is not None:
        tail = _whole(file.disk, file.path)[at + found.used :]
        if frames.evidence(tail, salt, tree.size) is not None:
            return None
    return tree if tree.size >= anchors[0].size else None


def _gone_on(tree: Tree, frame: Frame, excused: Excused) -> Tree:
    """Give the tree after a frame that goes on from it; Corrupt where it does not, or a payload is not its own."""
    if frame.head.first_seq != tree.size:
        raise Corrupt(f"a frame begins with seq {frame.head.first_seq}, not {tree.size}")
    records = frame.records()
    grown = Tree(tree.size, tree.frontier())
    grown.extend(frame.leaves(records))
    if grown.root() != frame.head.root:
        raise Corrupt(f"the tree's root after seq {frame.head.end_seq} is not what the frame says")
    for record in records:
        if record.payload is None and record not in excused:
            raise Corrupt(f"record {record.seq} has no payload, and no record says that it was erased")
        if record.payload is not None and sha256(record.payload).digest() != record.commitment:
            raise Corrupt(f"record {record.seq} does not match its commitment")
    return grown


# -- putting it together --------------------------------------------------------------------------------------------


class _Assembly:
    """One run, frame by frame from whichever side has it, and its proof."""

    def __init__(self, own: _Side, other: _Side, origin: Origin, excused: Excused) -> None:
        self._own, self._other, self._origin, self._excused = own, other, origin, excused

    def parts(self, run: _Run, anchors: Sequence[Checkpoint]) -> list[_Part]:
        """Give the segments that take the run's place; Unproven where frames or a proof are missing."""
        ours, theirs = self._own.frames(run.first, run.stop), self._other.frames(run.first, run.stop)
        borders = {file.first_seq for file in (*run.files, *self._other.files)} | {run.first}
        tree = Tree(run.first, self._frontier(run))
        known, reached, taken_to, parts = {one.size: one.root for one in anchors}, set[int](), run.first, list[_Part]()
        while run.stop is None or tree.size < run.stop:
            chosen = self._next(tree, ours, theirs)
            if chosen is None:
                break
            frame, grown, copied = chosen
            if tree.size in borders:
                parts.append(self._opened(run, tree, frame))
            parts[-1].data.append(_clean(frame, self._excused, self._origin.salt) if copied else frame.raw())
            tree, taken_to = grown, grown.size if copied else taken_to
            parts[-1].end_seq = tree.size
            parts[-1].from_copy += frame.head.count if copied else 0
            if tree.size in known:
                self._hold(tree, known[tree.size])
                reached.add(tree.size)
        self._prove(run, tree, taken_to, reached, anchors)
        return parts

    def _next(self, tree: Tree, ours: dict[int, Frame], theirs: dict[int, Frame]) -> tuple[Frame, Tree, bool] | None:
        for side, copied in ((ours, False), (theirs, True)):
            frame = side.get(tree.size)
            if frame is not None:
                try:
                    return frame, _gone_on(tree, frame, self._excused), copied
                except Corrupt:
                    continue  # no good: the other side may have it
        return None

    def _frontier(self, run: _Run) -> tuple[bytes, ...]:
        """Give the tree's frontier before the run: from the segment before it, or from a head that names it."""
        if run.frontier is not None:
            return run.frontier
        for file in (*run.files, *self._other.files):
            try:
                if file.first_seq == run.first:
                    return file.head().frontier
            except Corrupt:
                continue
        raise Unproven(f"no copy says what the tree was before record {run.first}")

    def _opened(self, run: _Run, tree: Tree, frame: Frame) -> _Part:
        """Begin a segment: with the head that one of the sides has for it, else with a new one."""
        for file in (*run.files, *self._other.files):
            try:
                if file.first_seq == tree.size and file.head().frontier == tree.frontier():
                    return _Part(file.head(), [], 0)
            except Corrupt:
                continue
        head, name, salt = frame.head, self._origin.name, self._origin.salt
        return _Part(segment.Head(name, head.first_seq, head.time_ns, head.epoch, salt, tree.frontier()), [], 0)

    @staticmethod
    def _hold(tree: Tree, root: bytes) -> None:
        if tree.root() != root:
            raise Unproven(f"the tree over {tree.size} records would not be the one that was signed")

    @staticmethod
    def _prove(run: _Run, tree: Tree, taken_to: int, reached: set[int], anchors: Sequence[Checkpoint]) -> None:
        if run.stop is not None and run.after is not None:
            if tree.size < run.stop:
                raise Unproven(f"the copy lacks records {tree.size} to {run.stop - 1}, or has them damaged")
            if tree.size > run.stop or tree.frontier() != run.after.frontier:
                raise Unproven(f"what the copy has before record {run.stop} is not what this log goes on from")
            return
        own = anchors[0].size
        if tree.size < own:
            raise Unproven(f"the copy lacks records {tree.size} to {own - 1}, or has them damaged")
        if taken_to > max(reached, default=0):
            raise Unproven(f"no signed checkpoint covers records up to {taken_to - 1}, which would come from the copy")


def _clean(frame: Frame, excused: Excused, salt: int) -> bytes:
    """Give a frame of the copy without what this log erased since the copy was made."""
    gone = [one.seq for one in frame.records() if one.payload is not None and one in excused]
    return without(frame, gone, salt) if gone else frame.raw()


# -- the swap -------------------------------------------------------------------------------------------------------


def _swap(disk: Disk, own: _Side, run: _Run, parts: Sequence[_Part]) -> list[Repaired]:
    """Keep the bad files aside, then put the good ones under their names, the first one first."""
    kept = {file.first_seq: _kept_aside(disk, own.directory, file) for file in run.files}
    done = []
    for at, part in enumerate(parts):
        first_seq = part.head.first_seq
        path = join(own.directory, segment.name_of(first_seq))
        durable.stage(disk, path, [segment.encode_head(part.head), *part.data])
        disk.rename(path + durable.TEMPORARY, path)
        durable.settle(disk, own.directory)
        file = SegmentFile(disk, own.directory, first_seq)
        durable.remove(disk, file.index_path)
        if run.stop is not None or at + 1 < len(parts):
            seal(disk, file)
        done.append(Repaired(path, first_seq, part.end_seq, part.from_copy, kept.get(first_seq, "")))
    return done


def _kept_aside(disk: Disk, directory: str, file: SegmentFile) -> str:
    there = set(disk.entries(directory))
    name = next(
        one for n in range(len(there) + 1) if (one := f"torn-damaged-{file.first_seq:020d}-{n}.bytes") not in there
    )
    durable.replace(disk, join(directory, name), _whole(disk, file.path))
    return name
