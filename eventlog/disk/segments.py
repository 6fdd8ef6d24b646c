"""The log's segment files, read: from a seq on, piece by piece, or one record at a time.

Shared by the log itself and by whoever only looks (audits on a running server's data). Sequential reads check every
frame's CRC; a record read alone is checked against its own commitment. What fails is `Corrupt`, with file and byte.
Files are never written here; each `piece` opens its own descriptor, so it may be called from a thread, while `stored`
keeps some open and belongs to one thread. A segment may be rewritten under its readers (`SegmentFile.take_over`):
a descriptor and the index that belongs to it are always taken together, so that nobody reads one by the other's places.
"""

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Collection, Generator, Iterator, Sequence
from hashlib import sha256
from itertools import chain
from os.path import join
from struct import Struct

from eventlog import frame as frames
from eventlog import index as indexes
from eventlog import segment
from eventlog.disk import gather
from eventlog.disk.durable import TEMPORARY, Disk, read_whole
from eventlog.errors import Absent, Corrupt, Removed, Torn
from eventlog.frame import Frame
from eventlog.index import FrameIndex, Place
from eventlog.limits import OPEN_SEGMENTS_MAX, READ_BYTES, READ_RECORDS, SEGMENT_HEAD_BYTES_MAX
from eventlog.merkle import EMPTY_ROOT, Tree
from eventlog.record import Record, decode

_TWO_ENDS = Struct(">II")
INDEX_BYTES_MAX = 64 * 1024 * 1024  # a segment of nothing but one-record frames of no payload stays far below


class SegmentFile:
    """One segment: its head, and where its frames begin."""

    def __init__(self, disk: Disk, directory: str, first_seq: int) -> None:
        self.disk = disk
        self.first_seq = first_seq
        self.path = join(directory, segment.name_of(first_seq))
        self.index_path = self.path.removesuffix(segment.SUFFIX) + indexes.SUFFIX
        self._head: tuple[segment.Head, int] | None = None
        self._index: FrameIndex | None = None
        self._swap = threading.RLock()  # held for microseconds, save while an index is first read or built

    def head(self) -> segment.Head:
        """Read the head item, once."""
        return self._opening()[0]

    @property
    def head_bytes(self) -> int:
        """Where the first frame begins."""
        return self._opening()[1]

    def _opening(self) -> tuple[segment.Head, int]:
        if self._head is None:
            start = read_whole(self.disk, self.path, SEGMENT_HEAD_BYTES_MAX + 16)
            try:
                self._head = segment.decode_head(start or b"")
            except Corrupt as flaw:
                raise flaw.at(self.path, 0) from None
            if self._head[0].first_seq != self.first_seq:
                raise Corrupt(f"the segment says it begins with seq {self._head[0].first_seq}", self.path, 0)
        return self._head

    @property
    def index(self) -> FrameIndex:
        """The frames' places: from the ``.idx`` file if it is whole and fits, else from the frames' heads."""
        with self._swap:
            if self._index is None:
                self._index = self._stored_index() or self.index_frames()[0]
            return self._index

    @index.setter
    def index(self, index: FrameIndex) -> None:
        self._index = index

    def opened(self) -> tuple[int, FrameIndex]:
        """Open the file: a descriptor, for the caller to close, and the index of just these bytes."""
        with self._swap:
            index = self.index
            fd = self.disk.open(self.path)
            if self.disk.size(fd) >= index.end_bytes:
                return fd, index
            self.disk.close(fd)
            self._index = None  # another process rewrote the file since its index was read
            return self.disk.open(self.path), self.index

    def take_over(self, index: FrameIndex) -> None:
        """Put the file that was staged for this one in its place; not durable until the directory is synced."""
        with self._swap:
            self.disk.rename(self.path + TEMPORARY, self.path)
            self._index = index

    def _stored_index(self) -> FrameIndex | None:
        data = read_whole(self.disk, self.index_path, INDEX_BYTES_MAX)
        if data is None:
            return None
        try:
            index = indexes.decode(data, self.first_seq)
        except Corrupt:
            return None  # derived data: rebuilt from the segment
        return index if index.end_bytes == self.file_bytes() else None

    def file_bytes(self) -> int:
        """Give the file's size as it is now."""
        fd = self.disk.open(self.path)
        try:
            return self.disk.size(fd)
        finally:
            self.disk.close(fd)

    def index_frames(self) -> tuple[FrameIndex, Corrupt | None]:
        """Walk from head to head; stops at the first byte that is none, and says why (bodies are not checked)."""
        head, at = self._opening()
        index = FrameIndex(at, head.first_seq)
        fd = self.disk.open(self.path)
        try:
            file_bytes = self.disk.size(fd)
            while at < file_bytes:
                found = frames.decode_head(self.disk.read(fd, frames.HEAD_BYTES, at), 0, head.salt)
                _check_follows(found, index.end_seq, file_bytes - at)
                index.add(found.first_seq, found.count, found.frame_bytes)
                at += found.frame_bytes
        except Corrupt as flaw:
            return index, flaw.at(self.path, at)
        finally:
            self.disk.close(fd)
        return index, None

    def pieces(self, at: int, stop: int) -> Iterator[tuple[int, list[Frame]]]:
        """Read frames from byte ``at`` to ``stop``: (offset, frames) by the piece; Corrupt at the first bad one."""
        fd = self.disk.open(self.path)
        try:
            yield from self._pieces(fd, at, stop)
        finally:
            self.disk.close(fd)

    def pieces_from(self, seq: int) -> Generator[tuple[int, list[Frame]], None, None]:
        """Read frames from the one that holds ``seq`` to the last: (offset, frames) by the piece; Corrupt."""
        fd, index = self.opened()
        try:
            yield from self._pieces(fd, index.find(seq).offset, index.end_bytes)
        finally:
            self.disk.close(fd)

    def _pieces(self, fd: int, at: int, stop: int) -> Iterator[tuple[int, list[Frame]]]:
        salt = self.head().salt
        wanted = READ_BYTES
        while at < stop:
            data = self.disk.read(fd, min(wanted, stop - at), at)
            if not data:
                raise Torn(f"the file ends before byte {stop}", self.path, at)
            found = frames.split(data, salt)
            if not found.frames and isinstance(found.flaw, Torn) and stop - at > len(data) == wanted:
                wanted = _room_for(data, salt)
                continue
            if found.frames:
                yield at, found.frames
            at += found.used
            if found.flaw is not None and (not isinstance(found.flaw, Torn) or not found.frames):
                raise found.flaw.at(self.path, at)


