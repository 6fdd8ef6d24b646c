"""Opening a log: what a crash left behind becomes a log again, or is refused. Used by every start, clean or not.

In order: finish a rewrite that a crash interrupted; hold each segment's end against the next one's beginning; scan the
last segment and recompute its tree; tell a torn tail from damage (`eventlog.segment.judge_tail`); hold the result
against the checkpoint; and rewrite, into a new segment and synced, whatever stands behind the last proven position.
That position is the checkpoint's size, or the last segment's first seq: both were written after a sync that succeeded.
Frames behind it may be pages that a failed fsync marked clean: readable now, gone at the next power loss. After a clean
stop nothing is behind it.

Every step may be cut off by another crash and is then simply done again.
"""

from collections.abc import Sequence
from itertools import pairwise
from os.path import basename, join

import msgspec

from eventlog import checkpoint as checkpoints
from eventlog import frame as frames
from eventlog import index as indexes
from eventlog import retention, segment
from eventlog.checkpoint import Checkpoint
from eventlog.chronicle import Retained, entry_of
from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.errors import Corrupt
from eventlog.index import FrameIndex
from eventlog.limits import CHECKPOINT_BYTES_MAX, SEAM_BYTES_MAX
from eventlog.merkle import Tree
from eventlog.retention import State
from eventlog.segment import Cut, Keep, Refuse

CHECKPOINT_FILE = "checkpoint"


class TornTail(msgspec.Struct, frozen=True):
    """What was cut: which file, from which byte, how many, and the name of the file that keeps them."""

    file: str
    offset: int
    size: int
    kept_as: str


class Recovered(msgspec.Struct):
    """A log that is whole, all of it durable: ``tree`` and ``epoch`` are where the next frame goes on."""

    segments: Segments
    tree: Tree
    epoch: int
    checkpoint: Checkpoint
    torn: TornTail | None


class Scan(msgspec.Struct):
    """The last segment, read whole: its good frames, the tree behind them, and the first bad byte if there is one."""

    index: FrameIndex
    tree: Tree
    epoch: int
    proven: tuple[int, tuple[bytes, ...]]  # where the proven frames end: byte, and the tree's frontier there
    proven_root: bytes
    flaw: Corrupt | None


def recover(disk: Disk, directory: str, origin: str, public_key: bytes, known: Checkpoint | None = None) -> Recovered:
    """Open the segments of a log that has at least one. Damage is Corrupt, with file, byte and the way on.

    ``known`` stands in the place of the signed checkpoint where this very process knows that more was synced.
    """
    checkpoint = known or read_checkpoint(disk, directory, origin, public_key)
    segments = Segments.found(disk, directory)
    _finish_merge(disk, segments)
    _finish_rewrite(disk, segments)
    _check_row(segments, origin)
    _check_seams(disk, segments)
    _check_beginning(disk, segments)
    last = segments[-1]
    scan = scan_segment(last, max(checkpoint.size, last.first_seq))
    torn = _settle_tail(disk, last, scan, checkpoint)
    last.index = scan.index
    _hold_against(segments, scan, checkpoint)
    if scan.index.end_seq > max(checkpoint.size, last.first_seq):
        _prove(disk, segments, scan)
    return Recovered(Segments.found(disk, directory), scan.tree, scan.epoch + 1, checkpoint, torn)


def read_checkpoint(disk: Disk, directory: str, origin: str, public_key: bytes) -> Checkpoint:
    """Read and verify the log's own checkpoint; none vouches for nothing."""
    path = join(directory, CHECKPOINT_FILE)
    return judge_checkpoint(durable.read_whole(disk, path, CHECKPOINT_BYTES_MAX), path, origin, public_key)


def judge_checkpoint(note: bytes | None, path: str, origin: str, public_key: bytes) -> Checkpoint:
    """Verify the log's own checkpoint, which was read from ``path``; none vouches for nothing."""
    if note is None:
        return Checkpoint(origin, 0, Tree().root())
    try:
        found = checkpoints.verify(note, public_key)
    except Corrupt as flaw:
        raise _refusal(flaw.what, path, 0) from flaw
    if found.origin != origin:
        raise _refusal(f"the checkpoint is of another log, {found.origin}", path, 0)
    return found


def _refusal(what: str, path: str, offset: int) -> Corrupt:
    ways = (
        "repair it from a backup or another copy (`heliograph log repair --from COPY`), or, to give up what stands "
        f"from there on, keep a copy of the directory, run `truncate -s {offset} {path}`, remove later segments and "
        "the checkpoint, and start again"
    )
    return Corrupt(f"{what}; nothing was changed. The way on: {ways}", path, offset)


