"""A load script for any nostr relay: signed events in, stored and live ones out, as thin a client as can be.

It counts what it waits for in the bytes that come, so that what is measured is the relay. Answers are told apart by
words that every relay writes alike, with or without spaces: ``"EVENT"``, ``"EOSE"``, and the ``true`` of an OK.
"""

import select
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
from coincurve import PrivateKey, PublicKeyXOnly

from gateway.nostr.event import Event, event_id

AUTHORS = 64
ALONE_S = 1.5
WAIT_S_MAX = 30.0
ACCEPTED, EVENT, EOSE = b"true", b'"EVENT"', b'"EOSE"'
PART_BYTES = 262_144
_part = bytearray(PART_BYTES)  # where reads go: room made for each would cost more than most of them


class Signer:
    """Makes events that differ, by many authors, ten to a second, as a busy relay holds them."""

    def __init__(self) -> None:
        self._keys = [PrivateKey() for _ in range(AUTHORS)]
        self._pubkeys = [key.public_key_xonly.format().hex() for key in self._keys]
        self._made, self._start = 0, int(time.time()) - 2_000_000

    def event(self, topic: str = "") -> Event:
        self._made += 1
        author, other = self._made % AUTHORS, self._pubkeys[self._made * 7 % AUTHORS]
        tags = (("p", other), ("t", topic or f"topic{self._made % 100}"))
        text = f"event {self._made}: the quick brown fox jumps over the lazy dog"
        blank = Event("", self._pubkeys[author], self._start + self._made // 10, 1, tags, text, "")
        name = event_id(blank)
        signature = self._keys[author].sign_schnorr(bytes.fromhex(name)).hex()
        return msgspec.structs.replace(blank, id=name, sig=signature)

    def events(self, count: int, topic: str = "") -> list[Event]:
        return [self.event(topic) for _ in range(count)]


def alone(events: Sequence[Event]) -> float:
    """Signatures a second that coincurve alone verifies on one core, parsed keys kept as the relay keeps them."""
    keys = {event.pubkey: PublicKeyXOnly(bytes.fromhex(event.pubkey)) for event in events}
    claims = [(keys[event.pubkey], bytes.fromhex(event.sig), bytes.fromhex(event.id)) for event in events[:2000]]
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < ALONE_S:
        assert all(key.verify(sig, message) for key, sig, message in claims)
        done += len(claims)
    return done / (time.perf_counter() - begin)


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


def opened(url: str, timeout_s: float | None = None) -> socket.socket:
    """Open a WebSocket at a ``ws://`` URL: the bare socket behind the server's answer."""
    parts = urlsplit(url)
    assert parts.hostname, url
    one = socket.create_connection((parts.hostname, parts.port or 80), timeout=timeout_s)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"GET {where} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
    head += "Upgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    one.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += one.recv(1)
    assert b" 101 " in answer, answer
    return one


@dataclass
class Connection:
    """A WebSocket to ``url``; ``seen`` counts ``sought`` in what came."""

    url: str
    sought: bytes = ACCEPTED
    to_send: memoryview = field(default_factory=lambda: memoryview(b""))
    seen: int = 0
    rest: bytes = b""

    def __post_init__(self) -> None:
        self.socket = opened(self.url, WAIT_S_MAX)

    def receive(self) -> int:
        """Read once; give how often ``sought`` came. A match across two reads counts once."""
        size = self.socket.recv_into(_part)
        assert size, "the server closed the connection"
        joined = self.rest + _part[:size]
        found = joined.count(self.sought)
        self.seen += found
        self.rest = joined[-(len(self.sought) - 1) :]
        return found

    def ask(self, message: Any, sought: bytes, count: int = 1) -> None:
        """Send one message and wait until ``sought`` came ``count`` times."""
        self.sought, self.seen, self.rest = sought, 0, b""
        self.socket.sendall(frame(message))
        while self.seen < count:
            self.receive()

    def answered(self, message: Any) -> int:
        """Send a REQ, wait for its EOSE, and give how many events came."""
        self.sought, self.seen, self.rest = EVENT, 0, b""
        self.socket.sendall(frame(message))
        tail = b""
        while EOSE not in tail:
            data = self.socket.recv(PART_BYTES)
            assert data, "the server closed the connection"
            self.seen += (self.rest + data).count(EVENT)
            self.rest = data[-(len(EVENT) - 1) :]
            tail = (tail + data)[-200:]  # the id, and a hint that the answer was whole, may stand behind it
        return self.seen

    def close(self) -> None:
        self.socket.close()


def publish(url: str, events: Sequence[Event], connections: int, listeners: Sequence[Connection] = ()) -> float:
    """Publish over several connections as fast as the relay reads; seconds from the first byte to the last OK.

    Where ``listeners`` are given, to the last event at each of them.
    """
    clients = [Connection(url) for _ in range(connections)]
    selector = selectors.DefaultSelector()
    for number, client in enumerate(clients):
        client.to_send = memoryview(b"".join(frame(("EVENT", event)) for event in events[number::connections]))
        client.socket.setblocking(False)
        selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client)
    for listener in listeners:
        selector.register(listener.socket, selectors.EVENT_READ, listener)
    left = len(events) * (1 + len(listeners))
    begin = time.perf_counter()
    while left > 0:
        ready = selector.select(WAIT_S_MAX)
        assert ready, f"{left} answers or events never came"
        for key, events_ready in ready:
            if events_ready & selectors.EVENT_WRITE:
                _send_on(key.data, selector)
            if events_ready & selectors.EVENT_READ:
                left -= key.data.receive()
    taken = time.perf_counter() - begin
    for client in clients:
        client.close()
    return taken