def _room_for(start: bytes, salt: int) -> int:
    """Say how much to read at a time where one read did not take the first frame: its size and a bit, as the next ones
    will be of that size too."""
    return frames.decode_head(start, 0, salt).frame_bytes * 9 // 8


def _check_follows(head: frames.Head, seq: int, bytes_left: int) -> None:
    if head.first_seq != seq:
        raise Corrupt(f"a frame begins with seq {head.first_seq}, not {seq}")
    if head.frame_bytes > bytes_left:
        raise Torn(f"the frame at seq {seq} is cut off")


def _gathered(found: list[Frame]) -> Iterator[list[Frame]]:
    """Put small frames together: handing over costs, and so does holding more records than a core's cache does."""
    some: list[Frame] = []
    count = 0
    for frame in found:
        some.append(frame)
        count += frame.head.count
        if count >= READ_RECORDS:
            yield some
            some, count = [], 0
    if some:
        yield some


class Segments:
    """All segments of a log in order, as one row of records."""

    def __init__(self, disk: Disk, directory: str, files: Sequence[SegmentFile]) -> None:
        self.disk, self.directory = disk, directory
        # Both lists change together, and readers in threads take both at once: what changes more than their end puts
        # new ones in their place.
        self._row = (list(files), [file.first_seq for file in files])
        self._changing = threading.Lock()
        # first seq -> descriptor and the index of its bytes, least recently used first
        self._open: OrderedDict[int, tuple[int, FrameIndex]] = OrderedDict()

    @classmethod
    def found(cls, disk: Disk, directory: str) -> "Segments":
        """List the segments in a directory."""
        seqs = [segment.first_seq_of(name) for name in disk.entries(directory)]
        return cls(
            disk, directory, [SegmentFile(disk, directory, seq) for seq in sorted(s for s in seqs if s is not None)]
        )

    def __len__(self) -> int:
        return len(self._row[0])

    def __iter__(self) -> Iterator[SegmentFile]:
        return iter(self._row[0])

    def __getitem__(self, at: int) -> SegmentFile:
        return self._row[0][at]

    def add(self, file: SegmentFile) -> None:
        """Take in the next segment."""
        with self._changing:
            files, firsts = self._row
            files.append(file)
            firsts.append(file.first_seq)

    def let_out(self, gone: Collection[int]) -> None:
        """Take segments out of the row, by their first seqs; in the thread that reads single records.

        Either retention dropped them, or what they hold now stands in the segment before them, which was taken over
        already. Their files are to be removed only after this.
        """
        with self._changing:
            files = [file for file in self._row[0] if file.first_seq not in gone]
            self._row = (files, [file.first_seq for file in files])
        for first_seq in gone:
            self.let_go(first_seq)

    @property
    def first_seq(self) -> int:
        """The seq of the first record that is still there: 0, or where retention cut."""
        files, _ = self._row
        return files[0].first_seq if files else 0

    @property
    def end_seq(self) -> int:
        """The seq after the last record in the files, durable or not."""
        files, _ = self._row
        return files[-1].index.end_seq if files else 0

    def _holding(self, seq: int) -> SegmentFile:
        files, firsts = self._row
        at = bisect_right(firsts, seq) - 1
        if at < 0 and files and seq >= 0:
            raise Removed(seq, firsts[0])
        if at < 0 or seq >= files[at].index.end_seq:
            raise Absent(f"there is no record {seq}")
        return files[at]

    def pieces(self, start: int, stop: int) -> Iterator[list[Record]]:
        """Read the records from ``start`` up to ``stop``, some at a time; each piece but the last ends with a frame.

        Removed where ``start`` is below what retention left, Absent where it is beyond the end, or Corrupt.
        """
        while start < stop:
            file, began = self._holding(start), start
            for records in self._file_pieces(file, start, stop):
                start = records[-1].seq + 1
                yield records
            if start == began and self._holding(start) is file:
                raise Corrupt(f"the segment ends before seq {start}", file.path, file.index.end_bytes)

    def _file_pieces(self, file: SegmentFile, start: int, stop: int) -> Iterator[list[Record]]:
        """Read one segment; it ends early where its file was put into another one's meanwhile."""
        try:
            for at, found in file.pieces_from(start):
                for some in _gathered(found):
                    records = self._decoded(file, at, some)
                    first, end = records[0].seq, records[-1].seq + 1
                    if first < start or end > stop:
                        records = records[max(start - first, 0) : stop - first]
                    if records:
                        yield records
                    if end >= stop:
                        return
        except FileNotFoundError:
            if self._holding(start) is file:
                raise

    def piece(self, start: int, stop: int) -> list[Record]:
        """Read the next piece alone; safe in a thread."""
        return next(self.pieces(start, stop))

    def _decoded(self, file: SegmentFile, at: int, found: list[Frame]) -> list[Record]:
        try:
            if len(found) == 1:
                return found[0].records()
            return list(chain.from_iterable(frame.records() for frame in found))
        except Corrupt as flaw:
            raise flaw.at(file.path, at) from None

    def stored(self, seq: int) -> bytes:
        """Read one record's stored bytes, unchecked; Absent if there is none."""
        file = self._holding(seq)
        fd, index = self._opened(file)
        place = index.find(seq)
        table = place.offset + frames.HEAD_BYTES + 5
        position = seq - place.first_seq
        if position:
            start, end = _TWO_ENDS.unpack(self.disk.read(fd, 8, table + 4 * position - 4))
        else:
            start, end = 0, int.from_bytes(self.disk.read(fd, 4, table), "big")
        return self.disk.read(fd, end - start, table + 4 * place.count + 3 + start)

    def record(self, seq: int) -> Record:
        """Read one record, checked against its own commitment; Absent or Corrupt."""
        file = self._holding(seq)
        record = decode(seq, self.stored(seq))
        if record.payload is not None and sha256(record.payload).digest() != record.commitment:
            raise Corrupt(f"record {seq} does not match its commitment", file.path, file.index.find(seq).offset)
        return record

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        """Read some records' payloads, each checked against its commitment; None where gone. Absent or Corrupt."""
        found: dict[int, bytes | None] = {}
        wanted = sorted({seq for seq in seqs if seq >= self.first_seq})
        at = 0
        while at < len(wanted):
            file = self._holding(wanted[at])
            fd, index = self._opened(file)
            place = index.find(wanted[at])
            end = bisect_left(wanted, place.first_seq + place.count, at)
            of_frame = gather.payloads(self.disk, fd, place, wanted[at:end])
            found.update(of_frame or {seq: self.record(seq).payload for seq in wanted[at:end]})
            at = end
        return [found.get(seq) for seq in seqs]

    def root_at(self, size: int) -> bytes | None:
        """Give the tree's root after ``size`` records if a frame ends there, else None."""
        files, firsts = self._row
        at = bisect_right(firsts, size - 1) - 1
        if at < 0 and files and size == firsts[0]:
            head = files[0].head()
            return Tree(head.first_seq, head.frontier).root()
        if at < 0:
            return EMPTY_ROOT if size == 0 else None
        file = files[at]
        fd, index = self._opened(file)
        place = index.ending_at(size)
        return self._frame_head(file, fd, place).root if place is not None else None

    def _frame_head(self, file: SegmentFile, fd: int, place: Place) -> frames.Head:
        data = self.disk.read(fd, frames.HEAD_BYTES, place.offset)
        try:
            return frames.decode_head(data, 0, file.head().salt)
        except Corrupt as flaw:
            raise flaw.at(file.path, place.offset) from None

    def _opened(self, file: SegmentFile) -> tuple[int, FrameIndex]:
        found = self._open.get(file.first_seq)
        if found is None:
            if len(self._open) >= OPEN_SEGMENTS_MAX:
                self.disk.close(self._open.popitem(last=False)[1][0])
            found = self._open[file.first_seq] = file.opened()
        self._open.move_to_end(file.first_seq)
        return found

    def let_go(self, first_seq: int) -> None:
        """Close what is open of a segment that was rewritten: until then the owner reads its former bytes."""
        found = self._open.pop(first_seq, None)
        if found is not None:
            self.disk.close(found[0])

    def close(self) -> None:
        """Close what is open; nothing is lost by it."""
        while self._open:
            self.disk.close(self._open.popitem()[1][0])