def _finish_merge(disk: Disk, segments: Segments) -> None:
    """Remove segments that the one before them holds whole: a crash came while short ones were put together.

    What was put together is durable under its name before the first of them goes, and the last segment is never among
    them: a last one that the one before it holds too is `_finish_rewrite`'s, and there it is the other one that goes.
    """
    files = list(segments)
    gone: list[SegmentFile] = []
    end_seq = 0
    for file in files[:-1]:
        if file.index.end_seq <= end_seq:
            gone.append(file)
        end_seq = max(end_seq, file.index.end_seq)
    if gone:
        segments.let_out({file.first_seq for file in gone})
        remove_segments(disk, gone)


def remove_segments(disk: Disk, files: Sequence[SegmentFile]) -> None:
    """Remove segments and their indexes, the oldest first, so that what a crash leaves is still one row."""
    for file in files:
        durable.remove(disk, file.path)
        durable.remove(disk, file.index_path)


def _check_beginning(disk: Disk, segments: Segments) -> None:
    """Refuse a log whose first segments are missing and were not taken by retention."""
    first_seq = segments.first_seq
    if first_seq > read_state(disk, segments.directory).first_seq:
        raise _refusal(
            f"the log begins with record {first_seq}, and retention did not take those before", segments[0].path, 0
        )


def read_state(disk: Disk, directory: str) -> State:
    """Read what retention took of the log, from its file; where that is missing or damaged, from the log's records."""
    data = durable.read_whole(disk, join(directory, retention.FILE), retention.FILE_BYTES_MAX)
    try:
        return State() if data is None and _whole(disk, directory) else retention.decode(data or b"")
    except Corrupt:
        return _told(Segments.found(disk, directory))


def _whole(disk: Disk, directory: str) -> bool:
    return any(segment.first_seq_of(name) == 0 for name in disk.entries(directory))


def _told(segments: Segments) -> State:
    """Read the whole log for what it says of retention: minutes for a large one, and hardly ever."""
    state = State()
    for records in segments.pieces(segments.first_seq, segments.end_seq):
        for record in records:
            if record.kind == Retained.kind and isinstance(entry := entry_of(record), Retained):
                state = state.joined(entry)
    return state


def _finish_rewrite(disk: Disk, segments: Segments) -> None:
    """Cut from the last segment but one what the last one holds anew: a crash came between the two steps."""
    if len(segments) < 2:
        return
    old, new = segments[-2], segments[-1]
    if old.index.end_seq <= new.first_seq:
        return
    index, _ = old.index_frames()
    # What is in `new` was copied, synced and given its name before: it is the same frames.
    durable.cut(disk, old.path, index.find(new.first_seq).offset)
    old.index = old.index_frames()[0]


def _check_row(segments: Segments, origin: str) -> None:
    for before, after in zip(segments, list(segments)[1:], strict=False):
        if before.index.end_seq != after.first_seq or before.index.end_bytes != before.file_bytes():
            raise _refusal(
                f"the segment ends with seq {before.index.end_seq}, the next begins with {after.first_seq}",
                before.path,
                before.index.end_bytes,
            )
    for file in segments:
        if file.head().origin != origin:
            raise _refusal(f"the segment is of another log, {file.head().origin}", file.path, 0)


def _check_seams(disk: Disk, segments: Segments) -> None:
    """Refuse a segment that grows no more and does not end as the next one begins, to the tree's root.

    Of each only the last frame is read: whatever cut or blanked a file shows there. The rest is an audit's to read.
    """
    for before, after in pairwise(segments):
        root = Tree(after.first_seq, after.head().frontier).root()
        try:
            head = _last_frame(disk, before)
        except Corrupt as flaw:
            # It may be the index that leads astray, which is derived: where the segment itself is whole it is not.
            index, cut = before.index_frames()
            if cut is not None or index.end_bytes != before.index.end_bytes:
                raise _refusal(flaw.what, flaw.path, flaw.offset) from flaw
            before.index = index
            head = _last_frame(disk, before, refuse=True)
            seal(disk, before, index)
        if (head.end_seq, head.root) != (after.first_seq, root):
            what = f"the tree after seq {head.end_seq} is not the one that the next segment begins with"
            raise _refusal(what, before.path, before.index.find(after.first_seq - 1).offset)


def _last_frame(disk: Disk, file: SegmentFile, *, refuse: bool = False) -> frames.Head:
    """Check a segment's last frame, of a large one only the head; give its head."""
    fd, index = file.opened()
    try:
        place = index.find(index.end_seq - 1)
        size = index.end_bytes - place.offset
        small = size <= SEAM_BYTES_MAX
        data = disk.read(fd, size if small else frames.HEAD_BYTES, place.offset)
    finally:
        disk.close(fd)
    try:
        salt = file.head().salt
        return frames.decode(data, 0, salt).head if small else frames.decode_head(data, 0, salt)
    except Corrupt as flaw:
        raise (_refusal(flaw.what, file.path, place.offset) if refuse else flaw.at(file.path, place.offset)) from None


