"""A stream of events or rows published at one relay: several lots on their way at once, through cuts and restarts.

Invariant: a lot leaves only when each of its events has its answer; what was on its way when a connection ended is sent
anew on the next (relays know duplicates). Memory is `SYNC_ERRANDS` lots, however long the stream.
This module must not know where lots come from.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import trio

from gateway.client.behaviour import TURNED_AWAY, back_off_ms
from gateway.client.clock import Clock
from gateway.client.line import LineLost
from gateway.client.station import Station, first_of
from gateway.client.stored import Stored
from gateway.client.syncing import Side, Teller
from gateway.limits.client import SYNC_ERRANDS


@dataclass(frozen=True, slots=True)
class Lot:
    """Events that are answered together, and where the stream stands behind them."""

    events: list[Stored]
    end: int


Next = Callable[[], Awaitable[Lot | None]]
"""Gives the next lot, None at the end; called by one task at a time."""
Settled = Callable[[int, Mapping[str, str]], Awaitable[None]]
"""Hears of a lot's refusals, and how far the stream is settled without a gap."""


class Pouring:
    """What of a stream is on its way."""

    def __init__(self, more: Next, settled: Settled) -> None:
        self._more, self._settled = more, settled
        self._reading, self._telling = trio.Lock(), trio.Lock()
        self._open: deque[tuple[Lot, list[bool]]] = deque()  # in the stream's order; whether each is settled
        self._again: deque[tuple[Lot, list[bool]]] = deque()
        self._ended = False
        self.lots_settled = 0

    async def run(self, station: Station) -> None:
        """Publish until the stream ends. Raises LineLost: run it anew on another connection."""
        self._again = deque(one for one in self._open if not one[1][0])
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(SYNC_ERRANDS):
                    nursery.start_soon(self._errand, station)
        except BaseExceptionGroup as group:
            raise first_of(group) from None

    async def _errand(self, station: Station) -> None:
        while (one := await self._next()) is not None:
            lot, is_settled = one
            refused = await station.publish(lot.events)
            async with self._telling:
                is_settled[0] = True
                self.lots_settled += 1
                end = -1
                while self._open and self._open[0][1][0]:
                    end = self._open.popleft()[0].end
                await self._settled(end, refused)

    async def _next(self) -> tuple[Lot, list[bool]] | None:
        if self._again:
            return self._again.popleft()
        async with self._reading:
            lot = None if self._ended else await self._more()
            if lot is None:
                self._ended = True
                return None
            one = (lot, [False])
            self._open.append(one)
            return one


async def pour(side: Side, more: Next, settled: Settled, *, clock: Clock, tell: Teller) -> None:
    """Publish a stream at a relay, over as many connections as it takes.

    Raises LineLost where the first connection cannot be made, or the relay is not served or refuses the token twice in
    a row; RequestRefused where there is no token. Cancelled, what was on its way may be stored.
    """
    pouring, tries, settled_before, opened = Pouring(more, settled), 0, -1, False
    while True:
        try:
            async with await side.open() as station:
                opened = True
                await pouring.run(station)
                return
        except LineLost as lost:
            stuck = pouring.lots_settled == settled_before
            if not opened or (stuck and lost.code in TURNED_AWAY):
                raise
            tries = tries + 1 if stuck else 0
            settled_before = pouring.lots_settled
            wait_ms = back_off_ms(tries, clock.roll())
            tell(f"the connection is lost ({lost}); it is opened again in {wait_ms / 1000:.1f} s")
        await trio.sleep(wait_ms / 1000)
