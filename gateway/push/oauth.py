"""OAuth2 for service accounts: the signed assertion, and the token that it buys (RFC 7523; push §5).

Invariant: an assertion goes only to a token endpoint that is on the list, unless the operator says otherwise: a
hostile account file names any URL. Must not know sockets or clocks.
"""

import base64
import re
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.config import is_url
from gateway.errors import ConfigInvalid

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_URIS = frozenset(
    (
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    )
)
_LIFETIME_S = 3600
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,127}", re.ASCII)  # it becomes part of a path


class AnswerInvalid(ValueError):
    """The token endpoint's answer holds no token."""


class _File(msgspec.Struct):
    project_id: str
    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int = _LIFETIME_S


@dataclass(frozen=True, slots=True)
class Account:
    """A service account, as far as it is needed."""

    project_id: str
    email: str
    token_uri: str
    key_id: str
    key: rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the seconds that it lives."""

    text: str
    lifetime_s: int


def account(raw: bytes, *, any_token_uri: bool) -> Account:
    """Read a service account file in Google's format; raise ConfigInvalid."""
    try:
        read = msgspec.json.decode(raw, type=_File)
        key = serialization.load_pem_private_key(read.private_key.encode(), password=None)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as why:
        raise ConfigInvalid(f"this is not a service account file in Google's format: {why}") from None
    if not _PROJECT.fullmatch(read.project_id):
        raise ConfigInvalid(f"the service account's project_id {read.project_id!r} cannot be one")
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ConfigInvalid("the service account's private_key is not an RSA key")
    if read.token_uri not in TOKEN_URIS and not any_token_uri:
        raise ConfigInvalid(
            f"the service account's token_uri {read.token_uri!r} is not Google's;"
            " set fcm.allow_any_token_uri = true if that is meant"
        )
    if not is_url(read.token_uri, "http", "https"):
        raise ConfigInvalid(f"the service account's token_uri {read.token_uri!r} is not a URL")
    return Account(read.project_id, read.client_email, read.token_uri, read.private_key_id, key)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assertion(sender: Account, now_s: int) -> str:
    """A JWT, signed RS256, that asks for an hour."""
    head = {"alg": "RS256", "typ": "JWT", "kid": sender.key_id}
    claims = {
        "iss": sender.email,
        "scope": SCOPE,
        "aud": sender.token_uri,
        "iat": now_s,
        "exp": now_s + _LIFETIME_S,
    }
    signed = f"{_base64url(msgspec.json.encode(head))}.{_base64url(msgspec.json.encode(claims))}"
    signature = sender.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64url(signature)}"


def token_form(sender: Account, now_s: int) -> bytes:
    """The form to post to the token endpoint, as application/x-www-form-urlencoded."""
    return urlencode({"grant_type": GRANT, "assertion": assertion(sender, now_s)}).encode()


def token_of(status: int, body: bytes) -> Token:
    """Read the token endpoint's answer; raise AnswerInvalid."""
    if status != 200:
        raise AnswerInvalid(f"the token endpoint answered {status}")
    try:
        read = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise AnswerInvalid("the token endpoint's answer is not a token") from None
    if not read.access_token.isascii() or not read.access_token.isprintable() or not read.access_token:
        raise AnswerInvalid("the token endpoint's token is not printable ASCII")
    return Token(read.access_token, max(read.expires_in, 1))
