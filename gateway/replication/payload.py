"""Signed requests of the relay API as typed values: exact keys, types, bounds and freshness.

Invariant: the original has no domain separation (one signature verified wherever an object had the keys that were
looked at), so each request here demands its own keys and refuses every other; what passes is complete and bounded.
This module must not know who signed, nor what is registered. Every refusal is an `ApiRefused` with status 400 or 401.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import msgspec

from gateway.errors import ApiRefused
from gateway.limits.relays import (
    AUTH_TOKEN_CHARS_MAX,
    FRESH_MS,
    NESTING_MAX,
    NONCE_CHARS_MAX,
    REASON_CHARS_MAX,
    TEXT_CHARS_MAX,
)
from gateway.replication.token import ACCESS

PUBKEY = re.compile(r"[0-9a-f]{64}")
STALE = "issuedAt is not within 5 minutes of the gateway's clock"
FRESHNESS_KEYS = frozenset({"nonce", "issuedAt"})


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a signed request take effect once: a nonce and the time of signing, in ms."""

    nonce: str
    issued_ms: int


@dataclass(frozen=True, slots=True)
class Issue:
    """Ask for a token; ``pubkey`` None: the relay's own."""

    relay_key: str
    relay_auth_token: str
    pubkey: str | None
    scope: str
    ttl_s: int | None
    once: Once | None


@dataclass(frozen=True, slots=True)
class Refresh:
    """Ask for a token in the place of one that is still good."""

    relay_key: str
    token: str
    ttl_s: int | None
    once: Once | None


@dataclass(frozen=True, slots=True)
class Revoke:
    """Revoke a subject's tokens; ``pubkey`` None: the whole relay's."""

    relay_key: str
    pubkey: str | None
    reason: str
    once: Once | None


def json_body(body: bytes) -> dict[str, Any]:
    """Decode a request's body: an object, else ApiRefused 400."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiRefused(400, "The body is not JSON") from error
    if not isinstance(value, dict):
        raise ApiRefused(400, "The body is not a JSON object")
    demand_shallow(value)
    return value


def demand_shallow(value: object) -> None:
    """Refuse what is nested deeper than `NESTING_MAX`: whoever walks it later need not fear for the stack."""
    level = [value]
    for _ in range(NESTING_MAX):
        inner = [each for each in level if isinstance(each, dict | list)]
        level = [part for each in inner for part in (each.values() if isinstance(each, dict) else each)]
    if any(isinstance(each, dict | list) for each in level):
        raise ApiRefused(400, f"The body is nested deeper than {NESTING_MAX} levels")


def demand_keys(payload: Mapping[str, Any], allowed: frozenset[str], required: frozenset[str] = frozenset()) -> None:
    """Refuse a payload that has a key too many or too few."""
    for key in sorted(payload.keys() - allowed):
        raise ApiRefused(400, f"unexpected key: {key[:TEXT_CHARS_MAX]}")
    for key in sorted(required - payload.keys()):
        raise ApiRefused(400, f"missing key: {key}")


def fresh(issued_ms: object, now_ms: int) -> int:
    """Check a time of signing, in ms; ApiRefused 401 where it is too old or too new."""
    if not isinstance(issued_ms, int) or isinstance(issued_ms, bool):
        raise ApiRefused(400, "issuedAt must be milliseconds since 1970")
    if abs(issued_ms - now_ms) > FRESH_MS:
        raise ApiRefused(401, STALE)
    return issued_ms


def once(payload: Mapping[str, Any], now_ms: int) -> Once | None:
    """Read ``nonce`` and ``issuedAt``: both or neither."""
    if not FRESHNESS_KEYS & payload.keys():
        return None
    demand_keys(payload, frozenset(payload), FRESHNESS_KEYS)
    nonce = payload["nonce"]
    if not isinstance(nonce, str) or not 0 < len(nonce) <= NONCE_CHARS_MAX:
        raise ApiRefused(400, f"nonce must be a string of 1 to {NONCE_CHARS_MAX} characters")
    return Once(nonce, fresh(payload["issuedAt"], now_ms))


def issue(payload: Mapping[str, Any], now_ms: int, *, internal_relay: str) -> Issue:
    """Read the payload of an issue; for the gateway's own relay ``relayAuthToken`` may be missing."""
    keys = frozenset({"relayKey", "relayAuthToken", "pubkey", "scope", "ttlSeconds"})
    demand_keys(payload, keys | FRESHNESS_KEYS)
    relay_key, auth = payload.get("relayKey"), payload.get("relayAuthToken")
    if not _text(relay_key) or not (_text(auth) or (relay_key == internal_relay and not auth)):
        raise ApiRefused(400, "relayKey and relayAuthToken are required")
    if len(auth or "") > AUTH_TOKEN_CHARS_MAX:
        raise ApiRefused(400, f"relayAuthToken must have at most {AUTH_TOKEN_CHARS_MAX} characters")
    scope = payload.get("scope") or ACCESS
    if not _text(scope) or len(scope) > TEXT_CHARS_MAX:
        raise ApiRefused(400, f"scope must be a string of at most {TEXT_CHARS_MAX} characters")
    return Issue(relay_key, auth or "", _pubkey(payload), scope, _ttl_s(payload), once(payload, now_ms))


def refresh(payload: Mapping[str, Any], now_ms: int) -> Refresh:
    """Read the payload of a refresh."""
    demand_keys(payload, frozenset({"relayKey", "token", "ttlSeconds"}) | FRESHNESS_KEYS)
    relay_key, token = payload.get("relayKey"), payload.get("token")
    if not _text(relay_key) or not _text(token):
        raise ApiRefused(400, "relayKey and token are required")
    return Refresh(relay_key, token, _ttl_s(payload), once(payload, now_ms))


def revoke(payload: Mapping[str, Any], now_ms: int) -> Revoke:
    """Read the payload of a revocation.

    ``{"relayKey":K}`` alone is also what a DELETE signs: the original's clients may send it, ours add nonce and time.
    """
    demand_keys(payload, frozenset({"relayKey", "pubkey", "reason"}) | FRESHNESS_KEYS)
    relay_key, reason = payload.get("relayKey"), payload.get("reason")
    if not _text(relay_key):
        raise ApiRefused(400, "relayKey is required")
    if reason is not None and (not isinstance(reason, str) or len(reason) > REASON_CHARS_MAX):
        raise ApiRefused(400, f"reason must be a string of at most {REASON_CHARS_MAX} characters")
    return Revoke(relay_key, _pubkey(payload), reason or "revoked", once(payload, now_ms))


def _text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _pubkey(payload: Mapping[str, Any]) -> str | None:
    pubkey = payload.get("pubkey")
    if pubkey is None:
        return None
    if not isinstance(pubkey, str) or not PUBKEY.fullmatch(pubkey):
        raise ApiRefused(400, "pubkey must be 64 lower-case hexadecimal characters, or null")
    return pubkey


def _ttl_s(payload: Mapping[str, Any]) -> int | None:
    ttl = payload.get("ttlSeconds")
    if ttl is None:
        return None
    if isinstance(ttl, float) and ttl.is_integer():
        ttl = int(ttl)
    if not isinstance(ttl, int) or isinstance(ttl, bool) or ttl <= 0:
        raise ApiRefused(400, "ttlSeconds must be a positive whole number")
    return ttl
