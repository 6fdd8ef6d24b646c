"""The fast connection: whole messages come out of whatever arrives, and it ends by LineLost alone."""

from math import inf

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketRequest, serve_websocket
from websockets.server import ServerProtocol

from gateway.client.bulk import open_bulk
from gateway.client.line import NO_CLOSE, LineLost

WAIT_S = 60


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
        protocol = ServerProtocol()
        while not (events := protocol.events_received()):
            protocol.receive_data(await stream.receive_some())
        protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
        protocol.send_text(b"one ", fin=False)
        protocol.send_continuation(b"", fin=False)
        protocol.send_continuation(b"message", fin=True)
        await stream.send_all(b"".join(protocol.data_to_send()))
        await trio.sleep_forever()

    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    with trio.fail_after(WAIT_S):
        async with open_bulk(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/") as bulk:
            assert await bulk.receive() == [b"one message"]
    nursery.cancel_scope.cancel()


async def test_a_peer_that_falls_silent_is_given_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        protocol = ServerProtocol()
        while not (events := protocol.events_received()):
            protocol.receive_data(await stream.receive_some())
        protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
        await stream.send_all(b"".join(protocol.data_to_send()))
        await trio.sleep_forever()

    autojump_clock.autojump_threshold = inf  # the kernel's own work takes whatever it takes
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, [listener])
    async with open_bulk(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/") as bulk:
        autojump_clock.autojump_threshold = 0
        with pytest.raises(LineLost, match="no answer to a ping"):
            await bulk.receive()
    nursery.cancel_scope.cancel()
