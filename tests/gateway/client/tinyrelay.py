"""A relay of a few lines, without NIP-77, over an independent WebSocket server: what the simplest of relays do."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

Frames = list[list[Any]]


class TinyRelay:
    """Keeps events in a dict. ``odd`` may answer a frame in another way: give frames, or None for the usual."""

    def __init__(self, odd: Callable[[list[Any]], Frames | None] = lambda _: None, page: int = 5) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.odd, self.page, self.url, self.heard = odd, page, "", Frames()
        self._live: dict[tuple[WebSocketConnection, str], dict[str, Any]] = {}

    async def serve(self, request: WebSocketRequest) -> None:
        connection = await request.accept()
        try:
            while True:
                frame = json.loads(await connection.get_message())
                self.heard.append(frame)
                odd = self.odd(frame)
                for answer in self._answers(connection, frame) if odd is None else odd:
                    await connection.send_message(json.dumps(answer))
        except ConnectionClosed:
            self._live = {key: one for key, one in self._live.items() if key[0] is not connection}

    def _answers(self, connection: WebSocketConnection, frame: list[Any]) -> Frames:
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

    def stored(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        found = [
            one
            for one in self.events.values()
            if one["id"] in asked.get("ids", [one["id"]])
            and asked.get("since", 0) <= one["created_at"] <= asked.get("until", 2**53)
        ]
        return sorted(found, key=lambda one: (-one["created_at"], one["id"]))[: min(self.page, asked.get("limit", 9e9))]

    async def tell(self, event: dict[str, Any]) -> None:
        """Keep an event, and send it to who follows."""
        self.events[event["id"]] = event
        for connection, sub in list(self._live):
            await connection.send_message(json.dumps(["EVENT", sub, event]))


@asynccontextmanager
async def tiny_relay(one: TinyRelay) -> AsyncIterator[TinyRelay]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, one.serve, "127.0.0.1", 0, None)
        one.url = f"ws://127.0.0.1:{server.port}/"
        yield one
        nursery.cancel_scope.cancel()
