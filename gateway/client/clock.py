"""The client's own reader of wall time and of dice; everything else is told. Tests pass another."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in ms since 1970, and dice in [0, 1)."""

    def now_ms(self) -> int: ...

    def roll(self) -> float: ...


class SystemClock:
    """The machine's."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def roll(self) -> float:
        """A number for jitter alone."""
        return random.random()  # noqa: S311 - jitter, not secrecy
