"""The parsers of the door: a request's head, WebSocket frames, and the configuration."""

from collections.abc import Coroutine
from typing import Any

import trio
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from gateway import configtext
from gateway.errors import ConfigInvalid
from gateway.serve.port.head import Head, HeadRefused, client_address, networks, read_head
from gateway.serve.port.socket import Socket
from tests.fuzz.target import Target

HEAD_BYTES_MAX = 16_384
TRUSTED = networks(("127.0.0.1", "10.0.0.0/8"))
UPGRADE = (
    b"GET /relay?token=abc HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"
)
POST = b"POST /push/register HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
TOML = (
    b'[server]\nbind = "127.0.0.1:8080"\nhead_s_max = 1.5\n[push]\nallow = ["a.example"]\n'
    b'[instances."external:demo"]\ndomain = "demo.example.com"\n[fcm.projects.default]\ncredentials = "x.json"\n',
    b'data = "d"\n[registration]\nsecret = "s"\n[workers.w]\nsecret = "t"\n[relay]\nlimit_max = 10\nlimit_default = 5',
)
NAMES = (
    "GATEWAY_PUBLIC_URL",
    "GATEWAY_SERVER_BIND",
    "GATEWAY_PUSH_ALLOW",
    "GATEWAY_MIRROR_ENABLED",
    "GATEWAY_TOKENS_DEFAULT_TTL_S",
    "GATEWAY_SERVER_HEAD_S_MAX",
    "GATEWAY_INSTANCES_A_EXAMPLE_URL",
)
ENVIRONMENT = (
    b"https://x.example",
    b"127.0.0.1:80",
    b"a,b",
    b"no",
    b"300",
    b"1.5",
    b"GATEWAY_RELAY_NAME=x",
    b"[::1]:0",
)


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits although all bytes are there")


class Bytes(trio.abc.Stream):
    """A peer that has said all it will say."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data, self.data = self.data[: max_bytes or None], self.data[max_bytes or len(self.data) :]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError("nobody asked for this")

    async def wait_send_all_might_not_block(self) -> None:
        raise AssertionError("nobody asked for this")

    async def aclose(self) -> None:
        raise AssertionError("nobody asked for this")


def http_head(data: bytes) -> object:
    """What was read is there, whole or not at all, and the protocol behind it answers for itself."""
    head: Head | None = at_once(read_head(Bytes(data), HEAD_BYTES_MAX))
    if head is None:
        return None
    assert head.data + head.rest == data[: len(head.data) + len(head.rest)]
    assert len(head.data) <= HEAD_BYTES_MAX
    assert client_address("127.0.0.1", head.forwarded, TRUSTED)
    if head.wants_websocket:
        protocol = ServerProtocol()
        protocol.receive_data(head.data)
        for request in protocol.events_received():
            response = protocol.accept(request)  # type: ignore[arg-type]  # the first event is the request
            assert response.status_code in {101, 400, 405, 426, 505}
    return head


def frames(data: bytes) -> object:
    """A client's frames become messages, or the connection fails with a code; nothing is held beyond the limits."""
    protocol = ServerProtocol(state=protocol_open, max_size=65_536)
    socket = Socket(Bytes(b""), protocol, REQUEST, rest=data, peer="1.2.3.4", unread_bytes_max=1_000_000)
    messages: list[str | bytes] = []
    while True:
        try:
            messages += at_once(socket.__anext__())
        except StopAsyncIteration:
            break
    assert not socket.is_open
    assert sum(map(len, messages)) <= len(data)
    assert socket.unread_bytes <= 2 * len(data) + 256
    return messages


def sent(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def configuration(data: bytes) -> object:
    return configtext.parse(data.decode("utf-8", "replace"), {})


def environment(data: bytes) -> object:
    """A variable's value is anybody's, now and then its name too."""
    name, equals, value = data.decode("utf-8", "replace").partition("=")
    pair = {name: value} if equals else {NAMES[len(data) % len(NAMES)]: name}
    return configtext.parse('[instances."a.example"]\nsecret = "x"\n', pair)


_handshake = ServerProtocol()
_handshake.receive_data(UPGRADE)
(REQUEST,) = _handshake.events_received()
protocol_open = type(_handshake.state).OPEN
FRAMES = (
    sent(Opcode.TEXT, b'["REQ","a",{}]') + sent(Opcode.PING, b"p") + sent(Opcode.CLOSE, b"\x03\xe8bye"),
    sent(Opcode.TEXT, "😀".encode()[:2], fin=False) + sent(Opcode.CONT, "😀".encode()[2:]) + sent(Opcode.PONG, b""),
    sent(Opcode.BINARY, b"\x00\xff" * 70) + sent(Opcode.TEXT, b"x" * 70_000)[:200],
)
TARGETS = (
    Target("door.head", http_head, (HeadRefused,), (UPGRADE, POST)),
    Target("door.frames", frames, (), FRAMES),
    Target("config.text", configuration, (ConfigInvalid,), TOML),
    Target("config.environment", environment, (ConfigInvalid,), ENVIRONMENT),
)
