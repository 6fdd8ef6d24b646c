"""What FCM allows: so many pushes to a device, and so many refusals in a project, which all tenants share.

Invariants: a device's limits are never passed, in any minute or hour; what one tenant's refusals use up of the quota
costs that tenant time, and no other. In memory and bounded: the least recently used is forgotten. Must not know clocks:
times are seconds by any that does not go back.
"""

import math

from cachetools import LRUCache

from gateway.limits.push import (
    DEVICE_PER_HOUR,
    DEVICE_PER_MINUTE,
    DEVICES_BRAKED_MAX,
    RATE_KEYS_MAX,
    TENANT_ERRORS_PER_MINUTE,
)
from gateway.push.window import Windows


class Allowance:
    """Counts pushes by device number, and refusals by lane (tenant and project)."""

    def __init__(self) -> None:
        self._per_minute = Windows(DEVICE_PER_MINUTE, 60, DEVICES_BRAKED_MAX)
        self._per_hour = Windows(DEVICE_PER_HOUR, 3600, DEVICES_BRAKED_MAX)
        self._paid_s: LRUCache[tuple[str, str], float] = LRUCache(RATE_KEYS_MAX)  # each lane's refusals, so far

    def wait_s(self, device: int, now_s: float) -> float:
        """Count a push to a device and give 0; or the seconds until there is room for one."""
        return self._per_minute.take(device, now_s) or self._per_hour.take(device, now_s)

    def refused(self, lane: tuple[str, str], now_s: float) -> float:
        """Count what FCM refused; give the seconds that the lane is to be passed over now.

        Each refusal is paid for with its share of a minute, a minute's worth ahead; also those under way already.
        """
        paid_s = max(self._paid_s.get(lane, -math.inf), now_s - 60) + 60 / TENANT_ERRORS_PER_MINUTE
        self._paid_s[lane] = paid_s
        return max(0.0, paid_s - now_s)
