"""Replication under load: rows pushed durably, pulled behind a cursor, compared, carried from one gateway to another.

    python -m bench.replication [--rows 1000000] [--connections 4] [--hops 300] [--events 100000] [--only WHAT] [--plot]

Starts the server as processes of its own on fresh directories. The clients of rows are as thin as can be (they count
rows in the bytes that come), so that what is measured is the server; the hop's carrier re-frames each batch as it came.
Synchronising is the command `heliograph mirror sync`, and pushing from a file `mirror push`, as an operator runs them:
their start of Python is in the figure. Beside it the same command carries from nostr-sdk's relay to ours, and to it.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import msgspec

from bench import plot
from bench.nostrload import Signer, frame, opened
from bench.relays import Server, sdk_relay, server
from gateway.client.mediation import Mediator

SECRET = "b" * 32
RELAY = "public-gateway:hyperbee"
RELAY_ID = hashlib.sha256(f"hypertuna-relay-id:{RELAY}".encode()).hexdigest()
ROW = b'"eventData"'
ACCEPTED = b',true,""]'
BATCH = 1_000
CONFIG = f'[registration]\nsecret = "{SECRET}"\n[relay]\nunread_bytes_max = 67108864\n'
GOALS = {
    "push": 30_000,
    "pull, in batches": 100_000,
    "pull, row by row": 40_000,
    "push by the command": 25_000,
    "sync from empty, ours to ours": 8_000,
}
HOP_MS_MAX, COMPARED_S_MAX, COMPARED_BYTES_MAX = 20, 3.0, 3_000_000
SPREAD = 2_000  # rows of which one differs on either side: 1,000 of a million
PARTS = ("rows", "command", "compare", "hops", "sync")


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
        self.socket = opened(f"ws://127.0.0.1:{port}/mirror/relay?token={quote(token)}")
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


def almost(number: int) -> dict[str, Any]:
    """The row of a store that lacks one in so many, evenly over its time, and has another in its place."""
    return row(number) if number % SPREAD else {**row(number + 3_000_000_000), "created_at": row(number)["created_at"]}


Maker = Callable[[int], dict[str, Any]]


def push(port: int, token: str, span: range, connections: int, make: Maker = row) -> float:
    """Push rows in EVENTS frames over several connections; seconds from the first byte to the last durable row."""
    lines = [Line(port, token) for _ in range(connections)]
    batches = [frame(("EVENTS", [make(n) for n in span[at : at + BATCH]])) for at in range(0, len(span), BATCH)]
    selector = selectors.DefaultSelector()
    for number, line in enumerate(lines):
        line.to_send = memoryview(b"".join(batches[number::connections]))
        line.socket.setblocking(False)
        selector.register(line.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, line)
    begin = time.perf_counter()
    while sum(line.seen for line in lines) < len(span):
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


class Report:
    """What was measured, each line beside its goal."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.holds = True

    def rate(self, name: str, count: int, seconds: float, what: str, cpu_s: float | None = None) -> None:
        rate, goal = count / seconds, GOALS.get(name)
        self.rates[name] = rate
        cpu = "" if cpu_s is None else f", server CPU {cpu_s / count * 1e6:.1f} µs each"
        told = None if goal is None else f"{goal:,}"
        self.say(f"{name}: {rate:,.0f} {what}/s{cpu}", told, goal is None or rate >= goal)

    def say(self, text: str, goal: str | None, holds: bool) -> None:
        self.holds = self.holds and holds
        verdict = "" if goal is None else f" (goal {goal}: {'holds' if holds else 'DOES NOT HOLD'})"
        print(f"{text}{verdict}", flush=True)


def fill(port: int, token: str, count: int, connections: int, make: Maker = row) -> float:
    """Push rows in parts: a million rows' frames would be half a gigabyte of the client's memory. Seconds."""
    rows, part = range(count), 100_000
    return sum(push(port, token, rows[at : at + part], connections, make) for at in range(0, count, part))


def measure_rows(report: Report, one: Server, token: str, rows: int, connections: int) -> None:
    before = one.cpu_s()
    seconds = fill(one.port, token, rows, connections)
    report.rate("push", rows, seconds, "rows", one.cpu_s() - before)
    for name, batch in (("pull, in batches", True), ("pull, row by row", False)):
        before = one.cpu_s()
        pulls = [pull(one.port, token, rows, batch=batch) for _ in range(3)]
        report.rate(name, rows, statistics.median(pulls), "rows", (one.cpu_s() - before) / 3)


