"""A nostr socket as a client holds it, over trio-websocket: an implementation that is not the server's.

`published` waits for the OK of each event, `rows` collects what a subscription sends. This module must not know the
server, nor whether a row is a replicated one.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio
from coincurve import PrivateKey
from trio_websocket import WebSocketConnection, wrap_client_stream

MESSAGE_BYTES_MAX = 2 << 20  # above the largest frame that a gateway lets through
ANSWER_S_MAX = 60.0  # a busy machine takes its time; a hang lasts for ever
CLOSE_S_MAX = 1.0


class Author:
    """A nostr key that signs events (NIP-01, BIP-340)."""

    def __init__(self) -> None:
        self._key = PrivateKey()
        self.pubkey = self._key.public_key_xonly.format().hex()

    def event(self, kind: int, content: str, tags: Sequence[Sequence[str]] = ()) -> dict[str, Any]:
        """A signed event of now."""
        created_at, listed = time.time_ns() // 1_000_000_000, [list(tag) for tag in tags]
        hashed = json.dumps(
            [0, self.pubkey, created_at, kind, listed, content], separators=(",", ":"), ensure_ascii=False
        )
        digest = hashlib.sha256(hashed.encode()).digest()
        return {
            "id": digest.hex(),
            "pubkey": self.pubkey,
            "created_at": created_at,
            "kind": kind,
            "tags": listed,
            "content": content,
            "sig": self._key.sign_schnorr(digest, secrets.token_bytes(32)).hex(),
        }


class Wire:
    """One open socket; every wait has a deadline, over which trio.TooSlowError is raised."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, *frame: Any) -> None:
        """Send one frame."""
        await self._connection.send_message(json.dumps(frame, separators=(",", ":"), ensure_ascii=False))

    async def receive(self) -> list[Any]:
        """The next frame."""
        with trio.fail_after(ANSWER_S_MAX):
            frame: list[Any] = json.loads(await self._connection.get_message())
        return frame

    async def published(self, events: Sequence[dict[str, Any]]) -> dict[str, str]:
        """Send events and wait for each one's OK: id -> reason of those that were taken; refused ones are missing."""
        taken: dict[str, str] = {}
        answered = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, events)
            while answered < len(events):
                frame = await self.receive()
                if frame[0] == "OK":
                    answered += 1
                    taken |= {frame[1]: frame[3]} if frame[2] else {}
        return taken

    async def _send_all(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            await self.send("EVENT", event)

    async def stored(self, sub: str, **query: Any) -> list[dict[str, Any]]:
        """Ask, and collect what is stored up to EOSE; the subscription stays open."""
        await self.send("REQ", sub, query)
        found: list[dict[str, Any]] = []
        while True:
            frame = await self.receive()
            match frame:
                case ["EVENT", _, row]:
                    found.append(row)
                case ["EOSE", _, *_]:  # NIP-67 may add whether that was all
                    return found
                case ["CLOSED", _, reason]:
                    raise ConnectionRefusedError(reason)
                case _:
                    pass  # a live row of another subscription, or a NOTICE

    async def live(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` rows that open subscriptions send."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = await self.receive()
            if frame[0] == "EVENT":
                found.append(frame[2])
        return found


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[Wire]:
    """Open a ``ws://`` socket and close it at the end; what the block raises comes out alone, not in a group.

    The stream is ours: trio-websocket leaves its own open for good where the peer was the one to close. So is the
    deadline: it waits for ever where the peer closes before its handshake. Raises OSError where there is no answer.
    """
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
    try:
        async with stream, trio.open_nursery() as nursery:
            connection = None
            with trio.move_on_after(ANSWER_S_MAX):
                connection = await wrap_client_stream(
                    nursery,
                    stream,
                    parts.netloc,
                    target,
                    max_message_size=MESSAGE_BYTES_MAX,
                )
            if connection is None:
                raise ConnectionError("no answer to the handshake")
            yield Wire(connection)
            with trio.move_on_after(CLOSE_S_MAX):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _alone(group) from group.__cause__


def _alone(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure


def replication_row(relay_id: str, text: str) -> dict[str, Any]:
    """A replication EVENT as a worker sends it: an id, a relay, and data that the gateway cannot read."""
    data = secrets.token_bytes(24).hex() + text.encode().hex()
    return {
        "id": hashlib.sha256(data.encode()).hexdigest(),
        "relayID": relay_id,
        "kind": 30078,
        "created_at": time.time_ns() // 1_000_000_000,
        "eventData": base64.b64encode(data.encode()).decode(),
    }
