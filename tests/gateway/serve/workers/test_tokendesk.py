"""Decisions about tokens, without HTTP: sequences, refreshes, revocations."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.config import Tokens
from gateway.errors import ApiRefused
from gateway.facts import RelayRegistered, draft
from gateway.replication.payload import Issue, Once, Refresh, Revoke
from gateway.replication.registration import INTERNAL
from gateway.replication.signature import canonical
from gateway.replication.token import Claims, mint, open_token
from gateway.serve.workers.tokendesk import TokenDesk
from gateway.views.relays import RelaysView
from gateway.views.tokens import TokensView
from tests.fakes import FakeClock, MemoryLog, memory_ledger

KEY = b"the gateway's own key"
RELAY, OTHER = "aa" * 32, "bb" * 32
ALICE, BOB = "a1" * 32, "b1" * 32


class Desk:
    """A desk with two relays of the worker ``w`` and the gateway's own."""

    def __init__(self, desk: TokenDesk, clock: FakeClock, log: MemoryLog) -> None:
        self.desk, self.clock, self.log = desk, clock, log
        self.closed: list[tuple[str, str | None, str, int]] = []
        self.nonces = 0

    def once(self) -> Once:
        self.nonces += 1
        return Once(str(self.nonces), self.clock.now_ms())

    async def issue(self, relay=RELAY, pubkey=None, *, once=None, worker="w", scope="relay-access", ttl=None):
        return await self.desk.issue(worker, Issue(relay, "auth", pubkey, scope, ttl, once))

    async def refresh(self, token, relay=RELAY, *, worker="w"):
        return await self.desk.refresh(worker, Refresh(relay, token, None, None))

    async def revoke(self, relay=RELAY, pubkey=None, *, worker="w", once=None):
        def close(*what) -> int:
            self.closed.append(what)
            return 7

        return await self.desk.revoke(worker, Revoke(relay, pubkey, "because", once), close)


@asynccontextmanager
async def desk(log: MemoryLog | None = None) -> AsyncIterator[Desk]:
    clock = FakeClock()
    async with memory_ledger(RelaysView, TokensView, log=log) as ledger:
        for worker, relay_key in (("w", RELAY), ("w", OTHER), ("", INTERNAL)):
            payload = {"relayKey": relay_key, "peers": [], "metadata": {"identifier": relay_key}}
            fact = RelayRegistered(worker, relay_key, "", 0, 0, canonical(payload))
            await ledger.record([draft(fact, ts_ns=0)])
        relays, tokens = ledger.view(RelaysView), ledger.view(TokensView)
        yield Desk(TokenDesk(Tokens(), clock, ledger, (relays, tokens), KEY), clock, ledger.log)


async def refused(work: Callable, *args, **more) -> tuple[int, str]:
    with pytest.raises(ApiRefused) as refusal:
        await work(*args, **more)
    return refusal.value.status, refusal.value.text


async def test_sequences_count_per_relay_and_subject():
    async with desk() as at:
        assert [(await at.issue(pubkey=who)).sequence for who in (ALICE, ALICE, BOB, None, ALICE)] == [1, 2, 1, 1, 3]
        assert (await at.issue(OTHER, ALICE)).sequence == 1


async def test_concurrent_issues_get_different_sequences():
    async with desk() as at:
        found: list[int] = []

        async def issue() -> None:
            found.append((await at.issue(pubkey=ALICE)).sequence)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(issue)
        assert sorted(found) == list(range(1, 11))


async def test_both_tokens_of_an_answer_share_a_sequence_and_differ_in_scope():
    async with desk() as at:
        minted = await at.issue(pubkey=ALICE, ttl=60)
        wide, narrow = open_token(KEY, minted.token), open_token(KEY, minted.replication_token)
        assert (wide.scope, narrow.scope) == ("relay-access", "relay-replication")
        assert wide.sequence == narrow.sequence == 1
        assert wide.relay_auth_token == "auth"
        assert wide.expires_at == minted.expires_ms == at.clock.now_ms() + 60_000
        assert minted.refresh_after_ms == at.clock.now_ms(), "a life shorter than the window is refreshed at once"


async def test_a_life_is_cut_to_the_longest_allowed():
    async with desk() as at:
        assert (await at.issue(ttl=10**9)).expires_ms == at.clock.now_ms() + 86_400_000


async def test_a_refresh_keeps_subject_scope_and_auth_token_and_the_old_token_stays_good():
    async with desk() as at:
        first = await at.issue(pubkey=ALICE)
        second = await at.refresh(first.token)
        assert (second.sequence, second.scope) == (2, "relay-access")
        claims = open_token(KEY, second.token)
        assert (claims.pubkey, claims.relay_auth_token) == (ALICE, "auth")
        assert (await at.refresh(first.token)).sequence == 3


async def test_a_refresh_never_widens_a_scope():
    async with desk() as at:
        narrow = (await at.issue()).replication_token
        again = await at.refresh(narrow)
        assert open_token(KEY, again.token).scope == "relay-replication"
        assert open_token(KEY, again.replication_token).scope == "relay-replication"
        other = await at.issue(scope="other")
        assert open_token(KEY, (await at.refresh(other.token)).replication_token).scope == "other"


