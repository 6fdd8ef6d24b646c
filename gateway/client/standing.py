"""What two relays are known to share, from one connection to the next; so what is to be compared after a cut. Pure.

    first: everything ─▶ in step, live ─▶ cut ─▶ behind cursors (mirrors), else a window of time ─▶ live ─▶ the rest
A relay tells by NIP-01 when an event was made, never when it came. So after a cut what is new is looked for in a window
that begins well before it, at once; what was made before that may have come too, so the rest is owed: compared as soon
as comparisons of everything take no more than a `SYNC_SHARE`th of the time, since connections that break by the minute
must not cost one of a million events each. A mirror's cursor is a place of its log: behind it stands exactly what came,
and nothing is owed.
What is read in pages goes on after a cut where it was answered, however often it is cut. Such a sweep is patched: what
came meanwhile to the part that was read before is not in it. So it counts as of its begin, as if there had been a cut
then: a window follows at once, and the rest is owed.
Invariant: window and rest together are all that is asked for. This module must not know connections.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.client.carried import Carried
from gateway.client.paging import Pages
from gateway.client.spans import Spans
from gateway.limits.client import SYNC_PAUSE_WHOLE_S_MAX, SYNC_SHARE, SYNC_WINDOW_S


@dataclass
class Sweep:
    """One bringing in step of what a filter asks for; read in pages, over as many connections as it takes."""

    asked: Mapping[str, Any]
    begun_ms: int
    read: dict[str, Pages] = field(default_factory=dict)  # by way: up to where all was answered
    is_patched: bool = False


class Standing:
    """Of one pair of relays; times in ms since 1970."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._asked = dict(asked)
        self.carried, self.spans = Carried(), Spans()
        self.cursors: dict[str, str] = {}  # by way: what lies before was carried
        self._anew: set[str] = set()  # ways whose cursors hold only once it is level
        self._whole_ms: int | None = None  # when everything was last compared
        self._cost_s = 0.0  # and how long that took
        self._known_ms = 0  # until when the live part was known to be whole
        self._owed: Mapping[str, Any] | None = None  # what the last window has left out
        self._first: Sweep | None = None
        self._rest: Sweep | None = None
        self._is_live = False

    @property
    def was_level(self) -> bool:
        """Whether everything was compared once."""
        return self._whole_ms is not None

    def first(self, now_ms: int) -> Sweep:
        """Say what to bring in step on a new connection, and behind a sweep that was patched."""
        sweep = _going_on(self._first)
        if sweep is None:
            window = self._window(now_ms)
            self._owed = None if window is None else {**self._asked, "until": window["since"] - 1}
            sweep = Sweep(window or self._asked, now_ms)
        self._first = sweep
        return sweep

    def _window(self, now_ms: int) -> Mapping[str, Any] | None:
        """Say where to look for what is new since all was known; None where it is to be looked for everywhere."""
        begin_s = min(self._known_ms, now_ms) // 1000 - SYNC_WINDOW_S
        since, until = self._asked.get("since") or 0, self._asked.get("until")
        is_window = self.was_level and "limit" not in self._asked and since < begin_s
        if not is_window or (until is not None and until <= begin_s):
            return None
        return {**self._asked, "since": begin_s}

    def swept(self, now_ms: int) -> bool:
        """Hear that what `first` said is through; False where it says more, for which nothing waits."""
        sweep, self._first = self._first, None
        assert sweep is not None, "what is through was said before"
        if not sweep.is_patched:
            return True
        self._known_ms = sweep.begun_ms
        if sweep.asked is self._asked:
            self._whole_ms, self._cost_s = now_ms, (now_ms - sweep.begun_ms) / 1000
        if self._window(now_ms) is None:
            self._owed = self._asked
            return True
        return False

    def rest(self, now_ms: int) -> Sweep | None:
        """Say what is still owed; None where nothing is."""
        if self._owed is not None:
            self._rest = _going_on(self._rest) or Sweep(self._owed, now_ms)
        return self._rest

    def rest_in_s(self, now_ms: int) -> float:
        """Say how long it may wait."""
        assert self._whole_ms is not None, "a rest is what a window leaves, and there is none before everything"
        pause_s = min(SYNC_SHARE * self._cost_s, SYNC_PAUSE_WHOLE_S_MAX)
        return min(max(0.0, pause_s - (now_ms - self._whole_ms) / 1000), pause_s)

    def level(self, now_ms: int, cost_s: float) -> None:
        """Hear that what `first` said was compared, or that cursors were gone on from: from here on it is live."""
        self._is_live, self._first = True, None
        self._anew.clear()
        if self._owed is None:
            self._whole_ms, self._cost_s = now_ms, cost_s or self._cost_s
            self.carried.in_step()

    def paid(self, now_ms: int, cost_s: float) -> None:
        """Hear that the rest was compared too; where it was patched, it is owed once more."""
        rest, self._rest = self._rest, None
        assert rest is not None, "what is paid was owed"
        self._whole_ms, self._cost_s = now_ms, cost_s
        if rest.is_patched:
            self._cost_s = (now_ms - rest.begun_ms) / 1000
        else:
            self._owed = None
            self.carried.in_step()

    def lost(self, now_ms: int) -> None:
        """Hear that a connection is lost; of one that never got level only what it had answered stays."""
        if self._is_live:
            self._is_live, self._known_ms = False, now_ms
        for way in self._anew:
            self.cursors.pop(way, None)
        self._anew.clear()

    def follows(self, way: str) -> str | None:
        """Give a way's place to go on from; None where it begins anew: then its cursors hold once all is level."""
        if way not in self.cursors:
            self._anew.add(way)
        return self.cursors.get(way)

    def strayed(self, way: str) -> None:
        """Forget a way's place: more came than could wait, or the log does not know it any more."""
        self.cursors.pop(way, None)
        self._anew.add(way)


def _going_on(sweep: Sweep | None) -> Sweep | None:
    """Give a sweep that a lost connection has left, where something of it was read."""
    if sweep is None or not sweep.read:
        return None
    sweep.is_patched = True
    return sweep
