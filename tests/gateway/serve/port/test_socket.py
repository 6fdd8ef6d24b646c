"""The socket against an independent client (trio-websocket) and against raw bytes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, wrap_client_stream
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.limits.serve import BUSY_READ_BYTES, CLOSE_S_MAX, FIRST_MESSAGE_BYTES_MAX, PING_IDLE_S, READ_BYTES
from gateway.serve.port.framing import text_frame
from gateway.serve.port.socket import SLOW_READER, Socket, serve_socket

UNREAD = 100_000
Handler = Callable[[Socket], Awaitable[None]]


async def echo(socket: Socket) -> None:
    async for messages in socket.chunks():
        socket.send_many(str(message) for message in messages)


async def accept(stream, handler: Handler, unread: int = UNREAD) -> None:
    """What the door does: split head and rest, serve, close."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    head, blank, rest = data.partition(b"\r\n\r\n")
    await serve_socket(stream, head + blank, handler, rest=rest, peer="192.0.2.1", unread_bytes_max=unread)
    await trio.aclose_forcefully(stream)


@asynccontextmanager
async def connected(handler: Handler, path: str = "/relay", unread: int = UNREAD) -> AsyncIterator:
    """A trio-websocket client talking to ``handler`` over an in-memory stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, ours, handler, unread)
        client = await wrap_client_stream(nursery, theirs, "gateway.example", path)
        yield client
        await client.aclose()


class Raw:
    """A client that writes what it likes: websockets' client protocol over a memory stream."""

    def __init__(self, stream) -> None:
        self.stream = stream
        self.protocol = ClientProtocol(parse_uri("ws://gateway.example/relay"))
        self.frames: list[Frame] = []

    async def open(self, extra: bytes = b"") -> None:
        self.protocol.send_request(self.protocol.connect())
        await self.stream.send_all(b"".join(self.protocol.data_to_send()) + extra)
        while self.protocol.state is State.CONNECTING:
            await self.read()

    async def read(self) -> bool:
        data = await self.stream.receive_some()
        if not data:
            self.protocol.receive_eof()
            return False
        self.protocol.receive_data(bytes(data))
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        return True

    async def send(self, *frames: Frame) -> None:
        await self.stream.send_all(b"".join(frame.serialize(mask=True) for frame in frames))

    async def rest(self) -> None:
        """Read to the end."""
        while await self.read():
            pass

    @property
    def code(self) -> int | None:
        return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None


@asynccontextmanager
async def raw(handler: Handler, unread: int = UNREAD, extra: bytes = b"") -> AsyncIterator[Raw]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, ours, handler, unread)
        client = Raw(theirs)
        await client.open(extra)
        yield client
        await theirs.aclose()


async def test_messages_come_back_in_order() -> None:
    """What was sent is echoed in order, text as text."""
    async with connected(echo) as client:
        for number in range(50):
            await client.send_message(f"message {number} ☀")
        assert [await client.get_message() for _ in range(50)] == [f"message {number} ☀" for number in range(50)]


async def test_all_messages_of_a_read_come_together() -> None:
    """Many frames in one segment arrive as one list, whatever came before the blank line included."""
    chunks: list[list[str | bytes]] = []

    async def note(socket: Socket) -> None:
        chunks.extend([messages async for messages in socket.chunks()])

    frames = [Frame(Opcode.TEXT, b"%d" % number) for number in range(5)]
    early = b"".join(frame.serialize(mask=True) for frame in frames)
    async with raw(note, extra=early) as client:
        await client.send(*frames, Frame(Opcode.BINARY, b"\x00\xff"))
        await client.send(Frame(Opcode.CLOSE, b""))
        await client.rest()
    assert chunks == [["0", "1", "2", "3", "4"], ["0", "1", "2", "3", "4", b"\x00\xff"]]


