"""Where in time a comparison is cut, since relays compare no more than so many events at once. Pure.

Invariant: the spans of a filter ask for exactly what it asks for, and no event lies in two. A place where a cut was
needed is remembered: the next comparison, as after a lost connection, begins with spans that were small enough.
This module must not know relays.
"""

from bisect import insort
from collections.abc import Mapping
from typing import Any

from gateway.limits.client import SYNC_AHEAD_S, SYNC_CUTS_MAX

Filter = Mapping[str, Any]


class Spans:
    """The cuts of one pair of relays, in seconds since 1970."""

    def __init__(self) -> None:
        self._cuts: list[int] = []

    def of(self, asked: Filter) -> list[Filter]:
        """Cut a filter where cuts are known to be needed; the oldest span comes first."""
        since, until = asked.get("since") or 0, asked.get("until")
        if "limit" in asked:
            return [asked]
        cuts = [cut for cut in self._cuts if since <= cut and (until is None or cut < until)]
        return _cut(asked, cuts)

    def halves(self, asked: Filter, now_s: int) -> list[Filter]:
        """Cut a span in two by time; nothing where that cannot be.

        So a second, what begins later than any event is dated, and the newest so many: of the halves that were more.
        """
        since, until = asked.get("since") or 0, asked.get("until")
        last = now_s + SYNC_AHEAD_S if until is None else until
        if since >= last or "limit" in asked:
            return []
        middle = (since + last) // 2
        if len(self._cuts) < SYNC_CUTS_MAX:
            insort(self._cuts, middle)
        return _cut(asked, [middle])


def _cut(asked: Filter, cuts: list[int]) -> list[Filter]:
    spans: list[Filter] = []
    rest = dict(asked)
    for cut in cuts:
        spans.append({**rest, "until": cut})
        rest["since"] = cut + 1
    return [*spans, rest]
