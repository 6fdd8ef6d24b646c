"""Days of a replica's life on a simulated clock: hundreds of cuts, the gateway killed, tokens that end, itself killed.

The real gateway (over a log in memory that keeps what was durable) and the real client, over streams in memory. What a
replica has stored together with its cursor is held against what was acknowledged: each row once, in the log's order.
"""

import random
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.replica import Replica, open_replica
from gateway.config import Config, Registration
from gateway.replication.payload import Issue
from gateway.replication.registration import INTERNAL
from gateway.replication.token import ACCESS
from gateway.serve.app import VIEWS, Gateway
from gateway.serve.metrics import Metrics
from gateway.serve.port.socket import serve_socket
from gateway.serve.workers.tokendesk import DEFAULT_WORKER
from tests.fakes import FakeClock, MemoryLog, memory_ledger
from tests.gateway.client.worker import RELAY_ID, rows
from tests.worker import SECRET

DAY_S = 86_400.0
DAYS = 2
CUT_S, RESTART_S, REPLICA_S, ROW_S, DOWN_S = 600.0, 4 * 3_600.0, 3 * 3_600.0, 240.0, 400.0  # means
STATE = {"connectionUrl": "ws://gw.example/relay", "replicationConnectionUrl": "ws://gw.example/mirror/relay"}


class Days(FakeClock):
    """Wall time that goes with trio's, for the gateway and for clients; dice that fall the same for the same seed."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._start, self._dice = self.now, dice

    def now_ns(self) -> int:
        return self._start + int(trio.current_time() * 1e9)

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000

    def roll(self) -> float:
        return self._dice.random()


class World:
    """A gateway that is killed now and then, and the network before it."""

    def __init__(self, dice: random.Random, clock: Days, config: Config) -> None:
        self.dice, self.clock, self._config = dice, clock, config
        self.log = MemoryLog()
        self.gateway: Gateway | None = None
        self.lines: set[trio.CancelScope] = set()
        self.cuts = self.restarts = self.tokens = 0
        self.nursery: trio.Nursery | None = None

    def pause(self, mean_s: float) -> float:
        return self.dice.expovariate(1 / mean_s)

    async def run(self) -> None:
        """Serve, be killed, come back, for ever."""
        while True:
            with trio.move_on_after(self.pause(RESTART_S)):
                async with memory_ledger(*VIEWS, log=self.log) as ledger, trio.open_nursery() as nursery:
                    self.log = ledger.log  # type: ignore[assignment]  # of memory
                    gateway = Gateway(self._config, self.clock, ledger, Metrics())
                    for service in (gateway.relays, gateway.mirror):
                        await nursery.start(service.run)
                    self.gateway = gateway
                    await trio.sleep_forever()
            self.gateway = None
            self.restarts += 1
            self.cut()
            await trio.sleep(self.pause(DOWN_S))

    async def break_lines(self) -> None:
        while True:
            await trio.sleep(self.pause(CUT_S))
            self.cuts += 1
            self.cut()

    def cut(self) -> None:
        for scope in self.lines:
            scope.cancel()

    async def dial(self, _url: str, _tls: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.gateway is None:
            raise LineLost(NO_CLOSE, "nobody listens")
        here, there = trio.testing.memory_stream_pair()
        assert self.nursery is not None
        self.nursery.start_soon(self._serve, self.gateway, there)
        return here

    async def _serve(self, gateway: Gateway, stream: trio.abc.Stream) -> None:
        with trio.CancelScope() as scope:
            self.lines.add(scope)
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += bytes(await stream.receive_some(65_536))
                head, _, rest = head.partition(b"\r\n\r\n")
                handler = gateway.serve_socket
                await serve_socket(
                    stream, head + b"\r\n\r\n", handler, rest=rest, peer="192.0.2.1", unread_bytes_max=1 << 20
                )
            finally:
                self.lines.discard(scope)
                await trio.aclose_forcefully(stream)

    async def provide(self) -> Mapping[str, Any]:
        """A worker's token, if the gateway is there, and now and then nothing."""
        gateway = self.gateway
        if gateway is None or self.dice.random() < 0.1:
            raise OSError("the provider is not there")
        self.tokens += 1
        given = await gateway.relays._desk.issue(DEFAULT_WORKER, Issue(INTERNAL, "", None, ACCESS, None, None))
        return {
            "token": given.token,
            "replicationToken": given.replication_token,
            "expiresAt": given.expires_ms,
            "refreshAfter": given.refresh_after_ms,
        }


class Copy:
    """What a replica keeps: rows and cursor, changed together."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.cursor: str | None = None
        self.lives = 0
        self.news = trio.Event()

    async def live(self, world: World) -> None:
        """Follow, be killed at any moment, follow again from what was kept."""
        while True:
            self.lives += 1
            with trio.move_on_after(world.pause(REPLICA_S)):
                await self._follow(world)

    async def _follow(self, world: World) -> None:
        async with (
            opened(world) as replica,
            aclosing(replica.follow({"relayID": RELAY_ID}, cursor=self.cursor)) as batches,
        ):
            async for batch in batches:
                self.rows += [row["id"] for row in batch.rows]
                self.cursor = batch.cursor or self.cursor
                self.news.set()
                self.news = trio.Event()


def opened(world: World) -> AbstractAsyncContextManager[Replica]:
    """A client whose first token is waited for, as whoever starts one would; later ones are the client's to retry."""
    given: list[bool] = []

    async def provide() -> Mapping[str, Any]:
        while True:
            try:
                answer = await world.provide()
            except OSError:
                if given:
                    raise
                await trio.sleep(30)
            else:
                given.append(True)
                return answer

    return open_replica(STATE, provide, clock=world.clock)


async def publish(world: World, acknowledged: list[str]) -> None:
    async with opened(world) as replica:
        for number in range(10**6):
            (row,) = rows([number])
            outcome = await replica.publish(row)
            assert outcome.accepted, outcome
            acknowledged.append(row["id"])
            await trio.sleep(world.pause(ROW_S))


async def test_days_of_cuts_restarts_and_tokens_that_end_lose_no_row_and_repeat_none(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.client.line.CLIENT_PING_S", 900.0)  # else most of the time goes into pings
    monkeypatch.setattr("gateway.serve.port.socket.PING_IDLE_S", 1_800.0)
    dice, acknowledged, copy = random.Random(1), list[str](), Copy()
    config = Config(registration=Registration(secret=SECRET), data=str(tmp_path))
    world = World(dice, Days(dice), config)
    monkeypatch.setattr("gateway.client.line.dial", world.dial)
    async with trio.open_nursery() as world.nursery:
        for task in (world.run, world.break_lines):
            world.nursery.start_soon(task)
        with trio.move_on_after(DAYS * DAY_S):
            async with trio.open_nursery() as clients:
                clients.start_soon(copy.live, world)
                clients.start_soon(publish, world, acknowledged)
        with trio.fail_after(DAY_S):
            async with trio.open_nursery() as clients:
                clients.start_soon(copy.live, world)
                while len(copy.rows) < len(acknowledged):
                    await copy.news.wait()
                clients.cancel_scope.cancel()
        world.nursery.cancel_scope.cancel()
    assert len(set(copy.rows)) == len(copy.rows)
    assert copy.rows[: len(acknowledged)] == acknowledged  # what was published last may be there without its answer
    assert len(copy.rows) <= len(acknowledged) + 1
    assert (world.cuts > 200, world.restarts >= 3, world.tokens > DAYS * 24, copy.lives >= 5) == (True,) * 4
