"""Sliding windows: never more than so many in any stretch of a length, by whatever clock the caller reads.

For limits that are somebody else's and are punished: a bucket that holds a minute's worth and is refilled meanwhile
lets twice the limit go in the first minute. What was taken is counted in slots of a sixtieth of the window, and a slot
counts until all of it has left: so the limit is never passed, and room comes back a sixtieth late at most.
Bounded: the least recently used key is forgotten, and starts with nothing taken. Must not know what is counted.
"""

from collections import OrderedDict
from collections.abc import Hashable

_SLOTS = 60


class Windows:
    """At most ``limit`` a key in any ``window_s`` seconds; all of them at once if need be."""

    def __init__(self, limit: int, window_s: float, keys_max: int) -> None:
        assert limit >= 1
        assert window_s > 0
        self._limit, self._slot_s, self._keys_max = limit, window_s / _SLOTS, keys_max
        # key -> the sum, then each slot's number and what was taken in it, the oldest first; last used last. A flat
        # list, since most keys have one slot: a deque of pairs would be six times as large.
        self._taken: OrderedDict[Hashable, list[int]] = OrderedDict()

    def take(self, key: Hashable, now_s: float) -> float:
        """Take one if there is room; else say how many seconds until there is, and take nothing."""
        slot = int(now_s / self._slot_s)
        taken = self._taken.get(key)
        if taken is None:
            self._taken[key] = [1, slot, 1]
            if len(self._taken) > self._keys_max:
                self._taken.popitem(last=False)
            return 0.0
        self._taken.move_to_end(key)
        while len(taken) > 1 and taken[1] < slot - _SLOTS:
            taken[0] -= taken[2]
            del taken[1:3]
        if taken[0] >= self._limit:
            return (taken[1] + _SLOTS + 1) * self._slot_s - now_s
        taken[0] += 1
        if taken[-2:-1] == [slot]:
            taken[-1] += 1
        else:
            taken += (slot, 1)
        return 0.0