def run_command(*arguments: str) -> float:
    """Run a command of ours to its end; seconds."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gateway.cli.main", *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "GATEWAY_REGISTRATION_SECRET": SECRET})
    return time.perf_counter() - begin


def measure_command(report: Report, one: Server, rows: int) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        for number in range(rows):
            file.write(json.dumps(row(2_000_000_000 + number)) + "\n")
        file.flush()
        before = one.cpu_s()
        seconds = run_command("mirror", "push", RELAY, file.name, "--gateway", f"http://127.0.0.1:{one.port}")
    report.rate("push by the command", rows, seconds, "rows", one.cpu_s() - before)


def measure_comparison(report: Report, servers: Sequence[Server], tokens: Sequence[str], rows: int) -> None:
    """Compare two servers' rows as `mirror sync` does, which holds neither set; count what goes over one's wire."""
    lines = [Line(server.port, token) for server, token in zip(servers, tokens, strict=True)]
    before, rounds = [server.cpu_s() for server in servers], 0
    sent = ["NEG-OPEN", "n", {"relayID": RELAY_ID}, Mediator.first().hex()]
    begin = time.perf_counter()
    for line in lines:
        line.send(sent)  # both take their sets together at once
    opened = [line.message() for line in lines]
    carried = len(json.dumps(sent)) + len(opened[0])
    mediator, turn, text, lacks = Mediator(), 0, opened[0], set[bytes]()
    while True:
        question, found = mediator.hand_on(bytes.fromhex(json.loads(text)[2]), is_ours=turn == 0)
        lacks |= {*found.ours_lacks, *found.theirs_lacks}
        if question is None:
            break
        turn, rounds = 1 - turn, rounds + 1
        frame_sent = ["NEG-MSG", "n", question.hex()]
        lines[turn].send(frame_sent)
        text = lines[turn].message()
        carried += len(json.dumps(frame_sent)) + len(text)
    seconds = time.perf_counter() - begin
    for line in lines:
        line.socket.close()
    differing = 2 * len(range(0, rows, SPREAD))
    assert len(lacks) == differing, (len(lacks), differing)
    name = f"NIP-77 of two sets of {rows:,} that differ by {differing:,}"
    spent = ", ".join(f"{server.cpu_s() - cpu_s:.2f}" for server, cpu_s in zip(servers, before, strict=True))
    report.say(
        f"{name}: {seconds:.2f} s, {rounds} messages, CPU of the servers {spent} s",
        f"below {COMPARED_S_MAX:.0f} s",
        seconds < COMPARED_S_MAX,
    )
    report.say(f"{name}: {carried / 1e6:.2f} MB on the wire", "below 3 MB", carried < COMPARED_BYTES_MAX)


def measure_hops(report: Report, source: tuple[int, str], target: tuple[int, str], count: int) -> None:
    ordered = sorted(hops(source, target, count))
    middle, late = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    text = f"hop between two gateways: p50 {middle:.2f} ms, p99 {late:.2f} ms"
    report.say(text, f"p50 below {HOP_MS_MAX} ms", middle < HOP_MS_MAX)


def measure_sync(report: Report, events: int) -> None:
    """Fill an empty relay from a full one; the events are ten to a second, as a busy relay holds them."""
    signer = Signer()
    with ExitStack() as stack, tempfile.NamedTemporaryFile("wb") as file:
        for _ in range(events):
            file.write(msgspec.json.encode(signer.event()) + b"\n")
        file.flush()
        full, empty, other = (stack.enter_context(server(CONFIG)) for _ in range(3))
        sdk, sdk_empty = (stack.enter_context(sdk_relay()) for _ in range(2))
        for relay in (full.url, sdk.url):
            run_command("mirror", "import", file.name, relay)
        for name, source, target in (
            ("sync from empty, ours to ours", full, empty),
            ("sync from empty, nostr-sdk's relay to ours", sdk, other),
            ("sync from empty, ours to nostr-sdk's relay", full, sdk_empty),
        ):
            before = source.cpu_s(), target.cpu_s()
            seconds = run_command("mirror", "sync", source.url, "--once", "--direction", "down", "--ours", target.url)
            report.rate(name, events, seconds, "events")
            spent = [
                (side.cpu_s() - cpu_s) / events * 1e6 for side, cpu_s in zip((source, target), before, strict=True)
            ]
            print(f"  CPU: {spent[0]:.1f} µs an event at the source, {spent[1]:.1f} at the target", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=4, help="that push at once")
    parser.add_argument("--hops", type=int, default=300)
    parser.add_argument("--events", type=int, default=100_000, help="signed, that an empty relay is filled with")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone; may be repeated")
    parser.add_argument("--plot", action="store_true", help="write bench/out/replication.svg")
    options = parser.parse_args()
    parts, report, rows = options.only or PARTS, Report(), options.rows
    with ExitStack() as stack:
        one, other = stack.enter_context(server(CONFIG)), stack.enter_context(server(CONFIG))
        sides = (one.port, mirror_token(one.port)), (other.port, mirror_token(other.port))
        if "rows" in parts:
            measure_rows(report, one, sides[0][1], rows, options.connections)
        if "compare" in parts:
            if "rows" not in parts:
                fill(*sides[0], rows, options.connections)
            fill(*sides[1], rows, options.connections, almost)
            measure_comparison(report, (one, other), [token for _, token in sides], rows)
        if "command" in parts:
            measure_command(report, one, min(rows, 200_000))
        if "hops" in parts:
            measure_hops(report, *sides, options.hops)
    if "sync" in parts:
        measure_sync(report, options.events)
    if options.plot:
        print(
            plot.bars("replication", f"Replication: {rows:,} rows, {options.events:,} events", "a second", report.rates)
        )
    sys.exit(0 if report.holds else 1)


if __name__ == "__main__":
    main()
