"""What two relays are known to share, from one connection to the next; so what is to be compared after a cut. Pure.

    first: everything ─▶ in step, live ─▶ cut ─▶ behind cursors (mirrors), else a window of time ─▶ live ─▶ the rest
A relay tells by NIP-01 when an event was made, never when it came. So after a cut what is new is looked for in a window
that begins well before it, at once; what was made before that may have come too, so the rest is owed: compared as soon
as comparisons of everything take no more than a `SYNC_SHARE`th of the time, since connections that break by the minute
must not cost one of a million events each. A mirror's cursor is a place of its log: behind it stands exactly what came,
and nothing is owed.
Invariant: window and rest together are all that is asked for. This module must not know connections.
"""

from collections.abc import Mapping
from typing import Any

from cachetools import LRUCache

from gateway.limits.client import SYNC_PAUSE_WHOLE_S_MAX, SYNC_RECENT_MAX, SYNC_SHARE, SYNC_WINDOW_S


class Standing:
    """Of one pair of relays; times in ms since 1970."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._asked = dict(asked)
        self.recent: LRUCache[str, bool] = LRUCache(SYNC_RECENT_MAX)  # ids just carried: their echo is not carried back
        self.cursors: dict[str, str] = {}  # by way: what lies before was carried
        self._whole_ms: int | None = None  # when everything was last compared
        self._cost_s = 0.0  # and how long that took
        self._known_ms = 0  # until when the live part was known to be whole
        self._begin_s: int | None = None  # of the last window, while the rest is owed
        self._is_live = False

    @property
    def was_level(self) -> bool:
        """Whether everything was compared once: cursors that were told before it are places to go on from."""
        return self._whole_ms is not None

    def first(self, now_ms: int) -> dict[str, Any]:
        """Say what to compare on a new connection."""
        begin_s = min(self._known_ms, now_ms) // 1000 - SYNC_WINDOW_S
        since, until = self._asked.get("since") or 0, self._asked.get("until")
        is_window = self.was_level and "limit" not in self._asked and since < begin_s
        if not is_window or (until is not None and until <= begin_s):
            self._begin_s = None
            return self._asked
        self._begin_s = begin_s
        return {**self._asked, "since": begin_s}

    def rest(self) -> dict[str, Any] | None:
        """Say what is still owed; None where nothing is."""
        return None if self._begin_s is None else {**self._asked, "until": self._begin_s - 1}

    def rest_in_s(self, now_ms: int) -> float:
        """Say how long it may wait."""
        assert self._whole_ms is not None, "a rest is what a window leaves, and there is none before everything"
        pause_s = min(SYNC_SHARE * self._cost_s, SYNC_PAUSE_WHOLE_S_MAX)
        return min(max(0.0, pause_s - (now_ms - self._whole_ms) / 1000), pause_s)

    def level(self, now_ms: int, cost_s: float) -> None:
        """Hear that what `first` said was compared, or that cursors were gone on from: from here on it is live."""
        self._is_live = True
        if self._begin_s is None:
            self._whole_ms, self._cost_s = now_ms, cost_s or self._cost_s

    def paid(self, now_ms: int, cost_s: float) -> None:
        """Hear that the rest was compared too."""
        self._begin_s, self._whole_ms, self._cost_s = None, now_ms, cost_s

    def lost(self, now_ms: int) -> None:
        """Hear that a connection is lost; one that never got level changes nothing."""
        if self._is_live:
            self._is_live, self._known_ms = False, now_ms

    def strayed(self, way: str) -> None:
        """Forget a way's place: more came than could wait, or the log does not know it any more."""
        self.cursors.pop(way, None)
