"""A connection as hypercorn sees it: first the head that the door has read, then the rest, with deadlines of our own.

Invariants: a send that makes no progress for `WRITE_S_MAX` seconds breaks the stream (hypercorn shields its sends from
every other deadline); closing means: say that we are done, then read and drop for `LINGER_S_MAX` seconds, so that the
answer is not lost to a reset. The real close is the door's. This module must not know HTTP.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from gateway.limits.serve import LINGER_S_MAX, READ_BYTES, WRITE_S_MAX

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class ReplayStream(trio.abc.Stream):
    """Wraps a `trio.SocketStream` or `trio.SSLStream`; whatever else hypercorn asks for is the wrapped stream's.

    What ``wanted`` says yes to is not handed on but put into ``taken``, and the reader sees the end: so a WebSocket may
    begin on a connection that has served HTTP. The connection then stays open, for whoever takes it over.
    """

    def __init__(self, stream: trio.abc.Stream, replay: bytes) -> None:
        self.wanted: Callable[[bytes], Awaitable[bool]] | None = None
        self.taken = b""
        self._stream, self._replay, self._held = stream, replay, b""
        self._reading: trio.CancelScope | None = None
        self._drop_until: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Read on; once we have closed, wait for the peer's end or the linger's, whichever is first."""
        if self._replay:
            await trio.lowlevel.checkpoint()
            data, self._replay = self._replay, b""
            return data
        with trio.CancelScope() as self._reading:
            if self._drop_until is not None:
                self._reading.deadline = self._drop_until
            received = await self._stream.receive_some(max_bytes)
            while received and self._drop_until is not None:
                received = await self._stream.receive_some(READ_BYTES)
            if self.wanted is not None and await self.wanted(bytes(received)):
                self.taken = bytes(received)
                return b""
            return received
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or raise BrokenResourceError when the peer takes nothing, ClosedResourceError after our end.

        The head of an answer waits for what follows it, to be one segment and one system call (80 of 700 µs): hypercorn
        sends something behind every head, if only the empty end of the message.
        """
        if self._drop_until is not None:
            raise trio.ClosedResourceError("we have ended this side")
        if data[:9] == b"HTTP/1.1 " and data[9:10] != b"1":  # an interim answer (100) goes at once
            self._held += data
            return
        data, self._held = self._held + data, b""
        if not data:
            return
        with trio.move_on_after(WRITE_S_MAX) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the peer does not read")

    async def wait_send_all_might_not_block(self) -> None:
        """As the wrapped stream's."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """The same as closing: hypercorn calls one, then the other, while another task may be sending."""
        await self.aclose()

    async def aclose(self) -> None:
        """End our side, and give whoever reads until the end of the linger. Never raises for a peer that is gone."""
        if self._drop_until is None and not self.taken:
            self._drop_until = trio.current_time() + LINGER_S_MAX
            if self._reading is not None:
                self._reading.deadline = self._drop_until
            await end(self._stream)
        await trio.lowlevel.checkpoint()


async def end(stream: trio.abc.Stream) -> None:
    """Say that nothing more comes, where the transport can (a TLS stream cannot, without closing)."""
    if isinstance(stream, trio.abc.HalfCloseableStream):
        try:
            await stream.send_eof()
        except (*GONE, trio.BusyResourceError):
            pass  # gone, or stuck in a send that has its own deadline


async def linger(stream: trio.abc.Stream) -> None:
    """End our side and drop what still comes, for at most `LINGER_S_MAX` seconds."""
    await end(stream)
    with trio.move_on_after(LINGER_S_MAX):
        try:
            while await stream.receive_some(READ_BYTES):
                pass
        except GONE:
            pass
