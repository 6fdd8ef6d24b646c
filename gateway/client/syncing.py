"""Two relays kept in step: compared by NIP-77, what differs carried over, then whatever comes live.

    follow both ─▶ compare (each one's answer asks the other) ─▶ ids that one lacks ─▶ fetch, publish ─▶ live
What to compare after a cut is `standing`'s to say. A relay without NIP-77 is read in pages instead, and the other says
what it has. Invariants: both are followed before anything is compared, so nothing falls in between; no step waits for
more than it holds a bound of. This module must not know commands.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import trio

from gateway.client.behaviour import TOKEN_REFUSED, TURNED_AWAY, back_off_ms
from gateway.client.clock import Clock
from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.mediation import Mediator
from gateway.client.paging import Pages
from gateway.client.proving import Identity
from gateway.client.standing import Standing, Sweep
from gateway.client.station import (
    Answers,
    Comparison,
    Keep,
    NoComparison,
    RequestRefused,
    Station,
    TooLarge,
    first_of,
    open_station,
)
from gateway.client.stored import Stored
from gateway.limits.client import (
    SYNC_ERRANDS,
    SYNC_IDS,
    SYNC_IDS_WAITING,
    SYNC_LIVE_MAX,
    SYNC_ROUNDS_MAX,
    SYNC_TRIES_MAX,
)
from gateway.negentropy import Malformed

Direction = Literal["both", "down", "up"]
Teller = Callable[[str], None]


@dataclass
class Tally:
    """What was carried so far; ``missing``: told of, and then not given; ``dropped``: accepted, and then missing.

    ``refused`` is without what is ``superseded``: refused since it was deleted there, or replaced by a newer version.
    """

    down: int = 0
    up: int = 0
    refused: int = 0
    superseded: int = 0
    missing: int = 0
    dropped: int = 0
    rounds: int = 0
    changed: Callable[[], None] = field(default=lambda: None, repr=False)

    def refuse(self, reason: str) -> None:
        """Count a refusal as what it is."""
        is_superseded = supersedes(reason)
        self.superseded += is_superseded
        self.refused += not is_superseded

    def __str__(self) -> str:
        more = f", {self.superseded} deleted or replaced" if self.superseded else ""
        return f"{self.down} down, {self.up} up, {self.refused} refused{more}"


def supersedes(reason: str) -> bool:
    """Whether a relay refuses an event since it has it, a newer version, or its deletion: nothing is out of step.

    NIP-01 has no prefix for the latter two: other relays say ``replaced:`` and ``deleted:``, ours ``blocked:`` and why.
    """
    prefix = reason.partition(":")[0]
    is_gone = any(word in reason for word in ("delete", "vanish", "erased", "newer"))
    return prefix in ("duplicate", "replaced", "deleted") or (prefix == "blocked" and is_gone)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two relays: how to get its URL anew (with a fresh token, where it needs one), and what it is.

    ``identity``: a key that is proved where it is asked for. ``keep``: has an open connection's token renewed.
    ``renews``: whether the URL has another token each time.
    """

    name: str
    url: Callable[[], Awaitable[str]]
    is_mirror: bool = False
    identity: Identity | None = None
    keep: Keep | None = None
    renews: bool = False

    async def open(self) -> AbstractAsyncContextManager[Station]:
        """Connect; as `open_station`."""
        return open_station(
            await self.url(), is_mirror=self.is_mirror, identity=self.identity, keep=self.keep, renews=self.renews
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be in step, which way, and who hears of it."""

    asked: Mapping[str, Any]
    direction: Direction
    clock: Clock
    tally: Tally
    tell: Teller


class _Way:
    """From one relay to the other."""

    def __init__(self, source: Station, target: Station, sync: "Sync", *, is_down: bool) -> None:
        self._source, self._target, self._sync, self._is_down = source, target, sync, is_down
        self._name = "down" if is_down else "up"
        self._lots, self._taken = trio.open_memory_channel[list[bytes]](SYNC_IDS_WAITING // SYNC_IDS)
        self._lot: list[bytes] = []
        self._live, self._arriving = trio.open_memory_channel[tuple[Stored | None, str | None]](SYNC_LIVE_MAX)
        self._overflowed = trio.Event()

    async def need(self, ids: Sequence[bytes]) -> None:
        """Have events carried whose ids these are; waits while too many are waiting."""
        self._lot += ids
        while len(self._lot) >= SYNC_IDS:
            lot, self._lot = self._lot[:SYNC_IDS], self._lot[SYNC_IDS:]
            await self._lots.send(lot)

    async def last(self) -> None:
        """Hear that no more ids come."""
        if self._lot:
            await self._lots.send(self._lot)
        self._lots.close()

    async def errands(self) -> None:
        """Fetch and publish lot by lot, several at once, until the last was carried."""
        async with trio.open_nursery() as nursery, self._taken:
            for _ in range(SYNC_ERRANDS):
                nursery.start_soon(self._errand, self._taken.clone())

    async def _errand(self, lots: trio.MemoryReceiveChannel[list[bytes]]) -> None:
        carried = self._sync.standing.carried
        async with lots:
            async for lot in lots:
                names = [one.hex() for one in lot]
                self._sync.tally.dropped += sum(map(carried.is_dropped, names))
                left = {name for name in names if not carried.is_answered(name)}
                while left and (found := await self._fetch(left)):
                    left -= {one.id for one in found}
                    await self.carry(found)
                self._sync.tally.missing += len(left)

    async def _fetch(self, names: set[str]) -> list[Stored]:
        found = await self._source.fetch({**self._sync.place, "ids": sorted(names)})
        return [one for one in found if one.id in names]

    async def carry(self, events: Sequence[Stored]) -> None:
        """Publish events at the other relay, and count; not those that it answered before a cut."""
        carried = self._sync.standing.carried
        new = [one for one in events if not carried.is_answered(one.id)]
        if not new:
            return
        names = [one.id for one in new]
        carried.send(names)
        try:
            await self._target.publish(new, self._settled)
        except BaseException:
            carried.lose(names)
            raise

    def _settled(self, answers: Answers) -> None:
        """Count what is answered for good."""
        sync, tally = self._sync, self._sync.tally
        sync.standing.carried.answer(answers)
        refused = {name: reason for name, (accepted, reason) in answers.items() if not accepted}
        for name, reason in refused.items():
            tally.refuse(reason)
            sync.tell(f"{'ours' if self._is_down else 'theirs'} refuses {name}: {reason}")
        count = len(answers) - len(refused)
        tally.down += count if self._is_down else 0
        tally.up += 0 if self._is_down else count
        tally.changed()

    def heard(self, event: Stored | None, cursor: str | None) -> None:
        """Take a live event of the source, unless it is the echo of one that was carried there."""
        news = None if event is None or event.id in self._sync.standing.carried else event
        if news is None and cursor is None:
            return
        try:
            self._live.send_nowait((news, cursor))
        except trio.WouldBlock:
            self._overflowed.set()

    async def live(self, *, task_status: trio.TaskStatus[bool] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry what comes live, for ever; started with whether it goes on where the last connection stood.

        Raises LineLost where the target cannot keep up.
        """
        standing = self._sync.standing
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry_live)
            task_status.started(await self._follow(nursery))
            await self._overflowed.wait()
            standing.strayed(self._name)
            raise LineLost(NO_CLOSE, f"{SYNC_LIVE_MAX} live events wait for the other relay")

    async def _follow(self, nursery: trio.Nursery) -> bool:
        standing, asked = self._sync.standing, self._sync.asked
        cursor = standing.follows(self._name)
        if cursor is not None:
            try:
                await nursery.start(self._source.follow, asked, self.heard, cursor)
            except RequestRefused as why:
                self._sync.tell(f"what came meanwhile is not to be had by itself ({why})")
                standing.strayed(self._name)
            else:
                return True
        await nursery.start(self._source.follow, asked, self.heard)
        return False

    async def read(self, sweep: Sweep) -> None:
        """Carry everything, page by page; the next page is asked for while the last is published."""
        begin = sweep.read.get(self._name)
        paging = Pages(sweep.asked) if begin is None else copy(begin)
        async with trio.open_nursery() as nursery:
            ahead, behind = trio.open_memory_channel[tuple[list[Stored], Pages]](1)
            nursery.start_soon(self._carry_pages, behind, sweep)
            async with ahead:
                async for page in pages(self._source, paging):
                    await ahead.send((page, copy(paging)))

    async def _carry_pages(self, some: trio.MemoryReceiveChannel[tuple[list[Stored], Pages]], sweep: Sweep) -> None:
        async for page, place in some:
            await self.carry(page)
            sweep.read[self._name] = place

    async def _carry_live(self) -> None:
        async for first in self._arriving:
            event, cursor = first
            events = {} if event is None else {event.id: event}
            while len(events) < SYNC_IDS:
                try:
                    event, behind = self._arriving.receive_nowait()
                except trio.WouldBlock:
                    break
                cursor = behind or cursor
                if event is not None:
                    events[event.id] = event
            await self.carry(list(events.values()))
            if cursor is not None:
                self._sync.standing.cursors[self._name] = cursor


