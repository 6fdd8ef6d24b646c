"""The acceptance criteria of the plan that parted normal from replication traffic: each is a test, or two.

The real server in its own process, the real Python client, and the module for pages in node and in a browser; where a
disk has to fail, the same server over a log in memory. The words of a criterion stand above its tests.
"""

import json
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from gateway.client.replica import Replica, ReplicaFailed, TokenRefused, open_replica
from tests.conformance.sockets import line, refused
from tests.conformance.test_mirror import Relay, row
from tests.conformance.test_normal_socket import EVENT_NOTICE, REQ_NOTICE, event
from tests.conformance.worker import INTERNAL, Worker, relay_id
from tests.conformance.world import World, world
from tests.fakes import MemoryLog
from tests.gateway.client.test_replica import Calm, Ears
from tests.gateway.serve.mirror.test_service import connected, mirror_url, served
from tests.gateway.serve.mirror.test_service import row as numbered
from tests.interop.pages import Page, Site, chromium, in_chromium, in_node, serving
from tests.interop.test_nostr_tools import modules

__all__ = ["modules"]
ALICE = "aa" * 32
WAIT_S = 60.0
NO_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
NO_BROWSER = pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("acceptance"), extra='[mirror]\ntrusted_peers = ["127.0.0.1"]\n') as made:
        yield made
        assert made.traces() == []


def own_state(w: World) -> dict[str, Any]:
    """The state of the gateway's own relay, as anybody reads it."""
    state: dict[str, Any] = w.get(f"/api/relays/{INTERNAL}").body
    return state


def figure(w: World, name: str, **labels: str) -> float:
    """A counter of /metrics; 0 where it was never counted."""
    found = [text for text in w.get("/metrics").text.splitlines() if text.startswith(f"{name}{{")]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(text.rpartition(" ")[2]) for text in found if all(one in text for one in wanted))


# Registration payload for `public-gateway:hyperbee` includes `requiresAuth:false`, `requiresAuthForReplication:true`,
# and a non-empty `replicationEndpoint`; values surface through status/telemetry APIs and any registration read paths.


def test_the_gateways_own_registration_shows_its_flags_and_its_endpoint_wherever_it_is_read(w: World) -> None:
    worker = Worker(w)
    reads = [
        own_state(w),
        *(one for one in w.get("/api/relays").body["relays"] if one["relayKey"] == INTERNAL),
        *(one for one in w.get("/status").body["relays"] if one["relayKey"] == INTERNAL),
        worker.read(INTERNAL).body,
        *(one for one in worker.read(None).body["relays"] if one["relayKey"] == INTERNAL),
    ]
    assert len(reads) == 5
    for shown in reads:
        for flags in (shown, shown["metadata"]):
            assert flags["requiresAuth"] is False
            assert flags["requiresAuthForReplication"] is True
            assert flags["replicationEndpoint"] == "/mirror/relay"
        assert shown["connectionUrl"].partition("?")[0] == f"{w.server.ws_url}/relay"
        assert shown["replicationConnectionUrl"].partition("?")[0] == f"{w.server.ws_url}/mirror/relay"


# `/relay` endpoint accepts normal EVENT/REQ without token when `requiresAuth:false` and does not reject replication
# frames solely for missing token (while still allowing tokened sessions).


async def test_the_normal_socket_takes_ordinary_and_replication_frames_without_a_token_and_tokened_sessions(
    w: World,
) -> None:
    token, mine = Worker(w).issue(INTERNAL, ALICE)["token"], relay_id("criterion:two")
    async with line(f"{w.server.ws_url}/relay") as untokened, line(f"{w.server.ws_url}/relay?token={token}") as tokened:
        for opened in (untokened, tokened):
            note, one = event(content=f"for {opened is tokened}"), row(mine)
            assert (await opened.answer("EVENT", note))[:3] == ["OK", note["id"], True]
            assert await opened.stored({"ids": [note["id"]]}) == [note]
            await opened.say("EVENT", one)
            heard = await opened.until("OK")
            assert heard[-1] == ["OK", one["id"], True, "stored"]
            assert (EVENT_NOTICE in heard) == (opened is untokened)
            await opened.say("REQ", "rows", {"relayID": mine, "ids": [one["id"]]})
            heard = await opened.until("EOSE")
            assert ["EVENT", "rows", one] in heard
            assert (REQ_NOTICE in heard) == (opened is untokened)


