"""The Python client against the real server: restarts, tokens that end, networks that break; and without one."""

from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from gateway.client.clock import SystemClock
from gateway.client.happening import Lost, Notice
from gateway.client.replica import Replica, ReplicaFailed, SubscriptionEnded, TokenRefused, open_replica
from tests.gateway.client.proxy import Proxy, proxy
from tests.gateway.client.worker import CONFIG, RELAY_ID, issued, rows, state_of, through
from tests.server import process

WAIT_S = 60.0
PLACE = {"relayID": RELAY_ID}


class Tokens:
    """A provider: asks the gateway behind the proxy, and can be told to fail."""

    def __init__(self, network: Proxy, ttl_s: int = 3600) -> None:
        self.network, self.ttl_s, self.given, self.failures = network, ttl_s, 0, 0

    async def __call__(self) -> Mapping[str, Any]:
        if self.failures:
            self.failures -= 1
            raise OSError("the provider is not there")
        try:
            answer = await trio.to_thread.run_sync(issued, self.network.url, self.ttl_s)
        except httpx.HTTPError as why:
            raise OSError(str(why)) from why
        self.given += 1
        return answer


class Calm(SystemClock):
    """The machine's time, and dice that always show the shortest pause."""

    def roll(self) -> float:
        return 0.0


class Ears:
    """What the client has to tell."""

    def __init__(self) -> None:
        self.heard: list[Lost | Notice] = []
        self._news = trio.Event()

    def __call__(self, what: Lost | Notice) -> None:
        self.heard.append(what)
        self._news.set()
        self._news = trio.Event()

    async def until_closed(self, code: int) -> None:
        with trio.fail_after(WAIT_S):
            while not any(isinstance(one, Lost) and one.code == code for one in self.heard):
                await self._news.wait()


class Copy:
    """A replica's store: rows and cursor change together, so it can be left at any time and taken up again."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.cursor: str | None = None
        self._news = trio.Event()

    async def follow(self, replica: Replica) -> None:
        async with aclosing(replica.follow(PLACE, cursor=self.cursor)) as batches:
            async for batch in batches:
                self.rows += [row["id"] for row in batch.rows]
                self.cursor = batch.cursor or self.cursor
                self._news.set()
                self._news = trio.Event()

    async def until(self, count: int) -> None:
        with trio.fail_after(WAIT_S):
            while len(self.rows) < count:
                await self._news.wait()


async def test_a_replica_follows_through_cuts_restarts_and_tokens_that_end_and_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    copy, ears = Copy(), Ears()
    with ExitStack() as servers:
        server = servers.enter_context(process(tmp_path, CONFIG))
        async with proxy(server.port) as network:
            state = through(state_of(server.url), network.url)
            tokens, writers = Tokens(network, ttl_s=2), Tokens(network)
            async with open_replica(state, writers, clock=Calm()) as writer:
                async with (
                    open_replica(state, tokens, tell=ears, clock=Calm()) as replica,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(copy.follow, replica)
                    assert all(one.accepted for one in await writer.publish_all(rows(range(600))))
                    await copy.until(600)

                    async with trio.open_nursery() as publishing:  # in the middle of a publish, and of a read
                        publishing.start_soon(writer.publish_all, rows(range(600, 1800)))
                        await trio.testing.wait_all_tasks_blocked()
                        network.cut()
                    await copy.until(1800)

                    tokens.failures = 2  # the token ends while no new one is to be had: 4403, then back-off
                    await ears.until_closed(4403)
                    assert all(one.accepted for one in await writer.publish_all(rows(range(1800, 1900))))
                    await copy.until(1900)

                    async with trio.open_nursery() as publishing:
                        publishing.start_soon(writer.publish_all, rows(range(1900, 2500)))
                        await trio.testing.wait_all_tasks_blocked()
                        server.kill()
                        server = servers.enter_context(process(tmp_path, CONFIG))
                        network.port = server.port
                    await copy.until(2500)
                    nursery.cancel_scope.cancel()

                assert all(one.accepted for one in await writer.publish_all(rows(range(2500, 2600))))
                async with open_replica(state, writers, clock=Calm()) as later, trio.open_nursery() as nursery:
                    nursery.start_soon(copy.follow, later)  # another process, hours later, with the stored cursor
                    await copy.until(2600)
                    nursery.cancel_scope.cancel()
        assert [line for line in server.lines if "Traceback" in line] == []
    assert len(copy.rows) == len(set(copy.rows)) == 2600
    assert set(copy.rows) == {row["id"] for row in rows(range(2600))}
    assert tokens.given >= 2


async def test_without_a_token_nothing_is_opened_and_the_caller_sees_why() -> None:
    async def refuse() -> Mapping[str, Any]:
        raise TokenRefused("not a member")

    async with proxy(1) as network:
        state = {"connectionUrl": f"{network.url}/relay", "replicationEndpoint": "/mirror/relay"}
        with pytest.raises(ReplicaFailed, match="token-required: not a member"):
            async with open_replica(state, refuse):
                pytest.fail("it must not open")
        assert network.taken == 0


@pytest.mark.parametrize("answer", [{}, {"token": None}, {"token": 7}, {"token": "T", "expiresAt": "soon"}])
async def test_an_answer_that_is_no_token_is_none(answer: dict[str, Any]) -> None:
    async def provider() -> Mapping[str, Any]:
        return answer

    state = {"connectionUrl": "ws://127.0.0.1:1/relay", "replicationEndpoint": "/mirror/relay"}
    with pytest.raises(ReplicaFailed, match="token-required"):
        async with open_replica(state, provider):
            pytest.fail("it must not open")


async def test_both_sockets_of_a_real_gateway_each_with_its_own_traffic(tmp_path: Path) -> None:
    with process(tmp_path, CONFIG) as server:
        async with proxy(server.port) as network:
            state = through(state_of(server.url), network.url)
            async with open_replica(state, Tokens(network)) as replica:
                assert (await replica.publish(rows([1])[0])).accepted
                again = await replica.publish(rows([1])[0])
                assert (again.accepted, again.reason) == (True, "duplicate: already stored")
                refused = await replica.publish({"id": "ab" * 32, "kind": 1, "content": "unsigned"})
                assert not refused.accepted
                assert network.taken == 3  # the API twice is another connection each: token, mirror, normal
                async with aclosing(replica.follow({"kinds": [1]})) as notes:
                    assert (await anext(notes)).caught_up
                async with aclosing(replica.follow(PLACE)) as mirrored:
                    batch = await anext(mirrored)
                    assert [row["id"] for row in batch.rows] == [rows([1])[0]["id"]]
                with pytest.raises(SubscriptionEnded, match="cursor-unknown"):
                    async with aclosing(replica.follow(PLACE, cursor="ff" * 14)) as lost:
                        await anext(lost)


async def test_a_second_4403_ends_the_client_and_every_wait(tmp_path: Path) -> None:
    with process(tmp_path, CONFIG) as server:
        async with proxy(server.port) as network:

            async def forged() -> Mapping[str, Any]:
                return {"token": "bm8.00"}

            state = through(state_of(server.url), network.url)
            async with open_replica(state, forged) as replica:
                with trio.fail_after(WAIT_S), pytest.raises(ReplicaFailed, match="auth-failed: Invalid token"):
                    await replica.publish(rows([1])[0])
                with pytest.raises(ReplicaFailed, match="auth-failed"):
                    await replica.publish(rows([2])[0])
