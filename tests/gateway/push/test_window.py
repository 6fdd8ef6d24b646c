"""Sliding windows."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.push.window import Windows


def test_all_go_at_once_and_the_next_when_the_first_have_left_the_window() -> None:
    windows = Windows(limit=3, window_s=60, keys_max=10)
    assert [windows.take("a", now_s) for now_s in (0.0, 0.5, 30.0, 30.0)] == [0.0, 0.0, 0.0, 31.0]
    assert windows.take("b", 30.0) == 0.0
    assert windows.take("a", 60.9) > 0
    assert [windows.take("a", 61.0) for _ in range(3)] == [0.0, 0.0, 30.0]


def test_the_least_recently_used_key_is_forgotten_and_starts_with_nothing_taken() -> None:
    windows = Windows(limit=1, window_s=60, keys_max=2)
    assert windows.take("a", 0.0) == 0.0
    assert windows.take("a", 0.0) > 0
    windows.take("b", 0.0)
    assert windows.take("a", 0.0) > 0
    windows.take("c", 0.0)
    assert windows.take("a", 0.0) > 0
    assert windows.take("b", 0.0) == 0.0


@given(st.lists(st.floats(0, 20), max_size=80))
def test_no_window_holds_more_than_the_limit_and_a_wait_that_was_told_is_enough(gaps: list[float]) -> None:
    windows, now, taken = Windows(limit=5, window_s=60, keys_max=4), 0.0, []
    for gap in gaps:
        now += gap
        wait_s = windows.take("k", now)
        if wait_s:
            assert 0 < wait_s <= 61
            now += wait_s + 0.001
            assert windows.take("k", now) == 0.0
        taken.append(now)
    assert all(later - first >= 60 - 1e-6 for first, later in zip(taken, taken[5:], strict=False))
