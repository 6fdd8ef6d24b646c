"""Replication under load: rows pushed durably, pulled behind a cursor, and carried from one gateway to another.

    python -m bench.replication [--rows 1000000] [--connections 4] [--hops 300] [--plot]

Starts the server as processes of its own on fresh directories. The clients are as thin as can be (they count rows in
the bytes that come), so that what is measured is the server; the hop's carrier re-frames each batch as it came.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from bench import plot
from bench.relay import Server, frame, server

SECRET = "b" * 32
RELAY = "public-gateway:hyperbee"
RELAY_ID = hashlib.sha256(f"hypertuna-relay-id:{RELAY}".encode()).hexdigest()
ROW = b'"eventData"'
ACCEPTED = b',true,""]'
BATCH = 1_000
CONFIG = f'[registration]\nsecret = "{SECRET}"\n[relay]\nunread_bytes_max = 67108864\n'
GOALS = {"push": 30_000, "pull, in batches": 100_000, "pull, row by row": 40_000}


def mirror_token(port: int) -> str:
    payload = {"relayKey": RELAY, "nonce": os.urandom(12).hex(), "issuedAt": time.time_ns() // 1_000_000}
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/api/relay-tokens/issue", json.dumps({"payload": payload, "signature": signature}))
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["replicationToken"])


class Line:
    """A WebSocket on the mirror."""

    def __init__(self, port: int, token: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"GET /mirror/relay?token={quote(token)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        head += "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        self.socket.sendall(head.encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert b" 101 " in answer, answer
        self.to_send = memoryview(b"")
        self.seen, self.rest, self.buffer = 0, b"", bytearray()

    def send(self, message: Any) -> None:
        self.socket.sendall(frame(message))

    def count(self, sought: bytes) -> bytes:
        """Read once, counting ``sought``; a match across two reads counts once."""
        data = self.socket.recv(1 << 20)
        assert data, "the server closed the connection"
        joined = self.rest + data
        self.seen += joined.count(sought)
        self.rest = joined[-(len(sought) - 1) :]
        return joined

    def message(self) -> bytes:
        """Read one message of one frame, as the server sends them."""
        while True:
            found = _unframed(self.buffer)
            if found is not None:
                text, size = found
                del self.buffer[:size]
                return text
            data = self.socket.recv(1 << 20)
            assert data, "the server closed the connection"
            self.buffer += data


def _unframed(buffer: bytearray) -> tuple[bytes, int] | None:
    if len(buffer) < 10:
        short = len(buffer) >= 2 and buffer[1] < 126 and len(buffer) >= 2 + buffer[1]
        return (bytes(buffer[2 : 2 + buffer[1]]), 2 + buffer[1]) if short else None
    head, size = 2, buffer[1]
    if size == 126:
        head, size = 4, int.from_bytes(buffer[2:4], "big")
    elif size == 127:
        head, size = 10, int.from_bytes(buffer[2:10], "big")
    return (bytes(buffer[head : head + size]), head + size) if len(buffer) >= head + size else None


def row(number: int) -> dict[str, Any]:
    name = hashlib.sha256(b"%d" % number).digest()
    data = base64.b64encode(name * 5).decode()  # 160 bytes: an encrypted note of a line
    return {
        "id": name.hex(), "relayID": RELAY_ID, "kind": 30078, "created_at": 1_700_000_000 + number, "eventData": data,
        "fileKey": "profile",
    }  # fmt: skip


def push(port: int, token: str, first: int, count: int, connections: int) -> float:
    """Push rows in EVENTS frames over several connections; seconds from the first byte to the last durable row."""
    lines = [Line(port, token) for _ in range(connections)]
    batches = [frame(("EVENTS", [row(n) for n in range(at, min(at + BATCH, first + count))]))
               for at in range(first, first + count, BATCH)]  # fmt: skip
    selector = selectors.DefaultSelector()
    for number, line in enumerate(lines):
        line.to_send = memoryview(b"".join(batches[number::connections]))
        line.socket.setblocking(False)
        selector.register(line.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, line)
    begin = time.perf_counter()
    while sum(line.seen for line in lines) < count:
        for key, ready in selector.select(10):
            line = key.data
            if ready & selectors.EVENT_WRITE:
                line.to_send = line.to_send[line.socket.send(line.to_send[: 1 << 20]) :]
                if not line.to_send:
                    selector.modify(line.socket, selectors.EVENT_READ, line)
            if ready & selectors.EVENT_READ:
                line.count(ACCEPTED)
    taken = time.perf_counter() - begin
    for line in lines:
        line.socket.close()
    return taken


def pull(port: int, token: str, count: int, *, batch: bool) -> float:
    """Pull everything from the start of the log; seconds."""
    line, begin = Line(port, token), time.perf_counter()
    line.send(("REQ", "r", {"relayID": RELAY_ID, "after": "", "batch": batch}))
    last = b""
    while line.seen < count or b'["EOSE","r"' not in last:
        last = line.count(ROW)
    taken = time.perf_counter() - begin
    line.socket.close()
    assert line.seen == count, (line.seen, count)
    return taken


def following(port: int, token: str) -> Line:
    """A subscription that has caught up and brings live rows."""
    line = Line(port, token)
    line.send(("REQ", "live", {"relayID": RELAY_ID, "after": "", "limit": 0, "batch": True}))
    assert line.message().startswith(b'["EOSE","live"')
    return line


def hops(source: tuple[int, str], target: tuple[int, str], count: int) -> list[float]:
    """Milliseconds from a row's EVENT at one gateway to its arrival at a subscriber of the other."""
    carried, writing, arriving = following(*source), Line(*target), following(*target)
    publisher, taken = Line(*source), []

    def carry() -> None:
        for _ in range(count):
            text = carried.message()
            rows = text[len('["EVENTS","live",') : text.rindex(b',{"cursor"')]
            writing.socket.sendall(_framed(b'["EVENTS",' + rows + b"]"))
            writing.message()

    thread = threading.Thread(target=carry)
    thread.start()
    for number in range(count):
        fields = row(1_000_000_000 + number)
        begin = time.perf_counter()
        publisher.send(("EVENT", fields))
        text = arriving.message()
        taken.append((time.perf_counter() - begin) * 1000)
        assert fields["id"].encode() in text
        publisher.message()
    thread.join()
    return taken


