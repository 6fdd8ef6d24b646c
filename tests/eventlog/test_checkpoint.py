"""A checkpoint is a C2SP signed note: known bytes in, forged ones refused."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from eventlog.checkpoint import Checkpoint, sign, verifier_key, verify
from eventlog.errors import Corrupt

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
CHECKPOINT = Checkpoint("log.example", 42, b"\x07" * 32)


def test_golden_bytes() -> None:
    note = sign(CHECKPOINT, KEY)
    text = f"log.example\n42\n{base64.b64encode(bytes([7] * 32)).decode()}\n"
    assert note.startswith(f"{text}\n— log.example ".encode())
    signature = base64.b64decode(note.split()[-1])
    assert len(signature) == 4 + 64
    assert signature[4:] == KEY.sign(text.encode())
    assert verifier_key("log.example", PUBLIC).split("+")[1] == signature[:4].hex()


def test_the_vkey_of_the_signed_note_specification_has_the_right_key_id() -> None:
    # The example key of Go's golang.org/x/mod/sumdb/note documentation.
    name, key_id, key = ["PeterNeumann", "c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"]
    assert verifier_key(name, base64.b64decode(key)[1:]) == f"{name}+{key_id}+{key}"


def test_other_signatures_beside_ours_are_ignored() -> None:
    note = sign(CHECKPOINT, KEY)
    other = "— witness.example " + base64.b64encode(bytes(68)).decode() + "\n"
    assert verify(note, PUBLIC) == CHECKPOINT
    assert verify(note + other.encode(), PUBLIC) == CHECKPOINT  # others may sign too


def test_every_changed_byte_is_refused() -> None:
    note = sign(CHECKPOINT, KEY)
    for at in range(len(note)):
        changed = note[:at] + bytes([note[at] ^ 1]) + note[at + 1 :]
        with pytest.raises(Corrupt):
            verify(changed, PUBLIC)


def test_another_key_is_refused() -> None:
    with pytest.raises(Corrupt, match="not signed by this log's key"):
        verify(sign(CHECKPOINT, Ed25519PrivateKey.from_private_bytes(bytes(32))), PUBLIC)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        verify(data, PUBLIC)


@pytest.mark.parametrize("body", ["a\n1\nAAAA\n", "a\n01\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n", "\n\n\n"])
def test_a_text_of_another_shape_is_refused(body: str) -> None:
    with pytest.raises(Corrupt):
        verify(f"{body}\n— a AAAA\n".encode(), PUBLIC)
