"""What a connection, or an address over all its connections, may still use: messages, bytes, subscriptions.

Invariant: nothing is remembered of who used it, and an account that was idle for a second is full again. Sizes of
bursts are one second's worth. This module must not know what is refused or how.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Rates a second and how many subscriptions at once; 0 means no limit."""

    messages_per_s: int = 0
    bytes_per_s: int = 0
    subscriptions: int = 0


class Account:
    """The state of one budget."""

    __slots__ = ("_at_ms", "_bytes", "_messages", "budget", "subscriptions")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.subscriptions = 0
        self._at_ms = 0
        self._messages, self._bytes = float(budget.messages_per_s), float(budget.bytes_per_s)

    def take(self, size: int, now_ms: int) -> bool:
        """Take one message of ``size`` bytes if there is something left; a large one may overdraw once."""
        budget = self.budget
        if not self.is_metered:
            return True
        passed_s = max(0, now_ms - self._at_ms) / 1000
        self._at_ms = now_ms
        self._messages = min(budget.messages_per_s, self._messages + passed_s * budget.messages_per_s)
        self._bytes = min(budget.bytes_per_s, self._bytes + passed_s * budget.bytes_per_s)
        if (budget.messages_per_s and self._messages < 1) or (budget.bytes_per_s and self._bytes <= 0):
            return False
        self._messages -= 1
        self._bytes -= size
        return True

    @property
    def is_metered(self) -> bool:
        """Whether messages or bytes are counted at all."""
        return bool(self.budget.messages_per_s or self.budget.bytes_per_s)

    @property
    def is_full(self) -> bool:
        """Whether no further subscription fits."""
        return 0 < self.budget.subscriptions <= self.subscriptions