def _framed(data: bytes) -> bytes:
    """A client's frame around JSON that is there already."""
    size = len(data)
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + data


def told(name: str, count: int, seconds: float, cpu_s: float) -> float:
    rate = count / seconds
    goal = GOALS[name]
    print(f"{name}: {rate:,.0f} rows/s (goal {goal:,}), server CPU {cpu_s / count * 1e6:.1f} µs/row", flush=True)
    return rate


def measured(running: Server, token: str, rows: int, connections: int) -> dict[str, float]:
    rates, before = {}, running.cpu_s()
    # In parts: a million rows' frames would be half a gigabyte of the client's memory.
    seconds, part = 0.0, 100_000
    for first in range(0, rows, part):
        seconds += push(running.port, token, first, min(part, rows - first), connections)
    rates["push"] = told("push", rows, seconds, running.cpu_s() - before)
    for name, batch in (("pull, in batches", True), ("pull, row by row", False)):
        before = running.cpu_s()
        pulls = [pull(running.port, token, rows, batch=batch) for _ in range(3)]
        rates[name] = told(name, rows, statistics.median(pulls), (running.cpu_s() - before) / 3)
    return rates


def summary(waits: Sequence[float]) -> str:
    ordered = sorted(waits)
    late = ordered[int(len(ordered) * 0.99)]
    return f"hop between two gateways: p50 {statistics.median(ordered):.2f} ms, p99 {late:.2f} ms (goal: p50 below 20)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=4, help="that push at once")
    parser.add_argument("--hops", type=int, default=300)
    parser.add_argument("--plot", action="store_true", help="write bench/out/replication.svg")
    options = parser.parse_args()
    with ExitStack() as stack:
        one, other = stack.enter_context(server(CONFIG)), stack.enter_context(server(CONFIG))
        tokens = mirror_token(one.port), mirror_token(other.port)
        rates = measured(one, tokens[0], options.rows, options.connections)
        waits = hops((one.port, tokens[0]), (other.port, tokens[1]), options.hops)
    print(summary(waits))
    if options.plot:
        print(plot.bars("replication", f"Replication of {options.rows:,} rows", "rows/s", rates))
    missed = [name for name, rate in rates.items() if rate < GOALS[name]]
    sys.exit(1 if missed or statistics.median(waits) >= 20 else 0)


if __name__ == "__main__":
    main()
