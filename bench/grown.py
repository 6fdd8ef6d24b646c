"""A log of millions of records: what an audit, a start, the views and a server's memory cost then.

    python -m bench.log --grown 10000000

The records are what a busy gateway leaves: notifications accepted and settled, mirror rows, nostr events, tokens. They
are appended through the log itself. The views are then folded as a first start folds them, a tenth at a time, so that
each one's cost can be seen to grow or not; after that a server's start is the ordinary one after a clean stop.
Costs are of CPU; seconds until it listens are of the clock. Memory is what the kernel counts for the server's process.
What is beyond the views is that, less the files of ``data/views`` that are mapped, less what a server without records
takes: SQLite's own caches (at most 2 MB a view) and what a view keeps in memory are still in it.
"""

import os
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path

import msgspec
import trio

from bench import nostrload as load
from bench import plot
from bench.relays import Server, server
from eventlog.disk import audit
from eventlog.disk.log import Log, open_log
from eventlog.disk.views import connect, no_collections
from eventlog.record import Draft, Record
from eventlog.view import TableView
from gateway.facts import Accepted, EventStored, Fact, PushTarget, RowStored, Settled, draft
from gateway.serve.app import VIEWS
from gateway.serve.clock import SystemClock

COMMIT_RECORDS = 4_000
AUDIT_RUNS = 3
START_RUNS = 3
PARTS = 10
KINDS_A_ROUND = 10  # of ten records: two accepted, two settled, three rows, three events
PUBLISHED, QUERIED, READ = 2_000, 500, 5_000  # what a server is asked before its memory is looked at again
SHOWN = 4  # the dearest views stand in the plot
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
    took, done = 0.0, 0
    with open_log(data, SystemClock(), origin="bench.example") as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            source = drafts(records)
            while some := list(islice(source, COMMIT_RECORDS)):
                began = time.perf_counter()
                await log.append_many(some)
                took += time.perf_counter() - began
                _progress("appended", done, done := done + len(some), records)
            nursery.cancel_scope.cancel()
    return records / took


def _progress(what: str, before: int, after: int, whole: int) -> None:
    """Tell each tenth."""
    if after * PARTS // whole > before * PARTS // whole:
        print(f"{what}: {after:,} of {whole:,}", flush=True)


def audit_us(data: Path) -> float:
    """CPU microseconds a record of one process: tree recomputed, commitments checked."""
    costs = []
    for number in range(AUDIT_RUNS):
        began = time.process_time()
        report = audit.verify(str(data), tree=True, jobs=1)
        took = time.process_time() - began
        assert report is not None
        assert not report.findings, report.findings
        costs.append(took / report.records * 1e6)
        print(f"audit {number + 1} of {AUDIT_RUNS}: {costs[-1]:.2f} µs a record", flush=True)
    return statistics.median(costs)


# -- the views --------------------------------------------------------------------------------------------------------


class Folded(msgspec.Struct):
    """The fold of all views: seconds of CPU, and for each view µs for each record of its kinds, part by part."""

    seconds: float
    costs: dict[str, list[float]]


def fold(data: Path) -> Folded:
    """Fold every view as a first start does (`eventlog.disk.views.catch_up`), with a clock beside each."""
    (data / "views").mkdir()
    began = time.process_time()
    with ExitStack() as stack:
        log = stack.enter_context(open_log(data, SystemClock()))
        views = [view(stack.enter_context(closing(connect(str(data / "views" / f"{view.name}.db"))))) for view in VIEWS]
        costs: dict[str, list[float]] = {view.name: [] for view in views}
        meter, part = _Meter(views), 1
        with no_collections():
            for records in log.read(0):
                meter.take(log, records)
                if records[-1].seq + 1 >= log.durable_size * part // PARTS:
                    for name, cost in meter.read().items():
                        costs[name].append(cost)
                    print(f"folded: part {part} of {PARTS}, {time.process_time() - began:.0f} s", flush=True)
                    part += 1
        for view in views:
            view.commit(log.origin, log.root_at(view.position))
    return Folded(time.process_time() - began, costs)


