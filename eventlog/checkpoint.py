"""Checkpoints: the log's size and root, signed, in the form that transparency-log tools read.

The text is a C2SP tlog-checkpoint (origin, size, base64 root; no extension lines) in a C2SP signed-note with an Ed25519
signature. Whoever keeps one elsewhere can later show that the log was rolled back or rewritten; witnesses keep them for
everybody, and say so in cosignatures (C2SP tlog-cosignature), which stand in the note as lines behind ours.
Invariant: a signature of a key that nobody asked about is carried along and never looked into.
This module must not know files or clocks; keys are handed in.
"""

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from eventlog.errors import Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX
from eventlog.merkle import HASH_BYTES

_ED25519, _COSIGNATURE = b"\x01", b"\x04"  # signature types of C2SP signed-note
_KEY_ID_BYTES, _SIGNATURE_BYTES, _TIME_BYTES = 4, 64, 8


class Checkpoint(msgspec.Struct, frozen=True):
    """A log's ``origin``, how many records it had, and its tree's root at that size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """Give the signed part of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key by its name, as signed-note tools write it; a witness's signs cosignatures, a log's checkpoints."""

    name: str
    public: bytes
    is_witness: bool = False

    @property
    def kind(self) -> bytes:
        """Give the signature type that its signatures have."""
        return _COSIGNATURE if self.is_witness else _ED25519

    @property
    def key_id(self) -> bytes:
        """Give the four bytes that tell keys of one name apart."""
        return key_id(self.name, self.public, self.kind)


def key_id(name: str, public: bytes, kind: bytes = _ED25519) -> bytes:
    """Give the four bytes that tell keys of one name apart (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + kind + public).digest()[:_KEY_ID_BYTES]


def verifier_key(name: str, public: bytes) -> str:
    """Write a public key as signed-note tools take it: name+id+base64."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def parse_verifier_key(text: str) -> VerifierKey:
    """Read what `verifier_key` writes, or a witness's line; Corrupt for other kinds of keys and for wrong ids."""
    name, _, rest = text.strip().partition("+")
    claimed, _, encoded = rest.partition("+")
    material = _base64(encoded)
    if not name or any(c.isspace() for c in name) or material[:1] not in (_ED25519, _COSIGNATURE):
        raise Corrupt("this is not the line of an Ed25519 verifier key: name+id+base64")
    key = VerifierKey(name, material[1:], material[:1] == _COSIGNATURE)
    if len(key.public) != HASH_BYTES or key.key_id.hex() != claimed:
        raise Corrupt("the verifier key does not have the id that it says")
    return key


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Write the signed note; the origin is the key's name."""
    text = checkpoint.text()
    public = key.public_key().public_bytes_raw()
    signature = base64.b64encode(key_id(checkpoint.origin, public) + key.sign(text)).decode()
    return text + f"\n— {checkpoint.origin} {signature}\n".encode()


def verify(note: bytes, public: bytes) -> Checkpoint:
    """Read a signed note; Corrupt unless it holds a good signature by ``public``. Other signatures are ignored."""
    text, signatures = _split(note)
    checkpoint = _parse(text)
    wanted = key_id(checkpoint.origin, public)
    for line in signatures:
        name, _, encoded = line.removeprefix("— ").rpartition(" ")
        signature = _base64(encoded)
        if name == checkpoint.origin and signature[:_KEY_ID_BYTES] == wanted:
            _check(public, signature[_KEY_ID_BYTES:], text)
            return checkpoint
    raise Corrupt("the checkpoint is not signed by this log's key")


def signature_lines(note: bytes) -> list[str]:
    """Give the note's signature lines as they stand, by whomever they are."""
    return _split(note)[1]


def body(note: bytes) -> bytes:
    """Give the signed text."""
    return _split(note)[0]


def cosigned(note: bytes, lines: Iterable[str]) -> bytes:
    """Put signature lines behind those that the note has, each in the place of an older one by the same key."""
    text, present = _split(note)
    by_key = {_signer(line): line for line in (*present, *lines)}
    return text + b"\n" + "".join(f"{line}\n" for line in by_key.values()).encode()


