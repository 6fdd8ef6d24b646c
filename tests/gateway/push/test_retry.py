"""Waits: Retry-After in both forms, and back-off, always within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.push import RETRY_AFTER_MS_MAX
from gateway.push.retry import backoff_ms, quota_ms, retry_after_ms

NOW = 1_763_126_872_000  # 2025-11-14T13:27:52Z


@pytest.mark.parametrize(
    ("header", "wait_ms"),
    [
        ("0", 0),
        ("7", 7_000),
        (" 120 ", 120_000),
        ("99999", RETRY_AFTER_MS_MAX),
        ("Fri, 14 Nov 2025 13:28:52 GMT", 60_000),
        ("Friday, 14-Nov-25 13:28:52 GMT", 60_000),
        ("Fri, 14 Nov 2025 13:00:00 GMT", 0),
        ("Fri, 14 Nov 2031 13:00:00 GMT", RETRY_AFTER_MS_MAX),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("１２", None),
        ("Fri, 99 Nov 2025 99:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_clamped(header: str, wait_ms: int | None) -> None:
    assert retry_after_ms(header, NOW) == wait_ms


def test_back_off_starts_at_ten_seconds_doubles_and_is_capped() -> None:
    waits = [backoff_ms(attempt, "", NOW, 0.0) for attempt in range(9)]
    assert waits == [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000, 600_000]
    assert backoff_ms(0, "", NOW, 1.0) == 12_500


def test_a_retry_after_goes_first_but_never_under_fcms_minimum() -> None:
    assert backoff_ms(5, "30", NOW, 1.0) == 30_000
    assert backoff_ms(5, "1", NOW, 1.0) == 10_000


def test_a_quota_wait_is_a_minute_doubled_or_what_fcm_asks() -> None:
    assert [quota_ms(strikes, "", NOW, 0.0) for strikes in range(4)] == [60_000, 120_000, 240_000, 480_000]
    assert quota_ms(3, "5", NOW, 1.0) == 5_000
    assert quota_ms(0, "0", NOW, 0.0) == 1_000


@given(st.text(max_size=40) | st.integers().map(str), st.integers(0, 10**6), st.floats(0, 1))
def test_any_header_gives_a_bounded_wait(header: str, attempt: int, dice: float) -> None:
    assert 10_000 <= backoff_ms(attempt, header, NOW, dice) <= RETRY_AFTER_MS_MAX
    assert 1_000 <= quota_ms(attempt, header, NOW, dice) <= RETRY_AFTER_MS_MAX
