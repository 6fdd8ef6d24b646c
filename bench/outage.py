"""The push service goes away for real, and a crowd stands before one: what then leaves, when, and how often.

python -m bench.push --outage 60       FCM answers 503 for a minute, then comes back; then again, with a kill -9
python -m bench.push --crowd 100000    one tenant has so many deliveries queued; another sends single pushes
"""

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.takos import Takos, connected, drive
from bench.world import World, backlog, devices, world, written
from eventlog.disk.log import open_log
from gateway.facts import Accepted, Settled, fact_of
from gateway.limits.push import RAMP_PER_S
from gateway.serve.clock import SystemClock

USERS = 200
PER_S = 50.0
CONNECTIONS = 100  # an answer waits up to 1.5 s while FCM is away
BACK_S_MAX = 180  # the breaker tries once a minute at the least, and the ramp takes half of one
LOOK_S = 0.25
RAMP_S = 3.0
CROWD_DEVICES = 10
PUSH_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Outage:
    """What came of one outage; ``taken`` is (seconds since FCM is back, sends that it took by then)."""

    accepted: int
    lost: int
    repeated: int
    after_settled: int  # sent again though settled before the kill
    out_of_order: int
    at_first: int  # sends in the first `RAMP_S` seconds
    taken: list[tuple[float, int]]

    def holds(self, *, killed: bool) -> bool:
        """Whether all came, in order and slowly at first; once, or where it was killed never after it was settled."""
        once = not self.after_settled and (killed or not self.repeated)
        return once and not self.lost and not self.out_of_order and self.at_first <= 1.5 * RAMP_S * RAMP_PER_S

    def told(self) -> str:
        """In one line."""
        return (
            f"{self.accepted} accepted, {self.lost} lost, {self.repeated} sent twice ({self.after_settled} of them"
            f" settled before), {self.out_of_order} out of order, {self.at_first} in the first {RAMP_S:.0f} s,"
            f" all {self.taken[-1][0]:.0f} s after it was back"
        )


def outage(seconds: int, *, kill: bool) -> Outage:
    """Let FCM fail for so long while webhooks come in, then work; with ``kill``, end the server half-way through."""
    takos = Takos()
    ids = [f"n{number:06}" for number in range(int(seconds * PER_S))]
    with world([takos], lambda data: written(data, devices(takos.domain, USERS, 1))) as gateway:
        gateway.ask("/fail", b"unavailable")
        requests = [takos.webhook(f"user{number % USERS}", id_) for number, id_ in enumerate(ids)]
        answers, _ = drive(connected(gateway.url, CONNECTIONS), requests, PER_S)
        accepted = sum(json.loads(answer).get("queued") == 1 for answer in answers)
        if accepted != len(ids):
            raise SystemExit(f"{accepted} of {len(ids)} queued: {answers[-1]!r}")
        gateway.ask("/fail", b"")
        taken, before, settled = _coming_back(gateway, accepted, kill=kill)
        sent = [one["message"] for one in gateway.sent()]
    return _weighed(ids, sent, taken, _again(sent[before:], settled) if kill else 0)


def _coming_back(gateway: World, wanted: int, *, kill: bool) -> tuple[list[tuple[float, int]], int, set[str]]:
    """Watch until all was taken: what was when; sends before the kill, and the ids that were settled at it."""
    began_s, taken = time.monotonic(), [(0.0, 0)]
    before, settled = 0, set[str]()
    while taken[-1][1] < wanted and taken[-1][0] < BACK_S_MAX:
        time.sleep(LOOK_S)
        taken.append((time.monotonic() - began_s, gateway.count()))
        if kill and not before and taken[-1][1] > wanted // 3:
            gateway.kill()
            settled = _settled(gateway.directory / "data")
            before = gateway.count()
            gateway.start()
    time.sleep(5)  # what came twice came by now
    return taken, before, settled


def _settled(data: Path) -> set[str]:
    """The ids that a dead server's log says are done with."""
    by_seq: dict[int, str] = {}
    done: set[str] = set()
    with open_log(data, SystemClock()) as log:
        for record in itertools.chain.from_iterable(log.read(0)):
            match fact_of(record) if record.kind in (Accepted.kind, Settled.kind) else None:
                case Accepted(notification_id=id_):
                    by_seq[record.seq] = id_
                case Settled(accepted_seq=seq):
                    done.add(by_seq[seq])
                case _:
                    pass
    return done


def _again(sent: list[dict[str, Any]], settled: set[str]) -> int:
    return sum(message["data"]["notification_id"] in settled for message in sent)


def _weighed(ids: list[str], sent: list[dict[str, Any]], taken: list[tuple[float, int]], again: int) -> Outage:
    by_device: dict[str, list[str]] = defaultdict(list)
    for message in sent:
        by_device[message["token"]].append(message["data"]["notification_id"])
    came = [id_ for each in by_device.values() for id_ in each]
    first_s = next((at for at, count in taken if count), 0.0)
    return Outage(
        accepted=len(ids),
        lost=len(set(ids) - set(came)),
        repeated=len(came) - len(set(came)),
        after_settled=again,
        out_of_order=sum(one > other for each in by_device.values() for one, other in itertools.pairwise(each)),
        at_first=max(count for at, count in taken if at <= first_s + RAMP_S),
        taken=taken,
    )


def per_second(taken: list[tuple[float, int]]) -> Mapping[int, float]:
    """Sends in each second since FCM was back."""
    by_second: dict[int, float] = defaultdict(float)
    for (_, before), (at, count) in itertools.pairwise(taken):
        by_second[int(at)] += count - before
    return {second: by_second[second] for second in range(int(taken[-1][0]) + 1)}


@dataclass(frozen=True, slots=True)
class Singles:
    """Single pushes past a crowd: seconds from each post until FCM had it, and until it was answered."""

    left_s: list[float]
    answered_s: list[float]


def crowd(queued: int) -> Singles:
    """Send another tenant's single pushes, until half of one tenant's backlog has left."""
    busy, other = Takos("busy.example"), Takos("other.example")
    posted: dict[str, float] = {}
    answered: list[float] = []
    with _crowded(busy, other, queued) as gateway:
        clients = connected(gateway.url, 1)
        while gateway.count() < queued // 2:
            id_ = f"single-{len(posted)}"
            request = other.webhook("user0", id_)
            posted[id_] = time.time()
            answered += drive(clients, [request])[1]
            time.sleep(PUSH_PAUSE_S)
        sent = gateway.sent()
    at = {one["message"]["data"]["notification_id"]: one["at_ms"] / 1000 for one in sent}
    return Singles([at.get(id_, float("inf")) - posted_s for id_, posted_s in posted.items()], answered)


@contextmanager
def _crowded(busy: Takos, other: Takos, queued: int) -> Iterator[World]:
    facts = itertools.chain(devices(other.domain, 1, 1), backlog(busy.domain, queued, CROWD_DEVICES))
    with world([busy, other], lambda data: written(data, facts)) as gateway:
        yield gateway
