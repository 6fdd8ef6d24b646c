"""Turns: in which order deliveries leave, so that no tenant waits for another's backlog (push §5, "Fairness").

A lane is one tenant's deliveries in one project. Lanes take turns; a project that is stopped is passed over; one tenant
holds at most a share of the connections, so a slot is always near. A lane keeps a window of its deliveries in memory
and reads the rest from its source, the outbox view, which stays the one truth about what is to do.
Invariant: a delivery is handed out once, until it is put back or forgotten. Must not know clocks or how it is sent.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Protocol

import msgspec

from gateway.limits.push import LANE_ITEMS_MAX, TENANT_SHARE
from gateway.push.target import identity


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One notification to one device, still to do; ``seq`` is the record that accepted it."""

    seq: int
    index: int
    tenant: str
    project: str
    target: str
    target_kind: str
    attempt: int
    expires_ms: int
    device: int  # what `device_number` says of its tenant and target

    @property
    def key(self) -> tuple[int, int]:
        """What the log's later records call it by."""
        return self.seq, self.index


def device_number(tenant: str, target_kind: str, target: str) -> int:
    """A device of a tenant as 63 bits; two that share one (one pair in 2^31 devices) only wait for each other.

    A subscription has the number of its endpoint, whatever its keys.
    """
    digest = hashlib.sha256(f"{tenant}\0{target_kind}\0{identity(target_kind, target)}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


class Source(Protocol):
    """Where a lane reads what it has no room for in memory."""

    def ready(self, tenant: str, project: str, now_ms: int, limit: int) -> Sequence[Delivery]:
        """The deliveries of a lane that may be tried now, first accepted first."""
        ...


@dataclass(slots=True)
class _Lane:
    due: deque[Delivery] = field(default_factory=deque)
    taken: set[tuple[int, int]] = field(default_factory=set)  # in `due`, or handed out and not yet forgotten
    more: bool = False  # the source may hold more
    queued: bool = False  # it stands in its project's ring


class Turns:
    """All lanes, and whose turn it is."""

    def __init__(self, source: Source, slots: int) -> None:
        self._source = source
        self._share = max(1, ceil(slots * TENANT_SHARE) if slots > 1 else 1)
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._rings: dict[str, deque[str]] = {}
        self._projects: deque[str] = deque()
        self._flying: Counter[str] = Counter()
        self._due = 0  # in memory, in all lanes
        self._unread: set[tuple[str, str]] = set()  # lanes whose source may hold more
        self._resting: dict[tuple[str, str], int] = {}  # lanes that are passed over, each until a time (ms)

    @property
    def are_due(self) -> bool:
        """Whether anything waits for its turn, as far as is known without asking the source."""
        return self._due > 0 or bool(self._unread)

    def offer(self, delivery: Delivery) -> None:
        """Take in a delivery that was just accepted; beyond a lane's window it is left to the source."""
        lane = self._lane(delivery.tenant, delivery.project)
        if delivery.key in lane.taken:
            return
        if lane.more or len(lane.due) >= LANE_ITEMS_MAX:
            lane.more = True
            self._unread.add((delivery.tenant, delivery.project))
        else:
            lane.due.append(delivery)
            lane.taken.add(delivery.key)
            self._due += 1
        self._queue(delivery.tenant, delivery.project, lane)

    def mark(self, tenant: str, project: str) -> None:
        """Note that the source holds something due for this lane."""
        lane = self._lane(tenant, project)
        lane.more = True
        self._unread.add((tenant, project))
        self._queue(tenant, project, lane)

    def next(self, now_ms: int, admits: Callable[[str], bool] = lambda _project: True) -> Delivery | None:
        """Hand out the delivery whose turn it is, of a project that ``admits`` one; None where nothing may go now."""
        for _ in range(len(self._projects)):
            self._projects.rotate(-1)
            project = self._projects[0]
            if self._rings[project] and admits(project):
                found = self._of_project(project, now_ms)
                if found is not None:
                    self._flying[found.tenant] += 1
                    return found
        return None

    def rest(self, tenant: str, project: str, until_ms: int) -> None:
        """Pass over a tenant's deliveries in a project until then."""
        self._resting[tenant, project] = until_ms

    def rested_ms(self, now_ms: int) -> int | None:
        """When the next lane that rests is no longer passed over; None where none rests any more."""
        if self._resting:
            self._resting = {lane: until_ms for lane, until_ms in self._resting.items() if until_ms > now_ms}
        return min(self._resting.values(), default=None)

    def _rests(self, tenant: str, project: str, now_ms: int) -> bool:
        return bool(self._resting) and self._resting.get((tenant, project), 0) > now_ms

    def landed(self, delivery: Delivery) -> None:
        """Give back the connection of a delivery that was handed out."""
        self._flying[delivery.tenant] -= 1
        if not self._flying[delivery.tenant]:
            del self._flying[delivery.tenant]

    def put_back(self, delivery: Delivery) -> None:
        """Return, at the head of its lane, a delivery that was handed out and not sent."""
        lane = self._lane(delivery.tenant, delivery.project)
        lane.due.appendleft(delivery)
        self._due += 1
        self._queue(delivery.tenant, delivery.project, lane)

    def forget(self, delivery: Delivery) -> None:
        """Let go of a delivery whose outcome the source shows by now."""
        key = delivery.tenant, delivery.project
        lane = self._lanes[key]
        lane.taken.discard(delivery.key)
        if not lane.taken and not lane.more:
            self._drop(key, lane)

    def withdraw(self, delivery: Delivery) -> bool:
        """Take a delivery out of its lane's wait, as if it had been handed out; False where it has been already.

        It must be forgotten in the end; it holds no connection.
        """
        lane = self._lane(delivery.tenant, delivery.project)
        if delivery.key not in lane.taken:
            lane.taken.add(delivery.key)
            return True
        waiting = [held for held in lane.due if held.key == delivery.key]
        for held in waiting:
            lane.due.remove(held)
            self._due -= 1
        return bool(waiting)

    def _lane(self, tenant: str, project: str) -> _Lane:
        return self._lanes.setdefault((tenant, project), _Lane())

    def _queue(self, tenant: str, project: str, lane: _Lane) -> None:
        if lane.queued:
            return
        lane.queued = True
        if project not in self._rings:
            self._rings[project] = deque()
            self._projects.append(project)
        self._rings[project].append(tenant)

    def _drop(self, key: tuple[str, str], lane: _Lane) -> None:
        if not lane.queued:
            del self._lanes[key]

    def _of_project(self, project: str, now_ms: int) -> Delivery | None:
        ring = self._rings[project]
        for _ in range(len(ring)):
            tenant = ring[0]
            lane = self._lanes[tenant, project]
            if self._flying[tenant] >= self._share or self._rests(tenant, project, now_ms):
                ring.rotate(-1)
                continue
            if not lane.due and lane.more:
                self._refill(tenant, project, lane, now_ms)
            if lane.due:
                ring.rotate(-1)
                self._due -= 1
                return lane.due.popleft()
            ring.popleft()
            lane.queued = False
            if not lane.taken:
                self._drop((tenant, project), lane)
        return None

    def _refill(self, tenant: str, project: str, lane: _Lane, now_ms: int) -> None:
        limit = LANE_ITEMS_MAX + len(lane.taken)
        found = self._source.ready(tenant, project, now_ms, limit)
        lane.more = len(found) == limit
        if not lane.more:
            self._unread.discard((tenant, project))
        fresh = [delivery for delivery in found if delivery.key not in lane.taken]
        lane.due.extend(fresh)
        self._due += len(fresh)
        lane.taken.update(delivery.key for delivery in fresh)
