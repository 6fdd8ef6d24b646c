"""A relay of a few lines, without NIP-77, over an independent WebSocket server: what the simplest of relays do."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket, wrap_server_stream

from gateway.negentropy import FRAME_BYTES_MIN, Items, Responder

Frames = list[list[Any]]


class TinyRelay:
    """Keeps events in a dict. ``odd`` may answer a frame in another way: give frames, or None for the usual.

    Behind so many events that are sent to it, a connection is ``cut``, and ``at_cut`` called.
    """

    def __init__(
        self,
        odd: Callable[[list[Any]], Frames | None] = lambda _: None,
        page: int = 5,
        cut: int | None = None,
        at_cut: Callable[[], None] = lambda: None,
    ) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.odd, self.page, self.url, self.heard = odd, page, "", Frames()
        self.cut, self.at_cut, self.taken = cut, at_cut, 0
        self._live: dict[tuple[WebSocketConnection, str], dict[str, Any]] = {}

    async def serve(self, request: WebSocketRequest) -> None:
        connection = await request.accept()
        self.taken += 1
        with suppress(ConnectionClosed):
            await self._converse(connection)
        self._live = {key: one for key, one in self._live.items() if key[0] is not connection}

    async def _converse(self, connection: WebSocketConnection) -> None:
        left = self.cut
        while left is None or left > 0:
            frame = json.loads(await connection.get_message())
            self.heard.append(frame)
            odd = self.odd(frame)
            for answer in self.answers(connection, frame) if odd is None else odd:
                await connection.send_message(json.dumps(answer))
            left = left - 1 if left is not None and frame[0] == "EVENT" else left
        self.at_cut()
        await connection.aclose(1008, "too many frames")

    def answers(self, connection: WebSocketConnection, frame: list[Any]) -> Frames:
        match frame:
            case ["EVENT", event]:
                self.events[event["id"]] = event
                return [["OK", event["id"], True, ""]]
            case ["REQ", sub, asked]:
                self._live[connection, sub] = asked
                return [*[["EVENT", sub, one] for one in self.stored(asked)], ["EOSE", sub]]
            case ["CLOSE", sub]:
                self._live.pop((connection, sub), None)
                return []
            case _:
                return [["NOTICE", f"unknown command {frame[0]}"]]

    def matching(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            one
            for one in self.events.values()
            if one["id"] in asked.get("ids", [one["id"]])
            and asked.get("since", 0) <= one["created_at"] <= asked.get("until", 2**53)
        ]

    def stored(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        found = sorted(self.matching(asked), key=lambda one: (-one["created_at"], one["id"]))
        return found[: min(self.page, asked.get("limit", 9e9))]

    async def tell(self, event: dict[str, Any]) -> None:
        """Keep an event, and send it to who follows."""
        self.events[event["id"]] = event
        for connection, sub in list(self._live):
            await connection.send_message(json.dumps(["EVENT", sub, event]))


class ComparingRelay(TinyRelay):
    """One with NIP-77, for no more than so many events at once, in nostr-sdk's words."""

    def __init__(self, most: int = 10**6, page: int = 500, **how: Any) -> None:
        super().__init__(page=page, **how)
        self.most = most
        self.open: dict[tuple[WebSocketConnection, str], Responder] = {}
        self.refused: list[dict[str, Any]] = []
        self.most_open = 0  # at once, on one connection

    def answers(self, connection: WebSocketConnection, frame: list[Any]) -> Frames:
        match frame:
            case ["NEG-OPEN", sub, asked, text]:
                found = self.matching(asked)
                if len(found) > self.most:
                    self.refused.append(asked)
                    return [["NEG-ERR", sub, "rate-limited: too many negentropy items"]]
                items = Items((one["created_at"], bytes.fromhex(one["id"])) for one in found)
                self.open[connection, sub] = Responder(items, FRAME_BYTES_MIN)
                self.most_open = max(self.most_open, sum(key[0] is connection for key in self.open))
            case ["NEG-MSG", sub, text]:
                pass
            case ["NEG-CLOSE", sub]:
                del self.open[connection, sub]
                return []
            case _:
                return super().answers(connection, frame)
        return [["NEG-MSG", sub, self.open[connection, sub].answer(bytes.fromhex(text)).hex()]]


@asynccontextmanager
async def tiny_relay(one: TinyRelay) -> AsyncIterator[TinyRelay]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, one.serve, "127.0.0.1", 0, None)
        one.url = f"ws://127.0.0.1:{server.port}/"
        yield one
        nursery.cancel_scope.cancel()


class Wires:
    """A network in memory, so that a clock may jump: `dial` in place of the client's."""

    def __init__(self, nursery: trio.Nursery, relays: dict[str, TinyRelay]) -> None:
        self._nursery, self._relays = nursery, relays
        for name, relay in relays.items():
            relay.url = f"ws://{name}/"

    async def dial(self, url: str, _: object) -> trio.abc.Stream:
        client, server = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, self._relays[str(urlsplit(url).hostname)], server)
        return client

    async def _serve(self, relay: TinyRelay, stream: Any) -> None:
        async with trio.open_nursery() as nursery:
            await relay.serve(await wrap_server_stream(nursery, stream))
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)
