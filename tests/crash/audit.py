"""What must be true after a kill, and at the end of all of them, seen from outside and in the log itself."""

import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed

from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from gateway.cli.demo.wire import Wire, wire
from gateway.facts import Accepted, Settled, fact_of
from gateway.push.instant import instant_text
from gateway.serve.app import VIEWS
from gateway.serve.clock import SystemClock
from tests.crash.load import World
from tests.crash.memory import RecordingFake

IDS_A_REQUEST = 400
DELIVERED_S_MAX = 90.0  # a retry after a 503 waits 10 s and more
SAMPLE = 20
ASKED_MS = 30_000  # within which a request is surely answered
OLD = 500  # rows and events of earlier rounds that are asked for again after each


def pieces(ids: Collection[str]) -> Iterator[list[str]]:
    """The ids in lists that fit one filter."""
    rest = iter(sorted(ids))
    while piece := list(islice(rest, IDS_A_REQUEST)):
        yield piece


async def _missing(socket: Wire, ids: Collection[str], **also: str) -> set[str]:
    found: set[str] = set()
    for number, piece in enumerate(pieces(ids)):
        sub = f"audit-{number}"
        found |= {row["id"] for row in await socket.stored(sub, ids=piece, limit=IDS_A_REQUEST, **also)}
        await socket.send("CLOSE", sub)
    return set(ids) - found


async def nothing_is_lost(world: World, *, everything: bool = False) -> None:
    """Ask for what was acknowledged since the last audit and some of what was before it, or for everything."""
    broken, memory = world.memory.broken, world.memory
    again = (
        set()
        if everything
        else memory.audited - set(world.dice.sample(sorted(memory.audited), min(len(memory.audited), OLD)))
    )
    async with wire(f"{world.ws_url}/relay") as socket:
        broken += [f"event {lost} was acknowledged and lost" for lost in await _missing(socket, memory.events - again)]
    for url, relay in world.worker_mirrors:
        async with wire(url) as socket:
            lost_rows = await _missing(socket, memory.rows[url] - again, relayID=relay)
        broken += [f"row {lost} was acknowledged and lost" for lost in lost_rows]
    memory.audited = memory.events.union(*memory.rows.values())
    for url in memory.open_tokens[-SAMPLE:]:
        if not await opens(url):
            broken.append("a token that was issued does not open its mirror")
    for url in memory.revoked_tokens[-SAMPLE:]:
        if await opens(url):
            broken.append("a token that was revoked opens its mirror")
    async with world.client() as client:
        for envelope in memory.registrations[-SAMPLE:]:
            if envelope["expiresAt"] < instant_text(time.time_ns() // 1_000_000 + ASKED_MS):
                continue  # on a slow machine the rounds outlive an envelope: it would be refused as too old
            if not (await world.posted(client, "/push/register", envelope)).get("duplicate"):
                broken.append("a registration that was acknowledged is not remembered")


async def opens(url: str) -> bool:
    """Whether a mirror lets a token in: it answers a REQ instead of closing."""
    try:
        async with wire(url) as socket:
            await socket.send("REQ", "s", {"relayID": "0" * 64, "limit": 1})
            return (await socket.receive())[0] in ("EOSE", "CLOSED", "EVENT")
    except ConnectionClosed as closed:
        if closed.reason is None or closed.reason.code != 4403:
            raise
        return False


async def all_delivered(world: World, fake: RecordingFake) -> None:
    """Wait until FCM has taken everything that was accepted; what it has not by then was forgotten."""
    with trio.move_on_after(DELIVERED_S_MAX):
        while any(one not in fake.taken_ns for one in world.memory.accepted):  # noqa: ASYNC110 - the fake cannot call
            await trio.sleep(0.05)
    forgotten = [one for one in world.memory.accepted if one not in fake.taken_ns]
    world.memory.broken += [f"notification {one} was accepted and never delivered" for one in forgotten]


def log_is_whole(data: Path) -> list[str]:
    """Run `heliograph log verify` as an operator would."""
    command = [sys.executable, "-m", "gateway.cli.main", "log", "verify", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"log verify: {done.returncode}\n{done.stdout}{done.stderr}"]


def log_agrees(data: Path, scratch: Path, world: World, fake: RecordingFake) -> list[str]:
    """Hold the log against what FCM took, and the views against the same views rebuilt from nothing."""
    broken: list[str] = []
    with open_log(data, SystemClock()) as log:
        kept, rebuilt = open_views(log, data / "views", VIEWS), open_views(log, scratch / "views", VIEWS)
        broken += [
            f"view {name} differs from the log" for name in kept if kept[name].digest() != rebuilt[name].digest()
        ]
        accepted: dict[int, Accepted] = {}
        settled: set[tuple[int, int]] = set()
        for record in (record for records in log.read(0) for record in records):
            match fact_of(record) if record.kind in (Accepted.kind, Settled.kind) else None:
                case Accepted() as fact:
                    accepted[record.seq] = fact
                case Settled() as fact:
                    broken += _settling(fact, record.ts_ns, accepted, settled, fake)
                    settled.add((fact.accepted_seq, fact.index))
                case _:
                    pass
    ids = [fact.notification_id for fact in accepted.values()]
    broken += [f"notification {one} was accepted twice" for one in {one for one in ids if ids.count(one) > 1}]
    broken += [f"notification {one} is not in the log" for one in world.memory.accepted if one not in set(ids)]
    targets = {(seq, index) for seq, fact in accepted.items() for index in range(len(fact.targets))}
    for seq, _ in targets - settled:
        # In flight when the server was told to stop: right, if it was in flight since the last start. One that nobody
        # was told of may still be waiting for its second try.
        one = accepted[seq].notification_id
        if one in world.memory.accepted and max(fake.taken_ns[one]) < world.started_ns:
            broken.append(f"notification {one} was accepted and forgotten before the last start")
    return broken


def _settling(
    fact: Settled, ts_ns: int, accepted: dict[int, Accepted], settled: set[tuple[int, int]], fake: RecordingFake
) -> list[str]:
    notification = accepted[fact.accepted_seq].notification_id
    broken = [f"notification {notification} was settled twice"] if (fact.accepted_seq, fact.index) in settled else []
    if any(taken_ns > ts_ns for taken_ns in fake.taken_ns[notification]):
        broken.append(f"notification {notification} was sent to FCM after it was settled")
    if fact.outcome != "delivered":
        broken.append(f"notification {notification} was settled as {fact.outcome}: {fact.reason}")
    return broken
