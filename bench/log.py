"""The log beside SQLite, LMDB, eventsourcing and hypercore, in one run.

    python -m bench.log [--rounds 5] [--records 100000] [--check] [--grown 10000000]

SQLite encodes the same records and hashes the same bytes (commitment and leaf); the log also grows its Merkle tree.
SQLite is a table in WAL mode with synchronous=FULL, which syncs at every commit, as the log does; `bench.peers` says
what the others do. ``--grown`` also measures a log of so many records (`bench.grown`). Rounds alternate and the
medians are compared, because on a shared machine only ratios within one run mean anything. Spinners of the lowest
scheduling class keep the cores from halting: on an idle virtual machine fdatasync reads 4 ms for any size.
"""

import argparse
import gc
import multiprocessing
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cbor2
import trio

from bench import grown, peers, plot
from eventlog.disk.log import Log, open_log
from eventlog.record import Draft, encode
from gateway.serve.clock import SystemClock

OUT = Path(__file__).parent / "out" / "log"
COMMIT_RECORDS = 1_000
PAYLOAD_BYTES = 250
TASKS = 1_000
GOALS = {"append": 1.2, "singles": 50_000, "replay": 1.8}
SHARE = 0.7  # what must be reached of each goal
PEER_RECORDS_MAX = 100_000  # hypercore holds all its blocks in memory, and reads 17,000 a second


def make_drafts(count: int) -> list[Draft]:
    now_ns = time.time_ns()
    return [Draft("nostr.stored", os.urandom(PAYLOAD_BYTES), now_ns + n, os.urandom(16)) for n in range(count)]


def spin() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() > 1:
        pass


@contextmanager
def awake() -> Iterator[None]:
    """Keep every core from halting while the block runs."""
    spinners = [
        multiprocessing.get_context("spawn").Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    for one in spinners:
        one.start()
    try:
        yield
    finally:
        for one in spinners:
            one.kill()
            one.join()


def fresh(name: str) -> Path:
    """Make a directory that never was: ext4 is slow to give out anew what was just removed, so that is done last."""
    (OUT / name).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=OUT / name))


def latest(name: str) -> Path:
    """Give the directory that `fresh` made last."""
    return max((OUT / name).iterdir(), key=lambda path: path.stat().st_ctime_ns)


def timed(work: Callable[[], int]) -> float:
    """Records a second."""
    gc.collect()
    start = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - start)


async def with_log(name: str, work: Callable[[Log], object]) -> float:
    """Open a new log, let ``work`` append, and give its records a second."""
    with open_log(fresh(name), SystemClock()) as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            gc.collect()
            start = time.perf_counter()
            await work(log)  # type: ignore[misc]
            took = time.perf_counter() - start
            nursery.cancel_scope.cancel()
        return log.durable_size / took


def log_append(drafts: list[Draft], clients: int = 1) -> float:
    """Commits of 1,000 records, each awaited; with two clients one encodes while the other's sync runs."""

    async def client(log: Log, share: list[list[Draft]]) -> None:
        for commit in share:
            await log.append_many(commit)

    async def work(log: Log) -> None:
        commits = [drafts[at : at + COMMIT_RECORDS] for at in range(0, len(drafts), COMMIT_RECORDS)]
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(client, log, commits[number::clients])

    return trio.run(with_log, "append", work)


def log_singles(drafts: list[Draft]) -> float:
    """One awaited record at a time, by 1,000 tasks."""

    async def task(log: Log, share: list[Draft]) -> None:
        for draft in share:
            await log.append_many([draft])

    async def work(log: Log) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(TASKS):
                nursery.start_soon(task, log, drafts[number::TASKS])

    return trio.run(with_log, "singles", work)


def log_replay() -> float:
    """Read what `log_append` left: every CRC checked, every record decoded."""

    def work() -> int:
        return sum(len(records) for records in log.read(0))

    with open_log(latest("append"), SystemClock()) as log, collecting_later():
        return timed(work)


