"""Handshakes of both sockets, and who is seated: paths to relays, tokens to grants, revocations to open sessions.

Invariant: a grant is given and its session seated without a pause between, and a revocation is in the view before
seats are searched; so no session that holds a revoked token is missed. Nothing here reads a frame.
This module must not know what a session does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from gateway.config import Mirror
from gateway.errors import SocketRefused
from gateway.replication.attempts import Attempts
from gateway.replication.frame import revoked
from gateway.replication.grant import Grant, admit, check_token
from gateway.replication.path import socket_path
from gateway.replication.registration import Relay
from gateway.replication.token import Claims
from gateway.serve.clock import Clock
from gateway.serve.metrics import Metrics
from gateway.views.relays import RelaysView
from gateway.views.tokens import TokensView

DISABLED, RATE_LIMITED = "disabled", "rate-limited"


class Line(Protocol):
    """What is used of a socket here."""

    path: str
    query: dict[str, str]
    peer: str

    def send(self, text: str) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None: ...


class Handshakes:
    """Decides handshakes and keeps the seats of open sessions."""

    def __init__(
        self, mirror: Mirror, clock: Clock, views: tuple[RelaysView, TokensView], key: bytes, metrics: Metrics
    ) -> None:
        self._mirror, self._clock, self._metrics, self._key = mirror, clock, metrics, key
        self._relays, self._tokens = views
        self._seats: dict[Line, Grant] = {}
        self._attempts = Attempts(
            mirror.invalid_attempts_max, mirror.invalid_window_s * 1000, mirror.invalid_block_s * 1000
        )

    def shake(self, socket: Line) -> Grant:
        """Grant what the socket's path and token allow; SocketRefused with the code and reason to close with."""
        try:
            return self._judge(socket)
        except SocketRefused as refused:
            cut_short = refused.metric != DISABLED and self._attempts.failed(socket.peer, self._clock.now_ms())
            reason = RATE_LIMITED if cut_short else refused.metric
            self._metrics.replication_frames.labels("HANDSHAKE", "rejected", reason).inc()
            if cut_short:
                raise SocketRefused(4429, "Too many invalid attempts", RATE_LIMITED) from refused
            raise

    def _judge(self, socket: Line) -> Grant:
        path = socket_path(socket.path)
        if path.mirror and not self._mirror.enabled:
            raise SocketRefused(4404, "Replication endpoint disabled", DISABLED)
        found = self._relays.named(path.name)
        if found is None:
            raise SocketRefused(4404, "Relay not registered", "not-registered")
        now_ms, token = self._clock.now_ms(), socket.query.get("token")
        claims = admit(token, found.relay, self._key, self._revoked, now_ms, mirror=path.mirror)
        return Grant(found.relay, path.mirror, claims, socket.peer)

    def recheck(self, token: str, relay: Relay) -> Claims:
        """Give the claims of a token that would open this relay's mirror now; SocketRefused else."""
        return check_token(token, relay, self._key, self._revoked, self._clock.now_ms(), mirror=True)

    def _revoked(self, claims: Claims) -> bool:
        """Also one whose issue was erased, or is in no log of ours: whatever revoked it may be gone with it."""
        key, subject, sequence = claims.relay_key, claims.subject, claims.sequence
        return self._tokens.revoked(key, subject, sequence) or not self._tokens.stands(
            key, subject, sequence, claims.expires_at
        )

    # -- seats --------------------------------------------------------------------------------------------------------

    @contextmanager
    def seated(self, socket: Line, grant: Grant) -> Iterator[None]:
        """Keep a session where revocations find it."""
        self._seats[socket] = grant
        try:
            yield
        finally:
            del self._seats[socket]

    def renewed(self, socket: Line, grant: Grant) -> None:
        """Note the token that an open session carries on with."""
        self._seats[socket] = grant

    def revoke(self, relay_key: str, pubkey: str | None, reason: str, sequence: int) -> int:
        """Tell and close the sessions of a subject (or the whole relay) whose token the view shows as revoked."""
        text = revoked(reason, sequence)

        def hit(grant: Grant) -> bool:
            claims = grant.claims
            return claims is not None and (pubkey is None or claims.pubkey == pubkey) and self._revoked(claims)

        return self._close(relay_key, hit, 4403, "Token revoked", text)

    def recheck_all(self) -> int:
        """Close the sessions whose tokens no longer stand: after an erasure nobody else tells them."""
        found = [socket for socket, grant in self._seats.items() if grant.claims and self._revoked(grant.claims)]
        for socket in found:
            socket.close(4403, "Token revoked")
        return len(found)

    def evict(self, relay_key: str) -> int:
        """Close every session of a relay that was unregistered."""
        return self._close(relay_key, lambda _: True, 4404, "Relay not registered")

    def _close(self, relay_key: str, hit: Callable[[Grant], bool], code: int, reason: str, text: str = "") -> int:
        found = [socket for socket, grant in self._seats.items() if grant.relay_key == relay_key and hit(grant)]
        for socket in found:
            if text:
                socket.send(text)
            socket.close(code, reason)
        return len(found)
