"""The door over real connections: what it hands on, what it refuses, and how it closes."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed

from gateway.config import TLS, Server
from gateway.errors import ConfigInvalid, Unavailable
from gateway.serve.metrics import Metrics
from gateway.serve.port.door import Door, tls_context
from gateway.serve.port.socket import Socket
from tests.server import websocket

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class App:
    """An ASGI application: the path and what it read, back; ``/slow`` waits for `go`; ``/big`` answers 50 MB."""

    def __init__(self) -> None:
        self.go = trio.Event()
        self.entered = trio.Event()

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/slow":
            self.entered.set()
            await self.go.wait()
        size = 50_000_000 if scope["path"] == "/big" else 0
        answer = scope["path"].encode() + b"|" + body + b"x" * size
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def echo(socket: Socket) -> None:
    async for messages in socket.chunks():
        socket.send_many(f"{socket.peer} {message}" for message in messages)


@asynccontextmanager
async def running(door: Door) -> AsyncIterator[Door]:
    """A door that serves until the caller is done, and then has met no bug."""
    await door.listen()
    async with trio.open_nursery() as nursery:
        await nursery.start(door.run)
        yield door
        with trio.fail_after(30):
            door.stop()
            await door.quiet()
        assert not door.metrics.registry.get_sample_value("gateway_bugs_total", {"where": "door"})


@asynccontextmanager
async def opened(**server) -> AsyncIterator[Door]:
    app = App()
    door = Door(Server(**{"bind": "127.0.0.1:0", **server}), app, echo, Metrics(), unread_bytes_max=1_000_000)
    door.app = app
    async with running(door):
        yield door


async def dial(door: Door) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(door.url.rpartition(":")[2]))


async def read_all(stream) -> bytes:
    """Everything until the door closes; a hang fails."""
    data = b""
    with trio.fail_after(30):
        try:
            while piece := await stream.receive_some():
                data += piece
        except trio.BrokenResourceError:
            pass
    return data


async def ask(door: Door, request: bytes) -> bytes:
    async with await dial(door) as stream:
        await stream.send_all(request)
        return await read_all(stream)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


# -- what goes where ---------------------------------------------------------------------------------------------------


async def test_http_and_sockets_share_the_port() -> None:
    """A GET reaches the application, an upgrade on any path the socket handler."""
    async with opened() as door:
        assert (await ask(door, LAST)).endswith(b"/x|")
        async with websocket(door.url.replace("http", "ws") + "/anything/at?all=1") as socket:
            await socket.send_message("hello")
            assert await socket.get_message() == "127.0.0.1 hello"


async def test_a_head_may_come_byte_by_byte() -> None:
    """How the bytes are cut makes no difference."""
    async with opened() as door, await dial(door) as stream:
        for byte in LAST:
            await stream.send_all(bytes([byte]))
        assert (await read_all(stream)).endswith(b"/x|")


async def test_a_body_that_came_with_the_head_is_not_lost() -> None:
    """What follows the blank line in the same segment reaches the application."""
    request = b"POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    async with opened() as door:
        assert (await ask(door, request)).endswith(b"/y|hello")


async def test_a_frame_in_the_segment_of_the_upgrade_is_kept() -> None:
    """Clients may not do so, some do."""
    async with opened() as door, await dial(door) as stream:
        await stream.send_all(UPGRADE + b"\x81\x82\0\0\0\0hi")
        data = b""
        while b"127.0.0.1 hi" not in data:
            data += await stream.receive_some()


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_shutdown_waits_for_a_request_and_not_for_a_reader() -> None:
    """A request in flight is answered; a client that does not read its answer is cut at the deadline."""
    async with opened(shutdown_s_max=3.0) as door, await dial(door) as deaf, await dial(door) as slow:
        await deaf.send_all(GET.replace(b"/x", b"/big"))
        await slow.send_all(GET.replace(b"/x", b"/slow"))
        await door.app.entered.wait()
        door.stop()
        await trio.sleep(0.1)
        door.app.go.set()
        assert (await read_all(slow)).endswith(b"/slow|")
        with trio.fail_after(30):
            await door.quiet()  # cut: the deaf one would keep it for ever


async def test_shutdown_says_goodbye() -> None:
    """Open sockets get 1001; the address is free again; a socket that comes meanwhile cannot."""
    async with opened() as door, websocket(door.url.replace("http", "ws")) as socket:
        await socket.send_message("hello")
        await socket.get_message()
        door.stop()
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason.code == 1001
        with pytest.raises(OSError):  # noqa: PT011 - which one differs by system
            await dial(door)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"\x00GET / HTTP/1.1\r\n\r\n", 400),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384 + b"\r\n\r\n", 431),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\nNUL: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501),
        (UPGRADE.replace(b"13", b"12"), 400),
        (UPGRADE.replace(b"AAAA", b""), 400),
        (UPGRADE.replace(b"GET", b"POST"), 405),
        (UPGRADE[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
async def test_malformed_heads_get_their_status(request_bytes: bytes, code: int) -> None:
    """Every malformed head is answered, and the connection closed."""
    async with opened() as door:
        assert status(await ask(door, request_bytes)) == code


async def test_both_lengths_at_once_smuggle_nothing() -> None:
    """With Transfer-Encoding and Content-Length the chunks count, and what follows is a request of its own."""
    request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    async with opened() as door:
        answer = await ask(door, request + LAST)
    assert b"/a|" in answer
    assert b"GET" not in answer


async def test_a_slow_head_is_closed() -> None:
    """Also one that trickles: the deadline is for the whole head."""
    async with opened(head_s_max=0.3) as door, await dial(door) as stream, trio.open_nursery() as nursery:

        async def trickle() -> None:
            while True:
                await stream.send_all(b"G")
                await trio.sleep(0.05)

        nursery.start_soon(trickle)
        with trio.fail_after(30):
            assert status(await stream.receive_some()) == 408
        nursery.cancel_scope.cancel()


async def test_connections_beyond_the_limit_are_told_so() -> None:
    """HTTP gets 503, a socket 1013, far too many are dropped; when one leaves there is room again."""
    async with opened(connections_max=2) as door:
        first, second = await dial(door), await dial(door)
        await first.send_all(GET)
        await second.send_all(GET)
        await first.receive_some()
        await second.receive_some()
        answer = await ask(door, LAST)
        assert status(answer) == 503
        assert b"Retry-After" in answer
        with pytest.raises(ConnectionClosed) as caught:
            async with websocket(door.url.replace("http", "ws")) as socket:
                await socket.get_message()
        assert (caught.value.reason.code, caught.value.reason.reason) == (1013, "Try again later")
        await first.aclose()
        with trio.fail_after(30):
            while status(await ask(door, LAST)) != 200:
                pass
        await second.aclose()


async def test_an_address_has_its_share() -> None:
    """One address cannot take all connections; behind a trusted proxy each client is counted on its own."""
    limits = {"connections_per_address_max": 1, "trusted_proxies": ("127.0.0.0/8",)}
    async with opened(connections_per_address_max=1) as door, await dial(door) as first:
        await first.send_all(GET)
        await first.receive_some()
        assert status(await ask(door, LAST)) == 503
    async with opened(**limits) as door:

        def behind_proxy(client: str):
            return websocket(door.url.replace("http", "ws"), [("X-Forwarded-For", client)])

        async with behind_proxy("203.0.113.1") as one, behind_proxy("203.0.113.2") as two:
            await one.send_message("a")
            assert await one.get_message() == "203.0.113.1 a"
            await two.send_message("b")
            assert await two.get_message() == "203.0.113.2 b"
            async with behind_proxy("10.0.0.1, 203.0.113.1") as third:
                with pytest.raises(ConnectionClosed) as caught:
                    await third.get_message()
            assert caught.value.reason.code == 1013


async def test_an_address_that_is_taken_is_said() -> None:
    """A second door at the same port is refused with a sentence, not a traceback."""
    async with opened() as door:
        taken = Door(Server(bind=door.url.removeprefix("http://")), App(), echo, Metrics(), unread_bytes_max=1)
        with pytest.raises(Unavailable, match="cannot listen at 127"):
            await taken.listen()


# -- TLS ---------------------------------------------------------------------------------------------------------------


def certificate(directory: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that is its own authority; the files' names."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "door.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(cert_path), str(key_path)


async def test_tls_carries_both(tmp_path: Path) -> None:
    """HTTPS, pipelined too, and WSS on one port; of the protocols offered, HTTP/1.1."""
    cert, key = certificate(tmp_path)
    trust = ssl.create_default_context(cafile=cert)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    async with opened(tls=TLS(cert=cert, key=key), shutdown_s_max=2.0) as door:
        assert door.url.startswith("https://")
        stream = trio.SSLStream(await dial(door), trust, server_hostname="127.0.0.1", https_compatible=True)
        await stream.send_all(GET + LAST)
        answer = await read_all(stream)
        assert stream.selected_alpn_protocol() == "http/1.1"
        assert answer.count(b"/x|") == 2
        await stream.aclose()
        trust.set_alpn_protocols(["http/1.1"])
        async with websocket(door.url.replace("http", "ws"), tls=trust) as socket:
            for number in range(20):
                await socket.send_message("x" * 50_000 + str(number))
            for number in range(20):
                assert (await socket.get_message()).endswith(f"x{number}")
            door.stop()
            with pytest.raises(ConnectionClosed) as caught:
                await socket.get_message()
            assert caught.value.reason.code == 1001


def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A missing file, and a key of another certificate: by name, without a traceback."""
    cert, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = certificate(tmp_path / "other")
    for pair in ((str(tmp_path / "none"), key), (cert, other), (key, key)):
        with pytest.raises(ConfigInvalid, match=r"server\.tls: "):
            tls_context(*pair)


