"""The fast connection: whole messages come out of whatever arrives, and it ends by LineLost alone."""

from collections.abc import Awaitable, Callable
from math import inf

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from trio_websocket import WebSocketRequest, serve_websocket
from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from gateway.client import bulk as bulk_
from gateway.client.bulk import Bulk, open_bulk
from gateway.client.line import NO_CLOSE, LineLost

WAIT_S = 60
BYTES_MAX = 300


async def listening(nursery: trio.Nursery, serve: Callable[[trio.SocketStream], Awaitable[None]]) -> str:
    """The URL of a server that does this with each connection."""
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    return f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"


async def accepted(stream: trio.SocketStream) -> ServerProtocol:
    """A server's protocol that has a handshake, with the answer to be sent."""
    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(await stream.receive_some())
    protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
    return protocol


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "nonsense"])
async def test_nobody_there_is_a_lost_line(url: str) -> None:
    with pytest.raises(LineLost) as caught:
        async with open_bulk(url):
            pytest.fail("there is nobody")
    assert caught.value.code == NO_CLOSE


async def test_messages_go_and_come_and_a_close_has_its_code(nursery: trio.Nursery) -> None:
    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        for _ in range(3):
            await connection.send_message(await connection.get_message())
        await connection.aclose(4403, "Token expired")

    server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
    with trio.fail_after(WAIT_S):
        async with (
            open_bulk(f"ws://127.0.0.1:{server.port}/relay?token=T") as bulk,
            trio.open_nursery() as writing,
        ):
            writing.start_soon(bulk.write)
            texts = [b'["small"]', b'"' + b"x" * 300_000 + b'"', "\u00fc".encode()]
            bulk.send(texts)
            heard: list[bytes] = []
            while len(heard) < 3:
                heard += await bulk.receive()
            assert heard == texts
            with pytest.raises(LineLost) as caught:
                await bulk.receive()
            writing.cancel_scope.cancel()
    assert (caught.value.code, caught.value.reason) == (4403, "Token expired")
    nursery.cancel_scope.cancel()


async def test_a_message_in_fragments_is_one_message(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        protocol = await accepted(stream)
        protocol.send_text(b"one ", fin=False)
        protocol.send_continuation(b"", fin=False)
        protocol.send_continuation(b"message", fin=True)
        await stream.send_all(b"".join(protocol.data_to_send()))
        await trio.sleep_forever()

    url = await listening(nursery, serve)
    with trio.fail_after(WAIT_S):
        async with open_bulk(url) as bulk:
            assert await bulk.receive() == [b"one message"]
    nursery.cancel_scope.cancel()


def opened() -> ClientProtocol:
    client, server = ClientProtocol(parse_uri("ws://a/"), max_size=BYTES_MAX), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    return client


def slowly(wire: bytes) -> tuple[list[bytes], object]:
    """What the protocol alone makes of the bytes, one after the other: messages, and the close that it sent."""
    protocol, messages, part = opened(), list[bytes](), b""
    for byte in wire:
        protocol.receive_data(bytes([byte]))
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                part += event.data
                if event.fin:
                    messages, part = [*messages, part], b""
    return messages, protocol.close_sent


SIZES = st.sampled_from([0, 1, 125, 126, 127, BYTES_MAX, BYTES_MAX + 1])
STREAM = st.lists(
    st.builds(
        lambda opcode, data, fin, masked: Frame(opcode, data, fin).serialize(mask=masked),
        st.sampled_from([Opcode.TEXT] * 6 + [Opcode.BINARY, Opcode.CONT]),
        SIZES.map(lambda size: b"x" * size) | st.binary(max_size=40),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([False] * 9 + [True]),
    )
    | st.builds(
        lambda opcode, data: Frame(opcode, data).serialize(mask=False),
        st.sampled_from([Opcode.PING, Opcode.PONG]),
        st.binary(max_size=125),
    )
    | st.just(Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=False))
    | st.binary(max_size=12),
    max_size=8,
)


@given(STREAM, st.lists(st.integers(1, 3_000), max_size=6))
@example([Frame(Opcode.TEXT, b"", False).serialize(mask=False), Frame(Opcode.TEXT, b"b").serialize(mask=False)], [])
@example([b"\x03\x01"], [])
@example([Frame(Opcode.TEXT, b"a" * 65_536).serialize(mask=False)], [5])
def test_however_bytes_are_cut_messages_and_close_are_the_protocols_own(pieces: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(pieces)
    expected = slowly(wire)

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk_, "CLIENT_MESSAGE_BYTES_MAX", BYTES_MAX)
            protocol = opened()
            bulk, found, at = Bulk(trio.testing.memory_stream_pair()[0], protocol), list[bytes](), 0
            for end in sorted({*(cut % (len(wire) + 1) for cut in cuts), len(wire)}):
                bulk._in += wire[at:end]
                found += bulk._messages()
                at = end
            assert (found, protocol.close_sent) == expected

    trio.run(main)


async def test_frames_that_come_with_the_answer_to_the_handshake_are_read(nursery: trio.Nursery) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        protocol = await accepted(stream)
        protocol.send_text(b'["AUTH","c"]')
        wire = b"".join(protocol.data_to_send())
        await stream.send_all(wire[:-3])
        await trio.lowlevel.checkpoint()
        await stream.send_all(wire[-3:])
        await trio.sleep_forever()

    url = await listening(nursery, serve)
    with trio.fail_after(WAIT_S):
        async with open_bulk(url) as bulk:
            assert await bulk.receive() == [b'["AUTH","c"]']
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", b"HTTP/1.1 404", b"", b"nonsense\r\n\r\n"]
)
async def test_a_handshake_that_is_refused_or_cut_is_a_lost_line_at_once(nursery: trio.Nursery, answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        if answer:
            await stream.send_all(answer)
        if b"Length" in answer:
            await trio.sleep_forever()
        await stream.aclose()

    url = await listening(nursery, serve)
    with pytest.raises(LineLost, match="handshake"):
        async with open_bulk(url):
            pytest.fail("it was refused")
    nursery.cancel_scope.cancel()


async def test_a_peer_that_falls_silent_is_given_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        protocol = await accepted(stream)
        await stream.send_all(b"".join(protocol.data_to_send()))
        await trio.sleep_forever()

    autojump_clock.autojump_threshold = inf  # the kernel's own work takes whatever it takes
    url = await listening(nursery, serve)
    async with open_bulk(url) as bulk:
        autojump_clock.autojump_threshold = 0
        with pytest.raises(LineLost, match="no answer to a ping"):
            await bulk.receive()
    nursery.cancel_scope.cancel()
