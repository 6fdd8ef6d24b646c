"""Keys and signatures: one curve, one spelling."""

import base64

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.es256 import (
    KeyInvalid,
    private_key,
    private_pem,
    public_key,
    public_pem,
    sign,
    signature_bytes,
    verifies,
)

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = public_pem(KEY.public_key())
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def spki(key: object) -> str:
    return key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def refused(text: str) -> bool:
    with pytest.raises(PushRefused) as why:
        signature_bytes(text)
    return (why.value.status, why.value.code) == (401, "signature-invalid")


@pytest.mark.parametrize("pem", [PEM, PEM.strip(), PEM.replace("\n", "\\n"), PEM.replace("\n", "\\r\\n"), f"\n{PEM}\n"])
def test_a_key_is_read_with_real_or_written_out_line_breaks(pem: str) -> None:
    assert public_key(pem) == KEY.public_key()


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "x",
        PEM + PEM,
        PEM.replace("PUBLIC", "EC PUBLIC"),
        PEM[:60] + PEM[70:],
        PEM + "x" * 100_000,
        spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        spki(rsa.generate_private_key(65537, 2048).public_key()),
        spki(ed25519.Ed25519PrivateKey.generate().public_key()),
        private_pem(KEY),
    ],
)
def test_anything_but_one_p256_public_key_is_refused(pem: str) -> None:
    with pytest.raises(KeyInvalid):
        public_key(pem)


def test_a_signature_verifies_only_for_its_message_and_key() -> None:
    raw = signature_bytes(sign(KEY, b"message"))
    assert verifies(KEY.public_key(), raw, b"message")
    assert not verifies(KEY.public_key(), raw, b"other")
    assert not verifies(ec.generate_private_key(ec.SECP256R1()).public_key(), raw, b"message")


def test_a_private_key_comes_back_from_its_pem_and_its_one_line_form() -> None:
    assert public_pem(private_key(private_pem(KEY).replace("\n", "\\n")).public_key()) == PEM
    with pytest.raises(KeyInvalid):
        private_key(PEM)


def test_der_base64url_missing_padding_and_other_lengths_are_refused() -> None:
    raw = signature_bytes(sign(KEY, b"m"))
    der = KEY.sign(b"m", ec.ECDSA(hashes.SHA256()))
    assert refused("")
    assert refused(base64.b64encode(der).decode())
    assert refused(base64.b64encode(raw).decode().rstrip("="))
    assert refused(base64.b64encode(b"\xff" * 64).decode().replace("/", "_"))
    assert refused(base64.b64encode(raw + b"\0").decode())
    assert refused(base64.b64encode(raw[:-1]).decode())
    assert refused("é" * 88)
    assert refused(base64.b64encode(raw).decode()[:-1] + "\n")


def test_a_second_spelling_of_the_same_bytes_is_refused() -> None:
    text = sign(KEY, b"m")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spare = alphabet[alphabet.index(text[85]) + 1]  # the last character before == has four spare bits
    respelled = text[:85] + spare + "=="
    assert base64.b64decode(respelled) == base64.b64decode(text)
    assert refused(respelled)


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (1, ORDER), (2**256 - 1, 1)])
def test_r_and_s_out_of_range_are_refused(r: int, s: int) -> None:
    assert refused(base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode())


@given(st.text(max_size=100) | st.text("ABCabc019+/=", min_size=88, max_size=88))
def test_any_text_is_64_bytes_or_a_refusal(text: str) -> None:
    try:
        assert len(signature_bytes(text)) == 64
    except PushRefused:
        return


@given(st.text(max_size=300))
def test_any_text_is_a_key_or_is_called_invalid(text: str) -> None:
    for wrapped in (text, f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----"):
        with pytest.raises(KeyInvalid):
            public_key(wrapped)
