"""Frames: one commit each, one CBOR item each, readable by any CBOR tool and by an eye for fixed widths.

::

    83                                  array of three
       58 50 <80 bytes>                 head, below
       5a <u32> <u32 each>              where each record ends, counted from the first one's start
       99 <u16> <record> <record> …     the records

    head, big-endian: "EVLF" | version u8 | flags u8 | count u16 | body length u32 | zero u32 | first seq u64 |
    time ns u64 | epoch u64 | tree root after this frame 32 | CRC-32 of the body | CRC-32 of the head before it

The body is everything behind the head. Both CRCs start from the log's own ``salt``, which is never published: a payload
that holds a forged frame cannot be taken for one when a damaged file is searched. They find accidents; the root finds
intent. Sans-IO: buffers come in, frames come out.
Invariant: nothing is allocated or decoded by a length that was not checked against the buffer and the limits.
"""

from collections.abc import Sequence
from itertools import accumulate
from struct import Struct, unpack_from
from struct import pack as pack_struct
from zlib import crc32

import cbor2
import msgspec

from eventlog.errors import Corrupt, Torn
from eventlog.limits import FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from eventlog.record import Record, leaf_hashes, records_of

MAGIC = b"\x83\x58\x50EVLF"
VERSION = 1
_HEAD = Struct(">3s4sBBHIIQQQ32sI")
HEAD_BYTES = _HEAD.size + 4  # the CRC of the head comes last
_CRC = Struct(">I")
BODY_BYTES_MIN = 5 + 4 + 3 + 1
assert HEAD_BYTES == 3 + 80


class Head(msgspec.Struct, frozen=True, gc=False):
    """A frame's head: what it holds (``count`` records from ``first_seq`` on) and how many bytes follow."""

    flags: int
    count: int
    body_bytes: int
    first_seq: int
    time_ns: int
    epoch: int
    root: bytes
    body_crc: int

    @property
    def end_seq(self) -> int:
        """The seq after the last record."""
        return self.first_seq + self.count

    @property
    def frame_bytes(self) -> int:
        """The size of the whole frame."""
        return HEAD_BYTES + self.body_bytes


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A checked frame within a buffer, at ``start``; its records are sliced or decoded when asked for."""

    head: Head
    buffer: bytes
    start: int

    def raw(self) -> bytes:
        """Give the frame's bytes."""
        return self.buffer[self.start : self.start + self.head.frame_bytes]

    def table(self) -> tuple[int, tuple[int, ...]]:
        """Give where in the buffer the records begin, and where each of them ends, counted from there; unchecked."""
        count = self.head.count
        at = self.start + HEAD_BYTES + 5
        return at + 4 * count + 3, unpack_from(f">{count}I", self.buffer, at)

    def slices(self) -> list[bytes]:
        """Give every record's stored bytes, without decoding."""
        first, ends = self.table()
        buffer, start, found = self.buffer, first, []
        for end in ends:
            found.append(buffer[start : first + end])
            start = first + end
        return found

    def leaves(self, records: Sequence[Record] | None = None) -> list[bytes]:
        """Hash every record's Merkle leaf; ``records`` are these, if they were decoded before."""
        return leaf_hashes(self.slices(), records or self.records())

    def records(self) -> list[Record]:
        """Decode every record, with one call; Corrupt where they are not what the head says."""
        return records_of(self.head.first_seq, self.items())

    def items(self) -> list[list[object]]:
        """Decode every record as the plain array that it is stored as; Corrupt where their number is another."""
        head = self.head
        whole = memoryview(self.buffer)
        items = _loads(whole[self.start + HEAD_BYTES + 5 + 4 * head.count : self.start + head.frame_bytes])
        if type(items) is not list or len(items) != head.count:
            raise Corrupt(f"the frame at seq {head.first_seq} does not hold {head.count} records")
        return items


def _loads(data: memoryview) -> object:
    try:
        return cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise Corrupt("the frame's records are not CBOR") from error


def encode(stored: Sequence[bytes], *, first_seq: int, time_ns: int, epoch: int, root: bytes, salt: int) -> bytes:
    """Frame stored records; ``root`` is the tree's after the last of them."""
    count = len(stored)
    assert 0 < count <= FRAME_RECORDS_MAX, count
    ends = list(accumulate(map(len, stored)))
    body = b"".join((b"\x5a", _CRC.pack(4 * count), pack_struct(f">{count}I", *ends), _array(count), *stored))
    assert HEAD_BYTES + len(body) <= FRAME_BYTES_MAX, len(body)
    head = _HEAD.pack(
        MAGIC[:3], MAGIC[3:], VERSION, 0, count, len(body), 0, first_seq, time_ns, epoch, root, crc32(body, salt)
    )
    return b"".join((head, _CRC.pack(crc32(head, salt)), body))


