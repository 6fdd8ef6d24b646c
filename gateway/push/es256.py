"""ES256 as WebCrypto makes it: P-256 keys as PEM, signatures as raw ``r||s`` in standard base64 (push §2).

One signature has exactly one accepted spelling; still ``(r, n-s)`` verifies beside ``(r, s)``, so a signature must
never serve as an identity. This module must not know what was signed.
"""

import base64
import binascii

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.errors import PushRefused
from gateway.limits.push import PEM_CHARS_MAX

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256's group
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_SIGNATURE_CHARS = 88
_BEGIN = "-----BEGIN PUBLIC KEY-----"

PublicKey = ec.EllipticCurvePublicKey
PrivateKey = ec.EllipticCurvePrivateKey


class KeyInvalid(ValueError):
    """The text is not one P-256 key; the message says what it is instead, fit for showing."""


def unfold(pem: str) -> str:
    r"""Give a PEM its line breaks: real instances publish the two characters ``\n`` in their place."""
    return pem.replace("\\r", "").replace("\\n", "\n").strip() + "\n"


def public_key(pem: str) -> PublicKey:
    """Read one SPKI PEM of a P-256 key; raise KeyInvalid."""
    text = unfold(pem)
    if len(text) > PEM_CHARS_MAX:
        raise KeyInvalid("is too long for a P-256 key")
    if text.count("-----BEGIN") != 1 or not text.startswith(_BEGIN):
        raise KeyInvalid("is not one PEM block of type PUBLIC KEY")
    try:
        key = serialization.load_pem_public_key(text.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm, TypeError):
        raise KeyInvalid("is not a readable public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise KeyInvalid("is not a P-256 key")
    return key


def private_key(pem: str) -> PrivateKey:
    """Read a P-256 private key, PKCS #8 or SEC 1, unencrypted; raise KeyInvalid."""
    try:
        key = serialization.load_pem_private_key(unfold(pem).encode("ascii"), password=None)
    except (ValueError, UnsupportedAlgorithm, TypeError):
        raise KeyInvalid("is not a readable, unencrypted private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise KeyInvalid("is not a P-256 key")
    return key


def signature_bytes(text: str) -> bytes:
    """Decode a signature's only accepted spelling to its 64 bytes; raise PushRefused 401 ``signature-invalid``."""
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True) if len(text) == _SIGNATURE_CHARS else b""
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    # The re-encoding refuses a second spelling: spare bits in the last character.
    if len(raw) != 64 or base64.b64encode(raw).decode() != text:
        raise PushRefused(
            401, "signature-invalid", "The signature is not 64 bytes (r and s) in standard base64 with padding."
        )
    if not all(0 < int.from_bytes(half) < ORDER for half in (raw[:32], raw[32:])):
        raise PushRefused(401, "signature-invalid", "The signature's r or s is out of range.")
    return raw


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether 64 raw bytes are this key's signature of the message."""
    encoded = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        key.verify(encoded, message, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def sign(key: PrivateKey, message: bytes) -> str:
    """Sign as an instance does: 88 characters of base64."""
    r, s = decode_dss_signature(key.sign(message, _ALGORITHM))
    return base64.b64encode(r.to_bytes(32) + s.to_bytes(32)).decode()


def public_pem(key: PublicKey) -> str:
    """The SPKI PEM, with line breaks."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def public_der(key: PublicKey) -> bytes:
    """The SPKI DER: 91 bytes."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_from_der(der: bytes) -> PublicKey:
    """Read back what `public_der` gave."""
    key = serialization.load_der_public_key(der)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def private_pem(key: PrivateKey) -> str:
    """The PKCS #8 PEM, unencrypted: what WebCrypto imports."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