async def test_answers_of_one_pass_share_a_write() -> None:
    """A hundred sends without a checkpoint between are one send_all."""
    writes: list[int] = []
    ours, theirs = trio.testing.memory_stream_pair()

    class Counting(trio.abc.Stream):
        async def send_all(self, data) -> None:
            writes.append(len(data))
            await ours.send_all(data)

        async def receive_some(self, max_bytes=None):
            return await ours.receive_some(max_bytes)

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None:
            await ours.aclose()

    async def burst(socket: Socket) -> None:
        await socket.flushed()
        for _ in range(100):
            socket.send("x")
        await socket.flushed()
        assert socket.unread_bytes == 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, Counting(), burst)
        client = Raw(theirs)
        await client.open()
        await client.read()
        await client.send(Frame(Opcode.CLOSE, b""))
        await client.rest()
    assert len([frame for frame in client.frames if frame.opcode is Opcode.TEXT]) == 100
    assert writes[1] == 300
    assert len(writes) <= 3


async def test_the_request_is_told_as_it_came() -> None:
    """Path undecoded, query decoded, headers in lower case, the peer as given."""
    seen: list[tuple] = []

    async def look(socket: Socket) -> None:
        seen.append((socket.path, socket.query, socket.headers["host"], socket.peer))

    async with connected(look, "/mirror/public-gateway%3Ahyperbee?token=a%2Bb&x=&x=1"):
        pass
    path = "/mirror/public-gateway%3Ahyperbee"
    assert seen == [(path, {"token": "a+b", "x": "1"}, "gateway.example", "192.0.2.1")]


async def test_the_client_sees_code_and_reason() -> None:
    """A refusal after the upgrade reaches the client as a close code with its reason, after what was sent before."""

    async def refuse(socket: Socket) -> None:
        socket.send("before")
        socket.close(4403, "Token required")
        socket.send("after")

    async with connected(refuse) as client:
        assert await client.get_message() == "before"
        with pytest.raises(ConnectionClosed) as caught:
            await client.get_message()
    assert (caught.value.reason.code, caught.value.reason.reason) == (4403, "Token required")


async def test_a_long_reason_is_cut_between_characters() -> None:
    """A reason of 200 three-byte characters fits the control frame and is still UTF-8."""

    async def refuse(socket: Socket) -> None:
        socket.close(4400, "光" * 200)

    async with connected(refuse) as client:
        with pytest.raises(ConnectionClosed) as caught:
            await client.get_message()
    assert caught.value.reason.reason == "光" * 41


async def test_closing_ends_the_iteration_of_another_task(autojump_clock) -> None:
    """`close` from elsewhere ends the reader at once, not after the next message."""
    ended: list[float] = []

    async def wait(socket: Socket) -> None:
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.sleep(1)
                socket.close(1001, "going away")

            nursery.start_soon(later)
            async for _ in socket.chunks():
                pass
            ended.append(trio.current_time())

    start = trio.current_time()
    async with raw(wait) as client:
        await client.read()
        assert client.code == 1001
    assert ended[0] - start == pytest.approx(1)


async def test_a_peer_that_never_answers_the_close_is_dropped(autojump_clock) -> None:
    """The close handshake has a deadline."""

    async def bye(socket: Socket) -> None:
        socket.close(1000)

    start = trio.current_time()
    async with raw(bye) as client:
        await client.rest()
        assert client.code == 1000
    assert trio.current_time() - start == pytest.approx(CLOSE_S_MAX)


async def test_a_slow_reader_is_cut(autojump_clock) -> None:
    """Over the bound what waits is dropped, and the peer that reads on finds close 1013, not a gap."""
    seen: list[int] = []

    async def flood(socket: Socket) -> None:
        while socket.is_open:
            socket.send("x" * 10_000)
            seen.append(socket.unread_bytes)

    async with raw(flood, unread=50_000) as client:
        await client.rest()
        assert (client.code, client.protocol.close_rcvd.reason) == (1013, SLOW_READER)
    assert max(seen) <= 50_000


async def test_a_stuck_peer_is_dropped(autojump_clock) -> None:
    """A peer whose connection takes nothing at all holds a task only for the write deadline."""
    done = trio.Event()

    class Stuck(trio.abc.Stream):
        def __init__(self, head: bytes) -> None:
            self.head = head

        async def send_all(self, data) -> None:
            await trio.sleep_forever()

        async def receive_some(self, max_bytes=None):
            await trio.sleep_forever()

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None: ...

    async def talk(socket: Socket) -> None:
        socket.send("hello")
        await socket.flushed()
        assert not socket.is_open
        done.set()

    protocol = ClientProtocol(parse_uri("ws://gateway.example/relay"))
    protocol.send_request(protocol.connect())
    head = b"".join(protocol.data_to_send())
    with trio.fail_after(60):
        await serve_socket(Stuck(head), head, talk, unread_bytes_max=UNREAD)
    assert done.is_set()


