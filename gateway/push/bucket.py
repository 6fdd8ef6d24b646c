"""Token buckets: a rate with a burst, counted in memory, by whatever clock the caller reads.

Bounded: the least recently used key is forgotten, and starts full again. (Not by cachetools: a webhook takes five
times, and its LRUCache, in Python, is half of what that costs.) Must not know what is counted.
"""

from collections import OrderedDict
from collections.abc import Hashable


class Buckets:
    """One bucket a key: ``burst`` at once, refilled at ``per_s`` a second."""

    def __init__(self, per_s: float, burst: float, keys_max: int) -> None:
        assert per_s > 0
        assert burst >= 1
        self._per_s, self._burst, self._keys_max = per_s, burst, keys_max
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # key -> (level, at); last used last

    def wait_s(self, key: Hashable, now_s: float) -> float:
        """Seconds until this key may take one more; 0.0 if it may now. Takes nothing."""
        level = self._level(key, now_s)
        return 0.0 if level >= 1 else (1 - level) / self._per_s

    def take(self, key: Hashable, now_s: float) -> float:
        """Take one if there is one; else say how many seconds until there is, and take nothing."""
        level = self._level(key, now_s)
        if level < 1:
            self._levels.move_to_end(key)
            return (1 - level) / self._per_s
        self._levels[key] = (level - 1, now_s)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, key: Hashable, now_s: float) -> float:
        level, at = self._levels.get(key, (self._burst, now_s))
        return min(self._burst, level + max(0.0, now_s - at) * self._per_s)


class Rates:
    """Buckets for limits that differ by key: so many a minute, all of them at once if need be."""

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._by_limit: dict[int, Buckets] = {}  # as many as the configuration names

    def take(self, key: Hashable, per_minute: int, now_s: float) -> float:
        """Take one, as `Buckets.take` does; a limit of 0 is none."""
        if not per_minute:
            return 0.0
        buckets = self._by_limit.get(per_minute)
        if buckets is None:
            buckets = self._by_limit[per_minute] = Buckets(per_minute / 60, per_minute, self._keys_max)
        return buckets.take(key, now_s)
