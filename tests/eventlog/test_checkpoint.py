"""A checkpoint is a C2SP signed note: known bytes in, forged ones refused."""

import base64
from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from eventlog.checkpoint import (
    Checkpoint,
    VerifierKey,
    body,
    cosignature,
    cosigned,
    cosigned_by,
    parse_verifier_key,
    sign,
    signature_lines,
    verifier_key,
    verify,
)
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


def test_every_flipped_bit_is_refused() -> None:
    note = sign(CHECKPOINT, KEY)
    for at in range(len(note)):
        for bit in range(8):
            changed = note[:at] + bytes([note[at] ^ 1 << bit]) + note[at + 1 :]
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


# -- witnesses --------------------------------------------------------------------------------------------------------

WITNESS = Ed25519PrivateKey.from_private_bytes(b"w" * 32)
WITNESS_KEY = VerifierKey("witness.example/w1", WITNESS.public_key().public_bytes_raw(), is_witness=True)
NOTE = sign(Checkpoint("log.example", 3, bytes(32)), KEY)


def cosign(note: bytes, time_s: int = 1_679_315_147, name: str = "witness.example/w1") -> str:
    """As C2SP tlog-cosignature says, in other words than the product's."""
    signed = WITNESS.sign(b"cosignature/v1\ntime " + str(time_s).encode() + b"\n" + body(note))
    ident = sha256(name.encode() + b"\n\x04" + WITNESS_KEY.public).digest()[:4]
    return f"\u2014 {name} {b64encode(ident + time_s.to_bytes(8, 'big') + signed).decode()}"


def test_a_cosignature_is_found_among_others_and_carried_in_the_note() -> None:
    line = cosign(NOTE)
    answer = f"{cosign(NOTE, name='another.example')}\n{line}\n".encode()
    assert cosignature(NOTE, answer, WITNESS_KEY) == line
    note = cosigned(NOTE, [line])
    assert note == NOTE + f"{line}\n".encode()
    assert cosigned_by(note, WITNESS_KEY)
    assert not cosigned_by(NOTE, WITNESS_KEY)
    assert verify(note, KEY.public_key().public_bytes_raw()).size == 3, "whoever knows one key passes over the others"
    assert signature_lines(note)[1:] == [line]


def test_a_newer_cosignature_takes_the_older_ones_place() -> None:
    older, newer = cosign(NOTE, 1), cosign(NOTE, 2)
    assert cosigned(cosigned(NOTE, [older]), [newer]) == cosigned(NOTE, [newer])


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "not a signed note"),
        (b"no\n", "not a signed note"),
        ("\u2014 witness.example/w1 !!\n".encode(), "bad base64"),
        (b"\xff\n", "not UTF-8"),
        (f"{cosign(NOTE, name='another.example')}\n".encode(), "no cosignature of witness"),
        (f"{cosign(NOTE, 2**63)}\n".encode(), "not a witness's cosignature"),
        (f"{cosign(NOTE.replace(b'3', b'4', 1))}\n".encode(), "signature is wrong"),
    ],
)
def test_what_is_no_cosignature_of_this_note_is_refused(answer: bytes, why: str) -> None:
    with pytest.raises(Corrupt, match=why):
        cosignature(NOTE, answer, WITNESS_KEY)


def test_a_verifier_key_is_read_as_it_is_written() -> None:
    public = KEY.public_key().public_bytes_raw()
    assert parse_verifier_key(verifier_key("log.example", public) + "\n") == VerifierKey("log.example", public)
    line = f"{WITNESS_KEY.name}+{WITNESS_KEY.key_id.hex()}+{b64encode(bytes([4]) + WITNESS_KEY.public).decode()}"
    assert parse_verifier_key(line) == WITNESS_KEY


@pytest.mark.parametrize("text", ["", "name", "name+00000000+", "name+00000000+AQ==", "a b+00000000+" + "A" * 44])
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(Corrupt):
        parse_verifier_key(text)


def test_a_verifier_key_with_another_id_is_refused() -> None:
    line = verifier_key("log.example", bytes(32))
    with pytest.raises(Corrupt, match="the id that it says"):
        parse_verifier_key(line.replace("log.example", "log.examplf"))
