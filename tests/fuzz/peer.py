"""A client of a real server that may say anything: one keep-alive connection for requests, one for frames.

Blocking sockets with a deadline: what is not answered in time is a hang, and a finding.
"""

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from websockets.frames import Frame, Opcode

DEADLINE_S = 60.0  # a hang lasts for ever; a busy machine takes its time
READ_BYTES = 262_144
NOTHING = {"ids": ["0" * 64]}


class Closed(Exception):
    """The server ended the connection: allowed, where the input deserved it."""


@dataclass(frozen=True)
class Answer:
    """Status line, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Connection:
    """A TCP connection with a buffer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 80), DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.served = 0

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def more(self) -> None:
        """Read; Closed at the end, TimeoutError where nothing comes."""
        try:
            data = self.socket.recv(READ_BYTES)
        except ConnectionResetError as error:
            raise Closed from error
        if not data:
            raise Closed
        self.buffer += data

    def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.more()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def until(self, mark: bytes) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            self.more()
        return self.take(at + len(mark))

    def answer(self, *, has_body: bool = True) -> Answer:
        """Read one HTTP answer."""
        while True:
            first, *lines = self.until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
            status = int(first.split(" ")[1])
            if status != 100:
                break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if not has_body or status in {101, 204, 304}:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self._chunks())
        if "content-length" in headers:
            return Answer(status, headers, self.take(int(headers["content-length"])))
        return Answer(status, headers, self.rest())

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.take(size)
            self.take(2)
        self.take(2)
        return body

    def rest(self) -> bytes:
        """Everything until the server ends."""
        try:
            while True:
                self.more()
        except Closed:
            data = bytes(self.buffer)
            self.buffer.clear()
            return data

    def end(self) -> bytes:
        """Say that no more comes, and read what the server has left to say."""
        with suppress(OSError):  # it was quicker
            self.socket.shutdown(socket.SHUT_WR)
        return self.rest()

    def close(self) -> None:
        self.socket.close()


class Sender:
    """Requests one after the other, on a connection that is renewed when the server ends it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: Connection | None = None

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One request, well formed as HTTP; ``path`` must be a request target already."""
        lines = [f"{method} {path} HTTP/1.1", "Host: fuzz.example"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [] if body is None else [f"Content-Length: {len(body)}"]
        data = "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
        for _ in range(2):
            fresh = self._connection is None
            self._connection = connection = self._connection or Connection(self.url)
            try:
                connection.send(data)
                answer = connection.answer(has_body=method != "HEAD")
            except Closed:
                self.close()
                if fresh:
                    raise
                continue
            if answer.headers.get("connection", "").lower() == "close":
                self.close()
            return answer
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


UPGRADE = (
    "GET %s HTTP/1.1\r\nHost: fuzz.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Frames:
    """A WebSocket spoken by hand, so that anything can be said on it."""

    def __init__(self, url: str, path: str) -> None:
        self.connection = Connection(url)
        self.connection.send((UPGRADE % path).encode("latin-1"))
        self.status = self.connection.answer().status
        self._settled = 0

    def text(self, data: bytes) -> None:
        """Send one text message of these bytes."""
        self.connection.send(Frame(Opcode.TEXT, data).serialize(mask=True))

    def next(self) -> tuple[int, bytes]:
        """The next frame of the server: (opcode, payload)."""
        first, second = self.connection.take(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self.connection.take(2 if size == 126 else 8))
        return first & 0x0F, self.connection.take(size)

    def settle(self, nothing: dict[str, Any] = NOTHING) -> list[Any]:
        """Ask for nothing and wait for its answer: then all before was answered. Gives the frames that came.

        Raises Closed with the code where the server closed.
        """
        self._settled += 1
        sub, seen = f"settle-{self._settled}", []
        self.text(msgspec.json.encode(["REQ", sub, nothing]))
        while True:
            opcode, data = self.next()
            if opcode == Opcode.CLOSE:
                raise Closed(int.from_bytes(data[:2]), data[2:].decode())
            if opcode == Opcode.TEXT:
                frame = msgspec.json.decode(data)
                if frame[:2] in (["EOSE", sub], ["CLOSED", sub]):
                    self.text(msgspec.json.encode(["CLOSE", sub]))
                    return seen
                seen.append(frame)

    def closed(self) -> tuple[int, str]:
        """Read on to the close frame: (code, reason)."""
        while True:
            opcode, data = self.next()
            if opcode == Opcode.CLOSE:
                return int.from_bytes(data[:2]), data[2:].decode()

    def close(self) -> None:
        self.connection.close()
