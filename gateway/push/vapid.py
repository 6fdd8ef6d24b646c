"""VAPID (RFC 8292): how a push service knows that all our pushes are from one sender. Must not know files or clocks."""

import base64

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.limits.ways import VAPID_S_MAX
from gateway.push.es256 import ORDER
from gateway.push.jwt import base64url, es256_jwt

_SCALAR_BYTES = 32


def private_key(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of 32 random bytes; every value is one (a bias of 2**-32 is nobody's foothold)."""
    assert len(scalar) == _SCALAR_BYTES
    return ec.derive_private_key(int.from_bytes(scalar) % (ORDER - 1) + 1, ec.SECP256R1())


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 65 bytes of an uncompressed public key."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def application_server_key(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key as browsers want it for ``pushManager.subscribe``: 87 characters of base64url."""
    return base64url(point(key.public_key()))


def authorization(key: ec.EllipticCurvePrivateKey, audience: str, now_s: int, contact: str) -> str:
    """The Authorization header for the push service at an origin; ``contact`` is a mailto: or https: URL, or ""."""
    claims = {"aud": audience, "exp": now_s + VAPID_S_MAX} | ({"sub": contact} if contact else {})
    # No space after the comma: RFC 9110 allows one, and not every reader does (py_vapid for one).
    return f"vapid t={es256_jwt(key, {'typ': 'JWT'}, claims)},k={application_server_key(key)}"


def base64url_bytes(text: str) -> bytes:
    """Read base64url or base64, padded or not; raise ValueError."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
