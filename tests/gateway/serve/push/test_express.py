"""The way of the webhooks: same answers as hypercorn's way, for as long as nothing else is asked on a connection."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.config import Server
from gateway.limits.serve import PUSH_BODY_BYTES_MAX
from gateway.serve.clock import SystemClock
from gateway.serve.metrics import Metrics
from gateway.serve.port.asgi import Bodies, Front, Lookup, Reply
from gateway.serve.port.door import Door
from gateway.serve.port.head import networks
from gateway.serve.port.socket import Socket
from gateway.serve.push.express import Express
from tests.gateway.serve.port.test_door import running
from tests.server import websocket

PATH = "/internal/push/events"
Answering = Callable[[str, Lookup, bytes, str], Awaitable[Reply]]


async def echo(path: str, header: Lookup, body: bytes, source: str) -> Reply:
    if body == b'{"refuse":1}':
        return Reply(429, b'{"ok":false}', 7)
    return Reply(200, b'"%b %b %b %b"' % (path.encode(), header("X-Push-Signature").encode(), body, source.encode()))


async def elsewhere(scope, receive, send) -> None:
    body = b"app " + scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def sockets(socket: Socket) -> None:
    async for messages in socket.chunks():
        socket.send_many(messages)


@asynccontextmanager
async def opened(*, express: bool = True, answering: Answering = echo, **server: object) -> AsyncIterator[Door]:
    """A door with the hot path behind it, served directly or through hypercorn."""
    settings = Server(**{"bind": "127.0.0.1:0", **server})
    metrics, bodies, hot, trusted = Metrics(), Bodies(), {PATH: answering}, networks(settings.trusted_proxies)
    front = Front(elsewhere, metrics, trusted, hot, bodies)
    fast = Express(hot, bodies, metrics, trusted, SystemClock()) if express else None
    door = Door(settings, front, sockets, metrics, unread_bytes_max=1_000_000, express=fast)
    async with running(door):
        yield door
    assert not bodies.bytes


async def dial(door: Door) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(door.url.rpartition(":")[2]))


def post(body: bytes, path: str = PATH, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"POST {path} HTTP/1.1", "Host: a", *lines))
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(stream: trio.abc.ReceiveStream) -> bytes:
    """One whole answer, its date made constant; what the server ends with where it closes first."""
    data = b""
    with trio.fail_after(30):
        while piece := await stream.receive_some():
            data += piece
            head, blank, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if blank and length and len(body) >= int(length[1]):
                break
    return re.sub(rb"date: [^\r]+", b"date: D", data)


SIGNED = "X-Push-Signature: sig"
REQUESTS = {
    "signed": post(b"{}", PATH, SIGNED),
    "doubled slash": post(b"{}", "/" + PATH),
    "refused": post(b'{"refuse":1}'),
    "empty": post(b""),
    "JSON said so": post(b"{}", PATH, "Content-Type: application/json; charset=utf-8"),
    "not JSON": post(b"{}", PATH, "Content-Type: text/html"),
    "compressed": post(b"{}", PATH, "Content-Encoding: gzip"),
    "too large": post(b"x" * (PUSH_BODY_BYTES_MAX + 1)),
    "as large as may be": post(b"x" * PUSH_BODY_BYTES_MAX),
    "another path": post(b"{}", "/push/register"),
    "chunked": f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode(),
    "two lengths": f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x".encode(),
    "no host": f"POST {PATH} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    "GET": f"GET {PATH} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "the old HTTP": f"POST {PATH} HTTP/1.0\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    "a signature twice": post(b"{}", PATH, SIGNED, SIGNED),
    "forwarded": post(b"{}", PATH, "X-Forwarded-For: 198.51.100.7, 127.0.0.1"),
}


@pytest.mark.parametrize("trusted", [[], ["127.0.0.1"]], ids=["direct", "proxied"])
async def test_both_ways_give_the_same_bytes(trusted: list[str]) -> None:
    said: list[dict[str, bytes]] = []
    counted: list[list[bytes]] = []
    for express in (True, False):
        async with opened(express=express, trusted_proxies=tuple(trusted)) as door:
            answers = {}
            for name, raw in REQUESTS.items():
                async with await dial(door) as stream:
                    await stream.send_all(raw)
                    answers[name] = await answer(stream)
            said.append(answers)
        text = door.metrics.text()
        counted.append(re.findall(rb"gateway_http_answers_total.*|gateway_http_seconds_count.*", text))
    assert said[0] == said[1]
    assert sorted(counted[0]) == sorted(counted[1])


async def test_a_connection_may_ask_for_webhooks_then_for_anything_else_then_for_a_socket() -> None:
    async with opened() as door:
        async with await dial(door) as stream:
            for raw in (REQUESTS["signed"], REQUESTS["signed"]):
                await stream.send_all(raw)
                assert b"200" in await answer(stream)
            await stream.send_all(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await answer(stream)).endswith(b"app /other")
            await stream.send_all(REQUESTS["signed"])
            assert b"sig" in await answer(stream)
        async with await dial(door) as stream:
            await stream.send_all(REQUESTS["signed"])
            await answer(stream)
            await stream.send_all(
                b"GET /relay HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            with trio.fail_after(30):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        async with websocket(door.url.replace("http", "ws") + "/relay") as socket:
            await socket.send_message("hello")
            assert await socket.get_message() == "hello"


async def test_requests_that_come_together_or_in_pieces_are_each_answered_in_order() -> None:
    async with opened() as door, await dial(door) as stream:
        bodies = [b'"%d"' % number for number in range(20)]
        raw = b"".join(map(post, bodies))
        for at in range(0, len(raw), 333):
            await stream.send_all(raw[at : at + 333])
        said = b""
        with trio.fail_after(30):
            while said.count(b"HTTP/1.1 200") < 20 or not said.endswith(b'"19" 127.0.0.1"'):
                said += await stream.receive_some()
        assert [int(number) for number in re.findall(rb' "(\d+)" ', said)] == list(range(20))


async def test_a_body_that_stops_half_way_is_refused_by_hypercorn_or_ends_with_its_peer() -> None:
    async with opened() as door:
        async with await dial(door) as stream:
            await stream.send_all(REQUESTS["signed"][:-1])
            await stream.send_eof()
            await answer(stream)
        with trio.fail_after(30):
            await door.quiet()


async def test_at_the_end_a_silent_connection_goes_at_once_and_a_request_is_answered_first() -> None:
    entered, go = trio.Event(), trio.Event()

    async def slow(path: str, header: Lookup, body: bytes, source: str) -> Reply:
        entered.set()
        await go.wait()
        return Reply(200, b"late")

    async with opened(answering=slow) as door, await dial(door) as silent, await dial(door) as busy:
        go.set()
        await silent.send_all(REQUESTS["signed"])
        await answer(silent)
        go, entered = trio.Event(), trio.Event()
        await busy.send_all(REQUESTS["signed"])
        with trio.fail_after(30):
            await entered.wait()
            door.stop()
            assert await silent.receive_some() == b""
            go.set()
            assert (await answer(busy)).endswith(b"late")
            assert await busy.receive_some() == b""
