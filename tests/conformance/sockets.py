"""A client of the two sockets, on trio-websocket: frames as JSON in both directions, and how a socket ended."""

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

WAIT_S = 30.0
QUIET_S = 0.3

Frame = list[Any]


class Line:
    """One socket."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection

    async def say(self, *frame: Any) -> None:
        """Send one frame."""
        await self.connection.send_message(json.dumps(frame, ensure_ascii=False))

    async def raw(self, text: str | bytes) -> None:
        await self.connection.send_message(text)

    async def hear(self) -> Frame:
        """The next frame."""
        with trio.fail_after(WAIT_S):
            frame: Frame = json.loads(await self.connection.get_message())
        return frame

    async def until(self, verb: str) -> list[Frame]:
        """Frames up to and with the next of this verb."""
        heard = [await self.hear()]
        while heard[-1][0] != verb:
            heard.append(await self.hear())
        return heard

    async def answer(self, *frame: Any) -> Frame:
        """Send a frame and give the next that comes."""
        await self.say(*frame)
        return await self.hear()

    async def stored(self, *filters: dict[str, Any]) -> list[Frame]:
        """What a REQ finds: the events, after which its EOSE came and its subscription was closed."""
        sub = uuid.uuid4().hex[:8]
        await self.say("REQ", sub, *filters)
        *events, end = [frame for frame in await self.until("EOSE") if frame[0] != "NOTICE"]
        assert end[:2] == ["EOSE", sub], end
        assert all(frame[:2] == ["EVENT", sub] for frame in events), events
        await self.say("CLOSE", sub)
        return [frame[2] for frame in events]

    async def quiet(self) -> list[Frame]:
        """What comes although nothing should."""
        heard = []
        with trio.move_on_after(QUIET_S):
            while True:
                heard.append(json.loads(await self.connection.get_message()))
        return heard

    async def ended(self) -> tuple[int, str]:
        """(code, reason) of the close; whatever came before is dropped."""
        with trio.fail_after(WAIT_S):
            with suppress(ConnectionClosed):
                while True:
                    await self.connection.get_message()
        why = self.connection.closed
        assert why is not None
        return why.code, why.reason or ""


@asynccontextmanager
async def line(url: str) -> AsyncIterator[Line]:
    """Open a socket."""
    with trio.fail_after(120):
        async with open_websocket_url(url, connect_timeout=WAIT_S, disconnect_timeout=WAIT_S) as connection:
            try:
                yield Line(connection)
            finally:  # the library leaves the TCP connection to its collector where the server closed first
                stream = connection._stream
        await trio.aclose_forcefully(stream)


async def refused(url: str) -> tuple[int, str]:
    """(code, reason) with which a handshake is refused."""
    async with line(url) as opened:
        return await opened.ended()
