"""The small HTTP client: connections are kept, replaced once, and never trusted with more than was asked for."""

from typing import Any

import pytest
import trio
import trio.testing

from gateway.limits.push import FCM_IDLE_S_MAX
from gateway.limits.serve import TOLD_LATE_S_MAX
from gateway.serve.delivery.httpclient import Connection, Overdue, PeerFailed, Pool, client_context
from gateway.serve.fakes.fcm import Fake
from gateway.serve.patience import Patience
from gateway.serve.port.wire import Wire


async def test_a_connection_is_kept_and_one_that_the_server_closed_is_replaced() -> None:
    accepted = 0
    fake = Fake()

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal accepted
        accepted += 1
        for _ in range(3):
            await stream.receive_some()
            reply = fake.reply("GET", "/count", {}, b"")
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(reply.body) + reply.body)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with Pool(url, client_context(), 4) as pool:
            for _ in range(7):
                assert (await pool.post("/x", [], b"{}", 100)).body == b"0"
        nursery.cancel_scope.cancel()
    assert accepted == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "went away"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "did not answer in HTTP"),
        (b"nonsense\r\n\r\n", "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101, "more than 100 bytes"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure_of_the_peer_and_is_not_asked_for_twice(
    answer: bytes, why: str
) -> None:
    asked = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal asked
        await stream.receive_some()
        asked += 1
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with Pool(url, client_context(), 1) as pool:
            with pytest.raises(PeerFailed, match=why):
                await pool.post("/x", [], b"{}", 100)
        nursery.cancel_scope.cancel()
    assert asked == 1


async def test_a_closed_port_is_unreachable() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    async with Pool(f"http://127.0.0.1:{port}", client_context(), 1) as pool:
        with pytest.raises(PeerFailed, match="could not be reached"):
            await pool.post("/", [], b"", 10)


async def test_an_exchange_that_takes_too_long_is_cut_and_not_asked_for_twice(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patience = Patience(15.0, Connection.cut)
    pool = Pool("http://peer.example", client_context(), 1, patience)
    opened: list[trio.SocketStream] = []

    async def fresh() -> Connection:
        ours, theirs = trio.socket.socketpair()
        opened.append(trio.SocketStream(theirs))
        return Connection(Wire(trio.SocketStream(ours)))

    pool._fresh = fresh  # type: ignore[method-assign]
    async with pool, trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        for count in (1, 2):
            began_s = trio.current_time()
            with pytest.raises(Overdue):
                await pool.post("/", [], b"x", 10)
            assert 15 <= trio.current_time() - began_s <= 15 + 2 * TOLD_LATE_S_MAX
            assert len(opened) == count
        nursery.cancel_scope.cancel()
    for theirs in opened:
        await theirs.aclose()


async def test_an_idle_connection_is_not_used_when_it_is_old(autojump_clock: trio.testing.MockClock) -> None:
    pool = Pool("http://peer.example", client_context(), 1)
    opened: list[trio.abc.Stream] = []

    async def fresh() -> Any:
        ours, theirs = trio.testing.memory_stream_pair()
        opened.append(ours)

        async def serve() -> None:
            while await theirs.receive_some():
                await theirs.send_all(b"HTTP/1.1 204 No Content\r\n\r\n")

        trio.lowlevel.spawn_system_task(serve)
        return Connection(ours)

    pool._fresh = fresh  # type: ignore[method-assign]
    async with pool:
        for pause_s, count in ((0.0, 1), (FCM_IDLE_S_MAX - 1, 1), (FCM_IDLE_S_MAX + 1, 2)):
            await trio.sleep(pause_s)
            assert (await pool.post("/", [], b"x", 10)).status == 204
            assert len(opened) == count