async def test_flushed_waits_for_the_reader(autojump_clock) -> None:
    """Back-pressure: whoever awaits `flushed` goes at the pace of the peer, and nobody is cut."""
    sent = 0

    async def pour(socket: Socket) -> None:
        nonlocal sent
        for _ in range(100):
            socket.send("x" * 5_000)
            await socket.flushed()
            sent += 1

    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, ours, pour, 20_000)
        client = Raw(theirs)
        await client.open()
        await trio.testing.wait_all_tasks_blocked()
        assert sent < 3
        while len(client.frames) < 100:
            await client.read()
        await theirs.aclose()
    assert sent == 100


async def test_pings_are_answered() -> None:
    """A ping comes back as a pong with its payload, while messages flow."""
    async with raw(echo) as client:
        await client.send(Frame(Opcode.PING, b"are you there"), Frame(Opcode.TEXT, b"hello"))
        while len(client.frames) < 2:
            await client.read()
        assert [(frame.opcode, bytes(frame.data)) for frame in client.frames] == [
            (Opcode.PONG, b"are you there"),
            (Opcode.TEXT, b"hello"),
        ]


async def test_a_silent_peer_is_pinged_then_closed(autojump_clock) -> None:
    """Silence gets a ping; an answer keeps the socket, silence again ends it with 1011."""
    start = trio.current_time()
    async with raw(echo) as client:
        await client.read()
        assert client.frames[0].opcode is Opcode.PING
        assert trio.current_time() - start == pytest.approx(PING_IDLE_S)
        await client.send(Frame(Opcode.PONG, b""))
        await client.rest()
        assert client.code == 1011
    assert trio.current_time() - start == pytest.approx(3 * PING_IDLE_S + CLOSE_S_MAX)


async def test_fragments_make_one_message() -> None:
    """A message in pieces, with a ping between them and a character split over two, arrives whole."""
    async with raw(echo) as client:
        sun = "☀".encode()
        await client.send(
            Frame(Opcode.TEXT, b"a" + sun[:1], fin=False),
            Frame(Opcode.PING, b""),
            *[Frame(Opcode.CONT, b"", fin=False)] * 1000,
            Frame(Opcode.CONT, sun[1:]),
        )
        while len(client.frames) < 2:
            await client.read()
        assert bytes(client.frames[1].data) == b"a" + sun


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b"\xff\xfe")], 1007),
        ([Frame(Opcode.TEXT, b"x" * (FIRST_MESSAGE_BYTES_MAX + 1))], 1009),
        ([Frame(Opcode.TEXT, b"x" * FIRST_MESSAGE_BYTES_MAX, fin=False), Frame(Opcode.CONT, b"x")], 1009),
        ([Frame(Opcode.CONT, b"x")], 1002),
        ([Frame(Opcode.TEXT, b"x", fin=False), Frame(Opcode.TEXT, b"y")], 1002),
    ],
    ids=["utf-8", "too big", "too big in pieces", "stray continuation", "interleaved"],
)
async def test_broken_messages_close_with_their_code(frames: list[Frame], code: int, autojump_clock) -> None:
    """Each way to break the protocol has the code that RFC 6455 gives it."""
    async with raw(echo) as client:
        await client.send(*frames)
        await client.rest()
        assert client.code == code


async def test_unmasked_frames_and_reserved_bits_are_refused(autojump_clock) -> None:
    """A frame without a mask, and one with a reserved bit, end with 1002."""
    for data in (b"\x81\x01x", b"\xf1\x81abcdx", b"\x8b\x80abcd"):
        async with raw(echo) as client:
            await client.stream.send_all(data)
            await client.rest()
            assert client.code == 1002