def scan_segment(file: SegmentFile, proven_seq: int) -> Scan:
    """Read a segment to its first bad byte, checking CRCs, order and roots; remember where ``proven_seq`` lies."""
    head = file.head()
    tree = Tree(head.first_seq, head.frontier)
    index = FrameIndex(file.head_bytes, head.first_seq)
    scan = Scan(index, tree, head.epoch, (index.end_bytes, head.frontier), tree.root(), None)
    try:
        for at, found in file.pieces(index.end_bytes, file.file_bytes()):
            offset = at
            for frame in found:
                _take(scan, frame, file.path, offset)
                offset += frame.head.frame_bytes
                if index.end_seq == proven_seq:
                    scan.proven, scan.proven_root = (offset, tree.frontier()), frame.head.root
    except Corrupt as flaw:
        scan.flaw = flaw
    return scan


def _take(scan: Scan, frame: frames.Frame, path: str, offset: int) -> None:
    head = frame.head
    if head.first_seq != scan.index.end_seq:
        raise Corrupt(f"a frame begins with seq {head.first_seq}, not {scan.index.end_seq}", path, offset)
    scan.tree.extend(frame.leaves())
    if scan.tree.root() != head.root:
        raise Corrupt(f"the tree's root after seq {head.end_seq} is not what the frame says", path, offset)
    scan.index.add(head.first_seq, head.count, head.frame_bytes)
    scan.epoch = max(scan.epoch, head.epoch)


def _settle_tail(disk: Disk, file: SegmentFile, scan: Scan, checkpoint: Checkpoint) -> TornTail | None:
    good, total = scan.index.end_bytes, file.file_bytes()
    tail = b"" if good == total else durable.read_part(disk, file.path, good, total - good)
    later = frames.evidence(tail, file.head().salt, scan.index.end_seq)
    verdict = segment.judge_tail(
        good_bytes=good,
        file_bytes=total,
        last=True,
        later_frame=None if later is None else good + later,
        size=scan.index.end_seq,
        checkpoint_size=checkpoint.size,
    )
    match verdict:
        case Keep():
            return None
        case Refuse(offset, why):
            found = f" ({scan.flaw.what})" if scan.flaw else ""
            raise _refusal(why + found, file.path, offset)
        case Cut(offset):
            kept = f"torn-{file.first_seq:020d}-{offset}.bytes"
            durable.replace(disk, join(file.path.removesuffix(basename(file.path)), kept), tail)
            durable.cut(disk, file.path, offset)
            return TornTail(basename(file.path), offset, len(tail), kept)


def _hold_against(segments: Segments, scan: Scan, checkpoint: Checkpoint) -> None:
    if checkpoint.size == 0:
        return
    last = segments[-1]
    root = scan.proven_root if checkpoint.size >= last.first_seq else segments.root_at(checkpoint.size)
    segments.close()
    if root != checkpoint.root:
        raise _refusal(
            f"the tree over the first {checkpoint.size} records is not the one that the checkpoint signed",
            last.path,
            scan.proven[0],
        )


def _prove(disk: Disk, segments: Segments, scan: Scan) -> None:
    """Write the frames behind the proven position into a segment of their own, sync it, then cut them from the old."""
    last = segments[-1]
    offset, frontier = scan.proven
    head = last.head()
    unproven = durable.read_part(disk, last.path, offset, scan.index.end_bytes - offset)
    first_seq = frames.decode_head(unproven, 0, head.salt).first_seq
    new = segment.encode_head(segment.Head(head.origin, first_seq, head.time_ns, scan.epoch, head.salt, frontier))
    # Where the last segment holds nothing proven, the new one has its name and takes its place.
    durable.replace(disk, join(segments.directory, segment.name_of(first_seq)), new + unproven)
    if first_seq != last.first_seq:
        durable.cut(disk, last.path, offset)
        seal(disk, last)


def seal(disk: Disk, file: SegmentFile, index: FrameIndex | None = None) -> None:
    """Write the index of a segment that grows no more."""
    durable.replace(disk, file.index_path, indexes.encode(index or file.index_frames()[0]))


def leftovers(names: Sequence[str]) -> list[str]:
    """Name the files that a crash left half-made: they were never part of the log."""
    return [name for name in names if name.endswith(durable.TEMPORARY)]
