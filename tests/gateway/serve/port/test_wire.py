"""The client's wire: whole messages both ways over real sockets, with and without TLS, however slowly they are read."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.serve.delivery.httpclient import client_context
from gateway.serve.fakes.certificate import server_context, write_certificate
from gateway.serve.port.wire import SecureWire, Wire

LOTS = bytes(range(256)) * 20_000  # 5 MB: more than the kernel's buffers hold
Handler = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def connected(
    tmp_path: Path, handler: Handler, *, tls: bool, host: str = "127.0.0.1"
) -> AsyncIterator[trio.abc.Stream]:
    cert, key = write_certificate(tmp_path, "fake")
    context = server_context(cert, key) if tls else None

    async def serve(stream: trio.SocketStream) -> None:
        secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True) if context else stream
        with suppress(trio.BrokenResourceError):
            await handler(secured)
        await trio.aclose_forcefully(secured)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        with trio.fail_after(60):
            wire = Wire(await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]))
            stream: Wire | SecureWire = wire
            try:
                if tls:
                    stream = SecureWire(wire, client_context(str(cert)), host)
                    await stream.shake()
                yield stream
            finally:
                await stream.aclose()
        nursery.cancel_scope.cancel()


async def echo(stream: trio.abc.Stream) -> None:
    while data := await stream.receive_some(10_000):
        await stream.send_all(data)


@pytest.mark.parametrize("tls", [False, True])
async def test_what_is_sent_comes_back_whole_though_both_buffers_fill(tmp_path: Path, tls: bool) -> None:
    async with connected(tmp_path, echo, tls=tls) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, LOTS)
        back = bytearray()
        while len(back) < len(LOTS):
            back += await stream.receive_some(50_000)
        assert back == LOTS


@pytest.mark.parametrize("tls", [False, True])
async def test_the_peers_end_is_no_bytes_and_a_closed_wire_is_broken(tmp_path: Path, tls: bool) -> None:
    async def once(stream: trio.abc.Stream) -> None:
        await stream.send_all(await stream.receive_some())

    async with connected(tmp_path, once, tls=tls) as stream:
        await stream.send_all(b"last")
        assert await stream.receive_some() == b"last"
        assert await stream.receive_some() == b""


async def test_a_certificate_for_another_name_breaks_the_handshake_and_says_why(tmp_path: Path) -> None:
    causes: list[BaseException | None] = []
    try:
        async with connected(tmp_path, echo, tls=True, host="other.example"):
            pass
    except* trio.BrokenResourceError as broken:
        causes += [one.__cause__ for one in broken.exceptions]
    assert [type(cause) for cause in causes] == [ssl.SSLCertVerificationError]


async def test_a_peer_that_speaks_no_tls_breaks_the_handshake() -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, plain, [listener])
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]))
        secure = SecureWire(wire, client_context(), "127.0.0.1")
        with trio.fail_after(60), pytest.raises(trio.BrokenResourceError):
            await secure.shake()
        await secure.aclose()
        nursery.cancel_scope.cancel()


async def test_a_read_can_be_cancelled_and_closing_wakes_nobody_twice(tmp_path: Path) -> None:
    async with connected(tmp_path, echo, tls=True) as stream:
        with trio.move_on_after(0.01) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        await stream.aclose()
        await stream.aclose()


async def test_a_socket_that_was_closed_is_never_read_or_written_by_its_old_number() -> None:
    ours, theirs = trio.socket.socketpair()
    wire = Wire(trio.SocketStream(ours))
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wire.receive_some()

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        ours.close()
    taken = [*trio.socket.socketpair()]  # one of them has its number now: the kernel gives the lowest that is free
    with pytest.raises(trio.ClosedResourceError):
        await wire.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await wire.send_all(b"for nobody")
    for one in (theirs, *taken):
        one.close()


async def test_a_server_may_speak_tls_by_it_too(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "fake")
    left, right = trio.socket.socketpair()
    client = SecureWire(Wire(trio.SocketStream(left)), client_context(str(cert)), "127.0.0.1")
    server = SecureWire(Wire(trio.SocketStream(right)), server_context(cert, key), None)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.shake)
            nursery.start_soon(server.shake)
        await client.send_all(b"asked")
        assert await server.receive_some() == b"asked"
        await server.send_all(b"answered")
        assert await client.receive_some() == b"answered"
        await server.aclose()
        assert await client.receive_some() == b""
        await client.aclose()
