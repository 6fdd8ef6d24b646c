"""The relay under load, beside other relays in the same run: signed events over real sockets.

    python -m bench.relay [--events 40000] [--connections 8] [--runs 5] [--beside ws://…] [--alone]
    python -m bench.relay --grown 10000000

Ours is a process of its own on a fresh directory and answers each event OK after its fsync; beside it run nostr-sdk's
relay (Rust, in memory), PyPI's nostr-relay where it is installed (`bench.relays`), and any other by its URL. Rounds of
publishing alternate, medians are compared, and what coincurve alone verifies on one core in the same minute stands
beside them: all move with the machine, their ratios hardly do. Waits are measured with no core asleep
(`bench.awake`). Plots go to ``bench/out``. Exits 1 where ours misses a goal. ``--grown`` measures ours over so many
stored events instead (`bench.relaygrown`).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from bench import nostrload as load
from bench import plot, relaygrown, relays
from bench.awake import awake
from bench.nostrload import Signer, frame
from bench.relays import Server, server

__all__ = ["Server", "frame", "main", "server"]

OURS = "Heliograph"
LISTENERS = 100
READ_EVENTS = 5_000
QUERIES = 1_000
FLOOD = 2_000
CONFIG = "[relay]\nunread_bytes_max = 67108864\n"
CROWDS = ((10, 10), (10_000, 1_000))  # subscriptions, on connections
GOALS = {
    "ingest": (15_000, "durable verified events/s"),
    "deliveries": (100_000, f"live deliveries/s to {LISTENERS} subscribers"),
    "reads": (200_000, "stored events/s read"),
    "queries": (3_000, "20-event queries/s"),
}
WAITS = {
    "one by one, p50": 1.5,
    f"live to {LISTENERS}, p50": 3.0,
    f"live to {LISTENERS}, p99": 10.0,
}  # milliseconds, where fdatasync takes 0.2


@dataclass
class Figures:
    """What was measured of one relay: rates a second, CPU in µs for each, waits in ms."""

    relay: Server
    ingest: list[float] = field(default_factory=list)
    ingest_us: list[float] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    cpu_us: dict[str, float] = field(default_factory=dict)
    waits_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def costing(self, key: str, count: Callable[[], float]) -> Iterator[None]:
        """Note what the block costs the relay, for each of ``count`` (asked afterwards)."""
        before = self.relay.cpu_s()
        yield
        self.cpu_us[key] = (self.relay.cpu_s() - before) / count() * 1e6


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def ingest(figures: Figures, events: Sequence[load.Event], connections: int) -> str:
    with figures.costing("ingest", lambda: len(events)):
        figures.ingest.append(len(events) / load.publish(figures.relay.url, events, connections))
    figures.ingest_us.append(figures.cpu_us["ingest"])
    return f"{figures.ingest[-1]:,.0f} events/s, {figures.ingest_us[-1]:.1f} µs of CPU each"


def the_rest(figures: Figures, signer: Signer) -> None:
    """Everything that is measured once: waits, reads, live events."""
    url = figures.relay.url
    figures.rates["ingest"] = statistics.median(figures.ingest)
    figures.cpu_us["ingest"] = statistics.median(figures.ingest_us)
    with awake():
        figures.waits_ms["one by one, p50"] = statistics.median(load.one_by_one(url, signer.events(300)))
    read = 1
    with figures.costing("reads", lambda: read):
        figures.rates["reads"], read = load.stored_reads(url, READ_EVENTS, 10)
    with figures.costing("queries", lambda: QUERIES):
        figures.rates["queries"] = load.queries(url, QUERIES)
    with closing(listeners := load.Listeners(url, "steady", LISTENERS)), awake():
        waits = load.live_waits(url, signer.events(200, "steady"), listeners.open, 50)
    for share in (50, 99):
        figures.waits_ms[f"live to {LISTENERS}, p{share}"] = percentile(waits, share / 100)
    with closing(listeners := load.Listeners(url, "flood", LISTENERS)):
        deliveries = FLOOD * LISTENERS
        with figures.costing("deliveries", lambda: deliveries):
            taken = load.publish(url, signer.events(FLOOD, "flood"), 1, listeners.open)
        figures.rates["deliveries"] = deliveries / taken


def crowded(relay: Server, signer: Signer, count: int) -> dict[int, float]:
    """Server CPU in µs an event beside few subscriptions and many: none of them asks for it."""
    costs = {}
    for subscriptions, connections in CROWDS:
        idle = [load.Connection(relay.url) for _ in range(connections)]
        for number in range(subscriptions):
            one = idle[number % connections]
            asked = {"authors": [f"{number:064x}"]} if number % 2 else {"kinds": [1], "#t": [f"none{number}"]}
            one.ask(("REQ", f"s{number}", asked), load.EOSE)
        events, before = signer.events(count), relay.cpu_s()
        load.publish(relay.url, events, 8)
        costs[subscriptions] = (relay.cpu_s() - before) / count * 1e6
        for one in idle:
            one.close()
    return costs


def tell(name: str, figures: Figures) -> None:
    print(f"{name}:")
    for key, (goal, unit) in GOALS.items():
        told = f"  {figures.rates[key]:>10,.0f} {unit}, {figures.cpu_us[key]:.1f} µs of CPU each"
        print(told + (f" (goal {goal:,})" if name == OURS else ""))
    for key, goal_ms in WAITS.items():
        print(f"  {figures.waits_ms[key]:>10.2f} ms {key}" + (f" (goal {goal_ms:g})" if name == OURS else ""))


def draw(measured: Mapping[str, Figures]) -> None:
    for key, (_, unit) in GOALS.items():
        print(plot.bars(f"relay-{key}", unit, unit, {name: one.rates[key] for name, one in measured.items()}))
    for key in WAITS:
        name = f"relay-{key.replace(' ', '-').replace(',', '')}"
        print(plot.bars(name, f"Wait in ms: {key}", "ms", {name: one.waits_ms[key] for name, one in measured.items()}))


def fdatasync_ms() -> float:
    """What one append of 4 KiB and its sync take where the servers keep their data."""
    with tempfile.TemporaryFile() as file:
        waits = []
        for _ in range(50):
            os.write(file.fileno(), bytes(4_096))
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append((time.perf_counter() - begin) * 1000)
    return statistics.median(waits)


def candidates(urls: Sequence[str], *, alone: bool) -> dict[str, AbstractContextManager[Server]]:
    found: dict[str, AbstractContextManager[Server]] = {OURS: server(CONFIG)}
    if not alone:
        found["nostr-sdk, in memory"] = relays.sdk_relay()
        if relays.PYPI_RELAY.exists():
            found["nostr-relay, SQLite"] = relays.pypi_relay()
        else:
            print(f"left out: nostr-relay, which is not in {relays.PYPI_RELAY.parent.parent}")
    return found | {url: relays.elsewhere(url) for url in urls}


def compare(options: argparse.Namespace) -> bool:
    signer, singles = Signer(), []
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(one) for name, one in candidates(options.beside, alone=options.alone).items()
        }
        measured = {name: Figures(relay) for name, relay in opened.items()}
        for run in range(options.runs):
            events = signer.events(options.events)
            singles.append(load.alone(events))
            for name, figures in measured.items():
                # SQLite through Python would take minutes for what the others do in seconds.
                some = events[: max(100, options.events // 10)] if "SQLite" in name else events
                told = ingest(figures, some, options.connections)
                print(f"run {run + 1}: {name}: {told}; coincurve alone {singles[-1]:,.0f}/s", flush=True)
        for name, figures in measured.items():
            the_rest(figures, signer)
            tell(name, figures)
        ours, single = measured[OURS], statistics.median(singles)
        ratio = ours.rates["ingest"] / single
        print(f"ratio: {ratio:.2f} of coincurve alone; fdatasync here: {fdatasync_ms():.2f} ms")
        costs = crowded(opened[OURS], signer, min(options.events, 10_000))
        told = ", ".join(f"{count:,} subscriptions: {cost:.1f}" for count, cost in costs.items())
        print(f"CPU µs an event beside {told}")
    draw(measured)
    reached = all(ours.rates[key] >= goal for key, (goal, _) in GOALS.items())
    return reached and all(ours.waits_ms[key] < goal_ms for key, goal_ms in WAITS.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000, help="events a run")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--beside", action="append", default=[], metavar="URL", help="another relay that runs already")
    parser.add_argument("--alone", action="store_true", help="no other relays but those given")
    parser.add_argument(
        "--grown", type=int, default=0, metavar="EVENTS", help="ours over so many stored events instead"
    )
    options = parser.parse_args()
    sys.exit(0 if (relaygrown.measure(options.grown) if options.grown else compare(options)) else 1)


if __name__ == "__main__":
    main()
