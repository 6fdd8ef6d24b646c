"""The push path under load: signed webhooks in, one send each out to a fake FCM over TLS, every answer after its fsync.

    python -m bench.push [--webhooks 6000] [--concurrency 100] [--runs 5]

Starts the server and the fake FCM as processes of their own, on a fresh directory; signs all webhooks beforehand;
keeps ``--concurrency`` requests in flight over as many keep-alive connections, one device a webhook. Counts only what
was answered ``"delivered":1``, and checks the fake's own count. Published: delivered per second of the server's CPU
time (all its threads), which other load on the machine hardly moves; for information: per second of wall time, and the
time from a request's first byte to its answer's last. Medians over the runs.
"""

import argparse
import base64
import json
import os
import selectors
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

DOMAIN = "bench.example"
USERS = 500
TICKS = os.sysconf("SC_CLK_TCK")
GOAL = 600


class Takos:
    """The instance: signs with code of its own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.pem = (
            self.key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, fields: object) -> str:
        spelled = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        r, s = decode_dss_signature(self.key.sign(spelled, ec.ECDSA(hashes.SHA256())))
        return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()

    def registration(self, user: str) -> bytes:
        now = time.time()
        fields = {
            "action": "register",
            "instance": DOMAIN,
            "userId": user,
            "token": f"{user}-{uuid.uuid4().hex}{uuid.uuid4().hex}",
            "platform": "android",
            "appId": "",
            "issuedAt": iso(now),
            "expiresAt": iso(now + 300),
            "nonce": str(uuid.uuid4()),
        }
        return request("/push/register", fields | {"signature": self.sign(fields)}, "")

    def webhook(self, user: str) -> bytes:
        notification = {
            "id": str(uuid.uuid4()),
            "user_id": user,
            "type": "like",
            "actor_id": "bob",
            "ref_type": "post",
            "ref_id": str(uuid.uuid4()),
            "message": "Bob さんがあなたの投稿に「いいね」しました",
            "created_at": iso(time.time()),
            "read": 0,
            "data_json": None,
        }
        body = {"instance": DOMAIN, "userId": user, "notification": notification}
        return request("/internal/push/events", body, f"X-Push-Signature: {self.sign(body)}\r\n")


def iso(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at)) + f"{int(at * 1000) % 1000:03d}Z"


def request(path: str, body: object, headers: str) -> bytes:
    raw = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


@contextmanager
def listening(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a heliograph command until the block ends; gives its process and where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.main", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line.startswith("listening on "):
        process.kill()
        raise SystemExit(f"{command}: {process.communicate()[1]}")
    try:
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.communicate()


def cpu_s(pid: int) -> float:
    """User and system time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@dataclass(slots=True)
class Client:
    """One keep-alive connection with one request in flight."""

    socket: socket.socket
    began: float = 0.0
    read: bytearray = field(default_factory=bytearray)


def drive(url: str, requests: list[bytes], concurrency: int) -> tuple[list[bytes], list[float]]:
    """Post all requests, ``concurrency`` at a time; the answers' bodies, and seconds each."""
    host, port = url.removeprefix("http://").split(":")
    selector, todo = selectors.DefaultSelector(), iter(requests)
    bodies: list[bytes] = []
    took: list[float] = []
    for _ in range(min(concurrency, len(requests))):
        client = Client(socket.create_connection((host, int(port))))
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(client.socket, selectors.EVENT_READ, client)
        begin(client, next(todo))
    while len(bodies) < len(requests):
        for key, _ in selector.select(30) or sys.exit("the server answers no more"):
            client = key.data
            if (body := answer(client)) is None:
                continue
            took.append(time.perf_counter() - client.began)
            bodies.append(body)
            if (following := next(todo, None)) is not None:
                begin(client, following)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    return bodies, took


def begin(client: Client, raw: bytes) -> None:
    client.began = time.perf_counter()
    client.socket.sendall(raw)


def answer(client: Client) -> bytes | None:
    """Read on; the body once the answer is whole."""
    client.read += client.socket.recv(65_536) or sys.exit("the server closed a connection")
    head, blank, rest = bytes(client.read).partition(b"\r\n\r\n")
    if not blank:
        return None
    (length,) = (line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    if len(rest) < int(length):
        return None
    client.read.clear()
    return rest


@contextmanager
def world(takos: Takos) -> Iterator[tuple[int, str, str]]:
    """A server with one instance, and its fake FCM over TLS: (server's pid, its URL, the fake's URL)."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        account = directory / "account.json"
        with listening("fake-fcm", "--account", str(account), "--tls", name) as (_, fake_url):
            config = directory / "config.toml"
            config.write_text(
                f'data = "{name}/data"\n'
                '[server]\nbind = "127.0.0.1:0"\n'
                "[push]\nrate_per_instance = 10000000\nrate_per_address = 10000000\n"
                f'[fcm]\nbase_url = "{fake_url}"\nallow_any_token_uri = true\nca_file = "{name}/fake-fcm.pem"\n'
                f'[fcm.projects.default]\ncredentials = "{account}"\n'
                f'[instances."{DOMAIN}"]\npublic_key = {json.dumps(takos.pem)}\n'
            )
            with listening("serve", "--config", str(config)) as (server, url):
                yield server.pid, url, fake_url


def count(fake_url: str) -> int:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(f"{fake_url}/count", context=context) as answered:
        return int(answered.read())


def run(webhooks: int, concurrency: int) -> tuple[float, float, float, float]:
    """One run: delivered per CPU-second, per second, p50 and p99 in seconds."""
    takos = Takos()
    users = [f"user{number}" for number in range(USERS)]
    with world(takos) as (pid, url, fake_url):
        drive(url, [takos.registration(user) for user in users], concurrency)
        drive(url, [takos.webhook(users[n % USERS]) for n in range(200)], concurrency)  # warm: tokens, connections
        requests = [takos.webhook(users[n % USERS]) for n in range(webhooks)]
        before, sent, began = cpu_s(pid), count(fake_url), time.perf_counter()
        bodies, took = drive(url, requests, concurrency)
        wall, cpu = time.perf_counter() - began, cpu_s(pid) - before
        delivered = sum(json.loads(body).get("delivered", 0) for body in bodies)
        if delivered != webhooks or count(fake_url) - sent != webhooks:
            raise SystemExit(f"{delivered} of {webhooks} delivered, {count(fake_url) - sent} sent: {bodies[-1]!r}")
    took.sort()
    return delivered / cpu, delivered / wall, took[len(took) // 2], took[int(len(took) * 0.99)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Webhooks accepted and delivered per CPU-second of the server.")
    parser.add_argument("--webhooks", type=int, default=6_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    results = []
    for number in range(options.runs):
        per_cpu, per_s, p50, p99 = run(options.webhooks, options.concurrency)
        results.append((per_cpu, per_s, p50, p99))
        print(f"run {number + 1}: {per_cpu:.0f}/CPU-s, {per_s:.0f}/s, p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
    per_cpu, per_s, p50, p99 = (statistics.median(column) for column in zip(*results, strict=True))
    print(
        f"accepted and delivered, median of {options.runs}: {per_cpu:.0f} per CPU-second of the server"
        f" (goal {GOAL}); {per_s:.0f}/s of wall time, p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
