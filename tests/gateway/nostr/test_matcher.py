"""The live index finds what a scan over all filters finds."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr.event import Event
from gateway.nostr.filter import Filter, parse_filter
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
    assert not matcher._questions


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Filter]:
    """Every filter that is held against an event, as often as it is."""
    asked: list[Filter] = []
    matches = Filter.matches

    def counted(self: Filter, event: Event, tags: set[tuple[str, str]] | None = None) -> bool:
        asked.append(self)
        return matches(self, event, tags)

    monkeypatch.setattr(Filter, "matches", counted)
    return asked


def test_what_many_ask_alike_is_asked_of_an_event_once_and_of_each_until_it_ends(looked_at: list[Filter]) -> None:
    matcher: Matcher[int] = Matcher()
    event = signed(tags=[["t", "a"]])
    for subscriber in range(100):
        matcher.add(subscriber, [parse_filter({"kinds": [1], "#t": ["a"]})] * 2)
    assert matcher.match(event) == list(range(100))
    assert len(looked_at) == 1
    for subscriber in range(99):
        matcher.remove(subscriber)
    assert matcher.match(event) == [99]


def test_ten_thousand_subscriptions_on_a_thousand_connections_are_not_looked_through(looked_at: list[Filter]) -> None:
    """What an event costs is how many filters share something with it, counted here, not how many there are."""
    event = signed(kind=1, tags=[["t", "nostr"], ["p", "ab" * 32]])
    sorts: list[Callable[[int], dict[str, Any]]] = [
        lambda number: {"authors": [f"{number:064x}"]},
        lambda number: {"kinds": [1], "authors": [f"{number:064x}"], "#t": ["nostr"]},
        lambda number: {"kinds": [1], "#p": [f"{number:064x}"]},
        lambda number: {"ids": [f"{number:064x}"], "kinds": [1]},
        lambda number: {"kinds": [2 + number]},
    ]
    matcher: Matcher[tuple[int, int]] = Matcher()
    for number in range(10_000):
        asked = parse_filter(sorts[number % len(sorts)](number))
        matcher.add((number % 1_000, number), [asked])
    assert matcher.match(event) == []
    assert looked_at == []
    wanted = [{"authors": [event.pubkey]}, {"#t": ["nostr"], "kinds": [1]}, {"#p": ["ab" * 32], "kinds": [2]}]
    for number, asked_for in enumerate(wanted):
        matcher.add((number, -1), [parse_filter(asked_for)])
    assert sorted(matcher.match(event)) == [(0, -1), (1, -1)]
    assert len(looked_at) == len(wanted)
