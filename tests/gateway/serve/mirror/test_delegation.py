"""Reads delegated to peers that are real gateways, or that are silent, rude or not to be dialled."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from gateway.limits.mirror import DELEGATION_S_MAX
from gateway.replication.filter import filter_of
from gateway.serve.mirror import delegation as delegated
from gateway.serve.mirror.delegation import Delegation
from tests.fakes import FakeClock
from tests.gateway.serve.mirror.test_service import Client, connected, mirror_url, row, served
from tests.worker import KEY, NAME, Worker, registration, relay_id

RELAY_ID = relay_id(NAME)
FILTER = filter_of({"relayID": RELAY_ID}, limit_default=10, limit_max=10)
LOCAL = ("127.0.0.1",)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers have all the time that a slow machine needs: what is tested is what they say."""
    monkeypatch.setattr(delegated, "DELEGATION_S_MAX", 30.0)


async def register(worker: Worker, peers: Sequence[str], **metadata: Any) -> None:
    answer = await worker.submit({**registration(KEY, worker.now_ms, **metadata), "peers": list(peers)})
    assert answer.status_code == 200, answer.text


@asynccontextmanager
async def pair(trusted: tuple[str, ...] = LOCAL, **metadata: Any) -> AsyncIterator[tuple[Client, Client, Worker]]:
    """A client of a gateway, one of its only peer, and the first one's worker."""
    async with served() as (_, far), served(trusted_peers=trusted) as (_, near):
        url = await mirror_url(far)
        await register(near, ["cd" * 32, url], **metadata)
        async with connected(await mirror_url(near)) as client, connected(url) as peer:
            yield client, peer, near


@pytest.mark.usefixtures("patient")
async def test_what_a_peer_has_more_is_merged_by_id_behind_our_own_rows():
    async with pair() as (client, peer, _):
        await client.publish(row(1))
        for number in (1, 5, 3):
            await peer.publish(row(number))
        assert await client.stored("a", {"relayID": RELAY_ID}) == [row(1), row(5), row(3)]
        assert await client.stored("a", {"relayID": RELAY_ID, "until": row(3)["created_at"]}) == [row(1), row(3)]
        assert await client.stored("a", {"relayID": RELAY_ID, "limit": 2}) == [row(1), row(5)]
        assert await client.stored("a", {"relayID": RELAY_ID, "ids": [row(1)["id"]]}) == [row(1)]
        assert await peer.stored("a", {"relayID": RELAY_ID}) == [row(5), row(3), row(1)]  # nothing came the other way


@pytest.mark.usefixtures("patient")
async def test_a_relay_may_say_that_its_peers_are_not_asked():
    async with pair(delegateReqToPeers=False) as (client, peer, _):
        await peer.publish(row(5))
        assert await client.stored("a", {"relayID": RELAY_ID}) == []


@pytest.mark.usefixtures("patient")
async def test_a_request_that_came_from_a_gateway_is_not_delegated_again():
    async with pair() as (_, peer, near):
        await peer.publish(row(5))
        async with connected(await mirror_url(near) + "&delegated=1") as gateway:
            assert await gateway.stored("a", {"relayID": RELAY_ID}) == []


@pytest.mark.usefixtures("patient")
async def test_a_peer_that_is_not_public_is_not_dialled_unless_the_operator_trusts_it():
    async with pair(trusted=()) as (client, peer, _):
        await peer.publish(row(5))
        assert await client.stored("a", {"relayID": RELAY_ID}) == []


@pytest.mark.usefixtures("patient")
async def test_a_worker_that_is_offline_has_its_peers_left_alone():
    clock = FakeClock()
    async with served() as (_, far), served(clock, trusted_peers=LOCAL) as (_, near):
        url = await mirror_url(far)
        await register(near, [url])
        near_url = await mirror_url(near)
        async with connected(url) as peer, connected(near_url) as client:
            await peer.publish(row(5))
            assert await client.stored("a", {"relayID": RELAY_ID}) == [row(5)]
            clock.advance(301)
            assert await client.stored("a", {"relayID": RELAY_ID}) == []


async def test_eose_comes_though_a_peer_says_nothing_and_another_is_gone():
    async with trio.open_nursery() as nursery, served(trusted_peers=LOCAL) as (_, worker):
        silent = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = silent[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, swallow, silent)
        await register(worker, [f"ws://127.0.0.1:{port}/", "ws://127.0.0.1:1/"])
        async with connected(await mirror_url(worker)) as client:
            await client.publish(row(1))
            assert await client.stored("a", {"relayID": RELAY_ID}) == [row(1)]
        nursery.cancel_scope.cancel()


