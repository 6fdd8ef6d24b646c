"""Inspecting a frame: leaves and commitments of its records in one pass, as an audit needs them.

Three hashes a record are what an audit costs, so everything else is kept out of the loop: a record of the ordinary
shape is not decoded but cut where its few heads say; a frame that holds anything else is decoded whole, and judged by
that. What is not in a leaf (a record's first byte, the payload and its head) is checked here to the byte; whether what
is in it is well-formed is left to the root, and to whoever signed that. Invariant: whatever bytes a frame with right
CRCs holds, the outcome is either an `Inspected` or Corrupt, never another error: they may have been forged.
This module must not know files, trees or what excuses a missing payload.
"""

from hashlib import sha256
from itertools import count
from struct import error as struct_error

import msgspec

from eventlog.chronicle import PREFIX
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.record import Record, bytes_head, decode, records_of

_LEAF = sha256(b"\x00\x85")  # copied for each leaf: a tenth faster than hashing the two bytes each time

# -- the ordinary shape: 86 schema 1b <time, 8 bytes> 60+n <kind> 40+n <subject> 58 20 <commitment> <head> <payload> --
_NOWHERE = 1 << 40  # where a head of another shape leads: out of every frame
_OPENING = 0x86
_TO_SUBJECT = [12 + head - 0x60 if 0x60 <= head < 0x78 else _NOWHERE for head in range(256)]  # by the kind's head
_TO_PAYLOAD = [1 + head - 0x40 + 34 if 0x40 <= head < 0x58 else _NOWHERE for head in range(256)]  # by the subject's
_COMMITMENT = b"\x58\x20"
_FIRST_LETTER = ord(PREFIX[0])
_NULL = b"\xf6"


def _head_of(total: int) -> bytes:
    """Give the head of the payload that takes so many bytes together with it; IndexError where none does."""
    for head_bytes in (1, 2, 3, 5):
        head = bytes_head(max(total - head_bytes, 0))
        if len(head) == head_bytes <= total:
            return head
    raise IndexError(total)


_HEADS = {total: _head_of(total) for total in range(1, 4_096) if total not in {25, 258}}  # of others one is computed


class Inspected(msgspec.Struct, frozen=True, gc=False):
    """A frame's leaf hashes in order, the records without a payload as (kind, seq), and those that the log itself
    wrote."""

    leaves: list[bytes]
    missing: list[tuple[str, int]]
    own: list[Record]


def inspect(frame: Frame) -> Inspected:
    """Hash every leaf and hold every payload against its commitment; Corrupt where one is not what was committed to."""
    try:
        found = _cut(frame)
    except (IndexError, ValueError):  # a head leads out of the frame, or a kind is no text
        found = None
    return found or _decoded(frame)


def _cut(frame: Frame) -> Inspected | None:
    """Go by the heads alone; None or IndexError where a record is of another shape, or not whole."""
    leaves: list[bytes] = []
    found = Inspected(leaves, [], [])
    add, copy, buffer = leaves.append, _LEAF.copy, frame.buffer
    to_subject, to_payload, head_of = _TO_SUBJECT, _TO_PAYLOAD, _HEADS.get
    first, ends = frame.table()
    start = first
    for after in ends:
        end = first + after
        if buffer[start] != _OPENING:
            return None
        subject = start + to_subject[buffer[start + 11]]
        behind = subject + to_payload[buffer[subject]]
        head = head_of(end - behind) or _head_of(end - behind)
        payload = behind + len(head)
        if buffer[behind - 32 : payload] != sha256(buffer[payload:end]).digest() + head:
            if buffer[behind:end] != _NULL or buffer[behind - 34 : behind - 32] != _COMMITMENT:
                return None
            found.missing.append((str(buffer[start + 12 : subject], "utf-8"), frame.head.first_seq + len(leaves)))
        if buffer[start + 12] == _FIRST_LETTER:
            found.own.extend(_own([decode(frame.head.first_seq + len(leaves), buffer[start:end])]))
        leaf = copy()
        leaf.update(buffer[start + 1 : behind])
        add(leaf.digest())
        start = end
    return found


def _decoded(frame: Frame) -> Inspected:
    """Decode every record; Corrupt where one is none."""
    items = frame.items()
    try:
        leaves, missing = _hashed(frame, items)
        records = records_of(frame.head.first_seq, items)
        return Inspected(leaves, missing, _own(records))
    except (TypeError, ValueError, AttributeError, LookupError, struct_error) as error:
        raise Corrupt(f"the frame at seq {frame.head.first_seq} holds something that is no record") from error


def _own(records: list[Record]) -> list[Record]:
    return [one for one in records if str.startswith(one.kind, PREFIX)]


def _hashed(frame: Frame, items: list[list[object]]) -> tuple[list[bytes], list[tuple[str, int]]]:
    """The slow loop. A head longer than its payload needs, or another first byte, shifts the leaf: the root tells."""
    missing: list[tuple[str, int]] = []
    leaves: list[bytes] = []
    first, ends = frame.table()
    start = first
    for seq, (_, _, kind, _, commitment, payload), end in zip(count(frame.head.first_seq), items, ends, strict=False):
        if payload is None:
            behind = 1
            missing.append((kind, seq))  # type: ignore[arg-type]
        elif sha256(payload).digest() == commitment:  # type: ignore[arg-type]
            size = len(payload)  # type: ignore[arg-type]
            behind = size + len(bytes_head(size))
        else:
            raise Corrupt(f"record {seq} does not match its commitment")
        leaves.append(sha256(b"\x00\x85" + frame.buffer[start + 1 : first + end - behind]).digest())
        start = first + end
    return leaves, missing