async def test_rubbish_at_a_tls_port_is_dropped(tmp_path: Path) -> None:
    """Plain HTTP, garbage and a half handshake end quietly."""
    cert, key = certificate(tmp_path)
    async with opened(tls=TLS(cert=cert, key=key)) as door:
        for data in (GET, b"\x16\x03\x01\x00\x05hello", b"\x80" * 5000):
            await ask(door, data)
        async with await dial(door) as stream:
            await stream.send_all(b"\x16\x03\x01")


# -- rubbish -----------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        GET,
        LAST,
        UPGRADE,
        b"GET ",
        b"/ HTTP/1.1\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\x00",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: upgrade\r\n",
        b"Expect: 100-continue\r\n",
        b"\x81\x85abcdhello",
        b"\x88\x80abcd",
        b"\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"%00%ff",
        b"A" * 17_000,
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(PIECES, st.binary(max_size=60)), min_size=1, max_size=8))
def test_no_bytes_raise_or_hang(pieces: list[bytes]) -> None:
    """Whatever comes, split anyhow: an answer or an end, within the deadlines, and the door still serves."""

    async def main() -> None:
        async with opened(head_s_max=0.3, idle_s_max=0.3, shutdown_s_max=1.0) as door:
            async with await dial(door) as stream:
                try:
                    for piece in pieces:
                        await stream.send_all(piece)
                    await stream.send_eof()
                    await read_all(stream)
                except trio.BrokenResourceError:
                    pass
            assert status(await ask(door, LAST)) == 200

    trio.run(main)


async def test_headers_of_our_answers_are_plain() -> None:
    """Nothing tells which software answers."""
    async with opened() as door:
        answer = await ask(door, LAST)
    assert b"server:" not in answer.lower()


async def test_a_name_with_two_addresses_gets_one_port() -> None:
    """``localhost:0`` must not listen at two different ports."""
    async with opened(bind="localhost:0") as door:
        assert len(door._listeners) == 1
        assert door.url.startswith("http://localhost:")
