"""Tokens given, refreshed and revoked: each a decision over the views, a record in the log, then an answer.

Invariant: decisions about one relay's tokens are made one after the other; a token leaves only when its record is
durable; no token and no ``relayAuthToken`` goes into a record or a log line, only hashes. Whatever was revoked comes
back only by a request that was signed after the revocation.
This module must not know HTTP, URLs or sockets; it is handed what closes sessions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import trio
from cachetools import LRUCache

from gateway.config import Tokens
from gateway.errors import ApiRefused, Unavailable
from gateway.facts import SALT_BYTES, Fact, TokenIssued, TokenRevoked, draft
from gateway.limits.relays import FRESH_MS, OWN_TOKENS_MAX, REVOKE_S_MAX
from gateway.replication.payload import Issue, Once, Refresh, Revoke
from gateway.replication.registration import INTERNAL
from gateway.replication.token import ACCESS, REPLICATION, Claims, TokenInvalid, mint, open_token, token_hash
from gateway.serve.clock import Clock
from gateway.serve.inflight import Inflight
from gateway.serve.ledger import Ledger
from gateway.serve.pseudonym import pseudonym
from gateway.views.relays import Registered, RelaysView
from gateway.views.tokens import Subject, TokensView

DEFAULT_WORKER = "default"
NOT_OWNER = "this relay belongs to another worker"
NONCE_USED = "this nonce was used before"
Close = Callable[[str, str | None, str, int], int]  # relay, pubkey, reason, sequence -> how many sessions


@dataclass(frozen=True, slots=True)
class Minted:
    """A pair of tokens that share a sequence; times in ms."""

    token: str
    replication_token: str
    scope: str
    expires_ms: int
    refresh_after_ms: int
    sequence: int
    seq: int  # where in the log it was recorded


class TokenDesk:
    """Everything that changes which tokens there are."""

    def __init__(
        self, tokens: Tokens, clock: Clock, ledger: Ledger, views: tuple[RelaysView, TokensView], key: bytes
    ) -> None:
        self._config, self._clock, self._ledger, self._key = tokens, clock, ledger, key
        self._relays, self._tokens = views
        self._own: LRUCache[tuple[str, str], Minted] = LRUCache(OWN_TOKENS_MAX)
        self.inflight = Inflight()  # shared with registrations: nonces are the worker's, not an endpoint's

    async def issue(self, worker: str, asked: Issue) -> Minted:
        """Give a token to the relay's owner; ApiRefused 400, 403, 409."""
        async with self.inflight.hold(*self._keys(worker, asked.relay_key, asked.once)):
            self._owned(worker, asked.relay_key)
            self._unused(worker, asked.once)
            subject = self._tokens.subject(asked.relay_key, asked.pubkey or "")
            now_ms = self._clock.now_ms()
            revoked_ms = _believable(subject.revoked_ms, now_ms)
            if revoked_ms and (asked.once is None or asked.once.issued_ms < revoked_ms):
                raise ApiRefused(400, "token-revoked")
            claims = Claims(
                expires_at=now_ms + self._ttl_ms(asked.ttl_s),
                issued_at=now_ms,
                pubkey=asked.pubkey,
                relay_auth_token=asked.relay_auth_token,
                relay_key=asked.relay_key,
                scope=asked.scope,
                sequence=subject.sequence + 1,
            )
            return await self._give(worker, claims, asked.once)

    async def refresh(self, worker: str, asked: Refresh) -> Minted:
        """Give a token in the place of one that is still good: same subject and scope; ApiRefused 400, 403, 409."""
        async with self.inflight.hold(*self._keys(worker, asked.relay_key, asked.once)):
            if self._relays.relay(asked.relay_key) is None:
                raise ApiRefused(400, "no-active-token")  # what refreshes are told: a relay that is gone has none
            self._owned(worker, asked.relay_key)
            self._unused(worker, asked.once)
            held = self._good(asked)
            now_ms = self._clock.now_ms()
            sequence = self._tokens.subject(held.relay_key, held.subject).sequence + 1
            expires_ms = now_ms + self._ttl_ms(asked.ttl_s)
            claims = Claims(
                expires_ms, now_ms, held.pubkey, held.relay_auth_token, held.relay_key, held.scope, sequence
            )
            return await self._give(worker, claims, asked.once, refreshed=token_hash(asked.token))

    async def revoke(self, worker: str, asked: Revoke, close: Close) -> tuple[int, int]:
        """Revoke a subject's tokens, or the whole relay's: (sessions closed, highest sequence revoked)."""
        async with self.inflight.hold(*self._keys(worker, asked.relay_key, asked.once)):
            self._may_revoke(worker, asked)
            self._unused(worker, asked.once)
            subject = self._tokens.subject(asked.relay_key, asked.pubkey or "")
            sequence = self._tokens.top_sequence(asked.relay_key) if asked.pubkey is None else subject.sequence
            once = asked.once
            fact = TokenRevoked(
                worker=worker,
                relay_key=asked.relay_key,
                pubkey=asked.pubkey,
                sequence=sequence,
                revoked_ms=self._clock.now_ms(),
                reason=asked.reason,
                nonce=once.nonce if once else None,
                nonce_issued_ms=once.issued_ms if once else None,
            )
            # A client that goes away now must not leave sessions open whose tokens the log says are revoked.
            with trio.move_on_after(REVOKE_S_MAX, shield=True) as scope:
                await self._record(fact, asked.relay_key, asked.pubkey)
            if scope.cancelled_caught:
                raise Unavailable("the log does not answer; whether the tokens are revoked is not known")
            return close(asked.relay_key, asked.pubkey, asked.reason, sequence), sequence

    async def own(self, worker: str, relay_key: str, signed_ms: int) -> Minted | None:
        """Give a worker its own tokens for its URLs; None where they were revoked after the request was signed.

        They ride on the relay's own sequence without moving it, and are given again until it is time to refresh them.
        """
        async with self.inflight.hold(("tokens", relay_key)):
            subject = self._tokens.subject(relay_key, "")
            kept = self._own.get((worker, relay_key))
            now_ms = self._clock.now_ms()
            if kept and now_ms < kept.refresh_after_ms and kept.sequence > subject.revoked_through:
                return kept
            if signed_ms < _believable(subject.revoked_ms, now_ms):
                return None
            claims = Claims(now_ms + self._ttl_ms(None), now_ms, None, "", relay_key, ACCESS, _standing(subject))
            minted = self._own[worker, relay_key] = await self._give(worker, claims, None)
            return minted

    # -- decisions ----------------------------------------------------------------------------------------------------

    def _keys(self, worker: str, relay_key: str, once: Once | None) -> list[tuple[str, ...]]:
        return [("tokens", relay_key), *([("nonce", worker, once.nonce)] if once else [])]

    def _registered(self, relay_key: str) -> Registered:
        found = self._relays.relay(relay_key)
        if found is None:
            raise ApiRefused(400, "relay-not-registered")
        return found

    def _owned(self, worker: str, relay_key: str) -> None:
        """The gateway's own relay is for every worker; any other for its owner alone."""
        if self._registered(relay_key).worker != worker and relay_key != INTERNAL:
            raise ApiRefused(403, NOT_OWNER)

    def _may_revoke(self, worker: str, asked: Revoke) -> None:
        """On the gateway's own relay a worker revokes what it alone asked for; the operator's default worker, all."""
        self._owned(worker, asked.relay_key)
        if asked.relay_key == INTERNAL and worker != DEFAULT_WORKER:
            issuers = self._tokens.issuers(asked.relay_key, asked.pubkey or "")
            if asked.pubkey is None or not issuers <= {worker}:
                raise ApiRefused(403, NOT_OWNER)

    def _unused(self, worker: str, once: Once | None) -> None:
        if once is not None and self._tokens.used(worker, once.nonce):
            raise ApiRefused(409, NONCE_USED)

    def _good(self, asked: Refresh) -> Claims:
        """Give the claims of a token that may be refreshed; ApiRefused 400 with the first reason."""
        issued = self._tokens.issued(token_hash(asked.token))
        is_known = issued is not None and issued.relay_key == asked.relay_key
        if not is_known and not self._tokens.has_issued(asked.relay_key):
            raise ApiRefused(400, "no-active-token")
        try:
            claims = open_token(self._key, asked.token)
        except TokenInvalid as error:
            raise ApiRefused(400, "token-invalid") from error
        if claims.relay_key != asked.relay_key:
            raise ApiRefused(400, "token-mismatch")
        if self._clock.now_ms() >= claims.expires_at:
            raise ApiRefused(400, "token-expired")
        if self._tokens.revoked(claims.relay_key, claims.subject, claims.sequence):
            raise ApiRefused(400, "token-revoked")
        if not is_known:  # made by this key, but not in this log
            raise ApiRefused(400, "no-active-token")
        return claims

    def _ttl_ms(self, ttl_s: int | None) -> int:
        return min(ttl_s or self._config.default_ttl_s, self._config.ttl_s_max) * 1000

    # -- records ------------------------------------------------------------------------------------------------------

    async def _give(self, worker: str, claims: Claims, once: Once | None, refreshed: bytes | None = None) -> Minted:
        # A narrower scope than access is kept for both: the second token never opens more than was asked for.
        narrow = msgspec.structs.replace(claims, scope=REPLICATION) if claims.scope == ACCESS else claims
        token, replication_token = mint(self._key, claims), mint(self._key, narrow)
        fact = TokenIssued(
            worker=worker,
            relay_key=claims.relay_key,
            pubkey=claims.pubkey,
            scope=claims.scope,
            sequence=claims.sequence,
            issued_ms=claims.issued_at,
            expires_ms=claims.expires_at,
            token_hash=token_hash(token),
            replication_token_hash=token_hash(replication_token),
            refreshed_hash=refreshed,
            nonce=once.nonce if once else None,
            nonce_issued_ms=once.issued_ms if once else None,
        )
        seq = await self._record(fact, claims.relay_key, claims.pubkey)
        refresh_after_ms = max(claims.issued_at, claims.expires_at - self._config.refresh_window_s * 1000)
        return Minted(token, replication_token, claims.scope, claims.expires_at, refresh_after_ms, claims.sequence, seq)

    async def _record(self, fact: Fact, relay_key: str, pubkey: str | None) -> int:
        subject = pseudonym(self._key, relay_key, pubkey or "")
        salt = self._clock.random_bytes(SALT_BYTES)
        return await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns(), subject=subject, salt=salt)])


def _believable(revoked_ms: int, now_ms: int) -> int:
    """Give the time of a revocation; 0 for one in the future, which a clock that ran ahead wrote.

    The tokens of then stay revoked, by their sequence; new ones are not refused until that future has come.
    """
    return revoked_ms if revoked_ms <= now_ms + FRESH_MS else 0


def _standing(subject: Subject) -> int:
    """The lowest sequence that is not revoked: the present one, or the next."""
    return subject.sequence if subject.sequence > subject.revoked_through else subject.sequence + 1
