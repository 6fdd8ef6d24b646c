"""A takos instance under load: webhooks signed beforehand, posted over keep-alive connections, every answer timed.

Its signing is code of its own, not the gateway's.
"""

import base64
import json
import selectors
import socket
import sys
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SILENT_S_MAX = 60  # without any answer, the server is taken for dead


class Takos:
    """One instance with its key."""

    def __init__(self, domain: str = "bench.example") -> None:
        self.domain = domain
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem = (
            self.key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def webhook(self, user: str, id_: str = "") -> bytes:
        """A signed request to push a notification to a user's devices."""
        notification = {
            "id": id_ or str(uuid.uuid4()),
            "user_id": user,
            "type": "like",
            "actor_id": "bob",
            "ref_type": "post",
            "ref_id": str(uuid.uuid4()),
            "message": "Bob さんがあなたの投稿に「いいね」しました",
            "created_at": _iso(time.time()),
            "read": 0,
            "data_json": None,
        }
        body = {"instance": self.domain, "userId": user, "notification": notification}
        raw = json.dumps(body).encode()
        head = "POST /internal/push/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        return f"{head}X-Push-Signature: {self._sign(body)}\r\nContent-Length: {len(raw)}\r\n\r\n".encode() + raw

    def _sign(self, fields: object) -> str:
        spelled = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        r, s = decode_dss_signature(self.key.sign(spelled, ec.ECDSA(hashes.SHA256())))
        return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()


def _iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at)) + f"{int(at * 1000) % 1000:03d}Z"


@dataclass(slots=True)
class Client:
    """One keep-alive connection with at most one request in flight."""

    socket: socket.socket
    began_s: float = 0.0
    read: bytearray = field(default_factory=bytearray)

    def begin(self, request: bytes, due_s: float) -> None:
        """Post; the time counts from when it was due."""
        self.began_s = due_s
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """Read on; the body once the answer is whole."""
        self.read += self.socket.recv(65_536) or sys.exit("the server closed a connection")
        head, blank, rest = bytes(self.read).partition(b"\r\n\r\n")
        if not blank:
            return None
        lines = head.lower().split(b"\r\n")
        (length,) = (line.partition(b":")[2] for line in lines if line.startswith(b"content-length"))
        if len(rest) < int(length):
            return None
        self.read.clear()
        return rest


def connected(url: str, count: int) -> list[Client]:
    """Open so many connections."""
    host, port = url.removeprefix("http://").split(":")
    clients = [Client(socket.create_connection((host, int(port)))) for _ in range(count)]
    for client in clients:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return clients


def drive(clients: list[Client], requests: list[bytes], per_s: float = 0.0) -> tuple[list[bytes], list[float]]:
    """Post all requests over these connections; the answers' bodies and the seconds that each took, by when it came.

    Each connection posts as soon as its last answer is there. Or, with ``per_s``, so many requests become due a second
    however long answers take, and each counts from when it was due, also where all connections were taken then.
    """
    selector, todo, began_s = selectors.DefaultSelector(), deque(requests), time.perf_counter()
    idle, bodies, took = deque(clients), list[bytes](), list[float]()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
    while len(bodies) < len(requests):
        wait_s: float = SILENT_S_MAX
        while todo and idle:
            now_s = time.perf_counter()
            due_s = began_s + (len(requests) - len(todo)) / per_s if per_s else now_s
            if due_s > now_s:
                wait_s = due_s - now_s
                break
            idle.popleft().begin(todo.popleft(), due_s)
        ready = selector.select(wait_s)
        if not ready and wait_s == SILENT_S_MAX:
            sys.exit("the server answers no more")
        for key, _ in ready:
            client = key.data
            if (body := client.answer()) is not None:
                took.append(time.perf_counter() - client.began_s)
                bodies.append(body)
                idle.append(client)
    selector.close()
    return bodies, took
