"""Paths, tokens and close codes of both sockets: the tables of relay-and-mirror.md §2 and §3."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.conformance.fakes import now_ms
from tests.conformance.sockets import line, refused
from tests.conformance.worker import INTERNAL, Worker, fresh_key, relay_id
from tests.conformance.world import World, world

ALICE, BOB = "aa" * 32, "bb" * 32
MANY = "[mirror]\ninvalid_attempts_max = 100000\n"


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("handshakes"), extra=MANY) as made:
        yield made
        assert made.traces() == []


@pytest.fixture(scope="module")
def worker(w: World) -> Worker:
    return Worker(w)


class Relay:
    """A registered relay and the paths that lead to it."""

    def __init__(self, worker: Worker, **metadata: object) -> None:
        self.worker, self.key = worker, fresh_key()
        self.name = f"h{self.key[:12]}"
        self.path = f"npub1conform/{self.name}"
        answer = worker.register(self.key, self.name, metadata={"pathAliases": [f"alias/{self.name}"], **metadata})
        assert answer.status == 200, answer
        self.relay_id = relay_id(f"npub1conform:{self.name}")

    def token(self, pubkey: str | None = ALICE, name: str = "token", **changes: object) -> str:
        return str(self.worker.issue(self.key, pubkey, **changes)[name])


@pytest.fixture
def relay(worker: Worker) -> Relay:
    return Relay(worker)


def url(w: World, path: str, token: str | None = None) -> str:
    return f"{w.server.ws_url}/{path}" + ("" if token is None else f"?token={token}")


async def lives(address: str) -> bool:
    """Whether a socket stays open and answers."""
    async with line(address) as opened:
        await opened.say("REQ", "x", {"relayID": "0" * 64})
        verb = (await opened.hear())[0]
        return verb in {"EOSE", "NOTICE", "CLOSED"}


@pytest.mark.parametrize(
    "path", ["relay", "public-gateway/hyperbee", "public-gateway:hyperbee", "public-gateway%3Ahyperbee"]
)
async def test_the_gateways_own_relay_is_open_at_all_its_names(w: World, path: str) -> None:
    assert await lives(url(w, path))
    assert await lives(url(w, path, "rubbish")), "on an open relay a bad token is ignored, not rewarded"
    assert await refused(url(w, f"mirror/{path}")) == (4403, "Token required")
    token = Worker(w).issue(INTERNAL, ALICE)["replicationToken"]
    assert await lives(url(w, f"mirror/{path}", token))


async def test_a_user_relay_is_found_by_every_spelling_of_its_names(w: World, relay: Relay) -> None:
    token = relay.token()
    name = f"npub1conform:{relay.name}"
    for path in (
        relay.path,
        name,
        name.replace(":", "%3A"),
        relay.path.replace("/", "%2F"),
        relay.key,
        f"alias/{relay.name}",
    ):
        assert await lives(url(w, path, token)), path
        assert await lives(url(w, f"mirror/{path}", token)), path


async def test_a_token_is_required_where_the_relay_says_so(w: World, relay: Relay) -> None:
    assert await refused(url(w, relay.path)) == (4403, "Token required")
    assert await refused(url(w, relay.path, "")) == (4403, "Token required")
    assert await refused(url(w, f"mirror/{relay.path}")) == (4403, "Token required")


async def test_an_open_user_relay_needs_none_but_its_mirror_does(w: World, worker: Worker) -> None:
    relay = Relay(worker, requiresAuth=False)
    assert await lives(url(w, relay.path))
    assert await refused(url(w, f"mirror/{relay.path}")) == (4403, "Token required")


async def test_what_the_gateway_did_not_make_is_an_invalid_token(w: World, relay: Relay) -> None:
    good = relay.token()
    body, _, mac = good.partition(".")
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    by_worker = hmac.new(b"worker-secret", raw, hashlib.sha256).hexdigest()
    wider = json.dumps(json.loads(raw) | {"expiresAt": now_ms() * 2}, sort_keys=True, separators=(",", ":")).encode()
    forged = base64.urlsafe_b64encode(wider).rstrip(b"=").decode()
    for token in (
        "x",
        "x.y",
        f"{body}.{by_worker}",
        f"{forged}.{mac}",
        f"{body}.{mac.upper()}",
        f"{body}=.{mac}",
        good + "0",
    ):
        assert await refused(url(w, relay.path, token)) == (4403, "Invalid token"), token
        assert await refused(url(w, f"mirror/{relay.path}", token)) == (4403, "Invalid token"), token


async def test_a_token_opens_its_own_relay_alone(w: World, worker: Worker, relay: Relay) -> None:
    other = Relay(worker)
    for path in (other.path, f"mirror/{other.path}", "mirror/relay"):
        assert await refused(url(w, path, relay.token())) == (4403, "Relay mismatch")


async def test_scopes_open_what_they_name(w: World, relay: Relay) -> None:
    replication = relay.token(name="replicationToken")
    assert await lives(url(w, f"mirror/{relay.path}", replication))
    assert await refused(url(w, relay.path, replication)) == (4403, "Scope not allowed")
    answer = relay.worker.token("issue", {"relayKey": relay.key, "relayAuthToken": "a", "scope": "something-else"})
    if answer.status == 200:
        assert await refused(url(w, f"mirror/{relay.path}", answer.body["token"])) == (4403, "Scope not allowed")
    else:
        assert answer.status == 400


async def test_expired_and_revoked_tokens_are_told_apart(w: World, relay: Relay) -> None:
    short, held = relay.token(ttlSeconds=1), relay.token(BOB)
    await trio.sleep(1.1)
    assert await refused(url(w, relay.path, short)) == (4403, "Token expired")
    assert await refused(url(w, f"mirror/{relay.path}", short)) == (4403, "Token expired")
    relay.worker.token("revoke", {"relayKey": relay.key, "pubkey": BOB})
    assert await refused(url(w, relay.path, held)) == (4403, "Token revoked")
    assert await refused(url(w, f"mirror/{relay.path}", held)) == (4403, "Token revoked")


async def test_the_first_check_that_fails_gives_the_reason(w: World, worker: Worker, relay: Relay) -> None:
    other = Relay(worker)
    short = relay.token(ttlSeconds=1)
    scoped = relay.token(ttlSeconds=1, name="replicationToken")
    await trio.sleep(1.1)
    relay.worker.token("revoke", {"relayKey": relay.key})
    assert await refused(url(w, "npub1conform/unknown", "rubbish")) == (4404, "Relay not registered")
    assert await refused(url(w, other.path, short)) == (4403, "Relay mismatch")
    assert await refused(url(w, relay.path, scoped)) == (4403, "Scope not allowed")
    assert await refused(url(w, relay.path, short)) == (4403, "Token expired")


@pytest.mark.parametrize("path", ["npub1conform/nobody", "00" * 32, "mirror/nobody", "unknown"])
async def test_a_relay_that_is_not_there_is_4404(w: World, path: str) -> None:
    assert await refused(url(w, path)) == (4404, "Relay not registered")
    assert await refused(url(w, path, "token")) == (4404, "Relay not registered")


@pytest.mark.parametrize("path", ["", "mirror", "mirror/", "%00", "a%20b", "%ff", "mirror/%0a"])
async def test_a_path_that_can_name_no_relay_is_4404(w: World, path: str) -> None:
    assert (await refused(url(w, path)))[0] == 4404


async def test_an_unregistered_relay_is_gone_for_good(w: World, relay: Relay) -> None:
    token = relay.token()
    relay.worker.delete(relay.key)
    assert await refused(url(w, relay.path, token)) == (4404, "Relay not registered")


async def test_expiry_closes_open_mirror_sockets(w: World, relay: Relay) -> None:
    async with line(url(w, f"mirror/{relay.path}", relay.token(ttlSeconds=2))) as mirror:
        before = trio.current_time()
        assert await mirror.ended() == (4403, "Token expired")
        assert trio.current_time() - before < 20


async def test_a_fresh_token_of_the_same_subject_carries_a_session_on(w: World, relay: Relay) -> None:
    async with line(url(w, f"mirror/{relay.path}", relay.token(ttlSeconds=4))) as mirror:
        await mirror.say("AUTH", relay.token(ttlSeconds=60))
        await trio.sleep(4.5)
        await mirror.say("REQ", "x", {"relayID": relay.relay_id})
        assert (await mirror.until("EOSE"))[-1] == ["EOSE", "x"]


async def test_a_token_of_another_subject_does_not(w: World, relay: Relay) -> None:
    async with line(url(w, f"mirror/{relay.path}", relay.token(ttlSeconds=2))) as mirror:
        await mirror.say("AUTH", relay.token(BOB))
        assert (await mirror.ended())[0] == 4403


async def test_a_revocation_tells_and_closes_the_sessions_of_its_subject(w: World, relay: Relay) -> None:
    alice, bob = relay.token(ALICE), relay.token(BOB)
    async with (
        line(url(w, f"mirror/{relay.path}", alice)) as mirror,
        line(url(w, relay.path, alice)) as normal,
        line(url(w, f"mirror/{relay.path}", bob)) as other,
        line(url(w, "relay")) as untokened,
    ):
        for opened in (mirror, normal, other, untokened):
            await opened.say("REQ", "up", {"relayID": relay.relay_id})
            await opened.hear()
        payload = {"relayKey": relay.key, "pubkey": ALICE, "reason": "left"}
        answer = await trio.to_thread.run_sync(relay.worker.token, "revoke", payload)
        assert answer.body["disconnected"] == 2
        told = ["TOKEN", "REVOKED", {"reason": "left", "sequence": answer.body["sequence"]}]
        for opened in (mirror, normal):
            assert (await opened.until("TOKEN"))[-1] == told
            assert await opened.ended() == (4403, "Token revoked")
        await other.say("REQ", "still", {"relayID": relay.relay_id})
        assert (await other.until("EOSE"))[-1][0] == "EOSE"
        await untokened.say("REQ", "still", {"kinds": [1], "limit": 0})
        assert (await untokened.until("EOSE"))[-1][0] == "EOSE"


async def test_a_revocation_of_the_relay_closes_everybody_with_a_token(w: World, relay: Relay) -> None:
    async with (
        line(url(w, f"mirror/{relay.path}", relay.token(ALICE))) as one,
        line(url(w, f"mirror/{relay.path}", relay.token(BOB))) as two,
    ):
        for opened in (one, two):
            await opened.say("REQ", "up", {"relayID": relay.relay_id})
            await opened.hear()
        answer = await trio.to_thread.run_sync(relay.worker.token, "revoke", {"relayKey": relay.key})
        assert answer.body["disconnected"] == 2
        for opened in (one, two):
            assert await opened.ended() == (4403, "Token revoked")


async def test_too_many_invalid_attempts_are_cut_short_but_a_good_token_gets_through(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        relay = Relay(Worker(w))
        token = relay.token()
        reasons = [await refused(url(w, f"mirror/{relay.path}", "bad")) for _ in range(22)]
        assert set(reasons[:20]) == {(4403, "Invalid token")}
        assert reasons[-1] == (4429, "Too many invalid attempts")
        assert await lives(url(w, f"mirror/{relay.path}", token))
        assert await refused(url(w, f"mirror/{relay.path}", "bad")) == (4429, "Too many invalid attempts")


async def test_a_disabled_mirror_says_so(tmp_path: Path) -> None:
    with world(tmp_path, extra="[mirror]\nenabled = false\n") as w:
        relay = Relay(Worker(w))
        address = url(w, f"mirror/{relay.path}", relay.token())
        assert await refused(address) == (4404, "Replication endpoint disabled")
        assert await lives(url(w, relay.path, relay.token()))


async def test_at_the_connection_limit_a_socket_is_told_to_try_again(tmp_path: Path) -> None:
    with world(tmp_path, extra="[server]\nconnections_max = 2\n") as w:
        async with line(url(w, "relay")) as one, line(url(w, "relay")) as two:
            await one.answer("REQ", "x", {"limit": 0})
            await two.answer("REQ", "x", {"limit": 0})
            assert await refused(url(w, "relay")) == (1013, "Try again later")


def test_ordinary_get_on_a_socket_path_is_not_an_error_of_ours(w: World) -> None:
    assert w.get("/relay").status in {200, 400, 426}
    assert w.get("/npub1conform/nobody").status == 404