# `/mirror/{identifier}` (replication endpoint) rejects connections without a valid gateway token and rejects
# replication frames lacking auth; accepts valid replication EVENT/REQ, appends to Hyperbee, and serves replication REQs
# with consistent EOSE.


async def test_the_mirror_rejects_connections_without_a_valid_token(w: World) -> None:
    relay, other = Relay(w), Relay(w)
    base = f"{w.server.ws_url}/mirror/npub1conform/{relay.name}"
    foreign = other.worker.issue(other.key)["token"]
    assert await refused(base) == (4403, "Token required")
    assert await refused(f"{base}?token=bm90aGluZw.00") == (4403, "Invalid token")
    assert await refused(f"{base}?token={foreign}") == (4403, "Relay mismatch")
    assert await refused(f"{w.server.ws_url}/mirror/relay") == (4403, "Token required")


async def test_the_mirror_rejects_the_frames_of_a_session_whose_token_has_ended(w: World) -> None:
    relay = Relay(w)
    token = relay.worker.issue(relay.key, ALICE)["token"]
    async with line(f"{w.server.ws_url}/mirror/npub1conform/{relay.name}?token={token}") as mirror:
        kept = relay.row()
        assert (await mirror.answer("EVENT", kept))[2:] == [True, "stored"]
        assert relay.worker.token("revoke", {"relayKey": relay.key, "pubkey": ALICE}).body["disconnected"] == 1
        assert await mirror.ended() == (4403, "Token revoked")
    async with relay.mirror("bb" * 32) as mirror:
        assert await mirror.stored({"relayID": relay.relay_id}) == [kept]


async def test_the_mirror_appends_valid_rows_to_the_log_and_answers_each_request_with_one_eose(w: World) -> None:
    relay = Relay(w)
    async with relay.mirror() as mirror:
        size = w.get("/status").body["log"]["size"]
        rows = [relay.row(created_at=1_700_000_000 + at) for at in range(20)]
        for one in rows:
            assert (await mirror.answer("EVENT", one))[2:] == [True, "stored"]
        assert w.get("/status").body["log"]["size"] == size + len(rows)
        for asked, found in (({}, rows[::-1]), ({"limit": 3}, rows[:16:-1]), ({"ids": ["0" * 64]}, [])):
            await mirror.say("REQ", "rows", {"relayID": relay.relay_id, **asked})
            *events, end = await mirror.until("EOSE")
            assert [frame[2] for frame in events] == found
            assert end == ["EOSE", "rows"]
        assert await mirror.answer("PING") == ["NOTICE", "unsupported: PING frames are not understood here"]


# Replication EVENTs are never forwarded to peers; replication REQs can be delegated to peers when available but succeed
# locally when peers are absent.


