"""ES256 tokens verify by other hands, and say what they were told to."""

import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.push.jwt import base64url, es256_jwt


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_token_is_head_claims_and_a_raw_signature_over_both() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signed, _, signature = es256_jwt(key, {"kid": "k"}, {"iss": "t"}).rpartition(".")
    r, s = raw(signature)[:32], raw(signature)[32:]
    der = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
    key.public_key().verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    assert [json.loads(raw(part)) for part in signed.split(".")] == [{"alg": "ES256", "kid": "k"}, {"iss": "t"}]


def test_base64url_has_no_padding() -> None:
    assert base64url(b"\xff\xfe") == "__4"