async def swallow(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


@asynccontextmanager
async def counted(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[tuple[str, list[int]]]:
    """A peer that treats connections in one way, and the list of those that it was asked over."""
    dialled: list[int] = []

    async def take(stream: trio.SocketStream) -> None:
        dialled.append(len(dialled))
        async with stream:
            await serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, take, listeners)
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/", dialled
        nursery.cancel_scope.cancel()


async def refuse(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.usefixtures("patient")
async def test_a_real_peer_that_fails_five_times_is_left_alone_for_a_minute_and_then_tried_once():
    clock = FakeClock()
    async with counted(refuse) as (url, dialled), served(clock, trusted_peers=LOCAL) as (_, worker):
        await register(worker, [url])
        async with connected(await mirror_url(worker)) as client:
            await client.publish(row(1))
            for asked in range(1, 8):
                assert await client.stored("a", {"relayID": RELAY_ID}) == [row(1)]
                assert len(dialled) == min(asked, 5)
            clock.advance(60)
            for _ in range(2):
                assert await client.stored("a", {"relayID": RELAY_ID}) == [row(1)]
                assert len(dialled) == 6


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def slam(stream: trio.SocketStream) -> None:
    """What was not read makes the end a reset."""


async def falter(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 101 Swi")


@pytest.mark.parametrize("serve", [hang_up, slam, falter])
async def test_a_peer_that_hangs_up_before_its_handshake_costs_no_time(serve, monkeypatch):
    monkeypatch.setattr(delegated, "DELEGATION_S_MAX", 3600.0)
    with trio.fail_after(60):
        async with counted(serve) as (url, dialled), served(trusted_peers=LOCAL) as (_, worker):
            await register(worker, [url])
            async with connected(await mirror_url(worker)) as client:
                assert await client.stored("a", {"relayID": RELAY_ID}) == []
                assert len(dialled) == 1


@pytest.mark.usefixtures("patient")
async def test_a_real_peer_has_three_requests_at_once_and_the_others_are_answered_without_it():
    over = trio.Event()

    async def think(stream: trio.SocketStream) -> None:
        await over.wait()
        await refuse(stream)

    async with counted(think) as (url, dialled), served(trusted_peers=LOCAL) as (_, worker):
        await register(worker, [url])
        own = await mirror_url(worker)

        async def ask() -> None:
            async with connected(own) as client:
                assert await client.stored("a", {"relayID": RELAY_ID}) == []

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            with trio.fail_after(20):
                while len(dialled) < 3:  # noqa: ASYNC110 - the peer is looked at
                    await trio.sleep(0.01)
            await ask()
            assert len(dialled) == 3
            over.set()


@pytest.mark.usefixtures("patient")
async def test_of_more_peers_than_are_asked_the_ones_that_answered_are_asked_again(monkeypatch):
    monkeypatch.setattr("gateway.replication.peers.PEERS_ASKED_MAX", 1)
    async with counted(refuse) as (bad, dialled), served() as (_, far), served(trusted_peers=LOCAL) as (_, near):
        good = await mirror_url(far)
        await register(near, [bad, good])
        async with connected(good) as peer, connected(await mirror_url(near)) as client:
            await peer.publish(row(5))
            found = [await client.stored("a", {"relayID": RELAY_ID}) for _ in range(5)]
            assert (found[0], found[1:]) == ([], [[row(5)]] * 4)
            assert len(dialled) == 1


async def test_peers_have_a_moment_and_then_a_rest(autojump_clock):
    """Without sockets: dialling never ends, and takes the time that peers are given in all."""
    clock, dialled = FakeClock(), []

    async def lookup(name: str) -> list[str]:
        dialled.append(name)
        await trio.sleep_forever()
        raise AssertionError

    delegation = Delegation((), clock, lookup)
    delegation.peers_of = lambda _: ["wss://a.example.com/x", "wss://b.example.com"]
    for _ in range(5):
        began = trio.current_time()
        assert await delegation.rows(KEY, [FILTER], ()) == []
        assert trio.current_time() - began == pytest.approx(DELEGATION_S_MAX)
    assert len(dialled) == 10
    assert await delegation.rows(KEY, [FILTER], ()) == []
    assert len(dialled) == 10
    clock.advance(60)
    assert await delegation.rows(KEY, [FILTER], ()) == []
    assert len(dialled) == 12


@pytest.mark.parametrize(
    ("url", "addresses", "dials"),
    [
        ("wss://peer.example.com/x", ["93.184.216.34"], True),
        ("wss://peer.example.com:443/x", ["2606:2800:220:1::1"], True),
        ("wss://peer.example.com/x", ["93.184.216.34", "10.0.0.1"], False),
        ("wss://peer.example.com/x", [], False),
        ("wss://peer.example.com:8443/x", ["93.184.216.34"], False),
        ("ws://peer.example.com/x", ["93.184.216.34"], False),
        ("wss://user@peer.example.com/x", ["93.184.216.34"], False),
        ("wss://127.0.0.1/x", ["127.0.0.1"], False),
        ("wss://93.184.216.34/x", ["93.184.216.34"], False),
        ("wss://peer.local/x", ["93.184.216.34"], False),
        ("wss://[::1]/x", ["::1"], False),
        ("wss://peer.example.com:port/x", ["93.184.216.34"], False),
    ],
)
async def test_only_public_addresses_are_dialled_and_the_one_that_was_checked(url, addresses, dials):
    dialled: list[tuple[str, str]] = []

    async def lookup(_: str) -> list[str]:
        return list(addresses)

    async def dial(address: str, host: str) -> trio.abc.Stream:
        dialled.append((address, host))
        raise OSError

    delegation = Delegation((), FakeClock(), lookup, dial)
    delegation.peers_of = lambda _: [url]
    assert await delegation.rows(KEY, [FILTER], ()) == []
    assert dialled == ([(addresses[0], "peer.example.com")] if dials else [])


@pytest.mark.parametrize(
    "trusted", ["127.0.0.1", "127.0.0.1:1", "ws://127.0.0.1:1", "ws://127.0.0.1:1/x", "127.0.0.0/8"]
)
async def test_a_trusted_peer_is_named_by_host_port_origin_url_or_network(trusted):
    delegation = Delegation((trusted,), FakeClock())
    assert delegation._is_allowed("ws://127.0.0.1:1/x")
    assert not delegation._is_allowed("ws://10.0.0.1:1/x")
