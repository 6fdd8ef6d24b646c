"""A WebSocket of a client that carries events by the thousand: websockets' Sans-I/O protocol over a trio stream.

All messages of one read are handed over together, and what is sent before the next checkpoint goes out in one write;
what comes as text in one frame passes the protocol by (`framing`): 6 µs a message where `line` takes 69. Replicas,
which batch their rows, use `line`.
Invariants: whatever the peer does, the TCP connection is gone when `open_bulk` ends; a silent peer is pinged, and given
up when it stays silent. Who sends bounds what waits. This module must not know frames' meaning, tokens or relays.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.client.framing import WHOLE_TEXT, frame_at
from gateway.client.line import NO_CLOSE, READ_BYTES, LineLost, dial
from gateway.limits.client import (
    BULK_PINGS_MAX,
    CLIENT_CLOSE_S_MAX,
    CLIENT_CONNECT_S_MAX,
    CLIENT_MESSAGE_BYTES_MAX,
    CLIENT_PING_S,
    CLIENT_WRITE_BYTES,
)

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Bulk:
    """An open WebSocket: one task reads with `receive`, anyone sends."""

    def __init__(self, stream: trio.abc.Stream, protocol: ClientProtocol) -> None:
        self._stream, self._protocol = stream, protocol
        self._out: deque[bytes] = deque()
        self._work = trio.Event()
        self._part: bytearray | None = None  # of a message in fragments
        self._silences = 0  # in a row
        self._in = bytearray()  # came, and was not looked at: at most one frame that is not all here, and one read

    def send(self, texts: Iterable[bytes]) -> None:
        """Put text messages on their way, in order; on a connection that has ended they are lost."""
        if self._protocol.state is State.OPEN:
            for text in texts:
                self._protocol.send_text(text)
            self._flush()

    async def receive(self) -> list[bytes]:
        """Give all the messages that came, at least one. Raises LineLost. Cancelled, nothing is lost."""
        while True:
            messages = self._messages()
            if messages:
                return messages
            if self._protocol.state is not State.OPEN:
                raise self._lost()
            await self._read()

    async def write(self) -> None:
        """Write for ever what is sent. Raises LineLost."""
        while True:
            while self._out:
                try:
                    await self._stream.send_all(self._batch())
                except GONE:
                    raise LineLost(NO_CLOSE, "the connection is gone") from None
            self._work = trio.Event()
            await self._work.wait()

    async def shake(self) -> None:
        """Make the handshake. Raises LineLost where it is refused."""
        self._protocol.send_request(self._protocol.connect())
        await self._send_now()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            if not self._in:
                await self._read()
            self._hand_on(self._in.find(b"\n") + 1 or len(self._in))  # by lines: frames may come with the answer
        if self._protocol.state is not State.OPEN:
            raise LineLost(NO_CLOSE, f"the handshake was refused: {self._protocol.handshake_exc}")

    async def close(self) -> None:
        """Say goodbye, as far as the peer takes it."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
        try:
            await self._send_now()
        except GONE:
            return

    async def _send_now(self) -> None:
        self._flush()
        while self._out:
            await self._stream.send_all(self._batch())

    def _batch(self) -> bytes:
        batch = [self._out.popleft()]
        size = len(batch[0])
        while self._out and size < CLIENT_WRITE_BYTES:
            batch.append(self._out.popleft())
            size += len(batch[-1])
        return b"".join(batch)

    def _flush(self) -> None:
        self._out.extend(filter(None, self._protocol.data_to_send()))
        self._work.set()

    async def _read(self) -> None:
        data = None
        with trio.move_on_after(CLIENT_PING_S):
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except GONE:
                data = b""
        self._silences = self._silences + 1 if data is None else 0
        if self._silences > BULK_PINGS_MAX:
            raise LineLost(NO_CLOSE, "no answer to a ping")
        if data is None:
            if self._protocol.state is State.OPEN:
                self._protocol.send_ping(b"")
                self._flush()
        elif data:
            self._in += data
        else:
            self._protocol.receive_eof()
            self._flush()

    def _messages(self) -> list[bytes]:
        messages: list[bytes] = []
        at = 0
        while self._protocol.state is State.OPEN and (found := frame_at(self._in, at, CLIENT_MESSAGE_BYTES_MAX)):
            start, end = found
            if self._in[at] == WHOLE_TEXT and start > at and self._part is None:
                messages.append(bytes(self._in[start:end]))
                at = end
            else:
                del self._in[:at]
                messages += self._hand_on(end - at)
                at = 0
        del self._in[:at]
        return messages

    def _hand_on(self, end: int) -> list[bytes]:
        """Have the protocol take the first bytes of what came; give the message that ends there."""
        data = bytes(self._in[:end])
        del self._in[:end]
        if data:
            self._protocol.receive_data(data)
        self._flush()
        messages: list[bytes] = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                self._part = (self._part or bytearray()) + event.data
                if len(self._part) > CLIENT_MESSAGE_BYTES_MAX:
                    raise LineLost(1009, "a message is too large")
                if event.fin:
                    messages.append(bytes(self._part))
                    self._part = None
        return messages

    def _lost(self) -> LineLost:
        received = self._protocol.close_rcvd
        return LineLost(NO_CLOSE, "") if received is None else LineLost(received.code, received.reason)


@asynccontextmanager
async def open_bulk(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Bulk]:
    """Open a ``ws://`` or ``wss://`` URL. Raises LineLost where that fails, or the connection ends in the block."""
    try:
        protocol = ClientProtocol(parse_uri(url), max_size=CLIENT_MESSAGE_BYTES_MAX)
    except InvalidURI as why:
        raise LineLost(NO_CLOSE, str(why)) from None
    stream = await dial(url, tls)
    try:
        bulk = Bulk(stream, protocol)
        with trio.move_on_after(CLIENT_CONNECT_S_MAX) as scope:
            try:
                await bulk.shake()
            except GONE:
                raise LineLost(NO_CLOSE, "the connection ended in the handshake") from None
        if scope.cancelled_caught:
            raise LineLost(NO_CLOSE, "no answer to the handshake")
        yield bulk
        with trio.move_on_after(CLIENT_CLOSE_S_MAX):
            await bulk.close()
    finally:
        await trio.aclose_forcefully(stream)
