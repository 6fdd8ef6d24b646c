"""Relay tokens: ``base64url-nopad(JSON) + "." + hex(HMAC-SHA256(key, JSON))`` (relay-and-mirror §2).

Invariant: nothing of a token is parsed before its MAC was verified in constant time, and a token has one spelling.
The key is the gateway's own: whoever holds a worker's secret can ask for tokens, never make one.
This module must not know relays, revocations or the log; expiry it is told the time for.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import ClassVar

import msgspec

from gateway.limits.relays import TOKEN_CHARS_MAX
from gateway.replication.signature import canonical

ACCESS = "relay-access"
"""The scope that opens both sockets of a relay."""

REPLICATION = "relay-replication"
"""The scope that opens the mirror alone."""

SPELLING = re.compile(r"([A-Za-z0-9_-]+)\.([0-9a-f]{64})")


class TokenInvalid(Exception):
    """The text is no token that this gateway made; why is not told to whoever presents it."""


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a token says. ``pubkey`` None: the relay's own. Times in ms since 1970."""

    expires_at: int
    issued_at: int
    pubkey: str | None
    relay_auth_token: str
    relay_key: str
    scope: str
    sequence: int

    SUBJECT_OF_RELAY: ClassVar[str] = ""

    @property
    def subject(self) -> str:
        """The pubkey, or "" for the relay's own."""
        return self.pubkey or self.SUBJECT_OF_RELAY


def mint(key: bytes, claims: Claims) -> str:
    """Make the one token that carries these claims."""
    text = canonical(msgspec.to_builtins(claims))
    body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    return f"{body}.{hmac.new(key, text, hashlib.sha256).hexdigest()}"


def open_token(key: bytes, token: str) -> Claims:
    """Give a token's claims; TokenInvalid where spelling, MAC or shape is wrong. Expiry is not looked at."""
    spelled = SPELLING.fullmatch(token) if len(token) <= TOKEN_CHARS_MAX else None
    if spelled is None:
        raise TokenInvalid("spelling")
    body, mac = spelled.groups()
    try:
        text = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error as error:
        raise TokenInvalid("spelling") from error
    if not hmac.compare_digest(hmac.new(key, text, hashlib.sha256).hexdigest(), mac):
        raise TokenInvalid("mac")
    if base64.urlsafe_b64encode(text).rstrip(b"=").decode() != body:
        raise TokenInvalid("spelling")
    try:
        return msgspec.json.decode(text, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokenInvalid("claims") from error


def token_hash(token: str) -> bytes:
    """Give the SHA-256 of a token: what the log holds in its place."""
    return hashlib.sha256(token.encode()).digest()
