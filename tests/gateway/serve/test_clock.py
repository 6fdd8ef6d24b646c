"""The machine's own clock and dice."""

import time

from gateway.serve.clock import SystemClock


def test_both_readings_are_of_one_clock() -> None:
    clock = SystemClock()
    before_ns = time.time_ns()
    now_ms, now_ns = clock.now_ms(), clock.now_ns()
    assert before_ns // 1_000_000 <= now_ms <= now_ns // 1_000_000 <= time.time_ns() // 1_000_000


def test_bytes_are_as_many_as_asked_for_and_fresh() -> None:
    clock = SystemClock()
    assert [len(clock.random_bytes(count)) for count in (0, 1, 16, 32)] == [0, 1, 16, 32]
    assert clock.random_bytes(16) != clock.random_bytes(16)


def test_jitter_stays_between_its_bounds() -> None:
    assert all(1.0 <= SystemClock().uniform(1.0, 2.0) <= 2.0 for _ in range(100))
