"""The push path under load: signed webhooks in, sends out to a fake FCM over TLS, every answer after its fsync.

    python -m bench.push [--webhooks 6000] [--concurrency 100] [--runs 5] [--registered 500] [--quick]

Starts the server and the fake FCM as processes of their own, on a fresh directory whose log already holds the
registered devices; signs all webhooks beforehand; keeps ``--concurrency`` requests in flight over as many keep-alive
connections. Checks the fake's own count. Published: deliveries per second
of the server's CPU time (all its threads; neither this process nor the fake is in it), which other load on the machine
moves less than wall time; for information: per second of wall time, and the time from a request's first byte to its
answer's last. Medians over the runs; with one device a webhook and with ten, and with 10 to 100,000 devices registered.
Plots go to ``bench/out``.
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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import trio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from eventlog.disk.log import open_log
from gateway.facts import Registered, draft
from gateway.serve.clock import SystemClock

DOMAIN = "bench.example"
TICKS = os.sysconf("SC_CLK_TCK")
GOALS = {1: 1_500, 10: 4_000}  # by devices a webhook
REGISTERED = (10, 1_000, 100_000)
FEW_WEBHOOKS = 2_000  # with ten devices: below what FCM takes for each in a minute, or the brakes would be measured


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


def register(directory: str, users: int, devices: int) -> None:
    """Write a log in which every user has so many devices: as the server would have, without its HTTP."""

    def facts() -> Iterator[Registered]:
        now_ms = time.time_ns() // 1_000_000
        for user in range(users):
            for device in range(devices):
                yield Registered(
                    tenant=DOMAIN,
                    user=f"user{user}",
                    target=f"{user}-{device}-{uuid.uuid4().hex}{uuid.uuid4().hex}",
                    target_kind="token",
                    platform="android",
                    app_id="",
                    issued_ms=now_ms,
                    expires_ms=now_ms,
                    nonce=str(uuid.uuid4()),
                    devices_max=64,
                    digest=b"",
                    signature="",
                    body=b"{}",
                )

    async def write() -> None:
        with open_log(directory, SystemClock()) as log:
            async with trio.open_nursery() as nursery:
                await nursery.start(log.run)
                for batch in batched(facts(), 1_000):
                    await log.append_many(
                        [
                            draft(fact, ts_ns=time.time_ns(), subject=os.urandom(16), salt=os.urandom(16))
                            for fact in batch
                        ]
                    )
                nursery.cancel_scope.cancel()

    trio.run(write)


def batched(facts: Iterable[Registered], size: int) -> Iterator[list[Registered]]:
    iterator = iter(facts)
    while batch := list(islice(iterator, size)):
        yield batch


@contextmanager
def world(takos: Takos, users: int, devices: int) -> Iterator[tuple[int, str, str]]:
    """A server with one instance, and its fake FCM over TLS: (server's pid, its URL, the fake's URL)."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        register(f"{name}/data", users, devices)
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


def yardstick() -> float:
    """ES256 verifications a CPU-second of this machine now: 15,000 where nothing else runs on one of 2026's cores.

    Beside other load a CPU-second is worth less (shared caches, shared cores), to the server as to this.
    """
    key, message = ec.generate_private_key(ec.SECP256R1()), b"x" * 400
    signature, public = key.sign(message, ec.ECDSA(hashes.SHA256())), key.public_key()
    began, count = time.process_time(), 0
    while time.process_time() - began < 0.5:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        count += 1
    return count / (time.process_time() - began)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run gave; rates in deliveries a second, and signatures that the machine verifies meanwhile."""

    per_cpu_s: float
    per_s: float
    p50_s: float
    p99_s: float
    verified_per_cpu_s: float


def run(webhooks: int, concurrency: int, devices: int, registered: int) -> Figures:
    """One run with so many devices a webhook, of so many registered."""
    takos, users = Takos(), max(registered // devices, 1)
    with world(takos, users, devices) as (pid, url, fake_url):
        drive(url, [takos.webhook(f"user{n % users}") for n in range(200)], concurrency)  # warm: tokens, connections
        requests = [takos.webhook(f"user{n % users}") for n in range(webhooks)]
        settled(fake_url, 200 * devices)
        before, sent, began = cpu_s(pid), count(fake_url), time.perf_counter()
        bodies, took = drive(url, requests, concurrency)
        settled(fake_url, sent + webhooks * devices)
        wall, cpu = time.perf_counter() - began, cpu_s(pid) - before
        answers, verified = [json.loads(body) for body in bodies], yardstick()
    done = sum(answer.get("delivered", 0) + answer.get("queued", 0) for answer in answers)
    if done != webhooks * devices:
        raise SystemExit(f"{done} of {webhooks * devices} delivered or on their way: {bodies[-1]!r}")
    took.sort()
    return Figures(done / cpu, done / wall, took[len(took) // 2], took[int(len(took) * 0.99)], verified)


def settled(fake_url: str, wanted: int) -> None:
    """Wait until the fake has taken so many sends: on a busy machine some answers say that they are still queued."""
    deadline = time.monotonic() + 60
    while (taken := count(fake_url)) < wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"{taken} of {wanted} sent")
        time.sleep(0.05)
    if taken > wanted:
        raise SystemExit(f"{taken} sent where {wanted} were asked for")


def median(runs: int, webhooks: int, concurrency: int, devices: int, registered: int) -> Figures:
    """Medians of some runs, each told."""
    results = []
    for number in range(runs):
        results.append(one := run(webhooks, concurrency, devices, registered))
        print(f"  run {number + 1}: {told(one)}", flush=True)
    columns = ([getattr(one, name) for one in results] for name in Figures.__slots__)
    return Figures(*(statistics.median(column) for column in columns))


def told(figures: Figures) -> str:
    p50, p99 = figures.p50_s * 1e3, figures.p99_s * 1e3
    rates = f"{figures.per_cpu_s:.0f}/CPU-s (ES256 alone: {figures.verified_per_cpu_s:.0f}), {figures.per_s:.0f}/s"
    return f"{rates}, p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description="Webhooks accepted and delivered per CPU-second of the server.")
    parser.add_argument("--webhooks", type=int, default=6_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--registered", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="leave out the growing number of devices")
    options = parser.parse_args()
    for devices, goal in GOALS.items():
        print(f"{devices} device(s) a webhook:")
        webhooks = max(options.webhooks // devices, 600)
        figures = median(options.runs, webhooks, options.concurrency, devices, options.registered * devices)
        print(f"accepted and delivered, median of {options.runs}: {told(figures)} (goal {goal}/CPU-s)")
    if not options.quick:
        grow(options.runs, options.concurrency)


def grow(runs: int, concurrency: int) -> None:
    """Whether a delivery costs the same however many devices are registered."""
    rates = []
    for registered in REGISTERED:
        print(f"{registered} devices registered:")
        rates.append(median(runs, FEW_WEBHOOKS, min(concurrency, 10), 1, registered).per_cpu_s)
    costs = [1e6 / rate for rate in rates]
    told = ", ".join(f"{count:,}: {cost:.0f}" for count, cost in zip(REGISTERED, costs, strict=True))
    print(f"CPU microseconds of the server for each delivery, by registered devices: {told}")
    from bench.plot import lines  # noqa: PLC0415 - the drawing library is only needed at the end

    print(lines("push-cost", "Cost of a delivery", "µs of CPU", REGISTERED, {"one device a webhook": costs}))


if __name__ == "__main__":
    main()
