"""Handshakes over real sockets: every close code and reason, by a client that is another implementation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed

from gateway.config import Config, Mirror, Registration
from gateway.replication.token import Claims, mint
from tests.fakes import FakeClock
from tests.server import Running, running, websocket
from tests.worker import INTERNAL, KEY, NAME, SECRET, Worker

OTHER = "cd" * 32
PUBKEY, SOMEBODY = "e1" * 32, "e2" * 32


def config(**mirror) -> Config:
    return Config(registration=Registration(secret=SECRET), mirror=Mirror(**mirror))


@asynccontextmanager
async def served(clock: FakeClock | None = None, **mirror) -> AsyncIterator[tuple[Running, Worker]]:
    async with (
        running(config(**mirror), clock) as gateway,
        httpx.AsyncClient(base_url=gateway.url, timeout=60) as client,
    ):
        worker = Worker(client, now_ms=clock.now_ms() if clock else None)
        await worker.register(identifier=NAME, pathAliases=["short"])
        await worker.register(OTHER, identifier="npub1xyz:open", requiresAuth=False)
        yield gateway, worker


async def outcome(url: str) -> tuple[int, str]:
    """The code and reason with which a connection is closed; (0, "open") where it answers instead."""
    with trio.fail_after(30):
        async with websocket(url) as socket:
            try:
                await socket.send_message('["REQ"]')
                await socket.get_message()
            except ConnectionClosed as closed:
                return closed.reason.code, closed.reason.reason
    return 0, "open"


OPEN = (0, "open")


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/relay", OPEN),
        ("/relay/", OPEN),
        ("/relay?token=garbage", OPEN),
        ("/public-gateway/hyperbee", OPEN),
        ("/public-gateway:hyperbee", OPEN),
        ("/public-gateway%3Ahyperbee", OPEN),
        ("/npub1xyz/open", OPEN),
        (f"/{OTHER}", OPEN),
        ("/mirror/relay", (4403, "Token required")),
        ("/mirror/relay?token=", (4403, "Token required")),
        ("/mirror/relay?token=garbage", (4403, "Invalid token")),
        ("/mirror/public-gateway/hyperbee", (4403, "Token required")),
        ("/mirror/public-gateway%3Ahyperbee", (4403, "Token required")),
        ("/mirror/npub1xyz/open", (4403, "Token required")),
        ("/mirror/npub1xyz%3Aopen", (4403, "Token required")),
        (f"/mirror/{OTHER}?token=x", (4403, "Invalid token")),
        ("/npub1abc/My-Relay", (4403, "Token required")),
        (f"/{KEY}?token=garbage", (4403, "Invalid token")),
        ("/short", (4403, "Token required")),
        ("/mirror/short", (4403, "Token required")),
        ("/npub1abc/my-relay", (4404, "Relay not registered")),
        ("/mirror/unknown?token=garbage", (4404, "Relay not registered")),
        (f"/{'99' * 32}", (4404, "Relay not registered")),
        ("/", (4404, "Invalid relay key")),
        ("/mirror", (4404, "Invalid relay key")),
        ("/mirror/", (4404, "Invalid relay key")),
        ("/a%00b", (4404, "Invalid relay key")),
    ],
)
async def test_each_path_without_a_good_token_has_its_outcome(path, closed):
    async with served() as (gateway, _):
        assert await outcome(f"{gateway.ws_url}{path}") == closed


async def test_a_token_opens_both_sockets_of_its_relay_under_every_name_and_no_other_relay():
    async with served() as (gateway, worker):
        issued = {key: await worker.issue(key) for key in (KEY, OTHER, INTERNAL)}
        paths = {
            KEY: ("npub1abc/My-Relay", "npub1abc%3AMy-Relay", KEY, "short"),
            OTHER: ("npub1xyz/open", OTHER),
            INTERNAL: ("relay", "public-gateway/hyperbee"),
        }
        for of, answer in issued.items():
            for relay, names in paths.items():
                for name in names:
                    url = f"{gateway.ws_url}/mirror/{name}?token={answer['token']}"
                    assert await outcome(url) == (OPEN if of == relay else (4403, "Relay mismatch"))
            assert await outcome(answer["connectionUrl"]) == OPEN
            assert await outcome(answer["replicationConnectionUrl"]) == OPEN
            if of != KEY:
                assert await outcome(f"{gateway.ws_url}/{KEY}?token={answer['token']}") == (4403, "Relay mismatch")


async def test_a_replication_token_opens_the_mirror_alone_and_another_scope_nothing():
    async with served() as (gateway, worker):
        token = (await worker.issue())["replicationToken"]
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={token}") == OPEN
        assert await outcome(f"{gateway.ws_url}/short?token={token}") == (4403, "Scope not allowed")
        other = await worker.issue(scope="something-else")
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={other['token']}") == (4403, "Scope not allowed")
        assert await outcome(other["replicationConnectionUrl"]) == (4403, "Scope not allowed")


async def test_the_workers_secret_makes_no_tokens():
    async with served() as (gateway, _):
        forged = mint(SECRET.encode(), Claims(2**52, 0, None, "auth", KEY, "relay-access", 1))
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={forged}") == (4403, "Invalid token")


async def test_a_token_of_the_right_key_that_no_log_of_ours_gave_opens_nothing():
    async with served() as (gateway, _):
        key = gateway.gateway.relays.key
        unheard = mint(key, Claims(2**52, 0, None, "auth", KEY, "relay-access", 1))
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={unheard}") == (4403, "Token revoked")


async def test_a_token_that_has_expired_is_refused():
    clock = FakeClock()
    async with served(clock) as (gateway, worker):
        token = (await worker.issue(ttlSeconds=2))["token"]
        clock.advance(2)
        for path in ("short", "mirror/short"):
            assert await outcome(f"{gateway.ws_url}/{path}?token={token}") == (4403, "Token expired")


async def test_a_revoked_token_stays_revoked_across_a_restart():
    async with served() as (gateway, worker):
        token = (await worker.issue(pubkey=PUBKEY))["token"]
        other = (await worker.issue(pubkey=SOMEBODY))["token"]
        assert (await worker.revoke(pubkey=PUBKEY, reason="left"))["status"] == "revoked"
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={token}") == (4403, "Token revoked")
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={other}") == OPEN
        log, key = gateway.ledger.log, gateway.gateway.relays.key
    async with running(config(), log=log) as again:
        again.gateway.relays.handshakes._key = key
        assert await outcome(f"{again.ws_url}/mirror/short?token={token}") == (4403, "Token revoked")
        assert await outcome(f"{again.ws_url}/mirror/short?token={other}") == OPEN


async def test_a_mirror_that_is_switched_off_says_so_and_the_normal_socket_stays():
    async with served(enabled=False, invalid_attempts_max=1) as (gateway, worker):
        token = (await worker.issue())["token"]
        for query in ("", f"?token={token}"):
            assert await outcome(f"{gateway.ws_url}/mirror/short{query}") == (4404, "Replication endpoint disabled")
        assert await outcome(f"{gateway.ws_url}/short?token={token}") == OPEN


async def test_after_twenty_failures_further_ones_are_cut_short_and_a_good_token_still_passes():
    clock = FakeClock()
    async with served(clock) as (gateway, worker):
        token = (await worker.issue())["token"]
        for _ in range(20):
            assert await outcome(f"{gateway.ws_url}/mirror/short?token=garbage") == (4403, "Invalid token")
        for path in ("mirror/short?token=garbage", "unknown", "mirror/"):
            assert await outcome(f"{gateway.ws_url}/{path}") == (4429, "Too many invalid attempts")
        label = 'frame="HANDSHAKE",outcome="rejected",reason="rate-limited"'
        assert f"gateway_replication_frames_total{{{label}}} 3.0" in (await worker.client.get("/metrics")).text
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={token}") == OPEN
        assert await outcome(f"{gateway.ws_url}/relay") == OPEN
        clock.advance(120)
        assert await outcome(f"{gateway.ws_url}/mirror/short?token=garbage") == (4403, "Invalid token")


async def test_refused_handshakes_are_counted_by_reason():
    async with served() as (gateway, worker):
        await outcome(f"{gateway.ws_url}/mirror/short")
        await outcome(f"{gateway.ws_url}/mirror/short?token=x")
        text = (await worker.client.get("/metrics")).text
        for reason in ("missing-token", "invalid-token"):
            label = f'frame="HANDSHAKE",outcome="rejected",reason="{reason}"'
            assert f"gateway_replication_frames_total{{{label}}} 1.0" in text


async def test_a_worker_that_is_offline_keeps_its_relay_served():
    clock = FakeClock()
    async with served(clock) as (gateway, worker):
        token = (await worker.issue())["token"]
        clock.advance(1_000)
        assert (await worker.client.get(f"/api/relays/{KEY}")).json()["online"] is False
        assert await outcome(f"{gateway.ws_url}/mirror/short?token={token}") == OPEN


async def test_taking_a_relay_away_closes_its_sessions():
    async with served() as (_gateway, worker):
        issued = await worker.issue()
        with trio.fail_after(30):
            async with (
                websocket(issued["connectionUrl"]) as normal,
                websocket(issued["replicationConnectionUrl"]) as mirror,
            ):
                assert (await worker.unregister()).status_code == 200
                for socket in (normal, mirror):
                    with pytest.raises(ConnectionClosed) as closed:
                        await socket.get_message()
                    assert (closed.value.reason.code, closed.value.reason.reason) == (4404, "Relay not registered")
