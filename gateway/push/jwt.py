"""JSON web tokens signed with ES256 (RFC 7515, 7518): what VAPID and APNs want to see. Pure; must not know either."""

import base64
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def base64url(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def es256_jwt(key: ec.EllipticCurvePrivateKey, head: dict[str, Any], claims: dict[str, Any]) -> str:
    """Make a token: ``head`` gets its ``alg``, the signature is the raw r and s."""
    parts = ({"alg": "ES256", **head}, claims)
    signed = ".".join(base64url(msgspec.json.encode(part)) for part in parts)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{base64url(r.to_bytes(32) + s.to_bytes(32))}"
