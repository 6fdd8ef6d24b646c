"""Token buckets."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.push.bucket import Buckets, Rates


def test_a_burst_goes_at_once_and_then_the_rate_holds() -> None:
    buckets = Buckets(per_s=2, burst=3, keys_max=10)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.wait_s("a", 0.25) == 0.25
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == 0.5


def test_the_least_recently_used_key_is_forgotten_and_starts_full() -> None:
    buckets = Buckets(per_s=0.001, burst=1, keys_max=2)
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) > 0
    buckets.take("b", 0.0)
    buckets.take("c", 0.0)
    assert buckets.take("a", 0.0) == 0.0


@given(st.lists(st.floats(0, 5), max_size=60))
def test_no_window_holds_more_than_burst_and_rate(gaps: list[float]) -> None:
    buckets, now, taken = Buckets(per_s=1, burst=5, keys_max=4), 0.0, []
    for gap in gaps:
        now += gap
        if buckets.take("k", now) == 0.0:
            taken.append(now)
    for start, first in enumerate(taken):
        for end in range(start, len(taken)):
            assert end - start + 1 <= 5 + (taken[end] - first) + 1e-6


def test_each_key_has_its_own_limit_a_minute_and_none_at_all_at_0() -> None:
    rates = Rates(keys_max=10)
    assert [rates.take("a", 2, 0.0) for _ in range(3)] == [0.0, 0.0, 30.0]
    assert [rates.take("b", 60, 0.0) for _ in range(61)] == [*[0.0] * 60, 1.0]
    assert all(rates.take("c", 0, 0.0) == 0.0 for _ in range(1000))
    assert rates.take("a", 2, 30.0) == 0.0