@contextmanager
def collecting_later() -> Iterator[None]:
    """As `eventlog.disk.views` does for a replay, and so for both."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def sqlite_append(drafts: list[Draft]) -> float:
    path = fresh("sqlite") / "records.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, record BLOB NOT NULL)")

        def work() -> int:
            for at in range(0, len(drafts), COMMIT_RECORDS):
                encoded = encode(drafts[at : at + COMMIT_RECORDS])
                db.execute("BEGIN")
                db.executemany("INSERT INTO records (record) VALUES (?)", [(one,) for one in encoded.stored])
                db.execute("COMMIT")
            return len(drafts)

        return timed(work)


def sqlite_replay() -> float:
    with closing(sqlite3.connect(latest("sqlite") / "records.db")) as db, collecting_later():

        def work() -> int:
            rows = db.execute("SELECT record FROM records ORDER BY seq")
            count = 0
            while piece := rows.fetchmany(COMMIT_RECORDS):
                count += len([cbor2.loads(record) for (record,) in piece])
            return count

        return timed(work)


def peer_rounds(drafts: list[Draft]) -> dict[str, list[Callable[[], float]]]:
    """For each peer what to run in turn: its append, then its replay, which reads what was measured with the append."""
    found: dict[str, list[Callable[[], float]]] = {}
    for name, run in peers.PEERS.items():
        if name in peers.missing():
            print(f"{name} is not installed (`npm ci` in bench/peers): left out")
            continue
        both: list[float] = []

        def append(name: str = name, run: peers.Peer = run, both: list[float] = both) -> float:
            both[:] = run(fresh(name), drafts)
            return both[0]

        found[name] = [append, lambda both=both: both[1]]  # type: ignore[misc]
    return found


def main() -> int:
    """Print the table; with ``--check``, exit 1 where less than 0.7 of a goal was reached."""
    parser = argparse.ArgumentParser(prog="python -m bench.log", description="The log beside other stores.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--grown", type=int, help="also measure a log of so many records")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    drafts = make_drafts(asked.records)
    works: dict[str, Callable[[], float]] = {
        "log append, 1 client": lambda: log_append(drafts),
        "log append, 2 clients": lambda: log_append(drafts, clients=2),
        "sqlite append": lambda: sqlite_append(drafts),
        "log replay": log_replay,
        "sqlite replay": sqlite_replay,
        "log singles": lambda: log_singles(drafts),
    }
    for name, (append, replay) in peer_rounds(drafts[:PEER_RECORDS_MAX]).items():
        works |= {f"{name} append": append, f"{name} replay": replay}
    rates: dict[str, list[float]] = {name: [] for name in works}
    with awake():
        for _ in range(asked.rounds):
            for name, work in works.items():
                rates[name].append(work())
    if asked.grown:
        grown.measure(fresh("grown"), asked.grown)
    shutil.rmtree(OUT, ignore_errors=True)
    draw(rates)
    return report(rates, check=asked.check)


def draw(rates: dict[str, list[float]]) -> None:
    """Write the medians as plots."""
    middle = {name: statistics.median(found) for name, found in rates.items()}
    for what, title in (("append", f"Append, commits of {COMMIT_RECORDS:,} records"), ("replay", "Replay, decoded")):
        ours = {name: rate for name, rate in middle.items() if what in name}
        named = {
            name.replace("hypercore", "hypercore (not durable)").replace(f" {what}", ""): ours[name] for name in ours
        }
        print(f"plot: {plot.bars(f'log-{what}', title, 'records/s', named)}")


def report(rates: dict[str, list[float]], *, check: bool) -> int:
    middle = {name: statistics.median(found) for name, found in rates.items()}
    print(
        f"{'records/s':<24}{'median':>12}{'best':>12}   commits of {COMMIT_RECORDS}, payloads of {PAYLOAD_BYTES} bytes"
    )
    for name, found in rates.items():
        print(f"{name:<24}{middle[name]:>12,.0f}{max(found):>12,.0f}")

    def ratio(ours: str, theirs: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))

    found = {
        "append": ratio("log append, 1 client", "sqlite append"),
        "singles": middle["log singles"],
        "replay": ratio("log replay", "sqlite replay"),
    }
    print(f"append: {found['append']:.2f}x SQLite FULL (goal {GOALS['append']}x)")
    print(f"singles: {found['singles']:,.0f}/s, 1,000 tasks (goal {GOALS['singles']:,}/s)")
    print(f"replay: {found['replay']:.2f}x SQLite select + loads (goal {GOALS['replay']}x)")
    return int(check and any(found[name] < SHARE * goal for name, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
