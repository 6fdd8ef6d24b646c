"""The breaker: opens after failures in a row, tries with one, and comes back at a rate that doubles."""

import pytest

from gateway.limits.push import (
    BREAKER_FAILURES,
    BREAKER_MS_MAX,
    BREAKER_MS_MIN,
    RAMP_BURST_MS,
    RAMP_DOUBLING_MS,
    RAMP_MS,
    RAMP_PER_S,
)
from gateway.push.breaker import Breaker

NOW = 1_763_126_872_000


def failing(breaker: Breaker, now_ms: int = NOW, count: int = BREAKER_FAILURES, asked_ms: int = 0) -> Breaker:
    for _ in range(count):
        breaker.failed(breaker.began(now_ms), now_ms, asked_ms, 0.0)
    return breaker


def ramping() -> tuple[Breaker, int]:
    breaker, now_ms = failing(Breaker()), NOW + BREAKER_MS_MIN
    breaker.worked(breaker.began(now_ms), now_ms)
    assert breaker.state == "ramp"
    return breaker, now_ms


def drained(breaker: Breaker, start_ms: int, end_ms: int, step_ms: int = 10) -> int:
    """How many sends are let go between two times by someone who asks all the time, and all of them work."""
    count = 0
    for now_ms in range(start_ms, end_ms, step_ms):
        while breaker.state != "closed" and breaker.admits(now_ms):
            breaker.worked(breaker.began(now_ms), now_ms)
            count += 1
    return count


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = failing(Breaker(), count=BREAKER_FAILURES - 1)
    breaker.worked(breaker.began(NOW), NOW)
    assert failing(breaker, count=BREAKER_FAILURES - 1).admits(NOW)
    failing(breaker, count=1)
    assert breaker.state == "open"
    assert not breaker.admits(NOW + BREAKER_MS_MIN - 1)
    assert breaker.next_ms(NOW) == NOW + BREAKER_MS_MIN


def test_after_its_time_one_send_is_tried_and_no_second() -> None:
    breaker, later = failing(Breaker()), NOW + BREAKER_MS_MIN
    assert breaker.admits(later)
    breaker.began(later)
    assert breaker.state == "probing"
    assert not breaker.admits(later + 10**9)


def test_a_try_that_was_not_sent_is_owed_still_and_says_nothing_else() -> None:
    breaker, later = failing(Breaker()), NOW + BREAKER_MS_MIN
    late = breaker.began(later)
    breaker.unasked(late)
    assert breaker.admits(later)
    probe = breaker.began(later)
    breaker.unasked(late)
    assert breaker.state == "probing", "what was begun before says nothing of now"
    breaker.worked(probe, later)
    breaker.unasked(breaker.began(later))
    assert breaker.state == "ramp"
    breaker = failing(Breaker(), count=BREAKER_FAILURES - 1)
    breaker.unasked(breaker.began(NOW))
    assert failing(breaker, count=1).state == "open", "they are in a row still"


def test_a_failing_try_opens_it_for_twice_as_long_up_to_a_minute() -> None:
    breaker, now_ms, waits = failing(Breaker()), NOW, []
    for _ in range(6):
        until_ms = breaker.next_ms(now_ms)
        assert until_ms is not None
        waits.append(until_ms - now_ms)
        now_ms = until_ms
        failing(breaker, now_ms, count=1)
    assert waits == [10_000, 20_000, 40_000, BREAKER_MS_MAX, BREAKER_MS_MAX, BREAKER_MS_MAX]


def test_what_a_retry_after_asks_is_waited_for() -> None:
    assert failing(Breaker(), asked_ms=300_000).next_ms(NOW) == NOW + 300_000


def test_a_burst_that_fails_late_counts_once() -> None:
    breaker = Breaker()
    burst = [breaker.began(NOW) for _ in range(100)]
    for begun in burst:
        breaker.failed(begun, NOW, 0, 0.0)
    assert breaker.next_ms(NOW) == NOW + BREAKER_MS_MIN
    later = NOW + BREAKER_MS_MIN
    probe = breaker.began(later)
    breaker.worked(burst[0], later)
    assert breaker.state == "probing", "what was begun before says nothing of now"
    breaker.worked(probe, later)
    assert breaker.state == "ramp"


def test_it_comes_back_at_a_rate_that_doubles_and_is_free_after_a_minute() -> None:
    breaker, start_ms = ramping()
    counts = [
        drained(breaker, start_ms + n * RAMP_DOUBLING_MS, start_ms + (n + 1) * RAMP_DOUBLING_MS) for n in range(6)
    ]
    expected = RAMP_PER_S * RAMP_DOUBLING_MS / 1000 * 1.4427  # the integral of a doubling rate
    for doublings, count in enumerate(counts):
        assert count == pytest.approx(expected * 2**doublings, rel=0.05)
    assert breaker.admits(start_ms + RAMP_MS)
    assert breaker.state == "closed"
    assert drained(breaker, start_ms + RAMP_MS, start_ms + RAMP_MS + 100) == 0
    assert all(breaker.admits(start_ms + RAMP_MS) for _ in range(1000))


def test_after_the_ramp_an_outage_is_the_first_again() -> None:
    breaker, start_ms = ramping()
    end_ms = start_ms + RAMP_MS
    assert breaker.admits(end_ms)
    assert failing(breaker, end_ms).next_ms(end_ms) == end_ms + BREAKER_MS_MIN


def test_it_says_when_it_may_admit_by_itself_where_that_is_a_matter_of_time() -> None:
    breaker = failing(Breaker())
    assert breaker.is_open(NOW + BREAKER_MS_MIN - 1)
    assert not breaker.is_open(NOW + BREAKER_MS_MIN)
    breaker.began(NOW + BREAKER_MS_MIN)
    assert breaker.next_ms(NOW + BREAKER_MS_MIN) is None, "a probe ends when it ends"
    breaker, start_ms = ramping()
    assert breaker.next_ms(start_ms) == start_ms + RAMP_BURST_MS
    assert breaker.next_ms(start_ms + RAMP_MS) is not None
    assert Breaker().next_ms(NOW) is None


def test_who_asks_seldom_on_the_ramp_gets_no_burst() -> None:
    breaker, start_ms = ramping()
    assert drained(breaker, start_ms + RAMP_DOUBLING_MS, start_ms + RAMP_DOUBLING_MS + 1) <= 2


def test_failures_on_the_ramp_open_it_again() -> None:
    breaker, start_ms = ramping()
    now_ms = start_ms
    while breaker.state == "ramp":
        now_ms += 100
        if breaker.admits(now_ms):
            failing(breaker, now_ms, count=1)
    assert breaker.state == "open"
    assert now_ms < start_ms + RAMP_MS


def test_the_later_of_two_stops_counts() -> None:
    breaker = Breaker()
    breaker.stop(NOW + 500)
    breaker.stop(NOW + 100)
    assert not breaker.admits(NOW + 499)
    assert breaker.admits(NOW + 500)
    assert breaker.next_ms(NOW + 500) is None
