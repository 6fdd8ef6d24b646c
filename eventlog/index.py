"""Where each frame of a segment begins: what random access bisects, and the ``.idx`` file beside a sealed segment.

An index holds nothing that its segment does not say: it is thrown away and rebuilt whenever in doubt.

    "EVLX" | version u32 | segment bytes u64 | end seq u64 | frames u64
    | first seqs, u64 each | offsets, u64 each | CRC-32
"""

from array import array
from bisect import bisect_right
from struct import Struct
from sys import byteorder
from zlib import crc32

import msgspec

from eventlog.errors import Corrupt

SUFFIX = ".idx"
_HEAD = Struct(">4sIQQQ")
HEAD_BYTES = _HEAD.size
_MAGIC, _VERSION = b"EVLX", 1


class Place(msgspec.Struct, frozen=True, gc=False):
    """A frame's place: its offset in the file, its first seq, and how many records it holds."""

    offset: int
    first_seq: int
    count: int


class FrameIndex:
    """The frames of one segment: `add` them in order, `find` the one that holds a seq."""

    __slots__ = ("_firsts", "_offsets", "end_bytes", "end_seq")

    def __init__(self, end_bytes: int, end_seq: int) -> None:
        """Begin with no frame: ``end_bytes`` is where the first one goes, ``end_seq`` its first seq."""
        self._firsts, self._offsets = array("Q"), array("Q")
        self.end_bytes, self.end_seq = end_bytes, end_seq

    def __len__(self) -> int:
        return len(self._firsts)

    def add(self, first_seq: int, count: int, frame_bytes: int) -> None:
        """Take in the next frame. A reader in another thread sees the offset before the seq that leads to it."""
        assert first_seq == self.end_seq, (first_seq, self.end_seq)
        self._offsets.append(self.end_bytes)
        self._firsts.append(first_seq)
        self.end_bytes += frame_bytes
        self.end_seq += count

    def find(self, seq: int) -> Place:
        """Find the frame that holds ``seq``, which must be within."""
        at = bisect_right(self._firsts, seq) - 1
        assert at >= 0, seq
        assert seq < self.end_seq, seq
        return self._place(at)

    def ending_at(self, seq: int) -> Place | None:
        """Find the frame whose last record is the one before ``seq``, or None if no frame ends there."""
        at = bisect_right(self._firsts, seq - 1) - 1
        place = self._place(at) if at >= 0 and seq <= self.end_seq else None
        return place if place is not None and place.first_seq + place.count == seq else None

    def _place(self, at: int) -> Place:
        first = self._firsts[at]
        end = self._firsts[at + 1] if at + 1 < len(self._firsts) else self.end_seq
        return Place(self._offsets[at], first, end - first)


def encode(index: FrameIndex) -> bytes:
    """Write an index down."""
    head = _HEAD.pack(_MAGIC, _VERSION, index.end_bytes, index.end_seq, len(index))
    body = head + _big_endian(index._firsts) + _big_endian(index._offsets)  # noqa: SLF001 - its own codec
    return body + crc32(body).to_bytes(4, "big")


def decode(data: bytes, first_seq: int) -> FrameIndex:
    """Read an index back; Corrupt if it is not one, whole, that begins with ``first_seq``."""
    if len(data) < HEAD_BYTES + 4 or crc32(data[:-4]).to_bytes(4, "big") != data[-4:]:
        raise Corrupt("an index fails its CRC")
    magic, version, end_bytes, end_seq, frames = _HEAD.unpack_from(data)
    if (magic, version) != (_MAGIC, _VERSION) or len(data) != HEAD_BYTES + 16 * frames + 4:
        raise Corrupt("an index is not of this release")
    index = FrameIndex(end_bytes, end_seq)
    middle = HEAD_BYTES + 8 * frames
    index._firsts, index._offsets = _native(data[HEAD_BYTES:middle]), _native(data[middle:-4])  # noqa: SLF001
    if frames and index._firsts[0] != first_seq:  # noqa: SLF001
        raise Corrupt("an index belongs to another segment")
    return index


def _big_endian(numbers: "array[int]") -> bytes:
    copy = array("Q", numbers)
    if byteorder == "little":
        copy.byteswap()
    return copy.tobytes()


def _native(data: bytes) -> "array[int]":
    numbers = array("Q")
    numbers.frombytes(data)
    if byteorder == "little":
        numbers.byteswap()
    return numbers
