"""The limits that are published are those that are enforced, to the last unit."""

import pytest

from gateway.config import Relay
from gateway.nostr.event import Event
from gateway.nostr.policy import Accept, Context, Reject, judge
from tests.signing import NOW_S, signed

LIMITS = Relay(event_tags_max=2, content_chars_max=5, created_at_ahead_s_max=60)


@pytest.mark.parametrize(
    "event",
    [
        signed(created_at=NOW_S + 60, content="äääää", tags=[["a"], ["b"]]),
        signed(created_at=0),
        signed(kind=65_535),
    ],
)
def test_an_event_at_every_limit_is_taken(event: Event) -> None:
    assert judge(event, Context(LIMITS, NOW_S)) == Accept()


@pytest.mark.parametrize(
    ("event", "word"),
    [
        (signed(created_at=NOW_S + 61), "created_at"),
        (signed(tags=[["a"], ["b"], ["c"]]), "tags"),
        (signed(content="aaaaaa"), "characters"),
        (signed(kind=22_242), "never published"),
    ],
)
def test_an_event_beyond_a_limit_is_refused_with_the_reason(event: Event, word: str) -> None:
    verdict = judge(event, Context(LIMITS, NOW_S))
    assert isinstance(verdict, Reject)
    assert verdict.reason.startswith("invalid: ")
    assert word in verdict.reason
