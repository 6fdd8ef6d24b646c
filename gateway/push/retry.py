"""When to try again: Retry-After in both its forms, and exponential back-off with jitter (push §5).

Every wait is clamped; dice are handed in as a number from 0 to 1. Must not know clocks or what is retried.
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from gateway.limits.push import QUOTA_MS, RETRY_AFTER_MS_MAX, RETRY_MS_MAX, RETRY_MS_MIN

_SECONDS = re.compile(r"\d{1,10}", re.ASCII)
_DOUBLINGS_MAX = 16
_JITTER = 0.25


def retry_after_ms(header: str, now_ms: int) -> int | None:
    """Read Retry-After (RFC 9110 §10.2.3: seconds, or a date) as ms to wait; None where it says nothing usable."""
    text = header.strip()
    if _SECONDS.fullmatch(text):
        wait_ms = int(text) * 1000
    else:
        try:
            moment = parsedate_to_datetime(text)
            # A date without a zone is read as UTC, as HTTP's own dates are.
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            wait_ms = int(moment.timestamp() * 1000) - now_ms
        except (ValueError, OverflowError, IndexError, TypeError):
            return None
    return min(max(wait_ms, 0), RETRY_AFTER_MS_MAX)


def _doubled(first_ms: int, attempt: int, dice: float) -> int:
    wait_ms = min(first_ms << min(attempt, _DOUBLINGS_MAX), RETRY_MS_MAX)
    return int(wait_ms * (1 + _JITTER * dice))


def backoff_ms(attempt: int, retry_after: str, now_ms: int, dice: float) -> int:
    """Wait after a failure that passes; ``attempt`` counts from 0. Never under FCM's minimum of 10 s."""
    asked = retry_after_ms(retry_after, now_ms)
    if asked is not None:
        return max(asked, RETRY_MS_MIN)
    return _doubled(RETRY_MS_MIN, attempt, dice)


def quota_ms(strikes: int, retry_after: str, now_ms: int, dice: float) -> int:
    """Wait after a 429, or a project's refusal; ``strikes`` counts those in a row, from 0."""
    asked = retry_after_ms(retry_after, now_ms)
    if asked is not None:
        return max(asked, 1000)
    return _doubled(QUOTA_MS, strikes, dice)
