"""The load: clients that work until the server dies under them, and remember what it acknowledged.

A broken connection ends a client in silence: that is what is being tested. Any answer that is not a success while the
server lives is a broken promise, since nothing here asks for anything that should be refused.
"""

import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio
from trio_websocket import ConnectionClosed, HandshakeError

from gateway.cli.demo.instance import Instance
from gateway.cli.demo.wire import Author, Wire, replication_row, wire
from gateway.cli.demo.worker import Worker
from gateway.replication.binding import relay_id
from tests.crash.memory import Memory

GONE = (httpx.TransportError, ConnectionClosed, HandshakeError, OSError)
USERS = 200  # FCM's own limits are per device: many devices, so that they never brake the test
SLOW_IN = 100  # one device in so many is refused once with 503, so that a retry survives a kill too
BURST = 64
PUSHES, REGISTRATIONS, TOKENS, ROWS, EVENTS = "pushes", "registrations", "tokens", "rows", "events"


@dataclass
class World:
    """Who works against which server."""

    url: str
    secret: str
    instance: Instance
    dice: random.Random
    memory: Memory = field(default_factory=Memory)
    started_ns: int = 0  # when the server last began to start, by wall time
    worker_mirrors: list[tuple[str, str]] = field(default_factory=list)  # (mirror URL, relayID)
    alive: bool = True  # False from the moment of the kill: from then on a broken connection is what is expected
    pid: int = 0
    trap: str = ""  # the kind of acknowledgement on which the server is killed, at once
    sprung: trio.Event = field(default_factory=trio.Event)

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=60)

    def token_of(self, user: int) -> str:
        return f"unavailable-soon*1:device-{user}" if user % SLOW_IN == 0 else f"device-{user}"

    def strike(self) -> None:
        """kill -9, now: between this line and the kill nothing else runs here."""
        self.alive, self.trap = False, ""
        os.kill(self.pid, signal.SIGKILL)
        self.sprung.set()

    def acknowledged(self, kind: str) -> None:
        """To be called right after an acknowledgement was remembered: where the trap is set for it, it springs."""
        if kind == self.trap:
            self.strike()

    async def posted(self, client: httpx.AsyncClient, path: str, body: Any, headers: Any = None) -> dict[str, Any]:
        """Post; what is not answered 200 is a broken promise."""
        answer = await client.post(path, json=body, headers=headers)
        if answer.status_code != 200:
            self.memory.broken.append(f"{path} answered {answer.status_code}: {answer.text}")
            return {}
        made: dict[str, Any] = answer.json()
        return made


async def until_gone(work: Callable[[World], Awaitable[None]], world: World) -> None:
    """Work for ever, and end quietly when the server is gone."""
    try:
        await work(world)
    except* GONE as gone:
        if world.alive:
            world.memory.broken.append(f"{work.__name__}: cut off while the server lived: {gone.exceptions}")


async def devices(world: World) -> None:
    """Register every user's device once."""
    async with world.client() as client:
        for user in range(USERS):
            envelope = world.instance.registration(f"user-{user}", world.token_of(user))
            if await world.posted(client, "/push/register", envelope):
                world.memory.registrations.append(envelope)


async def relay_of_a_worker(world: World) -> None:
    """Register one relay and keep its mirror's address."""
    async with world.client() as client:
        worker = Worker(client, world.secret, f"relay-{len(world.worker_mirrors)}")
        await worker.register()
        tokens = await worker.issue()
        world.worker_mirrors.append((tokens["replicationConnectionUrl"], relay_id(worker.identifier)))


async def push(world: World) -> None:
    """Send notifications one after the other."""
    async with world.client() as client:
        while True:
            user = world.dice.randrange(USERS)
            body, headers = world.instance.notification(f"user-{user}", "under load")
            if await world.posted(client, "/internal/push/events", body, headers):
                world.memory.accepted[body["notification"]["id"]] = world.token_of(user)
                world.acknowledged(PUSHES)


async def register(world: World) -> None:
    """Register devices of users who get no notifications."""
    async with world.client() as client:
        while True:
            number = world.dice.getrandbits(64)
            envelope = world.instance.registration(f"other-{number}", f"other-{number}")
            if await world.posted(client, "/push/register", envelope):
                world.memory.registrations.append(envelope)
                world.acknowledged(REGISTRATIONS)
            await trio.sleep(0.01)


async def tokens(world: World) -> None:
    """Register relays, issue tokens, and revoke half of them."""
    async with world.client() as client:
        while True:
            worker = Worker(client, world.secret, "short-lived")
            await worker.register()
            url = (await worker.issue(Author().pubkey))["replicationConnectionUrl"]
            if world.dice.random() < 0.5:
                await worker.revoke()
                world.memory.revoked_tokens.append(url)
            else:
                world.memory.open_tokens.append(url)
            world.acknowledged(TOKENS)
            await trio.sleep(0.01)


async def replicate(world: World) -> None:
    """Write rows to a mirror in bursts."""
    url, relay = world.dice.choice(world.worker_mirrors)
    async with wire(url) as socket:
        while True:
            burst = [replication_row(relay, "under load") for _ in range(BURST)]
            await _write(world, socket, burst, world.memory.rows[url], ROWS)


async def publish(world: World) -> None:
    """Publish signed nostr events to /relay in bursts."""
    author = Author()
    async with wire(f"{world.ws_url}/relay") as socket:
        while True:
            burst = [author.event(1, secrets.token_hex(8)) for _ in range(BURST)]
            await _write(world, socket, burst, world.memory.events, EVENTS)


async def _write(world: World, socket: Wire, burst: list[dict[str, Any]], remembered: set[str], kind: str) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, socket, burst)
        for _ in burst:
            match await socket.receive():
                case ["OK", event_id, True, _]:
                    remembered.add(event_id)
                    world.acknowledged(kind)
                case frame:
                    world.memory.broken.append(f"{kind}: refused: {frame}")


async def _send(socket: Wire, burst: list[dict[str, Any]]) -> None:
    for event in burst:
        await socket.send("EVENT", event)
