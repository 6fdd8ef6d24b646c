"""Comparisons by NIP-77: what a connection has open, and how much all of them hold.

A comparison is over a set as it is when it is opened: pages of (time, id) come from whoever has them, and are made
ready in short steps, one comparison after the other. The set is of ids: several bodies under one id count once.
Invariant: all open comparisons together hold at most `NEG_ROWS_HELD_MAX` items, counted from when they are read; one
that is refused or malformed is closed. This module must not know tokens, filters, nor who sends what it returns.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

import trio

from gateway.limits.mirror import NEG_FRAME_BYTES, NEG_OPEN_MAX, NEG_ROWS_HELD_MAX
from gateway.negentropy import CompareEnd, CompareOn, Gathering, Item, Malformed, Responder, neg_error, neg_message


class ComparisonRefused(Exception):
    """The comparison is over: the NEG-ERR to send, and the metrics' label."""

    def __init__(self, text: str, metric: str) -> None:
        super().__init__(text)
        self.text, self.metric = text, metric


class Compare(Protocol):
    """What opens a comparison, of events or of rows: its filters are known to whoever takes its set together."""

    @property
    def sub_id(self) -> str: ...

    @property
    def message(self) -> bytes: ...


Opening = TypeVar("Opening", bound=Compare)


class Comparisons:
    """What all connections have open."""

    def __init__(self) -> None:
        self.held = 0
        self.preparing = trio.CapacityLimiter(1)


class Comparing:
    """The comparisons of one connection; whoever makes it has it `leave`."""

    def __init__(self, all_open: Comparisons) -> None:
        self._all = all_open
        self._open: dict[str, tuple[Responder, int]] = {}

    async def begin(self, sub_id: str, pages: Iterable[list[Item]], most: int, limit: int | None = None) -> None:
        """Take a set together, in place of one of the same id; ComparisonRefused where it has more than ``most``.

        ``pages`` come newest first, of at most a few thousand items each: between two of them others have their turn.
        ``limit`` keeps the newest. Cancelled: it is not open, and nothing is held for it.
        """
        self.end(sub_id)
        if len(self._open) >= NEG_OPEN_MAX:
            text = f"blocked: at most {NEG_OPEN_MAX} comparisons at once"
            raise ComparisonRefused(neg_error(sub_id, text), "rate-limited")
        held, gathering = 0, Gathering()
        try:
            async with self._all.preparing:
                for page in pages:
                    gathering.add(page)
                    held, self._all.held = held + len(page), self._all.held + len(page)
                    self._demand_room(sub_id, held, most)
                    await trio.lowlevel.checkpoint()
                for _ in gathering.ready():
                    await trio.lowlevel.checkpoint()
        except BaseException:
            self._all.held -= held
            raise
        items = gathering.items
        newest = items if limit is None or limit >= len(items) else items.newest(limit)
        self._open[sub_id] = (Responder(newest, NEG_FRAME_BYTES), held)

    async def carry_on(
        self, effect: Opening | CompareOn | CompareEnd, open_it: Callable[[Opening], Awaitable[None]]
    ) -> str | None:
        """Do what a session asks; the text to send, None where nothing is said. ComparisonRefused.

        ``open_it`` has it `begin`. Cancelled: what was being opened is not open.
        """
        if isinstance(effect, CompareEnd):
            self.end(effect.sub_id)
            return None
        if not isinstance(effect, CompareOn):
            await open_it(effect)
        return self.answer(effect.sub_id, effect.message)

    def answer(self, sub_id: str, message: bytes) -> str:
        """Answer a message about an open comparison; ComparisonRefused."""
        found = self._open.get(sub_id)
        if found is None:
            raise ComparisonRefused(neg_error(sub_id, "closed: no comparison of this id is open"), "not-open")
        try:
            return neg_message(sub_id, found[0].answer(message))
        except Malformed as error:
            self.end(sub_id)
            raise ComparisonRefused(neg_error(sub_id, f"invalid: {error}"), "malformed") from error

    def end(self, sub_id: str) -> None:
        """Let go of a comparison; one that is not open is no error."""
        found = self._open.pop(sub_id, None)
        if found is not None:
            self._all.held -= found[1]

    def leave(self) -> None:
        """End all of them."""
        for sub_id in tuple(self._open):
            self.end(sub_id)

    def _demand_room(self, sub_id: str, count: int, most: int) -> None:
        if count > most:
            text = f"blocked: more than {most} match: narrow the filter by time"
            raise ComparisonRefused(neg_error(sub_id, text, most), "too-big")
        if self._all.held > NEG_ROWS_HELD_MAX:
            text = "blocked: too much is being compared now: try again later"
            raise ComparisonRefused(neg_error(sub_id, text), "rate-limited")
