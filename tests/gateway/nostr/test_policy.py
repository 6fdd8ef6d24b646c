"""The limits that are published are those that are enforced, to the last unit."""

import json
from itertools import count

import pytest

from gateway.config import Relay
from gateway.nostr.event import Event, difficulty
from gateway.nostr.policy import Accept, Context, Reject, Sender, judge
from gateway.nostr.rules import Rules
from tests.signing import BOB, NOW_S, pubkey, signed, signed_fields

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
        (signed(tags=[["expiration", str(NOW_S)]]), "expired"),
        (signed(kind=62), "ALL_RELAYS"),
    ],
)
def test_an_event_beyond_a_limit_is_refused_with_the_reason(event: Event, word: str) -> None:
    verdict = judge(event, Context(LIMITS, NOW_S))
    assert isinstance(verdict, Reject)
    assert verdict.reason.startswith("invalid: ")
    assert word in verdict.reason


@pytest.mark.parametrize("value", [str(NOW_S + 1), "", "x", "-1", "1.5", "٣", "9" * 4_000])
def test_an_event_with_its_end_ahead_or_no_end_that_can_be_read_is_taken(value: str) -> None:
    assert judge(signed(tags=[["expiration", value]]), Context(LIMITS, NOW_S)) == Accept()


def mined(bits: int, target: str) -> Event:
    """An event whose id has at least so many zero bits, and less than four more."""
    return next(
        event
        for number in count()
        if bits <= difficulty((event := signed(tags=[["nonce", str(number), target]])).id) < bits + 4
    )


def test_work_is_wanted_as_published_and_must_have_been_promised() -> None:
    context = Context(Relay(min_pow_difficulty=4), NOW_S)
    assert judge(mined(4, "4"), context) == Accept()
    for event in (mined(0, "4"), mined(4, "3"), mined(4, ""), mined(4, "x")):
        verdict = judge(event, context)
        assert isinstance(verdict, Reject)
        assert verdict.reason.startswith("pow: ")


def test_difficulty_counts_the_leading_zero_bits() -> None:
    assert [difficulty(text.ljust(64, "0")) for text in ("8", "4", "1", "08", "00f", "000")] == [0, 1, 3, 4, 8, 256]


def test_every_set_of_rules_has_to_let_an_event_pass() -> None:
    lists = (Rules(), Rules(block_keys=frozenset({pubkey(BOB)})))
    assert judge(signed(), Context(LIMITS, NOW_S, rules=lists)) == Accept()
    assert isinstance(judge(signed(BOB), Context(LIMITS, NOW_S, rules=lists)), Reject)


def test_a_protected_event_is_taken_from_its_author_alone() -> None:
    event = signed(tags=[["-"]])
    assert judge(event, Context(LIMITS, NOW_S, Sender(frozenset({event.pubkey})))) == Accept()
    prefixes = [
        verdict.reason.partition(":")[0]
        for keys in (frozenset(), frozenset({pubkey(BOB)}))
        if isinstance(verdict := judge(event, Context(LIMITS, NOW_S, Sender(keys))), Reject)
    ]
    assert prefixes == ["auth-required", "restricted"]


@pytest.mark.parametrize("kind", [6, 16])
def test_a_repost_does_not_carry_a_protected_event(kind: int) -> None:
    context = Context(Relay(), NOW_S)
    verdict = judge(signed(BOB, kind, json.dumps(signed_fields(tags=[["t", "x"], ["-"]]))), context)
    assert isinstance(verdict, Reject)
    assert verdict.reason.startswith("blocked: ")
    for text in ("", "nice", json.dumps(signed_fields(tags=[["t", "-"]])), "[" * 5_000):
        assert judge(signed(BOB, kind, text), context) == Accept()
