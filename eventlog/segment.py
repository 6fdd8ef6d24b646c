"""Segments: the log's files. Each begins with a head item, then come frames; the next starts when one is full.

::

    82  59 <u16> <head, itself CBOR>  1a <CRC-32 of the head>
    head = ["evl", version, origin, first seq, time ns, epoch, salt, [tree frontier, largest first]]

The frontier lets an audit, or a start, begin at any segment. A segment is created whole (temporary file, fsync,
rename), so its head is never torn; whatever stands before its first seq was synced before it came to be.
Here too: what to do with a tail that does not end in a frame, as a pure decision.
"""

import re
from struct import Struct
from zlib import crc32

import cbor2
import msgspec

from eventlog.errors import Corrupt, Torn
from eventlog.limits import FRONTIER_MAX, ORIGIN_BYTES_MAX, SEGMENT_HEAD_BYTES_MAX

VERSION = 1
SUFFIX = ".evl"
_OPENING = Struct(">BBH")
_NAME = re.compile(r"(\d{20})\.evl")


class Head(msgspec.Struct, frozen=True):
    """What a segment says of itself; ``frontier`` is the tree's as of ``first_seq``."""

    origin: str
    first_seq: int
    time_ns: int
    epoch: int
    salt: int
    frontier: tuple[bytes, ...]


def name_of(first_seq: int) -> str:
    """Name the segment that begins with ``first_seq``: 20 digits, so that names sort as seqs do."""
    return f"{first_seq:020d}{SUFFIX}"


def first_seq_of(name: str) -> int | None:
    """Give the first seq that a file name stands for, or None if it is no segment's."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def encode_head(head: Head) -> bytes:
    """Encode a segment's first item."""
    assert len(head.frontier) <= FRONTIER_MAX
    inner = cbor2.dumps(
        ["evl", VERSION, head.origin, head.first_seq, head.time_ns, head.epoch, head.salt, list(head.frontier)]
    )
    assert len(inner) <= SEGMENT_HEAD_BYTES_MAX, len(inner)
    return _OPENING.pack(0x82, 0x59, len(inner)) + inner + b"\x1a" + crc32(inner).to_bytes(4, "big")


def decode_head(buffer: bytes) -> tuple[Head, int]:
    """Decode a segment's first item: the head, and the byte where frames begin. Torn, or Corrupt."""
    if len(buffer) < _OPENING.size:
        raise Torn("a segment's head is cut off")
    array, string, size = _OPENING.unpack_from(buffer)
    if (array, string) != (0x82, 0x59) or size > SEGMENT_HEAD_BYTES_MAX:
        raise Corrupt("this is not a segment of a log")
    end = _OPENING.size + size
    if len(buffer) < end + 5:
        raise Torn("a segment's head is cut off")
    inner = buffer[_OPENING.size : end]
    if buffer[end : end + 5] != b"\x1a" + crc32(inner).to_bytes(4, "big"):
        raise Corrupt("a segment's head fails its CRC")
    return _parse_head(inner), end + 5


def _parse_head(inner: bytes) -> Head:
    try:
        fields = cbor2.loads(inner)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise Corrupt("a segment's head is not CBOR") from error
    if not isinstance(fields, list) or fields[:1] != ["evl"]:
        raise Corrupt("this is not a segment of a log")
    if fields[1:2] != [VERSION]:
        raise Corrupt(f"a segment of version {fields[1:2]} is not known: a newer release wrote it")
    try:
        head = msgspec.convert(
            dict(zip(Head.__struct_fields__, fields[2:], strict=True)), type=Head, builtin_types=(bytes,)
        )
    except (msgspec.ValidationError, ValueError) as error:
        raise Corrupt("a segment's head is not of the shape") from error
    if len(head.origin.encode()) > ORIGIN_BYTES_MAX or len(head.frontier) != head.first_seq.bit_count():
        raise Corrupt("a segment's head contradicts itself")
    return head


class Keep(msgspec.Struct, frozen=True):
    """The file ends with a whole frame: nothing to do."""


class Cut(msgspec.Struct, frozen=True):
    """A torn tail: what lies behind ``offset`` was never acknowledged; keep it aside and cut it."""

    offset: int


class Refuse(msgspec.Struct, frozen=True):
    """Damage: acknowledged records may be in what is unreadable; nobody but the operator decides what to give up."""

    offset: int
    why: str


def judge_tail(
    *, good_bytes: int, file_bytes: int, last: bool, later_frame: int | None, size: int, checkpoint_size: int
) -> Keep | Cut | Refuse:
    """Tell a torn tail from damage.

    ``good_bytes`` is where the last whole frame ends, ``later_frame`` where behind it another frame with a larger first
    seq was found, ``size`` how many records are whole. A tail is torn only where a crash can have left it: in the last
    segment, with nothing valid behind it (each frame is synced before the next is written), and with all that a
    checkpoint ever vouched for still there. Cutting at the first bad frame, as many logs do, would throw away good
    records behind a flipped bit.
    """
    if size < checkpoint_size:
        return Refuse(good_bytes, f"the checkpoint vouches for {checkpoint_size} records, {size} are readable")
    if good_bytes == file_bytes:
        return Keep()
    if not last:
        return Refuse(good_bytes, "unreadable, and a later segment follows")
    if later_frame is not None:
        return Refuse(good_bytes, f"unreadable, yet a valid frame follows at byte {later_frame}")
    return Cut(good_bytes)