class Peer:
    """Another gateway: records what it is sent, and has one row."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held, self.frames, self.port = held, list[list[Any]](), 0

    async def serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept()
        try:
            while True:
                frame = json.loads(await socket.get_message())
                self.frames.append(frame)
                if frame[0] == "REQ":
                    await socket.send_message(json.dumps(["EVENT", frame[1], self.held]))
                    await socket.send_message(json.dumps(["EOSE", frame[1]]))
        except ConnectionClosed:
            return


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, peer.serve, "127.0.0.1", 0, None)
        yield f"ws://127.0.0.1:{server.port}/peer"
        nursery.cancel_scope.cancel()


async def test_rows_are_never_forwarded_to_peers_and_requests_are_delegated_where_there_are_some(w: World) -> None:
    relay = Relay(w)
    theirs, mine = relay.row(fileKey="theirs"), relay.row(fileKey="mine")
    peer = Peer(theirs)
    async with listening(peer) as url:
        assert relay.worker.register(relay.key, relay.name, peers=[url]).status == 200
        async with relay.mirror() as mirror:
            assert (await mirror.answer("EVENT", mine))[2:] == [True, "stored"]
            with trio.fail_after(WAIT_S):
                while theirs not in (found := await mirror.stored({"relayID": relay.relay_id})):
                    assert found == [mine]  # the peer was not in time; what is here was served
            assert sorted(one["fileKey"] for one in found) == ["mine", "theirs"]
            assert (await mirror.answer("EVENT", relay.row()))[2:] == [True, "stored"]
            await mirror.stored({"relayID": relay.relay_id, "limit": 1})
    assert {frame[0] for frame in peer.frames} <= {"REQ", "CLOSE"}
    assert any(frame[0] == "REQ" for frame in peer.frames)


async def test_requests_succeed_locally_while_every_peer_is_absent(w: World) -> None:
    relay = Relay(w)
    assert relay.worker.register(relay.key, relay.name, peers=["ws://127.0.0.1:1/nobody", "ab" * 32]).status == 200
    async with relay.mirror() as mirror:
        one = relay.row()
        assert (await mirror.answer("EVENT", one))[2:] == [True, "stored"]
        assert await mirror.stored({"relayID": relay.relay_id}) == [one]


# Desktop + hosted web clients route all replication publishes/queries via the replication endpoint with the gateway
# token; normal traffic remains on the existing sockets; missing/expired token yields visible/logged errors and does not
# silently drop replication.


async def rows_by_way(w: World, mine: str) -> tuple[set[str], set[str]]:
    """Ids of the rows that came in untokened over the normal socket, and of those that came in with a token."""
    token = Worker(w).issue(INTERNAL, ALICE)["token"]
    async with (
        line(f"{w.server.ws_url}/relay") as untokened,
        line(f"{w.server.ws_url}/mirror/relay?token={token}") as mirror,
    ):
        ways = [await opened.stored({"relayID": mine}) for opened in (untokened, mirror)]
    return {one["id"] for one in ways[0]}, {one["id"] for one in ways[1]}


def ids(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    return {one["id"] for one in rows}


async def stored(replica: Replica, asked: dict[str, Any]) -> set[str]:
    """What a client finds, up to where it has caught up."""
    found = set[str]()
    async with aclosing(replica.follow(asked)) as batches:
        async for batch in batches:
            found |= ids(batch.rows)
            if batch.caught_up:
                break
    return found


async def test_the_python_client_sends_replication_to_the_mirror_and_all_else_to_the_normal_socket(w: World) -> None:
    mine, notes = relay_id("criterion:five"), [event(content=f"by the client {at}") for at in range(3)]
    rows = [row(mine) for _ in range(20)]
    before = figure(w, "gateway_relay_events_total", result="accepted")
    requests = [figure(w, "gateway_relay_requests_total", path=path) for path in ("mirror", "relay")]

    async def provider() -> Mapping[str, Any]:
        return Worker(w).issue(INTERNAL, ALICE)

    async with open_replica(own_state(w), provider) as replica:
        with trio.fail_after(WAIT_S):
            assert all(one.accepted for one in await replica.publish_all([*rows, *notes]))
            assert await stored(replica, {"relayID": mine}) == ids(rows)
            assert await stored(replica, {"ids": sorted(ids(notes))}) == ids(notes)
    assert figure(w, "gateway_relay_events_total", result="accepted") == before + len(notes)
    assert [figure(w, "gateway_relay_requests_total", path=path) for path in ("mirror", "relay")] == [
        count + 1 for count in requests
    ]
    assert await rows_by_way(w, mine) == (set(), ids(rows))


async def test_the_python_client_tells_of_a_token_that_is_missing_or_has_ended_and_drops_no_row(w: World) -> None:
    mine, ears = relay_id("criterion:five:tokens"), Ears()
    rows = [row(mine) for _ in range(5)]

    async def nobody() -> Mapping[str, Any]:
        raise TokenRefused("not a member")

    with pytest.raises(ReplicaFailed, match="token-required: not a member"):
        async with open_replica(own_state(w), nobody):
            pytest.fail("it opened without a token")

    given: list[Mapping[str, Any]] = []

    async def seldom() -> Mapping[str, Any]:
        if given and not ears.heard:
            raise OSError("no token now")
        given.append(Worker(w).issue(INTERNAL, ALICE, ttlSeconds=3600 if given else 2))
        return given[-1]

    ended = figure(w, "gateway_replication_frames_total", frame="SESSION", reason="expired-token")
    async with open_replica(own_state(w), seldom, tell=ears, clock=Calm()) as replica:
        await ears.until_closed(4403)
        with trio.fail_after(WAIT_S):
            assert all(one.accepted for one in await replica.publish_all(rows))
    assert figure(w, "gateway_replication_frames_total", frame="SESSION", reason="expired-token") == ended + 1
    assert await rows_by_way(w, mine) == (set(), ids(rows))


@NO_NODE
@pytest.mark.parametrize("where", ["node", pytest.param("chromium", marks=NO_BROWSER)])
async def test_a_pages_client_replicates_over_the_mirror_and_says_that_it_has_no_token(
    where: str, w: World, modules: Path, tmp_path: Path
) -> None:
    assert modules.name == "node_modules"
    mine = relay_id(f"criterion:five:{where}")
    rows = [row(mine) for _ in range(30)]
    site = Site(w.server.url, {"state": own_state(w), "relayID": mine}, lambda: Worker(w).issue(INTERNAL, ALICE))
    with serving(site):
        async with AsyncExitStack() as stack:
            page: Page = await stack.enter_async_context(
                in_node(site.options) if where == "node" else in_chromium(f"{site.url}/", tmp_path / "profile")
            )
            assert await page.call("refused") == "Error: token-required: not a member"
            assert await page.call("begin") is True
            assert await page.call("publish", rows) == len(rows)
            assert set(await page.call("until", len(rows))) == ids(rows)
            await page.call("close")
    assert await rows_by_way(w, mine) == (set(), ids(rows))


# Metrics/logs capture replication accepts/rejects with reason codes (e.g., missing-token, invalid-token, append-error)
# and normal traffic continues unaffected.


async def test_accepts_and_rejects_of_replication_are_counted_and_told_with_their_reasons(w: World) -> None:
    relay = Relay(w)
    base = f"{w.server.ws_url}/mirror/npub1conform/{relay.name}"

    def counted() -> dict[str, float]:
        reasons = ("missing-token", "invalid-token", "relay-mismatch", "invalid-event", "replication-required")
        name = "gateway_replication_frames_total"
        rejected = {reason: figure(w, name, outcome="rejected", reason=reason) for reason in reasons}
        return {**rejected, "accepted": figure(w, name, frame="EVENT", outcome="accepted")}

    before = counted()
    async with line(f"{w.server.ws_url}/relay") as normal, relay.mirror() as mirror:
        await mirror.answer("EVENT", relay.row())
        await mirror.answer("EVENT", relay.row(kind=-1))
        await mirror.answer("EVENT", relay.row(relayID="0" * 64))
        await mirror.answer("EVENT", event())
        await refused(base)
        await refused(f"{base}?token=bm90aGluZw.00")
        assert counted() == {reason: count + 1 for reason, count in before.items()}
        note = event(content="normal traffic goes on")
        assert (await normal.answer("EVENT", note))[:3] == ["OK", note["id"], True]
        assert await normal.stored({"ids": [note["id"]]}) == [note]
    told = [json.loads(text) for text in w.server.lines if '"refused"' in text]
    assert {"relay-mismatch", "invalid-event", "replication-required"} <= {one.get("reason") for one in told}
    assert {("socket", 4403, "Token required"), ("socket", 4403, "Invalid token")} <= {
        (one.get("what"), one.get("code"), one.get("reason")) for one in told
    }


async def test_a_row_that_cannot_be_appended_is_rejected_as_append_error_and_counted() -> None:
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        assert isinstance(gateway.ledger.log, MemoryLog)
        gateway.ledger.log.break_down()
        one = numbered(1)
        assert await client.publish(one) == ["OK", one["id"], False, "append-error: the log takes no records now"]
        counter = gateway.gateway.metrics.replication_frames.labels("EVENT", "rejected", "append-error")
        assert counter._value.get() == 1
