"""Comparisons of rows by NIP-77: what a connection has open, and how much all of them hold.

A comparison is over the rows as they are when it is opened; their ids are read from the index in pages, and made ready
in a thread, one comparison after the other. The set is of ids: that several bodies are kept under one is not seen here.
Invariant: all open comparisons together hold at most `NEG_ROWS_HELD_MAX` rows, counted from before they are read; one
that is refused or malformed is closed. This module must not know tokens, nor who sends what it returns.
"""

import trio

from gateway.limits.mirror import NEG_FRAME_BYTES, NEG_OPEN_MAX, NEG_PAGE_ROWS, NEG_ROWS_HELD_MAX, NEG_ROWS_MAX
from gateway.negentropy import Item, Items, Malformed, Responder
from gateway.replication import frame as wire
from gateway.replication.filter import Filter
from gateway.replication.session import Compare, CompareEnd, CompareOn, Comparison
from gateway.views.rows import RowsView


class ComparisonRefused(Exception):
    """The comparison is over: the NEG-ERR to send, and the metrics' label."""

    def __init__(self, text: str, metric: str) -> None:
        super().__init__(text)
        self.text, self.metric = text, metric


class Comparisons:
    """What all connections have open."""

    def __init__(self, rows: RowsView) -> None:
        self.rows = rows
        self.held = 0
        self.preparing = trio.CapacityLimiter(1)


class Comparing:
    """The comparisons of one connection; whoever makes it has it `leave`."""

    def __init__(self, all_open: Comparisons, relay_key: str) -> None:
        self._all, self._relay_key = all_open, relay_key
        self._open: dict[str, tuple[Responder, int]] = {}

    async def take(self, effect: Comparison, visible: frozenset[bool]) -> list[str]:
        """Give what is to be sent; ComparisonRefused. Cancelled: what was being opened is not open."""
        match effect:
            case Compare(sub_id, asked, message):
                self._end(sub_id)
                await self._begin(sub_id, asked, visible)
                return [self._answer(sub_id, message)]
            case CompareOn(sub_id, message):
                return [self._answer(sub_id, message)]
            case CompareEnd(sub_id):
                self._end(sub_id)
                return []

    def leave(self) -> None:
        """End all of them."""
        for sub_id in tuple(self._open):
            self._end(sub_id)

    def _end(self, sub_id: str) -> None:
        found = self._open.pop(sub_id, None)
        if found is not None:
            self._all.held -= found[1]

    def _answer(self, sub_id: str, message: bytes) -> str:
        found = self._open.get(sub_id)
        if found is None:
            raise ComparisonRefused(wire.neg_error(sub_id, "closed: no comparison of this id is open"), "not-open")
        try:
            return wire.neg_message(sub_id, found[0].answer(message))
        except Malformed as error:
            self._end(sub_id)
            raise ComparisonRefused(wire.neg_error(sub_id, f"invalid: {error}"), "malformed") from error

    async def _begin(self, sub_id: str, asked: Filter, visible: frozenset[bool]) -> None:
        if len(self._open) >= NEG_OPEN_MAX:
            text = f"blocked: at most {NEG_OPEN_MAX} comparisons at once"
            raise ComparisonRefused(wire.neg_error(sub_id, text), "rate-limited")
        held = 0
        found: list[Item] = []
        try:
            async with self._all.preparing:
                for page in self._all.rows.identities(self._relay_key, asked, visible, NEG_PAGE_ROWS):
                    found += page
                    held, self._all.held = held + len(page), self._all.held + len(page)
                    self._demand_room(sub_id, held)
                    await trio.lowlevel.checkpoint()
                if asked.limit < len(found):
                    found = sorted(found, key=lambda item: (-item[0], item[1]))[: asked.limit]
                items = await trio.to_thread.run_sync(Items, reversed(found))
        except BaseException:
            self._all.held -= held
            raise
        self._open[sub_id] = (Responder(items, NEG_FRAME_BYTES), held)

    def _demand_room(self, sub_id: str, count: int) -> None:
        if count > NEG_ROWS_MAX:
            text = f"blocked: more than {NEG_ROWS_MAX} rows: narrow the filter by time"
            raise ComparisonRefused(wire.neg_error(sub_id, text, NEG_ROWS_MAX), "too-big")
        if self._all.held > NEG_ROWS_HELD_MAX:
            text = "blocked: too many rows are being compared now: try again later"
            raise ComparisonRefused(wire.neg_error(sub_id, text), "rate-limited")
