"""The limiter of failing handshakes."""

from gateway.limits.relays import ATTEMPT_ADDRESSES_MAX
from gateway.replication.attempts import Attempts


def failing(attempts: Attempts, count: int, start_ms: int = 0, step_ms: int = 0) -> list[bool]:
    return [attempts.failed("192.0.2.1", start_ms + index * step_ms) for index in range(count)]


def test_the_twenty_first_failure_in_the_window_is_cut_short():
    assert failing(Attempts(20, 30_000, 120_000), 22) == [False] * 20 + [True] * 2


def test_failures_spread_wider_than_the_window_never_block():
    assert not any(failing(Attempts(20, 30_000, 120_000), 100, step_ms=1_600))


def test_a_block_ends_after_its_time_however_often_one_tried():
    attempts = Attempts(20, 30_000, 120_000)
    failing(attempts, 20)
    assert attempts.failed("192.0.2.1", 119_999)
    assert not attempts.failed("192.0.2.1", 120_000)
    assert failing(attempts, 20, 120_001) == [False] * 19 + [True]


def test_one_address_does_not_block_another():
    attempts = Attempts(20, 30_000, 120_000)
    failing(attempts, 30)
    assert not attempts.failed("192.0.2.2", 0)


def test_the_memory_for_addresses_is_bounded():
    attempts = Attempts(1, 30_000, 120_000)
    for index in range(ATTEMPT_ADDRESSES_MAX + 10):
        attempts.failed(f"address-{index}", 0)
    assert len(attempts._blocked_until) == ATTEMPT_ADDRESSES_MAX