async def test_each_refusal_of_a_refresh_has_its_text():
    async with desk() as at:
        foreign = mint(KEY, Claims(at.clock.now_ms() + 5, 0, None, "x", RELAY, "relay-access", 1))
        assert await refused(at.refresh, foreign) == (400, "no-active-token")
        own = await at.desk.own("w", RELAY, at.clock.now_ms())
        assert own is not None
        assert await refused(at.refresh, "garbage") == (400, "no-active-token"), "nobody asked for those in its URLs"
        token = (await at.issue(pubkey=ALICE, ttl=10)).token
        assert await refused(at.refresh, "garbage") == (400, "token-invalid")
        assert await refused(at.refresh, foreign) == (400, "no-active-token")
        assert await refused(at.refresh, token, OTHER) == (400, "no-active-token")
        await at.issue(OTHER)
        assert await refused(at.refresh, token, OTHER) == (400, "token-mismatch")
        assert await refused(at.refresh, token, "cc" * 32) == (400, "no-active-token")
        assert await refused(at.refresh, token, worker="v") == (403, "this relay belongs to another worker")
        await at.revoke(pubkey=ALICE)
        assert await refused(at.refresh, token) == (400, "token-revoked")
        at.clock.advance(10)
        assert await refused(at.refresh, token) == (400, "token-expired")


async def test_a_revocation_reaches_its_subject_alone_or_the_whole_relay():
    async with desk() as at:
        await at.issue(pubkey=ALICE)
        alice, bob = (await at.issue(pubkey=ALICE)).token, (await at.issue(pubkey=BOB)).token
        assert await at.revoke(pubkey=ALICE) == (7, 2)
        assert await refused(at.refresh, alice) == (400, "token-revoked")
        assert (await at.refresh(bob)).sequence == 2
        assert await at.revoke() == (7, 2)
        assert await refused(at.refresh, bob) == (400, "token-revoked")
        assert at.closed == [(RELAY, ALICE, "because", 2), (RELAY, None, "because", 2)]


async def test_after_a_revocation_only_a_newer_request_gets_a_token():
    async with desk() as at:
        await at.issue(pubkey=ALICE)
        captured = at.once()
        at.clock.advance(1)
        await at.revoke(pubkey=ALICE)
        assert await refused(at.issue, pubkey=ALICE) == (400, "token-revoked")
        assert await refused(at.issue, pubkey=ALICE, once=captured) == (400, "token-revoked")
        assert (await at.issue(pubkey=ALICE, once=at.once())).sequence == 2
        assert (await at.issue(pubkey=BOB)).sequence == 1, "nobody else is concerned"


async def test_after_a_relays_revocation_no_subject_gets_a_token_by_an_old_request():
    async with desk() as at:
        await at.revoke()
        assert await refused(at.issue, pubkey=ALICE) == (400, "token-revoked")
        token = (await at.issue(pubkey=ALICE, once=at.once())).token
        assert (await at.refresh(token)).sequence == 2


async def test_a_nonce_is_used_once_over_all_token_requests():
    async with desk() as at:
        once = at.once()
        await at.issue(once=once)
        for work in (at.issue, at.revoke):
            assert await refused(work, once=once) == (409, "this nonce was used before")


async def test_a_workers_own_tokens_do_not_move_the_sequence_and_end_with_a_revocation():
    async with desk() as at:
        signed = at.clock.now_ms()
        own = await at.desk.own("w", RELAY, signed)
        assert own is not None
        assert (await at.desk.own("w", RELAY, signed)) is own
        assert (await at.issue()).sequence == 1
        at.clock.advance(1)
        await at.revoke()
        assert await refused(at.refresh, own.token) == (400, "token-revoked")
        assert await at.desk.own("w", RELAY, signed) is None, "signed before the revocation"
        again = await at.desk.own("w", RELAY, at.clock.now_ms())
        assert again is not None
        assert again.sequence == 2
        assert (await at.refresh(again.token)).sequence == 3


async def test_on_the_gateways_own_relay_a_worker_revokes_what_it_alone_asked_for():
    async with desk() as at:
        await at.issue(INTERNAL, ALICE, worker="w")
        await at.issue(INTERNAL, BOB, worker="v")
        refusal = (403, "this relay belongs to another worker")
        assert await refused(at.revoke, INTERNAL, worker="w") == refusal
        assert await refused(at.revoke, INTERNAL, BOB, worker="w") == refusal
        await at.revoke(INTERNAL, ALICE, worker="w")
        await at.revoke(INTERNAL, worker="default")


async def test_a_restart_remembers_sequences_revocations_and_nonces():
    async with desk() as at:
        once = at.once()
        alice, bob = await at.issue(pubkey=ALICE, once=once), await at.issue(pubkey=BOB)
        await at.revoke(pubkey=ALICE)
        log = at.log
    async with desk(log) as again:
        assert await refused(again.refresh, alice.token) == (400, "token-revoked")
        assert await refused(again.issue, pubkey=BOB, once=once) == (409, "this nonce was used before")
        assert (await again.refresh(bob.token)).sequence == 2


async def test_a_client_that_leaves_at_any_point_does_not_stop_a_revocation_half_way():
    """What is in the log as revoked has its sessions closed, at whichever pause the requests were cancelled."""
    outcomes = set()
    for pauses in range(12):
        async with desk() as at:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(at.revoke)
                nursery.start_soon(at.revoke)  # waits for the first, and may be cancelled there
                for _ in range(pauses):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            kinds = [record.kind for batch in at.log.read(0) for record in batch]
            assert kinds.count("token.revoked") == len(at.closed)
            outcomes.add(len(at.closed))
    assert outcomes == {1, 2}, "both were seen: one that was cancelled while it waited, and one that was not"
