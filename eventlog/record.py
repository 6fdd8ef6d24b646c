"""Records: what is asked to be appended (`Draft`), what the log holds (`Record`), and their bytes.

A record is a CBOR array in fixed order, definite lengths, shortest forms: ``[schema, ts_ns, kind, subject, commitment,
payload]``. Its Merkle leaf is the array of the first five: the same bytes under the head ``85`` where the stored
record has ``86``. So a payload can be erased (``f6``, null) and no leaf changes.
Invariant: a record's first five fields never change, and ``commitment`` is the SHA-256 of the payload bytes.
This module must not know how records are framed or stored.
"""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import count

import cbor2
import msgspec

from eventlog.errors import Corrupt
from eventlog.limits import KIND_BYTES_MAX, PAYLOAD_BYTES_MAX, SCHEMA_MAX, SUBJECT_BYTES_MAX, TS_NS_MAX


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A record that the log has not taken yet; the log itself adds the sequence number and the commitment.

    ``ts_ns`` is wall time in nanoseconds since 1970, ``kind`` a dotted ASCII name in the past tense, ``subject`` up to
    32 bytes (a random pseudonym for personal data, else empty), ``schema`` the version of the payload's shape.
    """

    kind: str
    payload: bytes
    ts_ns: int
    subject: bytes = b""
    schema: int = 1


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record as the log holds it; ``payload`` is None once it was erased."""

    seq: int
    schema: int
    ts_ns: int
    kind: str
    subject: bytes
    commitment: bytes
    payload: bytes | None


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """Drafts made ready: for each the stored bytes, the leaf's hash, and the commitment."""

    stored: list[bytes]
    leaves: list[bytes]
    commitments: list[bytes]


def encode(drafts: Sequence[Draft]) -> Encoded:
    """Encode drafts; each one's first five fields are encoded once and serve leaf and stored record.

    Raises ValueError for a draft out of bounds (a bug of the caller); nothing is encoded then.
    """
    stored: list[bytes] = []
    leaves: list[bytes] = []
    commitments: list[bytes] = []
    join, new_payload, new_leaf = b"".join, _PAYLOAD.copy, _LEAF.copy
    before, beginning = (-1, -1, ""), b""
    for draft in drafts:
        payload, subject = draft.payload, draft.subject
        size = len(payload)
        if size > PAYLOAD_BYTES_MAX or len(subject) > SUBJECT_BYTES_MAX:
            raise ValueError(f"{draft.kind}: payload of {size}, subject of {len(subject)} bytes")
        begins = (draft.schema, draft.ts_ns, draft.kind)
        if begins != before:  # what is submitted together mostly begins alike
            before, beginning = begins, _beginning(*begins)
        of_payload, of_leaf = new_payload(), new_leaf()
        of_payload.update(payload)
        commitment = of_payload.digest()
        fields = join((beginning, _SUBJECT_HEADS[len(subject)], subject, b"\x58\x20", commitment))
        of_leaf.update(fields)
        stored.append(join((b"\x86", fields, bytes_head(size), payload)))
        leaves.append(of_leaf.digest())
        commitments.append(commitment)
    return Encoded(stored, leaves, commitments)


_PAYLOAD, _LEAF = sha256(), sha256(b"\x00\x85")  # a copy takes two thirds of what a new one does


def _beginning(schema: int, ts_ns: int, kind: str) -> bytes:
    """Encode the first three fields."""
    head, name = _names(schema, kind)
    if not 0 <= ts_ns <= TS_NS_MAX:
        raise ValueError(f"kind {kind!r}: {ts_ns} ns is not within 0 to {TS_NS_MAX}")
    if ts_ns > 0xFFFF_FFFF:
        return head + ts_ns.to_bytes(8, "big") + name
    # No record of this century has a time below 2^32 ns, but the shortest form is the promise.
    return head[:-1] + cbor2.dumps(ts_ns) + name


@lru_cache(1024)
def _names(schema: int, kind: str) -> tuple[bytes, bytes]:
    """Encode what few values are shared by many records: the schema with the head of a long time, and the kind."""
    if not 0 <= schema <= SCHEMA_MAX:
        raise ValueError(f"schema {schema} is not within 0 to {SCHEMA_MAX}")
    if not (kind.isascii() and 0 < len(kind) <= KIND_BYTES_MAX):
        raise ValueError(f"kind {kind!r} is not 1 to {KIND_BYTES_MAX} ASCII characters")
    return cbor2.dumps(schema) + b"\x1b", cbor2.dumps(kind)


_SUBJECT_HEADS = [cbor2.dumps(bytes(size))[: 1 if size < 24 else 2] for size in range(SUBJECT_BYTES_MAX + 1)]


@lru_cache(8192)
def bytes_head(size: int) -> bytes:
    """Give the shortest head of a CBOR byte string of ``size`` bytes."""
    if size < 24:
        return bytes([0x40 + size])
    if size < 0x100:
        return bytes([0x58, size])
    if size < 0x1_0000:
        return b"\x59" + size.to_bytes(2, "big")
    return b"\x5a" + size.to_bytes(4, "big")


def records_of(first_seq: int, items: list[list[object]]) -> list[Record]:
    """Turn a frame's decoded arrays into records, in order; Corrupt where one is not of the shape."""
    try:
        return [  # names for the six are a third cheaper than a star, and a replay is little else
            Record(seq, schema, ts_ns, kind, subject, commitment, payload)  # type: ignore[arg-type]
            for seq, (schema, ts_ns, kind, subject, commitment, payload) in zip(count(first_seq), items, strict=False)
        ]
    except (TypeError, ValueError) as error:
        raise Corrupt(f"a record in the frame at seq {first_seq} is not an array of six") from error


def decode(seq: int, stored: bytes) -> Record:
    """Decode one stored record whose frame was checked; Corrupt where it is not of the shape."""
    try:
        fields = cbor2.loads(stored)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise Corrupt(f"record {seq} is not CBOR") from error
    if type(fields) is not list or len(fields) != 6:
        raise Corrupt(f"record {seq} is not an array of six")
    return Record(seq, *fields)


def leaf_of(stored: bytes, payload: bytes | None) -> bytes:
    """Cut the Merkle leaf out of stored bytes whose payload is known: the first five fields under the head 85."""
    return b"\x85" + stored[1 : len(stored) - _behind(payload)]


def leaf_hashes(stored: Sequence[bytes], records: Sequence[Record]) -> list[bytes]:
    """Hash the leaves of stored records that were also decoded (RFC 6962: a zero byte goes first)."""
    return [
        sha256(b"\x00\x85" + one[1 : len(one) - _behind(record.payload)]).digest()
        for one, record in zip(stored, records, strict=True)
    ]


def _behind(payload: bytes | None) -> int:
    """The bytes of a stored record behind its fifth field."""
    return 1 if payload is None else len(payload) + len(bytes_head(len(payload)))
