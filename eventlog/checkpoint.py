"""Checkpoints: the log's size and root, signed, in the form that transparency-log tools read.

The text is a C2SP tlog-checkpoint (origin, size, base64 root; no extension lines) in a C2SP signed-note with an Ed25519
signature. Whoever keeps one elsewhere can later show that the log was rolled back or rewritten.
This module must not know files or clocks; keys are handed in.
"""

import base64
import binascii
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from eventlog.errors import Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX
from eventlog.merkle import HASH_BYTES

_ED25519 = b"\x01"  # the signature type of C2SP signed-note
_KEY_ID_BYTES, _SIGNATURE_BYTES = 4, 64


class Checkpoint(msgspec.Struct, frozen=True):
    """A log's ``origin``, how many records it had, and its tree's root at that size."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """Give the signed part of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def key_id(name: str, public: bytes) -> bytes:
    """Give the four bytes that tell keys of one name apart (C2SP signed-note)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


def verifier_key(name: str, public: bytes) -> str:
    """Write a public key as signed-note tools take it: name+id+base64."""
    return f"{name}+{key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


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


def _check(public: bytes, signature: bytes, text: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (InvalidSignature, ValueError) as error:
        raise Corrupt("the checkpoint's signature is wrong") from error


def _split(note: bytes) -> tuple[bytes, list[str]]:
    if len(note) > CHECKPOINT_BYTES_MAX:
        raise Corrupt(f"a checkpoint of {len(note)} bytes is over {CHECKPOINT_BYTES_MAX}")
    text, gap, tail = note.rpartition(b"\n\n")
    try:
        lines = tail.decode().split("\n")[:-1]  # not splitlines: that takes eight other characters for ends too
        text.decode()
    except UnicodeDecodeError as error:
        raise Corrupt("the checkpoint is not UTF-8") from error
    if not gap or not lines or not all(line.startswith("— ") for line in lines) or not tail.endswith(b"\n"):
        raise Corrupt("the checkpoint is not a signed note")
    return text + b"\n", lines


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


def _base64(text: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Corrupt("the checkpoint holds bad base64") from error
    if base64.b64encode(found).decode() != text:
        raise Corrupt("the checkpoint holds base64 in another than its one spelling")  # spare bits, which nothing signs
    return found
