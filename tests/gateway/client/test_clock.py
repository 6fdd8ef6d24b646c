"""The client's clock."""

from itertools import pairwise

from gateway.client.clock import SystemClock


def test_time_is_in_milliseconds_since_1970_and_dice_lie_below_one() -> None:
    clock = SystemClock()
    times = [clock.now_ms() for _ in range(3)]
    assert all(1_600_000_000_000 < one < 10_000_000_000_000 for one in times)
    assert all(later >= earlier for earlier, later in pairwise(times))
    assert all(0 <= clock.roll() < 1 for _ in range(1000))
    assert len({clock.roll() for _ in range(100)}) > 50
