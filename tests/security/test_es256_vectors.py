"""ES256 held against Project Wycheproof: every special case of r, s, hash and key that broke somebody's library.

The vectors are data of theirs (`ecdsa_p256_sha256_p1363.json` names source and licence). They go through what a request
goes through: a PEM, a signature as base64, the bytes that were signed.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.errors import PushRefused
from gateway.push.es256 import KeyInvalid, public_key, signature_bytes, verifies

VECTORS = json.loads((Path(__file__).parent / "ecdsa_p256_sha256_p1363.json").read_text("utf-8"))
COUNT = 262
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
SPKI_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def accepted(pem: str, signature: bytes, message: bytes) -> bool:
    """Whether a request with this signature would pass."""
    try:
        raw = signature_bytes(base64.b64encode(signature).decode())
    except PushRefused:
        return False
    return verifies(public_key(pem), raw, message)


def vectors() -> list[tuple[str, dict[str, Any]]]:
    return [(group["publicKeyPem"], test) for group in VECTORS["groups"] for test in group["tests"]]


def test_every_vector_is_accepted_or_refused_as_it_says() -> None:
    wrong = [
        (test["tcId"], test["comment"])
        for pem, test in vectors()
        if accepted(pem, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"])) != (test["result"] == "valid")
    ]
    assert wrong == []
    assert len(vectors()) == COUNT


def test_every_valid_vector_fails_with_any_bit_of_its_message_s_or_r_turned() -> None:
    for pem, test in vectors()[::9]:
        if test["result"] == "valid":
            signature, message = bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"])
            for at in (0, 31, 32, 63):
                turned = bytes(byte ^ (index == at) for index, byte in enumerate(signature))
                assert not accepted(pem, turned, message), test["tcId"]
            assert not accepted(pem, signature, message + b"\0"), test["tcId"]


def spki(point: bytes) -> str:
    body = base64.encodebytes(SPKI_P256 + point).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----\n"


X = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296  # of the curve's base point
Y = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5


def point(x: int, y: int) -> bytes:
    return b"\4" + x.to_bytes(32) + y.to_bytes(32)


def test_a_point_of_the_curve_is_a_key() -> None:
    assert public_key(spki(point(X, Y))).public_numbers().x == X


@pytest.mark.parametrize(
    "bad",
    [point(X, Y ^ 1), point(X + 1, Y), point(0, 0), point(P, Y), point(X, P + 1), b"\0" + bytes(64), b"\4" + bytes(63)],
)
def test_a_point_that_is_not_on_the_curve_is_no_key(bad: bytes) -> None:
    with pytest.raises(KeyInvalid):
        public_key(spki(bad))


def test_a_key_of_pkcs1_and_a_certificate_are_no_keys() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    pkcs1 = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1).decode()
    for pem in (pkcs1, pkcs1.replace("RSA PUBLIC", "PUBLIC"), spki(point(X, Y)).replace("PUBLIC KEY", "CERTIFICATE")):
        with pytest.raises(KeyInvalid):
            public_key(pem)