class Sync:
    """Two open connections, and what is to be in step on both."""

    def __init__(self, ours: Station, theirs: Station, wanted: Wanted, standing: Standing) -> None:
        self._ours, self._theirs, self._clock, self.standing = ours, theirs, wanted.clock, standing
        self.asked, self._direction, self.tally, self.tell = wanted.asked, wanted.direction, wanted.tally, wanted.tell
        self.place: dict[str, Any] = {key: self.asked[key] for key in ("relayID", "#relay") if key in self.asked}
        self._cost_s = 0.0  # of comparing or paging, which is the relays' cost

    async def run(self, *, once: bool, level: Callable[[], None]) -> None:
        """Bring both in step, call ``level``, and unless it is ``once`` keep them so for ever.

        Raises LineLost, RequestRefused, Malformed. Cancelled, what was published stays.
        """
        self.standing.carried.connected()
        try:
            for station in (self._ours, self._theirs):
                await station.introduce(self.asked)
            async with trio.open_nursery() as nursery:
                ways = {} if once else self._ways()
                resumed = [await nursery.start(way.live) for way in ways.values()]
                if once or not all(resumed):
                    await self._catch_up(once=once)
                self.standing.level(self._clock.now_ms(), self._cost_s)
                level()
                if not once:
                    await self._pay()
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def _catch_up(self, *, once: bool) -> None:
        """Bring in step what is not; ``once``, as of the time when that began."""
        while True:
            await self._bring_in_step(self.standing.first(self._clock.now_ms()))
            if once or self.standing.swept(self._clock.now_ms()):
                return

    async def _pay(self) -> None:
        """Compare what a window has left out, in its time."""
        while (rest := self.standing.rest(self._clock.now_ms())) is not None:
            wait_s = self.standing.rest_in_s(self._clock.now_ms())
            self.tell(f"older ones, which may have come late, are compared in {wait_s:.0f} s")
            await trio.sleep(wait_s)
            self._cost_s = 0.0
            await self._bring_in_step(rest)
            self.standing.paid(self._clock.now_ms(), self._cost_s)
            self.tell(f"all of it is in step: {self.tally}")

    def _ways(self) -> dict[str, _Way]:
        ways = {}
        if self._direction != "up":
            ways["down"] = _Way(self._theirs, self._ours, self, is_down=True)
        if self._direction != "down":
            ways["up"] = _Way(self._ours, self._theirs, self, is_down=False)
        return ways

    async def _bring_in_step(self, sweep: Sweep) -> None:
        begun = trio.current_time()
        try:
            await self._compare(sweep.asked)
        except NoComparison as why:
            self.tell(f"no NIP-77 ({why}): everything is read in pages{', on from the last' if sweep.read else ''}")
            await self._read(sweep)
            self._cost_s = trio.current_time() - begun

    async def _read(self, sweep: Sweep) -> None:
        for way in self._ways().values():
            await way.read(sweep)

    async def _compare(self, asked: Mapping[str, Any]) -> None:
        """Compare a filter's events and carry what differs; in halves of its time where that is too many at once."""
        spans = self.standing.spans
        left = deque(spans.of(asked))
        while left:
            span = left.popleft()
            try:
                await self._compare_at_once(span)
            except TooLarge as why:
                halves = spans.halves(span, self._clock.now_ms() // 1000)
                if not halves:
                    raise NoComparison(str(why)) from None
                left.extendleft(reversed(halves))

    async def _mediate(self, ours: Comparison, theirs: Comparison, ways: Mapping[str, _Way]) -> None:
        mediator, is_ours, answer = Mediator(), True, await _opened(ours, theirs)
        for _ in range(SYNC_ROUNDS_MAX):
            question, difference = mediator.hand_on(answer, is_ours=is_ours)
            self.tally.rounds += 1
            if "down" in ways:
                await ways["down"].need(difference.ours_lacks)
            if "up" in ways:
                await ways["up"].need(difference.theirs_lacks)
            if question is None:
                return
            is_ours = not is_ours
            answer = await (ours if is_ours else theirs).ask(question)
        raise RequestRefused("the comparison does not end")

    async def _compare_at_once(self, asked: Mapping[str, Any]) -> None:
        ways = self._ways()
        try:
            async with trio.open_nursery() as nursery:
                for way in ways.values():
                    nursery.start_soon(way.errands)
                begun = trio.current_time()
                async with self._ours.compare(asked) as ours, self._theirs.compare(asked) as theirs:
                    await self._mediate(ours, theirs, ways)
                self._cost_s += trio.current_time() - begun
                for way in ways.values():
                    await way.last()
        except BaseExceptionGroup as group:
            raise first_of(group) from None


async def _opened(ours: Comparison, theirs: Comparison) -> bytes:
    """Open both at once, since taking a large set together takes a second; give the answer of ours."""
    answers: list[bytes] = []

    async def ask_ours() -> None:
        answers.append(await ours.ask(Mediator.first()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_ours)
        nursery.start_soon(theirs.ask, Mediator.first())
    return answers[0]


async def pages(source: Station, paging: Pages) -> AsyncIterator[list[Stored]]:
    """Give all that is stored of a filter, the newest first. Raises RequestRefused, LineLost."""
    while (request := paging.request()) is not None:
        new = paging.take(await source.fetch(request))
        if new:
            yield new


@asynccontextmanager
async def both(ours: Side, theirs: Side) -> AsyncIterator[tuple[Station, Station]]:
    """Connect to both relays."""
    async with await ours.open() as one, await theirs.open() as other:
        yield one, other


async def keep_in_step(ours: Side, theirs: Side, wanted: Wanted, *, once: bool) -> None:
    """Keep two relays in step through cuts and restarts, for ever or ``once``.

    Raises LineLost where the first connection cannot be made or, ``once``, was lost `SYNC_TRIES_MAX` times with nothing
    carried; RequestRefused where a relay does not take part. Cancelled, what was published stays.
    """
    tries, news, standing = 0, 0, Standing(wanted.asked)

    def level() -> None:
        nonlocal tries
        tries = 0
        wanted.tell(f"in step: {wanted.tally}")

    while True:
        opened = False
        try:
            async with both(ours, theirs) as (one, other):
                opened = True
                await Sync(one, other, wanted, standing).run(once=once, level=level)
                return
        except LineLost as lost:
            standing.lost(wanted.clock.now_ms())
            if not opened and not standing.was_level and not tries and not news:
                raise
            tries = 0 if standing.carried.news > news else tries + 1
            news = standing.carried.news
            if once and tries > SYNC_TRIES_MAX:
                raise
            if tries > 1 and (lost.code == TOKEN_REFUSED or (once and lost.code in TURNED_AWAY)):
                raise  # a new token was asked for, and is refused too; or nobody waits for what is not served
            wait_ms = back_off_ms(tries, wanted.clock.roll())
            wanted.tell(f"a connection is lost ({lost}); both are opened again in {wait_ms / 1000:.1f} s")
        except Malformed as why:
            raise RequestRefused(f"the other side's comparison is malformed: {why}") from None
        await trio.sleep(wait_ms / 1000)
