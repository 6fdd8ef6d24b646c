"""One connection: it ends by LineLost alone, whatever the peer does, and its stream is gone afterwards."""

from math import inf

import pytest
import trio
import trio.testing
from trio_websocket import serve_websocket

from gateway.client.line import NO_CLOSE, LineLost, open_line
from gateway.limits.client import CLIENT_CONNECT_S_MAX


@pytest.mark.parametrize("url", ["ws://127.0.0.1:1/", "ws://127.0.0.1:99999/", "wss://127.0.0.1:1/"])
async def test_nobody_there_is_a_lost_line(url: str) -> None:
    with pytest.raises(LineLost) as caught:
        async with open_line(url):
            pytest.fail("there is nobody")
    assert caught.value.code == NO_CLOSE


async def test_a_code_and_a_reason_are_told_as_the_peer_gave_them(nursery: trio.Nursery) -> None:
    async def serve(request: object) -> None:
        connection = await request.accept()  # type: ignore[attr-defined]
        await connection.send_message(await connection.get_message())
        await connection.aclose(4403, "Token expired")

    server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
    with trio.fail_after(30):
        async with open_line(f"ws://127.0.0.1:{server.port}/mirror/relay?token=T") as line:
            await line.send("hello")
            assert await line.receive() == "hello"
            with pytest.raises(LineLost) as caught:
                await line.receive()
    assert (caught.value.code, caught.value.reason) == (4403, "Token expired")
    nursery.cancel_scope.cancel()


async def test_a_peer_that_never_answers_is_given_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            autojump_clock.autojump_threshold = 0  # it is connected and has asked: now time may pass
            await trio.sleep_forever()

    autojump_clock.autojump_threshold = inf  # the kernel's own work takes whatever it takes
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, silent, [listener])
    with pytest.raises(LineLost, match="no answer to the handshake"):
        async with open_line(f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/"):
            pytest.fail("it never answered")
    assert trio.current_time() >= CLIENT_CONNECT_S_MAX - 1
    nursery.cancel_scope.cancel()
