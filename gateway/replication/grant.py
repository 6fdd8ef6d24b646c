"""What a session may do: the outcome of a handshake, and the checks of a token in their order.

Invariant: a grant with claims was verified against this relay; the first check that fails gives the reason
(relay-and-mirror §2: relay registered, token present, MAC, relay, scope, expiry, revoked).
This module must not know sockets, views or where the key is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import SocketRefused
from gateway.replication.registration import Relay
from gateway.replication.token import ACCESS, REPLICATION, Claims, TokenInvalid, open_token

MIRROR_SCOPES = frozenset({ACCESS, REPLICATION})
NORMAL_SCOPES = frozenset({ACCESS})


@dataclass(frozen=True, slots=True)
class Grant:
    """A session's right: which relay, which of its sockets, under whose token (None: untokened), from where."""

    relay: Relay
    mirror: bool
    claims: Claims | None
    peer: str

    @property
    def relay_key(self) -> str:
        """The relay's key: the namespace that this session reads and writes."""
        return self.relay.relay_key

    def tokened(self, now_ms: int) -> bool:
        """Tell whether the session holds a token that is still good."""
        return self.claims is not None and now_ms < self.claims.expires_at


def refusal(reason: str, metric: str) -> SocketRefused:
    """Name a reason for 4403."""
    return SocketRefused(4403, reason, metric)


def check_token(
    token: str | None, relay: Relay, key: bytes, revoked: Callable[[Claims], bool], now_ms: int, *, mirror: bool
) -> Claims:
    """Give the claims of a token that opens this socket of this relay; SocketRefused 4403 with the first reason."""
    if not token:
        raise refusal("Token required", "missing-token")
    try:
        claims = open_token(key, token)
    except TokenInvalid as error:
        raise refusal("Invalid token", "invalid-token") from error
    if claims.relay_key != relay.relay_key:
        raise refusal("Relay mismatch", "relay-mismatch")
    if claims.scope not in (MIRROR_SCOPES if mirror else NORMAL_SCOPES):
        raise refusal("Scope not allowed", "scope")
    if now_ms >= claims.expires_at:
        raise refusal("Token expired", "expired-token")
    if revoked(claims):
        raise refusal("Token revoked", "revoked-token")
    return claims


def admit(
    token: str | None, relay: Relay, key: bytes, revoked: Callable[[Claims], bool], now_ms: int, *, mirror: bool
) -> Claims | None:
    """Decide a handshake: the mirror and a closed relay demand a token, an open relay does not reward a bad one."""
    if mirror or relay.requires_auth:
        return check_token(token, relay, key, revoked, now_ms, mirror=mirror)
    try:
        return check_token(token, relay, key, revoked, now_ms, mirror=mirror)
    except SocketRefused:
        return None
