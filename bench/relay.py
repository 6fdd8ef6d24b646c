"""The relay under load: signed events over real sockets, each answered OK after its fsync.

    python -m bench.relay [--events 40000] [--connections 8] [--runs 5]

Starts the server as a process of its own on a fresh directory, publishes events that were signed beforehand over
several pipelining connections, and prints the median over the runs beside what coincurve alone verifies on one core in
the same minute: both move with the machine, their ratio hardly does. Latency and stored reads are for information.
"""

import argparse
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from coincurve import PrivateKey, PublicKeyXOnly

from gateway.nostr.event import Event, event_id

AUTHORS = 64
ALONE_S = 1.5
ACCEPTED = b',true,""]'
TICKS = os.sysconf("SC_CLK_TCK")


class Signer:
    """Makes events that differ, by many authors, as a busy relay sees them."""

    def __init__(self) -> None:
        self._keys = [PrivateKey() for _ in range(AUTHORS)]
        self._made = 0

    def event(self) -> Event:
        self._made += 1
        key, other = self._keys[self._made % AUTHORS], self._keys[self._made * 7 % AUTHORS]
        tags = (("p", other.public_key_xonly.format().hex()), ("t", f"topic{self._made % 100}"))
        pubkey = key.public_key_xonly.format().hex()
        text = f"event {self._made}: the quick brown fox jumps over the lazy dog"
        blank = Event("", pubkey, int(time.time()) - 60, 1, tags, text, "")
        name = event_id(blank)
        return msgspec.structs.replace(blank, id=name, sig=key.sign_schnorr(bytes.fromhex(name)).hex())


def frame(message: Any) -> bytes:
    """Build a client's text frame. The mask is zeros, which is a mask: the bench measures the server's unmasking."""
    data = msgspec.json.encode(message)
    if len(data) < 126:
        head = bytes((0x81, 0x80 | len(data)))
    elif len(data) < 65_536:
        head = bytes((0x81, 0xFE)) + len(data).to_bytes(2, "big")
    else:
        head = bytes((0x81, 0xFF)) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


@dataclass
class Connection:
    """A WebSocket client as thin as can be: it counts what it waits for in the bytes that come."""

    port: int
    to_send: memoryview = field(default_factory=lambda: memoryview(b""))
    seen: int = 0
    rest: bytes = b""

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        head = "GET /relay HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        self.socket.sendall((head + key).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert b" 101 " in answer, answer

    def receive(self, sought: bytes) -> None:
        """Read once, counting ``sought``; a match across two reads counts once."""
        data = self.socket.recv(262_144)
        assert data, "the server closed the connection"
        joined = self.rest + data
        self.seen += joined.count(sought)
        self.rest = joined[-(len(sought) - 1) :]

    def ask(self, message: Any, sought: bytes, count: int = 1) -> None:
        """Send one message and wait until ``sought`` came ``count`` times more."""
        goal = self.seen + count
        self.socket.sendall(frame(message))
        while self.seen < goal:
            self.receive(sought)


@dataclass(frozen=True)
class Server:
    """The server under test, as a process."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """CPU seconds spent so far, all threads, kernel time included."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def server(config: str = "") -> Iterator[Server]:
    """Start the server on a fresh directory, with a configuration (TOML), and end it behind the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        file = Path(directory, "heliograph.toml")
        file.write_text(config)
        command = [sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(file)]
        command += ["--data", f"{directory}/data", "--bind", "127.0.0.1:0"]
        with open(f"{directory}/stderr", "wb") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), Path(f"{directory}/stderr").read_text()
            yield Server(process.pid, int(line.rpartition(":")[2].strip("/\n")))
        finally:
            process.terminate()
            process.wait(30)


def publish(port: int, events: Sequence[Event], connections: int) -> float:
    """Publish over several connections as fast as the server reads; seconds from the first byte to the last OK."""
    clients = [Connection(port) for _ in range(connections)]
    for number, client in enumerate(clients):
        client.to_send = memoryview(b"".join(frame(("EVENT", event)) for event in events[number::connections]))
        client.socket.setblocking(False)
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    begin = time.perf_counter()
    while sum(client.seen for client in clients) < len(events):
        for key, ready in selector.select(10):
            client = key.data
            if ready & selectors.EVENT_WRITE:
                client.to_send = client.to_send[client.socket.send(client.to_send[:262_144]) :]
                if not client.to_send:
                    selector.modify(client.socket, selectors.EVENT_READ, client)
            if ready & selectors.EVENT_READ:
                client.receive(ACCEPTED)
    taken = time.perf_counter() - begin
    for client in clients:
        client.socket.close()
    return taken


def alone(events: Sequence[Event]) -> float:
    """Signatures a second that coincurve alone verifies on one core, parsed keys kept as the relay keeps them."""
    keys = {event.pubkey: PublicKeyXOnly(bytes.fromhex(event.pubkey)) for event in events}
    claims = [(keys[event.pubkey], bytes.fromhex(event.sig), bytes.fromhex(event.id)) for event in events[:2000]]
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < ALONE_S:
        assert all(key.verify(sig, message) for key, sig, message in claims)
        done += len(claims)
    return done / (time.perf_counter() - begin)


def latency(port: int, events: Sequence[Event]) -> list[float]:
    """Milliseconds from EVENT to OK, one at a time on one connection."""
    client, taken = Connection(port), []
    for event in events:
        begin = time.perf_counter()
        client.ask(("EVENT", event), ACCEPTED)
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def stored_reads(port: int, rounds: int = 6, limit: int = 5_000) -> float:
    """Stored events a second that one connection is sent."""
    client, begin = Connection(port), time.perf_counter()
    for number in range(rounds):
        client.ask(("REQ", f"r{number}", {"kinds": [1], "limit": limit}), b'["EVENT","r', limit)
    return rounds * limit / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000, help="events a run")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    signer, rates, costs, singles = Signer(), [], [], []
    with server() as running:
        for run in range(options.runs):
            events = [signer.event() for _ in range(options.events)]
            singles.append(alone(events))
            before = running.cpu_s()
            rates.append(len(events) / publish(running.port, events, options.connections))
            costs.append((running.cpu_s() - before) / len(events) * 1e6)
            print(
                f"run {run + 1}: {rates[-1]:,.0f} events/s, server CPU {costs[-1]:.1f} µs/event, "
                f"coincurve alone {singles[-1]:,.0f}/s"
            )
        waits = latency(running.port, [signer.event() for _ in range(300)])
        reads = stored_reads(running.port)
    rate, single = statistics.median(rates), statistics.median(singles)
    print(f"median: {rate:,.0f} durable verified events/s over {options.connections} connections")
    print(f"server CPU: {statistics.median(costs):.1f} µs/event; coincurve alone on one core: {single:,.0f}/s")
    print(f"ratio: {rate / single:.2f} of coincurve alone (goal: 0.75, or 10,000 events/s)")
    print(f"one event at a time: p50 {statistics.median(waits):.2f} ms, p99 {sorted(waits)[-3]:.2f} ms")
    print(f"stored reads: {reads:,.0f} events/s on one connection")
    sys.exit(0 if rate >= 10_000 or rate >= 0.75 * single else 1)


if __name__ == "__main__":
    main()
