"""Every door of a running server, as its clients use them: what each write and each read is answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import trio

from gateway.cli.demo.instance import Instance
from gateway.cli.demo.wire import Author, Wire, replication_row, wire
from gateway.cli.demo.worker import Worker
from gateway.replication.binding import relay_id
from gateway.replication.signature import sign
from tests.server import Server

SECRET = "s" * 32
READY_S_MAX = 60.0

CONFIG = """
[registration]
secret = "{secret}"
[instances."{domain}"]
url = "{document}"
"""


@dataclass
class Doors:
    """Clients of one server; ``kept`` are the ids of events, ``rows`` those of rows, that were answered OK."""

    server: Server
    instance: Instance
    http: httpx.AsyncClient
    relay: Wire
    mirror: Wire
    relay_id: str
    kept: set[str] = field(default_factory=set)
    rows: set[str] = field(default_factory=set)
    refusals: set[str] = field(default_factory=set)

    async def publish(self, content: str) -> str:
        """Publish an event: "" where it was taken, else what the OK says."""
        event = Author().event(1, content)
        await self.relay.send("EVENT", event)
        return await self._answered(self.relay, event["id"], self.kept)

    async def replicate(self) -> str:
        """Write a row to the mirror."""
        row = replication_row(self.relay_id, "under a fault")
        await self.mirror.send("EVENT", row)
        return await self._answered(self.mirror, row["id"], self.rows)

    async def _answered(self, socket: Wire, wanted: str, kept: set[str]) -> str:
        while (frame := await socket.receive())[0] != "OK":
            pass
        assert frame[1] == wanted
        if frame[2]:
            kept.add(wanted)
            return ""
        return str(frame[3])

    async def register_device(self) -> httpx.Response:
        """Register a device, as a takos instance does."""
        return await self.http.post("/push/register", json=self.instance.registration("user", "device"))

    async def notify(self) -> httpx.Response:
        """Hand in a notification."""
        body, headers = self.instance.notification("user", "hello")
        return await self.http.post("/internal/push/events", json=body, headers=headers)

    async def register_relay(self) -> httpx.Response:
        """Register a relay, as a worker does."""
        worker = Worker(self.http, SECRET, "another")
        payload = {
            "relayKey": worker.relay_key,
            "nonce": worker.relay_auth_token,
            "issuedAt": replication_row(self.relay_id, "")["created_at"] * 1000,
            "peers": [],
            "metadata": {"identifier": worker.identifier, "name": "another", "isPublic": True},
        }
        return await self.http.post("/api/relays", json={"registration": payload, "signature": sign(SECRET, payload)})

    async def writes_are_taken(self) -> None:
        """Every door takes a write."""
        assert await self.publish("a fine day") == ""
        assert await self.replicate() == ""
        for answer in (await self.register_device(), await self.notify(), await self.register_relay()):
            assert answer.status_code == 200, answer.text

    async def writes_are_refused(self) -> None:
        """Every door says, in its own form, that nothing is taken now."""
        assert await self.publish("into the void") == "error: the log takes no records now"
        assert await self.replicate() == "append-error: the log takes no records now"
        for answer in (await self.register_device(), await self.notify()):
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "log-unavailable", answer.text
            assert int(answer.headers["retry-after"]) > 0
        answer = await self.register_relay()
        assert answer.status_code == 503, answer.text
        assert "append-error" in answer.text
        ready = await self.http.get("/ready")
        assert ready.status_code == 503, ready.text

    async def reads_are_answered(self) -> None:
        """Everything that was acknowledged is found, and every page is served."""
        for path in ("/health", "/status", "/metrics", "/", "/api/relays"):
            answer = await self.http.get(path)
            assert answer.status_code == 200, (path, answer.text)
        found = {row["id"] for row in await self.relay.stored("r", ids=sorted(self.kept))}
        assert found == self.kept
        rows = {row["id"] for row in await self.mirror.stored("m", ids=sorted(self.rows), relayID=self.relay_id)}
        assert rows == self.rows

    async def figure(self, name: str) -> float:
        """Read one figure of /metrics."""
        text = (await self.http.get("/metrics")).text
        return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name + " ")))

    async def until_ready(self, status: int = 200) -> None:
        """Wait until /ready answers so."""
        with trio.fail_after(READY_S_MAX):
            # Another process has no event to wait on.
            while (await self.http.get("/ready")).status_code != status:  # noqa: ASYNC110
                await trio.sleep(0.05)


@asynccontextmanager
async def instance() -> AsyncIterator[Instance]:
    """A takos instance whose document is served."""
    made = Instance("demo.example.com")
    async with trio.open_nursery() as nursery:
        await nursery.start(made.serve)
        yield made
        nursery.cancel_scope.cancel()


def config_for(instance: Instance) -> str:
    """A configuration that knows the instance."""
    return CONFIG.format(secret=SECRET, domain=instance.domain, document=instance.url)


@asynccontextmanager
async def doors(server: Server, instance: Instance) -> AsyncIterator[Doors]:
    """Connect to every door."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        worker = Worker(http, SECRET, "ours")
        await worker.register()
        tokens = await worker.issue()
        async with wire(f"{server.ws_url}/relay") as relay, wire(tokens["replicationConnectionUrl"]) as mirror:
            yield Doors(server, instance, http, relay, mirror, relay_id(worker.identifier))