class _Meter:
    """Folds records into views, and counts for each what it took."""

    def __init__(self, views: list[TableView]) -> None:
        self.views = views
        self.spent, self.counts = defaultdict[str, float](float), Counter[str]()

    def take(self, log: Log, records: list[Record]) -> None:
        end = records[-1].seq + 1
        for view in self.views:
            began = time.process_time()
            view.apply(records, end)
            if view.due:
                view.commit(log.origin, log.root_at(end))
            self.spent[view.name] += time.process_time() - began
            self.counts[view.name] += sum(record.kind in view.kinds for record in records)

    def read(self) -> dict[str, float]:
        """Give µs of CPU for each record of a view's kinds since the last time."""
        found = {name: self.spent[name] / count * 1e6 for name, count in self.counts.items() if count}
        self.spent.clear()
        self.counts.clear()
        return found


# -- the server -------------------------------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True):
    """A process's memory in MiB: resident in all, and what of it are mapped files of the views."""

    resident: float
    views: float


def memory_of(pid: int) -> Memory:
    """Read what the kernel says of a process."""
    views = 0
    of_views = False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            of_views = "/views/" in line
        elif first == "Rss:" and of_views:
            views += int(line.split()[1])
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return Memory(int(status.partition("VmRSS:")[2].split()[0]) / 1024, views / 1024)


class Start(msgspec.Struct, frozen=True):
    """A server's start: seconds until it listens, of the clock and of CPU; its memory then and after use."""

    seconds: float
    cpu_s: float
    begun: Memory
    used: Memory


def start(data: Path | None, *, use: bool = False) -> Start:
    """Start the server on the data, or on a log of its own, look, and stop it in good order."""
    began = time.perf_counter()
    with server(data=data) as found:
        seconds, cpu_s = time.perf_counter() - began, found.cpu_s()
        begun = memory_of(found.pid)
        if use:
            _use(found)
        return Start(seconds, cpu_s, begun, memory_of(found.pid))


def _use(found: Server) -> None:
    """Publish, ask and read, over the relay's socket."""
    load.publish(found.url, load.Signer().events(PUBLISHED), 8)
    load.queries(found.url, QUERIED)
    load.stored_reads(found.url, READ, 3)


# -- all of it --------------------------------------------------------------------------------------------------------


def measure(data: Path, records: int) -> dict[str, float]:
    """Grow a log under ``data`` and measure it; prints what it finds as it goes, and writes a plot."""
    figures = {"append, mixed kinds, records/s": trio.run(grow, data, records)}
    size = sum(path.stat().st_size for path in (data / "log").rglob("*.evl"))
    figures["log, bytes a record"] = size / records
    cost = audit_us(data)
    figures |= {"audit, µs of CPU a record": cost, "audit, records/s a core": 1e6 / cost}
    folded = fold(data)
    figures["views folded, s of CPU"] = folded.seconds
    figures["views, bytes a record"] = sum(path.stat().st_size for path in (data / "views").iterdir()) / records
    events = folded.costs["events"]
    figures |= {"an event folded at the beginning, µs": events[0], "an event folded at the end, µs": events[-1]}
    empty, started = start(None), [start(data) for _ in range(START_RUNS)]
    figures["start after a clean stop, s"] = statistics.median(one.seconds for one in started)
    figures["start after a clean stop, s of CPU"] = statistics.median(one.cpu_s for one in started)
    used = start(data, use=True)
    for when, memory in (("at start", used.begun), ("used", used.used)):
        figures[f"memory of the server {when}, MiB"] = memory.resident
        figures[f"of it beyond the views, {when}, MiB"] = memory.resident - memory.views - empty.begun.resident
    figures["memory of a server without records, MiB"] = empty.begun.resident
    for name, value in figures.items():
        print(f"{name:<44}{value:>14,.2f}")
    print(f"plot: {_drawn(folded, records)}")
    return figures


def _drawn(folded: Folded, records: int) -> Path:
    costs = {name: found for name, found in folded.costs.items() if len(found) == PARTS}
    dearest = sorted(costs, key=lambda name: -costs[name][-1])[:SHOWN]
    at = [f"{records * (part + 1) // PARTS:,}" for part in range(PARTS)]
    title = "Folding a record of a view's kinds, CPU, by records in the log"
    return plot.lines("log-grown", title, "µs", at, {name: costs[name] for name in dearest})
