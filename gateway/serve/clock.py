"""The only reader of wall time and of randomness.

Everything else is handed a `Clock`, so that a simulation can pass its own. Wall time may jump: deadlines use trio's.
"""

import random
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in ns or ms since 1970, and dice."""

    def now_ns(self) -> int: ...

    def now_ms(self) -> int: ...

    def random_bytes(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


class SystemClock:
    """The machine's own clock and dice."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def random_bytes(self, count: int) -> bytes:
        """Fresh bytes from the kernel: fit for salts and pseudonyms."""
        return secrets.token_bytes(count)

    def uniform(self, low: float, high: float) -> float:
        """A number between, for jitter alone."""
        return random.uniform(low, high)  # noqa: S311 - jitter, not secrecy
