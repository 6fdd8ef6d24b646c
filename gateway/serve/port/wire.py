"""A TCP or TLS connection for one task at a time, with as few passes through the scheduler as can be.

`trio.SSLStream` serves two tasks that read and write at once: four locks and five checkpoints an exchange, 60 of the
250 µs that a delivery may cost. An exchange of HTTP/1.1 writes, then reads: so here a write that the kernel takes at
once yields to nobody, and a read always waits for the socket before it asks for bytes. The door's webhooks and the
sends to FCM take it.
Invariants: a broken peer is trio's BrokenResourceError, whatever OpenSSL or the kernel calls it; the socket stays that
of trio's stream, and is asked for its descriptor each time, so that one that was closed is never read or written by the
number that another has by now. Must not know HTTP.
"""

import os
import ssl

import trio

from gateway.limits.serve import READ_BYTES


class Wire(trio.abc.Stream):
    """The connected socket of a trio stream, which nobody else reads or writes meanwhile."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = stream.socket

    def send_now(self, data: bytes | bytearray | memoryview) -> memoryview:
        """Send what the kernel takes at once; give the rest. Raises BrokenResourceError."""
        return memoryview(data)[self.write(data) :]

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Send what the kernel takes at once; give how many bytes. Raises BrokenResourceError."""
        try:
            return os.write(self._socket.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError as why:
            raise trio.BrokenResourceError("the peer is gone") from why

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all; a checkpoint only where the kernel's buffer is full. Raises BrokenResourceError."""
        while data := self.send_now(data):
            await trio.lowlevel.wait_writable(self._socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; none at the peer's end. Raises BrokenResourceError, ClosedResourceError on our own end."""
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("this side was closed")
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), max_bytes or READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as why:
                raise trio.BrokenResourceError("the peer is gone") from why

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel's buffer has room."""
        await trio.lowlevel.wait_writable(self._socket)

    def close(self) -> None:
        """Close at once; who waits is told ClosedResourceError."""
        self._socket.close()

    async def aclose(self) -> None:
        """Close at once."""
        self.close()
        await trio.lowlevel.checkpoint()


class SecureWire(trio.abc.Stream):
    """TLS over a `Wire`, as a client of ``host``, or as a server where none is named; `shake` before anything else."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, host: str | None) -> None:
        self._wire = wire
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=host is None, server_hostname=host)

    async def shake(self) -> None:
        """Shake hands; raises BrokenResourceError, caused by OpenSSL's error where TLS or the certificate is bad."""
        failure: ssl.SSLError | None = None
        is_shaken = False
        while not is_shaken and failure is None:
            try:
                self._tls.do_handshake()
                is_shaken = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as why:
                failure = why
            await self._flush()  # also the alert that says what was wrong
            if not is_shaken and failure is None:
                await self._feed()
        if failure is not None:
            raise trio.BrokenResourceError("TLS failed") from failure

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all, as `Wire.send_all`."""
        try:
            self._tls.write(data)
        except ssl.SSLError as why:  # also one that wants to read first: a renegotiation, which no good peer asks for
            raise trio.BrokenResourceError("TLS failed") from why
        await self._flush()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; none at the peer's end, whether or not it says so in TLS. Raises BrokenResourceError."""
        if not self._in.pending and not self._tls.pending():
            await self._feed()
        while True:
            try:
                return self._tls.read(max_bytes or READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as why:
                raise trio.BrokenResourceError("TLS failed") from why

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel's buffer has room."""
        await self._wire.wait_send_all_might_not_block()

    def close(self) -> None:
        """Close at once, without a word of TLS: what was asked was answered, or is of no more use."""
        self._wire.close()

    async def aclose(self) -> None:
        """Close at once."""
        await self._wire.aclose()

    async def _feed(self) -> None:
        received = await self._wire.receive_some(READ_BYTES)
        if received:
            self._in.write(received)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        if self._out.pending:
            await self._wire.send_all(self._out.read())
