"""The relay over millions of stored events: what an event costs then, and a start, and how much memory.

    python -m bench.relay --grown 10000000

Stored events are appended through the log itself, unsigned: they only have to be there. The first start folds the
index; the second, after a clean stop, is the one that an operator sees. Events are then published, signed, in turns to
the grown relay and to one of ten thousand events, so that the machine's moods touch both alike.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from itertools import islice
from pathlib import Path

import trio

from bench import nostrload as load
from bench import plot
from bench.relays import Server, server
from eventlog.disk.log import open_log
from eventlog.record import Draft
from gateway.facts import SALT_BYTES, event_draft
from gateway.nostr.event import Event, stored_form
from gateway.serve.clock import SystemClock

SMALL = 10_000
AUTHORS = 20_000
TOPICS = 1_000
COMMIT_RECORDS = 4_000
ROUNDS, EVENTS = 5, 10_000
RATIO_MAX = 1.5
MEMORY_MAX_BYTES = 1_000_000_000
START_S_MAX = 2.0
RELAY = "public-gateway:hyperbee"


def event(number: int) -> Event:
    """Stored event: ten to a second, up to a month ago; one in ten is replaceable, or a reaction."""
    author, other = (sha256(b"%d" % (number * step % AUTHORS)).hexdigest() for step in (7, 11))
    kind = (0, 7)[number % 20 // 10] if number % 10 == 0 else 1
    tags = (("p", other), ("t", f"topic{number % TOPICS}"))
    created = 1_700_000_000 + number // 10
    text = f"event {number}: the quick brown fox jumps over the lazy dog"
    return Event(sha256(b"event %d" % number).hexdigest(), author, created, kind, tags, text, "a" * 128)


def drafts(count: int) -> Iterator[Draft]:
    now_ns = time.time_ns()
    for number in range(count):
        one = event(number)
        yield event_draft(
            RELAY,
            now_ns // 1_000_000,
            stored_form(one),
            ts_ns=now_ns + number,
            subject=bytes.fromhex(one.pubkey[:32]),
            salt=os.urandom(SALT_BYTES),
        )


async def grow(data: Path, count: int) -> None:
    with open_log(data, SystemClock(), origin="bench.example") as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            source = drafts(count)
            while some := list(islice(source, COMMIT_RECORDS)):
                await log.append_many(some)
            nursery.cancel_scope.cancel()


def started(data: Path) -> float:
    """Seconds from the command to the line that says it listens; it is stopped again."""
    began = time.perf_counter()
    with server(data=data):
        return time.perf_counter() - began


def cost_us(relay: Server, events: list[Event]) -> float:
    before = relay.cpu_s()
    load.publish(relay.url, events, 8)
    return (relay.cpu_s() - before) / len(events) * 1e6


def measure(count: int) -> bool:
    """Tell what ``count`` stored events cost beside `SMALL`; whether the goals are reached."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        grown, small = Path(directory, "grown"), Path(directory, "small")
        began = time.perf_counter()
        trio.run(grow, grown, count)
        trio.run(grow, small, SMALL)
        print(f"{count:,} events appended in {time.perf_counter() - began:.0f} s", flush=True)
        first_s, second_s = started(grown), started(grown)
        print(
            f"first start (folds the index): {first_s:.1f} s; second: {second_s:.2f} s (goal {START_S_MAX:g})",
            flush=True,
        )
        with ExitStack() as stack:
            big, little = stack.enter_context(server(data=grown)), stack.enter_context(server(data=small))
            costs = _costs(big, little)
            reads, _ = load.stored_reads(big.url, 5_000, 5)
            queries = load.queries(big.url, 500)
            memory = big.resident_bytes()
    ratio = costs[1] / costs[0]
    print(f"an event costs {costs[1]:.1f} µs of CPU over {count:,}, {costs[0]:.1f} over {SMALL:,}: ratio {ratio:.2f} "
          f"(goal at most {RATIO_MAX:g})")  # fmt: skip
    print(f"reads there: {reads:,.0f} events/s; 20-event queries: {queries:,.0f}/s")
    print(f"memory: {memory / 1e6:,.0f} MB (goal {MEMORY_MAX_BYTES / 1e6:,.0f})")
    print(plot.bars("relay-grown", "CPU µs an event", "µs", {f"{SMALL:,}": costs[0], f"{count:,}": costs[1]}))
    return ratio <= RATIO_MAX and memory < MEMORY_MAX_BYTES and second_s < START_S_MAX


def _costs(big: Server, little: Server) -> tuple[float, float]:
    signer = load.Signer()
    rounds = []
    for _ in range(ROUNDS):
        events = signer.events(EVENTS)
        rounds.append((cost_us(little, events), cost_us(big, events)))
    return statistics.median(one for one, _ in rounds), statistics.median(other for _, other in rounds)
