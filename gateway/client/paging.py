"""A relay read in pages, the newest first, where nothing better is to be had. Pure.

Invariant: an event is given once, however many share a second at a page's end; where more share one second than the
relay gives at a time, those beyond cannot be asked for, and are not. This module must not know connections.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from gateway.limits.client import PAGE_EVENTS


class Event(Protocol):
    """What paging must know of an event."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def created_at(self) -> int:
        """Its second."""


class Pages:
    """All pages of a filter: `request`, then `take` with the answer, until `request` gives None."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._filter, self._until = dict(asked), asked.get("until")
        self._left: int | None = asked.get("limit")
        self._edge: frozenset[str] = frozenset()  # of the oldest second that was seen
        self._is_done = self._left == 0

    @property
    def place(self) -> str:
        """Say where the next page begins, for `go_on`: the oldest second that was given, and its events."""
        return f"until:{'' if self._until is None else self._until}:{','.join(sorted(self._edge))}"

    def go_on(self, place: str) -> None:
        """Go on from a place, with the same filter. ValueError where it is none."""
        word, until, edge = place.split(":")
        if word != "until":
            raise ValueError(place)
        self._until = int(until) if until else None
        self._edge = frozenset(filter(None, edge.split(",")))

    def request(self) -> dict[str, Any] | None:
        """Give the filter of the next page; None when all was given."""
        if self._is_done:
            return None
        place = {} if self._until is None else {"until": self._until}
        return {**self._filter, **place, "limit": PAGE_EVENTS}

    def take(self, events: Sequence[Event]) -> list[Any]:
        """Take a page; give what of it is new, the newest first. A page of nothing that was asked for is the last."""
        events = [one for one in events if self._until is None or one.created_at <= self._until]
        new = sorted((one for one in events if one.id not in self._edge), key=lambda one: (-one.created_at, one.id))
        if self._left is not None:
            new = new[: self._left]
            self._left -= len(new)
        if not events or self._left == 0:
            self._is_done = True
        elif not new:
            assert self._until is not None, "what was seen before was asked for up to some second"
            self._until, self._edge = self._until - 1, frozenset()
            self._is_done = self._until < max(0, self._filter.get("since") or 0)
        else:
            oldest = new[-1].created_at
            at_edge = frozenset(one.id for one in new if one.created_at == oldest)
            self._edge = at_edge | (self._edge if oldest == self._until else frozenset())
            self._until = oldest
        return new