def _send_on(client: Connection, selector: selectors.BaseSelector) -> None:
    client.to_send = client.to_send[client.socket.send(client.to_send[:PART_BYTES]) :]
    if not client.to_send:
        selector.modify(client.socket, selectors.EVENT_READ, client)


def one_by_one(url: str, events: Sequence[Event]) -> list[float]:
    """Milliseconds from EVENT to OK, one at a time on one connection."""
    client, taken = Connection(url), []
    for event in events:
        begin = time.perf_counter()
        client.ask(("EVENT", event), ACCEPTED)
        taken.append((time.perf_counter() - begin) * 1000)
    client.close()
    return taken


def stored_reads(url: str, limit: int, rounds: int) -> tuple[float, int]:
    """Stored events that one connection is sent: how many a second, and how many in all."""
    client, begin = Connection(url), time.perf_counter()
    count = sum(client.answered(("REQ", "r", {"kinds": [1], "limit": limit})) for _ in range(rounds))
    taken = time.perf_counter() - begin
    client.close()
    return count / taken, count


def queries(url: str, count: int, limit: int = 20) -> float:
    """Queries a second on one connection, one after another, each answered up to its EOSE."""
    client, begin = Connection(url), time.perf_counter()
    for _ in range(count):
        client.answered(("REQ", "q", {"kinds": [1], "limit": limit}))
    taken = time.perf_counter() - begin
    client.close()
    return count / taken


class Listeners:
    """So many connections, each with one subscription to a topic that has had its EOSE."""

    def __init__(self, url: str, topic: str, count: int) -> None:
        self.open = [Connection(url) for _ in range(count)]
        for one in self.open:
            one.ask(("REQ", "live", {"kinds": [1], "#t": [topic]}), EOSE)
            one.sought, one.seen, one.rest = EVENT, 0, b""

    def close(self) -> None:
        for one in self.open:
            one.close()


def _received(one: Connection) -> int:
    try:
        return one.receive()
    except BlockingIOError:  # told of what was read already, with what came before it
        return 0


def live_waits(url: str, events: Sequence[Event], listeners: Sequence[Connection], a_second: float) -> list[float]:
    """Milliseconds from an event's sending to each listener's receipt of it, at a steady rate.

    A receipt is when the kernel told of the event's last bytes. They are read when all of them are there, and from the
    first on nothing sleeps until the last: one process is a hundred listeners here, each of whom would otherwise wait
    for the reading of those before it, and the relay for the waking of one at each of its sends.
    """
    client, waits = Connection(url), []
    open_ones = {one.socket.fileno(): one for one in (*listeners, client)}
    arrivals = select.epoll()
    for number, one in open_ones.items():
        one.socket.setblocking(False)
        arrivals.register(number, select.EPOLLIN | select.EPOLLET)  # each arrival is told once, read or not
    for event in events:
        due = time.perf_counter() + 1 / a_second
        data, waiting = frame(("EVENT", event)), set(open_ones)
        told: dict[int, float] = {}
        begin = time.perf_counter()
        client.socket.sendall(data)
        while waiting:
            ready = arrivals.poll(0 if told else WAIT_S_MAX)
            at = time.perf_counter()
            assert at - begin < WAIT_S_MAX, f"{len(waiting)} of an event never came"
            told.update((number, at) for number, _ in ready)
            if len(told) < len(waiting):
                continue
            whole = {number for number in told if _received(open_ones[number])}
            waits += [(told[number] - begin) * 1000 for number in whole if open_ones[number] is not client]
            told, waiting = {}, waiting - whole
        time.sleep(max(0.0, due - time.perf_counter()))
    arrivals.close()
    client.close()
    return waits
