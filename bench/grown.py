"""A log of millions of records: what an audit, a start and a server's memory cost then.

    python -m bench.log --grown 10000000

The records are what a busy gateway leaves: notifications accepted and settled, mirror rows, nostr events, tokens.
They are appended through the log itself; the views are folded by the server's first start, which is timed apart from
the second one, the ordinary start after a clean stop.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path

import msgspec
import trio

from eventlog.disk import audit
from eventlog.disk.log import open_log
from eventlog.record import Draft
from gateway.facts import Accepted, EventStored, Fact, PushTarget, RowStored, Settled, draft
from gateway.serve.clock import SystemClock

COMMIT_RECORDS = 4_000
AUDIT_RUNS = 3
KINDS_A_ROUND = 10  # of ten records: two accepted, two settled, three rows, three events
_NOSTR = '{"id":"%s","pubkey":"%s","created_at":%d,"kind":1,"tags":[["t","topic%d"]],"content":"%s","sig":"%s"}'


def facts(first_seq: int) -> Iterator[tuple[Fact, bytes]]:
    """Ten facts as they may stand at ``first_seq`` and after, each with its subject."""
    text = "the quick brown fox jumps over the lazy dog, and then a little further"
    for number in (0, 2):
        at, user = first_seq + number, first_seq // 10 % 50_000
        target = PushTarget(f"token-{user}-{'x' * 140}", "token", "app", "default")
        name, now_ms = f"notification-{at}", 1_700_000_000_000 + at
        yield (
            Accepted(
                "demo.example.com", f"user{user}", name, now_ms, None, now_ms + 1000, (target,), "s" * 86, b"b" * 90
            ),
            sha256(b"%d" % user).digest()[:16],
        )
        yield Settled(at, 0, "delivered", ""), b""
    for number in range(4, 7):
        row_id = sha256(b"row %d" % (first_seq + number)).digest()
        row = b'{"id":"%s","eventData":"%s"}' % (row_id.hex().encode(), b"A" * 160)
        yield RowStored("r" * 64, b"\1" * 32, row_id, 30078, 1_700_000_000, row_id, False, "", row), row_id[:16]
    for number in range(7, 10):
        author = sha256(b"%d" % (first_seq % 20_000)).hexdigest()
        event_id = sha256(b"event %d" % (first_seq + number)).hexdigest()
        event = _NOSTR % (event_id, author, 1_600_000_000 + first_seq, first_seq % 1000, text, "a" * 128)
        yield EventStored("public-gateway:hyperbee", 1_700_000_000_000, event.encode()), bytes.fromhex(author)[:16]


def drafts(records: int) -> Iterator[Draft]:
    now_ns = time.time_ns()
    rounds = chain.from_iterable(facts(at) for at in range(0, records, KINDS_A_ROUND))
    for seq, (fact, subject) in enumerate(islice(rounds, records)):
        yield draft(fact, ts_ns=now_ns + seq, subject=subject, salt=os.urandom(16) if fact.personal else b"")


async def grow(data: Path, records: int) -> float:
    """Append so many; the log's own records a second, without making them."""
    took = 0.0
    with open_log(data, SystemClock(), origin="bench.example") as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            source = drafts(records)
            while some := list(islice(source, COMMIT_RECORDS)):
                began = time.perf_counter()
                await log.append_many(some)
                took += time.perf_counter() - began
            nursery.cancel_scope.cancel()
    return records / took


def audit_rate(data: Path) -> float:
    """Records a second of one core: tree recomputed, commitments checked."""
    rates = []
    for _ in range(AUDIT_RUNS):
        began = time.process_time()
        report = audit.verify(str(data), tree=True, jobs=1)
        assert report is not None
        assert not report.findings, report.findings
        rates.append(report.records / (time.process_time() - began))
    return statistics.median(rates)


class Start(msgspec.Struct, frozen=True):
    """A server's start: seconds until it listens, and its memory then and at its peak, in MiB."""

    seconds: float
    resident_mib: float
    peak_mib: float


def start(data: Path) -> Start:
    """Start the server on the data, look, and stop it in good order."""
    command = [sys.executable, "-m", "gateway.cli.main", "serve", "--data", str(data), "--bind", "127.0.0.1:0"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("listening")
        seconds = time.perf_counter() - began
        status = Path(f"/proc/{server.pid}/status").read_text("ascii")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    resident, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Start(seconds, resident, peak)


def measure(data: Path, records: int) -> dict[str, float]:
    """Grow a log under ``data`` and measure it; prints what it finds as it goes."""
    figures = {"append, mixed kinds, records/s": trio.run(grow, data, records)}
    figures["audit, records/s a core"] = audit_rate(data)
    first, again = start(data), sorted((start(data) for _ in range(3)), key=lambda one: one.seconds)[1]
    figures["first start, views folded, s"] = first.seconds
    figures["start after a clean stop, s"] = again.seconds
    figures["memory of the server then, MiB"] = again.resident_mib
    size = sum(path.stat().st_size for path in (data / "log").rglob("*.evl"))
    figures["log, bytes a record"] = size / records
    for name, value in figures.items():
        print(f"{name:<36}{value:>14,.2f}")
    return figures
