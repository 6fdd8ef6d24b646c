"""The token of a mirror's socket, renewed while it is open, so that its end cuts nothing (relay-and-mirror §2).

Invariant: the token in use is the last that was given; one that cannot be had now is asked for again, while the old one
lasts. This module must not know where tokens come from.
"""

from collections.abc import Awaitable, Callable

import trio

from gateway.client.behaviour import back_off_ms, refresh_at
from gateway.client.clock import Clock
from gateway.client.happening import Granted
from gateway.client.line import LineLost
from gateway.client.station import RequestRefused, Station

Ask = Callable[[], Awaitable[Granted]]
"""Gives a new token; raises LineLost where none is to be had now, RequestRefused where none is to be had."""


class Renewing:
    """The tokens of one side of a synchronisation."""

    def __init__(self, ask: Ask, clock: Clock) -> None:
        self._ask, self._clock, self._latest = ask, clock, Granted()

    async def token(self) -> Granted:
        """Ask for the token of a new connection; as `Ask`."""
        self._latest = await self._ask()
        return self._latest

    async def keep(self, station: Station) -> None:
        """Renew an open mirror's token, for ever, or until none is given any more."""
        tries = 0
        while self._latest.refresh_after is not None:
            now_ms = self._clock.now_ms()
            pause_ms = (
                back_off_ms(tries - 1, self._clock.roll()) if tries else refresh_at(self._latest, now_ms) - now_ms
            )
            await trio.sleep(pause_ms / 1000)
            try:
                self._latest = await self._ask()
            except LineLost:
                tries += 1
            except RequestRefused:
                return  # the next connection asks too, and says so
            else:
                tries = 0
                station.say(["AUTH", self._latest.for_mirror])
