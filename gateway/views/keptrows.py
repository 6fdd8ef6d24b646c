"""Rows of the index that were read last, kept in memory: the same newest events are what most readers ask for.

A row is never changed, only taken away; so whoever takes rows away says so here, and nothing else need be known.
Invariant: what is held stands in the table. At most `ROWS_KEPT_MAX` rows; at that, all go: what is asked for comes
back with its next reading, where a list in order of use would cost as much as the reading that it saves.
This module must not know what a row holds.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from gateway.limits.views import ROWS_KEPT_MAX

Row = TypeVar("Row")


class KeptRows(Generic[Row]):
    """Rows by seq."""

    def __init__(self, count_max: int = ROWS_KEPT_MAX) -> None:
        self._rows: dict[int, Row] = {}
        self._count_max = count_max

    def of(self, seqs: Sequence[int]) -> list[Row | None]:
        """Give the rows of these seqs, None for each that is not held."""
        return list(map(self._rows.get, seqs))

    def keep(self, rows: dict[int, Row]) -> None:
        """Hold rows that were just read, by seq."""
        if len(self._rows) + len(rows) > self._count_max:
            self._rows.clear()
        if len(rows) <= self._count_max:
            self._rows.update(rows)

    def forget(self, seqs: Iterable[int]) -> None:
        """Let go of rows that were taken away."""
        for seq in seqs:
            self._rows.pop(seq, None)

    def clear(self) -> None:
        """Let go of all."""
        self._rows.clear()
