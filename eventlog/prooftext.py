"""Proofs as files that anybody can keep and check later, with nothing but the log's public key.

An inclusion proof is a C2SP tlog-proof: the index, the hashes, the checkpoint; its ``extra`` line holds the record as
the log does, ``86 …`` with the payload or ``85 …``, the Merkle leaf, without it. The payload is bound by its SHA-256,
the leaf's fifth field. A consistency proof has no page at C2SP and is written alike, with the older checkpoint in a
line of its own.
This module must not know tiles, files or who trusts which key.
"""

import base64
import binascii
from collections.abc import Sequence
from hashlib import sha256
from typing import assert_never

import cbor2
import msgspec

from eventlog import checkpoint as checkpoints
from eventlog.checkpoint import Checkpoint, VerifierKey
from eventlog.errors import Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX, LEAF_BYTES_MAX, PAYLOAD_BYTES_MAX
from eventlog.merkle import HASH_BYTES, leaf_hash
from eventlog.proof import PROOF_HASHES_MAX, Unproven, check_consistency, check_inclusion
from eventlog.record import Record, leaf_of
from eventlog.record import decode as decode_record

INCLUSION, CONSISTENCY = "c2sp.org/tlog-proof@v1", "heliograph/consistency-proof@v1"
# The record in base64, a hash a line, and two checkpoints.
PROOF_BYTES_MAX = (PAYLOAD_BYTES_MAX + LEAF_BYTES_MAX) * 4 // 3 + 64 * PROOF_HASHES_MAX + 4 * CHECKPOINT_BYTES_MAX


class Inclusion(msgspec.Struct, frozen=True):
    """That a record is in the tree of ``note``, at ``index``; ``stored`` is the record, or its leaf alone."""

    index: int
    stored: bytes
    hashes: tuple[bytes, ...]
    note: bytes


class Consistency(msgspec.Struct, frozen=True):
    """That the tree of ``note`` began with that of ``old_note``."""

    old_note: bytes
    hashes: tuple[bytes, ...]
    note: bytes


AnyProof = Inclusion | Consistency


class Proven(msgspec.Struct, frozen=True):
    """What a proof that holds says: of which checkpoint, and of which record or since which checkpoint."""

    checkpoint: Checkpoint
    record: Record | None = None
    old: Checkpoint | None = None


def encode(proof: AnyProof) -> bytes:
    """Write a proof down."""
    match proof:
        case Inclusion(index=index, stored=stored):
            lines = [INCLUSION, f"extra {_text(stored)}", f"index {index}"]
        case Consistency(old_note=old_note):
            lines = [CONSISTENCY, f"old {_text(old_note)}"]
        case _:
            assert_never(proof)
    lines += map(_text, proof.hashes)
    return "\n".join([*lines, "", ""]).encode() + proof.note


def decode(data: bytes) -> AnyProof:
    """Read a proof; Corrupt where it is none. It proves nothing yet: `check` it."""
    if len(data) > PROOF_BYTES_MAX:
        raise Corrupt(f"a proof of {len(data)} bytes is over {PROOF_BYTES_MAX}")
    front, gap, note = data.partition(b"\n\n")
    try:
        first, *lines = front.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Corrupt("the proof is not ASCII") from error
    if not gap or first not in (INCLUSION, CONSISTENCY):
        raise Corrupt("this is not a proof")
    if first == CONSISTENCY:
        return Consistency(_bytes(_field(lines, "old")), _hashes(lines), note)
    stored = _bytes(_field(lines, "extra"))
    index = _field(lines, "index")
    if not index.isdigit() or len(index) > 20 or index != str(int(index)):
        raise Corrupt(f"the proof's index is {index!r}")
    return Inclusion(int(index), stored, _hashes(lines), note)


def check(proof: AnyProof, key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> Proven:
    """Check a proof with the log's public key, and that each of ``witnesses`` cosigned its checkpoint.

    Raises Unproven where it does not hold, Corrupt where it holds no checkpoint by this key or no record.
    """
    checkpoint = _signed(proof.note, key)
    for witness in witnesses:
        if not checkpoints.cosigned_by(proof.note, witness):
            raise Unproven(f"the checkpoint is not cosigned by {witness.name}")
    match proof:
        case Inclusion(index=index, stored=stored):
            record, leaf = _opened(index, stored)
            check_inclusion(leaf_hash(leaf), index, checkpoint.size, proof.hashes, checkpoint.root)
            return Proven(checkpoint, record=record)
        case Consistency(old_note=old_note):
            old = _signed(old_note, key)
            check_consistency(old.size, old.root, checkpoint.size, checkpoint.root, proof.hashes)
            return Proven(checkpoint, old=old)
        case _:
            assert_never(proof)


def _signed(note: bytes, key: VerifierKey) -> Checkpoint:
    checkpoint = checkpoints.verify(note, key.public)
    if checkpoint.origin != key.name:
        raise Unproven(f"this is a checkpoint of {checkpoint.origin}, the key is that of {key.name}")
    return checkpoint


def _opened(index: int, stored: bytes) -> tuple[Record, bytes]:
    """Give the record, and the leaf that it is bound by."""
    bare = stored[:1] == b"\x85"
    record = decode_record(index, b"\x86" + stored[1:] + b"\xf6" if bare else stored)
    if bare:
        return record, stored
    if stored[:1] != b"\x86" or not isinstance(record.payload, bytes | None):
        raise Corrupt("the proof holds neither a record nor a leaf")
    if record.payload is not None and sha256(record.payload).digest() != record.commitment:
        raise Unproven("the payload is not the one that the record commits to")
    return record, leaf_of(stored, record.payload)


def leaf(record: Record) -> bytes:
    """Encode a record's Merkle leaf, as `eventlog.record.encode` did when it came."""
    return cbor2.dumps([record.schema, record.ts_ns, record.kind, record.subject, record.commitment])


def _field(lines: list[str], word: str) -> str:
    found, _, value = lines.pop(0).partition(" ") if lines else ("", "", "")
    if found != word:
        raise Corrupt(f"the proof lacks its line {word!r}")
    return value


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    found = tuple(map(_bytes, lines))
    if len(found) > PROOF_HASHES_MAX or any(len(one) != HASH_BYTES for one in found):
        raise Corrupt("the proof holds too many hashes, or what is none")
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt("the proof holds bad base64") from error
