"""VAPID: keys, the header, and RFC 8292's own example read by the same rules."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway.push import vapid
from gateway.push.vapid import base64url_bytes

# RFC 8292 §2.4
EXAMPLE = (
    "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsI"
    "nN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW"
    "2L9OkSSHzvoD1oA, k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
)


def claims_of(authorization: str) -> tuple[dict[str, object], str]:
    """Check a header's signature with its own key; give claims and key."""
    scheme, _, rest = authorization.partition(" ")
    assert scheme == "vapid"
    token, key = (part.strip().split("=", 1)[1] for part in rest.split(","))
    signed, _, signature = token.rpartition(".")
    raw = base64url_bytes(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), base64url_bytes(key))
    point.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    return json.loads(base64url_bytes(signed.partition(".")[2])), key


def test_the_rfcs_example_is_read_by_this_check() -> None:
    claims, _ = claims_of(EXAMPLE)
    assert claims == {"aud": "https://push.example.net", "exp": 1453523768, "sub": "mailto:push@example.com"}


def test_our_header_names_the_service_ourselves_and_an_end_within_a_day() -> None:
    key = vapid.private_key(b"\x01" * 32)
    header = vapid.authorization(key, "https://push.example.net", 1_000, "mailto:push@example.com")
    claims, ours = claims_of(header)
    assert claims == {"aud": "https://push.example.net", "exp": 1_000 + 43_200, "sub": "mailto:push@example.com"}
    assert ours == vapid.application_server_key(key)
    assert len(ours) == 87
    assert "sub" not in claims_of(vapid.authorization(key, "https://push.example.net", 1_000, ""))[0]


@pytest.mark.parametrize("scalar", [b"\0" * 32, b"\xff" * 32])
def test_every_secret_of_32_bytes_is_a_key(scalar: bytes) -> None:
    assert len(vapid.point(vapid.private_key(scalar).public_key())) == 65


def test_base64_is_read_in_both_alphabets_and_nothing_else_is() -> None:
    raw = b"\xff\xfe\xfd\xfc"
    for text in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode(), "__79_A", "//79/A"):
        assert base64url_bytes(text) == raw
    for wrong in ("a*b=", "ä"):
        with pytest.raises(ValueError, match=r".+"):
            base64url_bytes(wrong)
