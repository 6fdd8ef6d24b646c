"""Failing handshakes by address: after so many in a window, further failures are cut short for a while.

Invariant: a handshake that succeeds never asks here, so nobody who shares an address with a guesser is locked out; a
blocked address stays blocked for the fixed time, not longer for trying. At most `ATTEMPT_ADDRESSES_MAX` addresses are
kept; the least recent is forgotten (it starts anew). This module must not know what failed.
"""

from collections import OrderedDict, deque

from gateway.limits.relays import ATTEMPT_ADDRESSES_MAX


class Attempts:
    """Count failures: ``count_max`` within ``window_ms`` block an address for ``block_ms``."""

    def __init__(self, count_max: int, window_ms: int, block_ms: int) -> None:
        self.count_max, self.window_ms, self.block_ms = count_max, window_ms, block_ms
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()
        self._blocked_until: OrderedDict[str, int] = OrderedDict()

    def failed(self, address: str, now_ms: int) -> bool:
        """Count one failure; tell whether the address was blocked already (then it does not count)."""
        # Wall time may be put back: a block lasts no longer than it was meant to, a failure of the future counts not.
        if now_ms < self._blocked_until.get(address, 0) <= now_ms + self.block_ms:
            return True
        self._blocked_until.pop(address, None)
        times = self._failures.setdefault(address, deque())
        self._failures.move_to_end(address)
        while times and not now_ms - self.window_ms < times[0] <= now_ms:
            times.popleft()
        times.append(now_ms)
        if len(times) >= self.count_max:
            del self._failures[address]
            self._blocked_until[address] = now_ms + self.block_ms
        for kept in (self._failures, self._blocked_until):
            if len(kept) > ATTEMPT_ADDRESSES_MAX:
                kept.popitem(last=False)
        return False
