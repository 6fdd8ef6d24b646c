"""Inspecting a frame: leaves and commitments of its records in one pass, as an audit needs them.

Three hashes a record are what an audit costs, so everything else is kept out of the loop: records are not made into
structs, and a leaf is hashed straight out of the frame's bytes. Invariant: whatever bytes a frame with right CRCs
holds, the outcome is either an `Inspected` or Corrupt, never another error: they may have been forged.
This module must not know files, trees or what excuses a missing payload.
"""

from hashlib import sha256
from itertools import count
from struct import error as struct_error
from struct import unpack_from

import msgspec

from eventlog.chronicle import PREFIX
from eventlog.errors import Corrupt
from eventlog.frame import HEAD_BYTES, Frame
from eventlog.record import Record, records_of

_LEAF = sha256(b"\x00\x85")  # copied for each leaf: a tenth faster than hashing the two bytes each time


class Inspected(msgspec.Struct, frozen=True, gc=False):
    """A frame's leaf hashes in order, the records without a payload as (kind, seq), and those that the log itself
    wrote."""

    leaves: list[bytes]
    missing: list[tuple[str, int]]
    own: list[Record]


def inspect(frame: Frame) -> Inspected:
    """Hash every leaf and hold every payload against its commitment; Corrupt where one is not what was committed to."""
    items = frame.items()
    first_seq = frame.head.first_seq
    try:
        leaves, missing = _hashed(frame, items)
        kinds = {item[2] for item in items}
        own = _own(first_seq, items) if any(str.startswith(kind, PREFIX) for kind in kinds) else []  # type: ignore[arg-type]
    except (TypeError, ValueError, AttributeError, IndexError, struct_error) as error:
        raise Corrupt(f"the frame at seq {first_seq} holds something that is no record") from error
    return Inspected(leaves, missing, own)


def _own(first_seq: int, items: list[list[object]]) -> list[Record]:
    return [one for one in records_of(first_seq, items) if one.kind.startswith(PREFIX)]


def _hashed(frame: Frame, items: list[list[object]]) -> tuple[list[bytes], list[tuple[str, int]]]:
    """The loop. A head longer than its payload needs, or another first byte, shifts the leaf: the root tells."""
    missing: list[tuple[str, int]] = []
    leaves: list[bytes] = []
    add, copy, buffer = leaves.append, _LEAF.copy, frame.buffer
    table = frame.start + HEAD_BYTES + 5
    first = start = table + 4 * frame.head.count + 3
    ends = unpack_from(f">{frame.head.count}I", buffer, table)
    for seq, (_, _, kind, _, commitment, payload), end in zip(count(frame.head.first_seq), items, ends, strict=False):
        if payload is None:
            behind = 1
            missing.append((kind, seq))  # type: ignore[arg-type]
        elif sha256(payload).digest() == commitment:  # type: ignore[arg-type]
            size = len(payload)  # type: ignore[arg-type]
            behind = size + (1 if size < 0x18 else 2 if size < 0x100 else 3 if size < 0x1_0000 else 5)
        else:
            raise Corrupt(f"record {seq} does not match its commitment")
        leaf = copy()
        leaf.update(buffer[start + 1 : first + end - behind])
        add(leaf.digest())
        start = first + end
    return leaves, missing
