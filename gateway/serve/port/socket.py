"""One WebSocket connection of a client: websockets' Sans-I/O protocol (RFC 6455) over a trio stream.

Text in whole frames, which is nearly all there is, passes the protocol by (`gateway.serve.port.framing`); the protocol
gets every other frame whole, so that it always stands between two frames when a text goes past it.

All messages of one 64 KiB read are handed over together, and everything that is sent before the next checkpoint goes
out in one write: that is where the factor of ten against a task switch and a system call per message comes from.
Invariants: frames leave in the order of `send`; at most ``unread_bytes_max`` bytes wait for a peer that does not read;
one task reads (whoever iterates `chunks`), one writes. A peer that is slow, silent or rude is closed with a code.
This module must not know paths, tokens, nostr or the log. Compression is never offered: it costs memory per connection.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from urllib.parse import parse_qsl

import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.limits.serve import (
    BUSY_READ_BYTES,
    CLOSE_S_MAX,
    FIRST_MESSAGE_BYTES_MAX,
    PING_IDLE_S,
    READ_BYTES,
    WRITE_BYTES,
    WRITE_S_MAX,
)
from gateway.serve.port.framing import frame_end, text_frame, whole_texts
from gateway.serve.port.wire import Wire

GONE = (trio.BrokenResourceError, trio.ClosedResourceError)
REASON_BYTES_MAX = 123  # a control frame holds 125 bytes, two of them the code (RFC 6455 §5.5)
SLOW_READER = "slow reader: too much unread"
MALFORMED = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Socket:
    """A WebSocket that was accepted (101): read it with `chunks`, write with `send`, end it with `close`.

    ``path`` is the request's path as it came (percent-encoded), ``query`` its parameters decoded (of a repeated one the
    last), ``headers`` by lower-case name, ``peer`` the client's address. `send` and `close` never wait and never raise
    for a peer that has gone; whoever sends much awaits `flushed` now and then.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: ServerProtocol,
        request: Request,
        *,
        rest: bytes,
        peer: str,
        unread_bytes_max: int,
    ) -> None:
        self.path, _, query = request.path.partition("?")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self.headers: dict[str, str] = {name.lower(): value for name, value in request.headers.raw_items()}
        self.peer = peer
        self._stream, self._protocol, self._rest = stream, protocol, rest
        # Plain TCP is written without a pass through the scheduler; TLS has state of its own between us and the kernel.
        self._wire = Wire(stream) if isinstance(stream, trio.SocketStream) else None
        self._unread_bytes_max = unread_bytes_max
        self._reading: trio.CancelScope | None = None
        self._pinged = False
        self._read_bytes = READ_BYTES
        self._in = bytearray()  # what was read and belongs to a frame that is not all here
        self._messages: list[str | bytes] = []  # read and not handed over
        self._part: bytearray | None = None  # a fragmented message so far; joined, so that empty fragments cost nothing
        self._part_opcode = Opcode.TEXT
        self._out: deque[bytes] = deque()
        self._queued_bytes = self._written_bytes = 0  # of all that ever waited; their difference is unread
        self._ended = False  # nothing follows what is queued
        self._written = trio.Event()  # the writer is done
        self._work, self._progress = trio.lowlevel.ParkingLot(), trio.lowlevel.ParkingLot()

    @property
    def is_open(self) -> bool:
        """Whether messages may still come and go: neither side has begun to close."""
        return self._protocol.state is State.OPEN

    @property
    def unread_bytes(self) -> int:
        """Bytes of frames that wait for the peer to read; what the kernel holds is not counted."""
        return self._queued_bytes - self._written_bytes

    @property
    def max_bytes(self) -> int:
        """The largest message taken, in bytes, over all its fragments; a larger one closes the socket with 1009."""
        return self._protocol.max_message_size or 0

    @max_bytes.setter
    def max_bytes(self, count: int) -> None:
        self._protocol.max_message_size = count

    # -- reading ------------------------------------------------------------------------------------------------------

    def chunks(self) -> AsyncIterator[list[str | bytes]]:
        """Iterate over lists of complete messages: all that one read brought. Ends when either side closes.

        Cancelling an iteration loses no message. Back-pressure is not iterating: nothing is read meanwhile.
        """
        return self

    def __aiter__(self) -> AsyncIterator[list[str | bytes]]:
        return self

    async def __anext__(self) -> list[str | bytes]:
        while True:
            if self._rest and self.is_open:
                self._receive(self._rest)
                self._rest = b""
            elif self.is_open:
                await self._read(PING_IDLE_S)
            messages, self._messages = self._messages, []
            if messages:
                return messages
            if not self.is_open:
                raise StopAsyncIteration

    async def _read(self, silent_s_max: float) -> None:
        """Take in one read; a silent peer is pinged, and closed when it stays silent."""
        data = None
        with trio.move_on_after(silent_s_max) as self._reading:
            try:
                data = await (self._wire or self._stream).receive_some(self._read_bytes)
            except GONE:
                data = b""
        self._reading = None
        if data is not None:
            self._pinged = False
            self._read_bytes = READ_BYTES if len(data) < READ_BYTES else BUSY_READ_BYTES
            self._receive(data)
        elif self.is_open:
            self._nudge()

    def _nudge(self) -> None:
        if self._pinged:
            self.close(1011, "keepalive ping timeout")
        else:
            self._pinged = True
            self._protocol.send_ping(b"")
            self._flush()

    def _receive(self, data: bytes | bytearray) -> None:
        if data:
            self._in += data
            self._take_in()
        else:
            self._protocol.receive_eof()
        self._flush()

    def _take_in(self) -> None:
        """Take messages and frames off what was read, as far as they are all here; when closing, the protocol's all."""
        buffer, at = self._in, 0
        while at < len(buffer):
            if self.is_open and self._part is None:
                texts, at = whole_texts(buffer, at, self.max_bytes)
                self._messages += texts
            end = frame_end(buffer, at, self.max_bytes) if self.is_open else len(buffer)
            if end is None:
                break
            self._protocol.receive_data(bytes(buffer[at:end]))
            self._take_frames()
            at = end
        del buffer[:at]

    def _take_frames(self) -> None:
        """Join the frames received into messages; bad UTF-8 fails the connection with 1007 (RFC 6455 §8.1)."""
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and not (event.opcode & 0x8):  # not a control frame
                data = self._joined(event)
                if data is None:
                    continue
                try:
                    self._messages.append(data.decode() if self._part_opcode is Opcode.TEXT else bytes(data))
                except UnicodeDecodeError:
                    self._protocol.fail(1007, "invalid UTF-8")
                    break

    def _joined(self, frame: Frame) -> bytes | bytearray | None:
        """The message that this frame completes, if it does."""
        if frame.opcode is not Opcode.CONT:
            self._part_opcode = frame.opcode
            if frame.fin:
                return frame.data  # type: ignore[return-value]  # what comes from the wire is never a memoryview
            self._part = bytearray(frame.data)
            return None
        assert self._part is not None, "the protocol lets no continuation come first"
        self._part += frame.data
        if not frame.fin:
            return None
        data, self._part = self._part, None
        return data

    # -- writing ------------------------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Enqueue a text message. Over ``unread_bytes_max`` what waits is dropped and the socket closed with 1013."""
        self.send_many((text,))

    def send_many(self, texts: Iterable[str]) -> None:
        """Enqueue text messages, in order; they share writes with all that is enqueued before the next checkpoint."""
        self.send_frames([text_frame(text.encode()) for text in texts])

    def send_frames(self, frames: Sequence[bytes]) -> None:
        """Enqueue messages that were framed already (`text_frame`): what goes to many sockets is framed once.

        Each of ``frames`` may hold several whole ones.
        """
        if self.is_open and frames:
            self._out += frames
            self._queued_bytes += sum(map(len, frames))
            self._flush()

    def send_frames_now(self, frames: Sequence[bytes]) -> None:
        """Do as `send_frames`, and where nothing waits hand them to the kernel here, not in the writer's turn.

        For whoever sends one thing to many sockets, or an answer: a turn of the writer costs more than its sending.
        """
        # As plain comparisons: a hundred sockets are asked this for each event.
        if self._wire is None or self._queued_bytes != self._written_bytes or self._protocol.state is not State.OPEN:
            self.send_frames(frames)
            return
        data = b"".join(frames)
        try:
            count = self._wire.write(data)
        except trio.BrokenResourceError:  # the writer meets it too, and ends what there is to end
            count = 0
        if count < len(data):
            self.send_frames([data[count:]])

    async def flushed(self) -> None:
        """Wait until all that was enqueued so far is with the kernel, or the socket is no longer open."""
        await trio.lowlevel.checkpoint()
        goal = self._queued_bytes
        while self._written_bytes < goal and self.is_open:
            await self._progress.park()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Ask for the end: what was sent before still goes out, then the close frame; iteration ends at once.

        A socket that is closing already keeps its first code. The reason is cut to 123 bytes.
        """
        if self.is_open:
            self._protocol.send_close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
            self._flush()
        if self._reading is not None:
            self._reading.cancel()
        self._progress.unpark_all()

    def _flush(self) -> None:
        """Queue what the protocol wants sent; cut a peer that leaves too much unread."""
        for data in self._protocol.data_to_send():
            if data:
                self._out.append(data)
                self._queued_bytes += len(data)
            else:
                self._ended = True
        self._work.unpark_all()
        if self.unread_bytes > self._unread_bytes_max and self.is_open:
            self._drop()
            self.close(1013, SLOW_READER)

    def _drop(self) -> None:
        self._written_bytes += sum(map(len, self._out))
        self._out.clear()

    def _batch(self) -> bytes:
        """Whole frames, at least one, up to `WRITE_BYTES` together."""
        batch = [self._out.popleft()]
        size = len(batch[0])
        while self._out and size + len(self._out[0]) <= WRITE_BYTES:
            batch.append(self._out.popleft())
            size += len(batch[-1])
        return b"".join(batch) if len(batch) > 1 else batch[0]

    async def _write(self) -> None:
        """Write what is queued until the protocol says end; a peer that is gone or stuck ends it too."""
        try:
            while self._out or not self._ended:
                if self._out:
                    await self._write_batch(self._batch())
                else:
                    await self._work.park()
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
        except (*GONE, trio.TooSlowError):
            self._lose()
        finally:
            self._written.set()

    async def _write_batch(self, data: bytes) -> None:
        rest = data if self._wire is None else self._wire.send_now(data)
        if rest:
            with trio.fail_after(WRITE_S_MAX):
                await (self._wire or self._stream).send_all(rest)
        self._written_bytes += len(data)
        self._progress.unpark_all()

    def _lose(self) -> None:
        """The peer can no longer be reached: nothing more goes in or out."""
        self._protocol.receive_eof()
        self._out.clear()
        self._written_bytes = self._queued_bytes
        self.close()

    # -- the whole life -----------------------------------------------------------------------------------------------

    async def run(self, handler: Callable[["Socket"], Awaitable[None]]) -> None:
        """Write in the background while ``handler`` runs, then close in good order within `CLOSE_S_MAX` seconds.

        The handler's own exceptions are its caller's to handle: wrap it. Closing the stream is left to the caller.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            self._flush()
            await self.flushed()  # the 101 is out before anything could drop it
            await handler(self)
            self.close()
            with trio.move_on_after(CLOSE_S_MAX):
                await self._finish()
            nursery.cancel_scope.cancel()

    async def _finish(self) -> None:
        """Wait for the peer's close frame and our last byte; of a failed connection, drop what still comes."""
        while self._protocol.state is not State.CLOSED and not self._shaken():
            await self._read(CLOSE_S_MAX)
            self._messages.clear()
        await self._written.wait()

    def _shaken(self) -> bool:
        return self._protocol.close_rcvd is not None and self._protocol.close_sent is not None


async def serve_socket(
    stream: trio.abc.Stream,
    head: bytes,
    handler: Callable[[Socket], Awaitable[None]],
    *,
    rest: bytes = b"",
    peer: str = "",
    unread_bytes_max: int,
) -> None:
    """Answer the upgrade request ``head`` (up to its blank line; ``rest`` came with it) and run ``handler``.

    A handshake that is not right gets its HTTP error (400, 405, 426, 505) and no socket. The stream stays the caller's.
    """
    protocol = ServerProtocol(max_size=FIRST_MESSAGE_BYTES_MAX)
    protocol.receive_data(head)
    request = next(iter(protocol.events_received()), None)
    if isinstance(request, Request):
        protocol.send_response(protocol.accept(request))
    if isinstance(request, Request) and protocol.state is State.OPEN:
        socket = Socket(stream, protocol, request, rest=rest, peer=peer, unread_bytes_max=unread_bytes_max)
        await socket.run(handler)
    else:
        with trio.move_on_after(WRITE_S_MAX):
            await stream.send_all(b"".join(protocol.data_to_send()) or MALFORMED)
