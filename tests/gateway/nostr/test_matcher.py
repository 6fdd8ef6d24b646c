"""The live index finds what a scan over all filters finds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr.filter import parse_filter
from gateway.nostr.matcher import Matcher
from tests import oracles
from tests.gateway.nostr.test_filter import EVENTS, FILTERS, signed_event
from tests.signing import signed


@given(st.lists(st.lists(FILTERS, min_size=1, max_size=3), max_size=8), st.sets(st.integers(0, 7)))
def test_the_index_finds_exactly_the_subscribers_that_a_scan_finds(
    asked: list[list[dict[str, Any]]], removed: set[int]
) -> None:
    matcher: Matcher[int] = Matcher()
    for subscriber, filters in enumerate(asked):
        matcher.add(subscriber, list(map(parse_filter, filters)))
    for subscriber in removed:
        matcher.remove(subscriber)
    for fields in EVENTS[::5]:
        found = matcher.match(signed_event(fields))
        assert len(found) == len(set(found))
        assert set(found) == {
            subscriber
            for subscriber, filters in enumerate(asked)
            if subscriber not in removed and any(oracles.filter_matches(one, fields) for one in filters)
        }


def test_a_subscriber_that_was_replaced_or_removed_leaves_nothing_behind() -> None:
    matcher: Matcher[str] = Matcher()
    event = signed(tags=[["t", "a"]])
    for asked in ({}, {"#t": ["a"]}, {"kinds": [1]}, {"authors": [event.pubkey]}, {"ids": [event.id]}):
        matcher.add("one", [parse_filter(asked), parse_filter({"kinds": [2]})])
        assert matcher.match(event) == ["one"]
    matcher.add("one", [parse_filter({"kinds": [2]})])
    assert matcher.match(event) == []
    assert len(matcher) == 1
    matcher.remove("one")
    matcher.remove("one")
    assert len(matcher) == 0
    assert not matcher._shelves