def _array(count: int) -> bytes:
    return b"\x99" + count.to_bytes(2, "big")


def overhead(count: int) -> int:
    """Give the bytes that a frame of ``count`` records adds to them."""
    return HEAD_BYTES + 5 + 4 * count + 3


def decode_head(buffer: bytes, start: int, salt: int) -> Head:
    """Decode the head at ``start``; Torn where the buffer ends within it, Corrupt where it is none."""
    if len(buffer) - start < HEAD_BYTES:
        raise Torn(f"a frame's head is cut off after {len(buffer) - start} bytes")
    fields = _HEAD.unpack_from(buffer, start)
    if fields[0] + fields[1] != MAGIC:
        raise Corrupt("there is no frame here")
    if crc32(buffer[start : start + _HEAD.size], salt) != _CRC.unpack_from(buffer, start + _HEAD.size)[0]:
        raise Corrupt("a frame's head fails its CRC")
    version, flags, count, body_bytes, zero, first_seq, time_ns, epoch, root, body_crc = fields[2:]
    if version != VERSION or flags or zero:
        raise Corrupt(f"a frame of version {version} with flags {flags} is not known: a newer release wrote it")
    if not 0 < count <= FRAME_RECORDS_MAX or not BODY_BYTES_MIN <= body_bytes <= FRAME_BYTES_MAX - HEAD_BYTES:
        raise Corrupt(f"a frame of {count} records in {body_bytes} bytes is out of bounds")
    return Head(flags, count, body_bytes, first_seq, time_ns, epoch, root, body_crc)


def decode(buffer: bytes, start: int, salt: int) -> Frame:
    """Check and give the frame at ``start``; Torn where the buffer ends within it, Corrupt where it is damaged."""
    head = decode_head(buffer, start, salt)
    body = start + HEAD_BYTES
    end = body + head.body_bytes
    if len(buffer) < end:
        raise Torn(f"the frame at seq {head.first_seq} lacks {end - len(buffer)} of {head.body_bytes} bytes")
    if crc32(memoryview(buffer)[body:end], salt) != head.body_crc:
        raise Corrupt(f"the frame at seq {head.first_seq} fails its CRC")
    count = head.count
    records = body + 5 + 4 * count
    if (
        buffer[body : body + 5] != b"\x5a" + _CRC.pack(4 * count)
        or buffer[records : records + 3] != _array(count)
        or _CRC.unpack_from(buffer, records - 4)[0] != end - records - 3
    ):
        raise Corrupt(f"the frame at seq {head.first_seq} contradicts its own head")
    return Frame(head, buffer, start)


class Split(msgspec.Struct, frozen=True, gc=False):
    """The whole frames at the start of a buffer, the bytes that they take, and what stopped it short of the end."""

    frames: list[Frame]
    used: int
    flaw: Corrupt | None


def split(buffer: bytes, salt: int) -> Split:
    """Take frames off the start of a buffer until it ends or something else is there."""
    frames: list[Frame] = []
    at, end = 0, len(buffer)
    try:
        while at < end:
            frame = decode(buffer, at, salt)
            frames.append(frame)
            at += frame.head.frame_bytes
    except Corrupt as flaw:
        # Without its traceback, which holds the buffer, and through its caller's frame this very value: a cycle that
        # nothing would ever collect.
        return Split(frames, at, flaw.with_traceback(None))
    return Split(frames, at, None)


def search(buffer: bytes, start: int, salt: int, above_seq: int) -> int | None:
    """Find where, from ``start`` on, a head lies that passes its CRC and names a first seq over ``above_seq``."""
    at = buffer.find(MAGIC, start)
    while at >= 0:
        try:
            if decode_head(buffer, at, salt).first_seq > above_seq:
                return at
        except Corrupt:
            pass  # a payload that happens to hold the magic: the search goes on
        at = buffer.find(MAGIC, at + 1)
    return None


def evidence(tail: bytes, salt: int, next_seq: int) -> int | None:
    """Find what no torn write leaves in a tail that was refused: a whole frame at its start, or a later head."""
    return 0 if split(tail, salt).frames else search(tail, 0, salt, next_seq)