async def test_the_size_limit_can_be_raised() -> None:
    """A service sets its own limit before it reads."""

    async def big(socket: Socket) -> None:
        socket.max_bytes = 1_000_000
        await echo(socket)

    async with connected(big, unread=2_000_000) as client:
        await client.send_message("x" * 900_000)
        assert len(await client.get_message()) == 900_000


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"400"),
        (b"POST /relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"405"),
        (b"GET /relay HTTP/1.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"505"),
        (b"GET /relay HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n", b"426"),
        (b"GET /\xff\xfe HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"400"),
        (b"GET  HTTP/1.1 x\r\n: : :\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"414"),
    ],
)
async def test_a_wrong_handshake_is_answered_in_http(head: bytes, status: bytes) -> None:
    """No handler runs, the client reads why."""

    async def never(socket: Socket) -> None:
        raise AssertionError("no socket was to be made")

    ours, theirs = trio.testing.memory_stream_pair()
    await serve_socket(ours, head, never, unread_bytes_max=UNREAD)
    assert (await theirs.receive_some()).split()[1] == status


async def test_a_peer_that_vanishes_ends_the_iteration() -> None:
    """EOF without a close frame ends `chunks`; sends afterwards do nothing."""
    ended = trio.Event()

    async def wait(socket: Socket) -> None:
        async for _ in socket.chunks():
            pass
        socket.send("into the void")
        socket.close(1000)
        await socket.flushed()
        ended.set()

    async with raw(wait) as client:
        await client.stream.aclose()
        with trio.fail_after(30):
            await ended.wait()


@settings(max_examples=300, deadline=None)
@given(data=st.lists(st.binary(max_size=200), max_size=5), cut=st.integers(0, 50))
def test_garbage_frames_never_raise_or_hang(data: list[bytes], cut: int) -> None:
    """Whatever follows the handshake, the socket ends in good order and the handler sees whole messages or none."""
    frames = b"".join(Frame(Opcode.TEXT, piece).serialize(mask=True) for piece in data)
    wire = frames[:cut] + b"".join(data)

    async def main() -> None:
        async with raw(echo, extra=wire[: len(wire) // 2]) as client:
            with trio.move_on_after(1):
                await client.stream.send_all(wire[len(wire) // 2 :])
                await client.stream.send_eof()
                await client.rest()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_frames_handed_to_the_kernel_at_once_keep_their_place_whatever_it_takes_of_them() -> None:
    """Among enqueued ones, and more than fits into the kernel's buffers: they arrive in the order of sending."""
    sent = [f"{number} " + "x" * (number % 7) * 10_000 for number in range(400)]

    async def tell(socket: Socket) -> None:
        for number, text in enumerate(sent):
            if number % 3:
                socket.send_frames_now([text_frame(text.encode())])
            else:
                socket.send(text)
            if number % 11 == 0:
                await socket.flushed()

    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 30
        nursery.start_soon(accept, ours, tell, 1 << 30)
        client = await wrap_client_stream(nursery, theirs, "gateway.example", "/relay", message_queue_size=10)
        assert [await client.get_message() for _ in sent] == sent
        await client.aclose()


async def test_a_peer_that_is_gone_when_frames_are_handed_over_ends_the_socket() -> None:
    async def tell(socket: Socket) -> None:
        with trio.fail_after(30):
            while socket.is_open:
                socket.send_frames_now([text_frame(b"x" * 1_000)])
                await trio.lowlevel.checkpoint()

    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    async with ours, theirs, trio.open_nursery() as nursery:
        nursery.start_soon(accept, ours, tell, 1 << 30)
        await Raw(theirs).open()
        await theirs.aclose()


async def test_a_socket_asks_for_more_only_after_a_read_that_was_full() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    asked: list[int | None] = []
    receive = ours.receive_some

    async def receive_some(max_bytes: int | None = None) -> bytes:
        asked.append(max_bytes)
        return bytes(await receive(max_bytes))

    ours.receive_some = receive_some  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, ours, echo, 1 << 30)
        client = Raw(theirs)
        await client.open()
        await client.send(*(Frame(Opcode.TEXT, b"x" * 50_000) for _ in range(3)))
        while len(client.frames) < 3:
            await client.read()
        await client.send(Frame(Opcode.TEXT, b"x"))
        while len(client.frames) < 4:
            await client.read()
        await client.send(Frame(Opcode.CLOSE, b""))
        await client.rest()
    sizes = [size for size in asked if size is not None]
    busy = sizes.index(BUSY_READ_BYTES)
    assert set(sizes[:busy]) == {READ_BYTES}
    assert READ_BYTES in sizes[busy:]
