"""Waits of one kind that may each take so long: one timer for all of them.

A cancel scope with a deadline costs 7 µs to enter and leave, which a webhook would pay three times: for its answer, its
send and the rest of its connection. Nearly all of these waits end in time, and those of a kind have one length, so they
end in the order in which they began: here beginning and ending are an entry in a dictionary, and the timer looks at the
oldest alone. Invariant: who is not done in time is told once, at most `TOLD_LATE_S_MAX` late, then forgotten.
This module must not know what is waited for.
"""

from collections.abc import Callable, Hashable
from itertools import takewhile
from typing import Generic, TypeVar

import trio

from gateway.limits.serve import TOLD_LATE_S_MAX

Who = TypeVar("Who", bound=Hashable)


class Patience(Generic[Who]):
    """While `run` runs, ``tell`` is called with whoever began ``s_max`` seconds ago and has not ended.

    It must not wait.
    """

    def __init__(self, s_max: float, tell: Callable[[Who], None]) -> None:
        self._s_max, self._tell = s_max, tell
        self._since_s: dict[Who, float] = {}  # in order of beginning

    def begin(self, who: Who) -> None:
        """Count from now. Nobody waits twice at a time."""
        assert who not in self._since_s
        self._since_s[who] = trio.current_time()

    def end(self, who: Who) -> None:
        """Count no more; also where it was told already."""
        self._since_s.pop(who, None)

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            now_s = trio.current_time()
            oldest_s = next(iter(self._since_s.values()), now_s)  # who begins meanwhile is not late before it wakes
            await trio.sleep_until(max(oldest_s + self._s_max, now_s + TOLD_LATE_S_MAX))
            self._tell_late(trio.current_time())

    def _tell_late(self, now_s: float) -> None:
        late = list(takewhile(lambda one: one[1] + self._s_max <= now_s, self._since_s.items()))
        for who, _ in late:
            del self._since_s[who]
            self._tell(who)