def cosignature(note: bytes, answer: bytes, key: VerifierKey) -> str:
    """Find a witness's cosignature of the note in what it answered to `add-checkpoint` (C2SP tlog-witness).

    Gives the line; lines of other keys are passed over. Corrupt where there is none, or it does not verify.
    """
    text = _split(note)[0]
    for line in _lines(answer):
        name, _, encoded = line.removeprefix("— ").rpartition(" ")
        signature = _base64(encoded)
        if name == key.name and signature[:_KEY_ID_BYTES] == key.key_id:
            _check_cosignature(key, signature[_KEY_ID_BYTES:], text)
            return line
    raise Corrupt(f"the answer holds no cosignature of {key.name}")


def cosigned_by(note: bytes, key: VerifierKey) -> bool:
    """Whether the witness cosigned the note; Corrupt for a line of its own that does not verify."""
    text, lines = _split(note)
    for line in lines:
        name, _, encoded = line.removeprefix("— ").rpartition(" ")
        if name == key.name and (signature := _base64(encoded))[:_KEY_ID_BYTES] == key.key_id:
            _check_cosignature(key, signature[_KEY_ID_BYTES:], text)
            return True
    return False


def _signer(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.removeprefix("— ").rpartition(" ")
    return name, _base64(encoded)[:_KEY_ID_BYTES]


def _check_cosignature(key: VerifierKey, signature: bytes, text: bytes) -> None:
    time_s = int.from_bytes(signature[:_TIME_BYTES], "big")
    if not key.is_witness or time_s >= 1 << 63:
        raise Corrupt("this is not a witness's cosignature")
    _check(key.public, signature[_TIME_BYTES:], b"cosignature/v1\ntime %d\n" % time_s + text)


def _check(public: bytes, signature: bytes, text: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError) as error:
        raise Corrupt("the checkpoint's signature is wrong") from error


def _split(note: bytes) -> tuple[bytes, list[str]]:
    if len(note) > CHECKPOINT_BYTES_MAX:
        raise Corrupt(f"a checkpoint of {len(note)} bytes is over {CHECKPOINT_BYTES_MAX}")
    text, gap, tail = note.rpartition(b"\n\n")
    if not gap:
        raise Corrupt("the checkpoint is not a signed note")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise Corrupt("the checkpoint is not UTF-8") from error
    return text + b"\n", _lines(tail)


def _lines(tail: bytes) -> list[str]:
    try:
        lines = tail.decode().split("\n")  # not splitlines: that takes eight other characters for ends too
    except UnicodeDecodeError as error:
        raise Corrupt("the signatures are not UTF-8") from error
    if len(lines) < 2 or lines.pop() or not all(line.startswith("— ") for line in lines):
        raise Corrupt("the checkpoint is not a signed note")
    return lines


def _parse(text: bytes) -> Checkpoint:
    lines = text.decode().split("\n")
    if len(lines) < 4 or not lines[0] or not lines[1].isascii() or not lines[1].isdigit() or len(lines[1]) > 20:
        raise Corrupt("the checkpoint does not hold an origin, a size and a root")
    if len(lines[1]) > 1 and lines[1][0] == "0":
        raise Corrupt("the checkpoint's size has leading zeros")
    root = _base64(lines[2])
    if len(root) != HASH_BYTES:
        raise Corrupt(f"the checkpoint's root has {len(root)} bytes")
    return Checkpoint(lines[0], int(lines[1]), root)


def base64_text(data: bytes) -> str:
    """Write bytes as every C2SP page does."""
    return base64.b64encode(data).decode()


def _base64(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt("the checkpoint holds bad base64") from error
    if base64.b64encode(found).decode() != text:
        raise Corrupt("the checkpoint holds base64 in another than its one spelling")  # spare bits, which nothing signs
    return found
