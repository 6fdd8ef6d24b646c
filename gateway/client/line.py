"""One WebSocket of a client, over trio-websocket: opened, read, written and pinged within deadlines.

`open_line` never raises for what the world does: a connection that cannot be made has ended with code 1006, as browsers
have it. Invariant: whatever the peer does, the TCP connection is gone when the block ends.
This module must not know frames' meaning, tokens or relays.
"""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from gateway.limits.client import (
    CLIENT_CLOSE_S_MAX,
    CLIENT_CONNECT_S_MAX,
    CLIENT_MESSAGE_BYTES_MAX,
    CLIENT_PING_S,
    CLIENT_PONG_S_MAX,
)

NO_CLOSE = 1006
READ_BYTES = 65_536


class LineLost(Exception):
    """The connection is gone; ``code`` and ``reason`` as the peer said, 1006 where it said nothing."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Line:
    """An open WebSocket; its methods raise LineLost."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        """Send one message; waits while the peer does not read."""
        try:
            await self._connection.send_message(text)
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def receive(self) -> str | bytes:
        """Give the next message."""
        try:
            message: str | bytes = await self._connection.get_message()
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        return message

    async def watch(self, is_paused: Callable[[], bool]) -> None:
        """Ask now and then whether the peer is there; LineLost when not. It cannot be told while reading rests."""
        while True:
            await trio.sleep(CLIENT_PING_S)
            with trio.move_on_after(CLIENT_PONG_S_MAX) as scope:
                try:
                    await self._connection.ping()
                except ConnectionClosed as closed:
                    raise _lost(closed) from None
            if scope.cancelled_caught and not is_paused():
                raise LineLost(NO_CLOSE, "no answer to a ping")


@asynccontextmanager
async def open_line(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Line]:
    """Open a ``ws://`` or ``wss://`` URL. Raises LineLost where that fails; what the block raises comes out alone."""
    stream = await dial(url, tls)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        async with trio.open_nursery() as nursery:
            connection = await _shake(nursery, stream, parts.netloc, target)
            yield Line(connection)
            with trio.move_on_after(CLIENT_CLOSE_S_MAX):
                await connection.aclose()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _alone(group) from group.__cause__
    finally:
        await trio.aclose_forcefully(stream)


async def _shake(nursery: trio.Nursery, stream: trio.abc.Stream, host: str, target: str) -> WebSocketConnection:
    with trio.move_on_after(CLIENT_CONNECT_S_MAX):
        try:
            return await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # any stream will do
                host,
                target,
                max_message_size=CLIENT_MESSAGE_BYTES_MAX,
                receive_buffer_size=READ_BYTES,
            )
        except (HandshakeError, ConnectionClosed) as why:
            raise LineLost(NO_CLOSE, f"the handshake was refused: {why!r}") from None
    raise LineLost(NO_CLOSE, "no answer to the handshake")


async def dial(url: str, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect to a URL's host, with TLS where it is ``wss``. Raises LineLost."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with trio.fail_after(CLIENT_CONNECT_S_MAX):
            if parts.scheme == "wss":
                secured = await trio.open_ssl_over_tcp_stream(host, parts.port or 443, ssl_context=tls)
                try:
                    await secured.do_handshake()
                except BaseException:
                    await trio.aclose_forcefully(secured)
                    raise
                return secured
            return await trio.open_tcp_stream(host, parts.port or 80)
    except (OSError, ValueError, trio.TooSlowError, trio.BrokenResourceError) as why:  # ValueError: no such port
        raise LineLost(NO_CLOSE, f"cannot connect to {host}: {str(why) or type(why).__name__}") from None


def _lost(closed: ConnectionClosed) -> LineLost:
    reason = closed.reason
    return LineLost(NO_CLOSE, "") if reason is None else LineLost(reason.code, reason.reason or "")


def _alone(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure
