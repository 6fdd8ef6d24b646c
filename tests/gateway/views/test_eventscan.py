"""Stored answers: the right rows, in order, by whatever index."""

import sqlite3
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.chronicle import Below, Retained
from gateway.errors import Unavailable
from gateway.facts import EventStored
from gateway.limits.views import SCAN_ROWS
from gateway.nostr.filter import parse_filter
from gateway.views import eventscan
from gateway.views.events import EventsView
from gateway.views.eventscan import EventScan, NameScan, names
from tests import oracles
from tests.fuzz.agreement import random_history
from tests.gateway.views.test_events import KNOWN, RELAY, TinyRuns, held, records_of, to_event, view_of
from tests.signing import ALICE, BOB, pubkey, signed_fields

EVENTS = [
    signed_fields(key, kind, str(number), tags, at)
    for number, (key, kind, at, tags) in enumerate(
        (key, kind, at, tags)
        for key in (ALICE, BOB)
        for kind in (1, 7)
        for at in (10, 10, 20, 30)
        for tags in ([], [["t", "a"], ["t", "b"]], [["t", "a"], ["p", pubkey(BOB)], ["T", "a"]])
    )
]
VIEW = view_of(*map(to_event, EVENTS))
TINY = view_of(*map(to_event, EVENTS), kind=TinyRuns, batch=3)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(st.sampled_from([event["id"] for event in EVENTS] + ["1" * 64]), max_size=9),
        "authors": st.lists(st.sampled_from([pubkey(ALICE), pubkey(BOB), "0" * 64]), max_size=3),
        "kinds": st.lists(st.sampled_from([1, 7, 9]), max_size=2),
        "#t": st.lists(st.sampled_from("abc"), max_size=2),
        "#T": st.lists(st.sampled_from("ab"), max_size=2),
        "#p": st.lists(st.sampled_from([pubkey(ALICE), pubkey(BOB)]), max_size=2),
        "since": st.sampled_from([0, 9, 10, 11, 20, 31]),
        "until": st.sampled_from([0, 9, 10, 19, 30, 2**53 - 1]),
        "limit": st.sampled_from([0, 1, 2, 5, 30, 10**6]),
    },
)


def ids(view: EventsView, asked: list[dict[str, Any]], seq_end: int = 10**9) -> list[str]:
    pages = EventScan(view).pages(RELAY, list(map(parse_filter, asked)), seq_end, 20, 40)
    by_seq = {seq: KNOWN[tie, half] for seq, tie, half in view.db.execute("SELECT seq, tie, half FROM event")}
    return [by_seq[row.seq] for page in pages for row in page]


@given(st.lists(FILTERS, min_size=1, max_size=3))
def test_a_scan_of_names_gives_the_same_by_id_and_time(asked: list[dict[str, Any]]) -> None:
    pages = NameScan(VIEW).pages(RELAY, list(map(parse_filter, asked)), 10**9, 20, 40)
    told = [name for page in pages for name in names(page)]
    assert [name.hex() for _, name in told] == ids(VIEW, asked)
    assert {name.hex(): at for at, name in told}.items() <= {(one["id"], one["created_at"]) for one in EVENTS}


@settings(max_examples=500)
@given(st.lists(FILTERS, min_size=1, max_size=3))
def test_a_scan_gives_what_the_dumb_oracle_gives_in_its_order(asked: list[dict[str, Any]]) -> None:
    assert ids(VIEW, asked) == ids(TINY, asked) == oracles.answer(asked, EVENTS, 20, 40)


@pytest.mark.parametrize("seq_end", [0, 1, 30])
def test_nothing_at_or_above_the_given_position_is_seen(seq_end: int) -> None:
    assert set(ids(VIEW, [{"limit": 40}], seq_end)) <= {event["id"] for event in EVENTS[:seq_end]}
    assert len(ids(VIEW, [{"limit": 40}], seq_end)) == seq_end


def test_a_relay_without_events_answers_nothing() -> None:
    assert list(EventScan(VIEW).pages("another", [parse_filter({})], 99, 5, 5)) == []


MANY = [
    signed_fields((ALICE, BOB)[number % 2], 1, str(number), [["t", "x"], ["e", f"{number:064x}"]], number // 3)
    for number in range(3 * SCAN_ROWS)
]


def test_a_long_walk_is_complete_in_order_and_handed_over_in_small_pages() -> None:
    view = view_of(*map(to_event, MANY))
    for asked in ({}, {"#t": ["x", "y"]}, {"authors": [pubkey(ALICE), pubkey(BOB)]}, {"kinds": [1]}):
        pages = list(EventScan(view).pages(RELAY, [parse_filter(asked)], 10**9, 10**6, 10**6))
        assert sum(map(len, pages)) == len(MANY)
        assert max(map(len, pages)) <= SCAN_ROWS
        rows = [row for page in pages for row in page]
        assert rows == sorted(rows, reverse=True)


@pytest.mark.parametrize("seed", range(20))
def test_what_an_answer_held_is_not_in_the_next_one_where_its_row_was_taken_away(seed: int) -> None:
    view = EventsView(sqlite3.connect(":memory:"))
    events = [(RELAY, to_event(event)) for event in random_history(Random(seed))]
    for record in records_of(events):
        view.apply([record], record.seq + 1)
        assert sorted(ids(view, [{"limit": 40}])) == sorted(held(view))[:40] or len(held(view)) > 40
        assert set(ids(view, [{}, {"kinds": [1]}])) <= set(held(view))
    left = len(held(view)) // 2
    view.retained(Retained(len(events), (Below(EventStored.kind, len(events) - left),)))
    assert set(ids(view, [{"limit": 40}])) == set(held(view))
    view.erase(range(len(events)), None)
    assert ids(view, [{}]) == []


def test_an_answer_under_way_is_broken_off_where_the_index_lost_rows() -> None:
    view = view_of(*map(to_event, MANY), kind=TinyRuns, batch=9)
    view.commit("origin", b"")
    pages = EventScan(view).pages(RELAY, [parse_filter({})], 10**9, 10**6, 10**6)
    assert next(pages)
    view.restart()
    with pytest.raises(Unavailable, match="ask again"):
        list(pages)


def test_the_narrow_field_is_walked_however_wide_the_other_is() -> None:
    view = view_of(*map(to_event, MANY))
    asked = parse_filter({"authors": [pubkey(BOB)], "#e": [f"{1:064x}"]})
    pages = list(EventScan(view).pages(RELAY, [asked], 10**9, 500, 500))
    assert [len(page) for page in pages if page] == [1]
    assert len(pages) == 1


def test_an_author_without_events_in_this_relay_has_none_and_one_with_too_many_kinds_has_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = [signed_fields(ALICE, kind, "", [], kind) for kind in range(6, 40)]
    view = view_of(*map(to_event, many))
    view.apply(records_of([("another", to_event(signed_fields(BOB)))], len(many)), len(many) + 1)
    assert ids(view, [{"authors": [pubkey(BOB)]}]) == []
    asked = [{"authors": [pubkey(ALICE)]}]
    assert ids(view, asked) == oracles.answer(asked, many, 20, 40)
    monkeypatch.setattr(eventscan, "SCAN_KINDS_MAX", 5)
    assert ids(view, asked) == oracles.answer(asked, many, 20, 40)
    assert ids(view, [{**asked[0], "kinds": [7, 8]}]) == oracles.answer([{**asked[0], "kinds": [7, 8]}], many, 20, 40)


def steps(view: EventsView, asked: dict[str, Any]) -> int:
    """Count what SQLite executes for an answer and for 40 decisions, in tens of instructions."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    view.db.set_progress_handler(step, 10)
    list(EventScan(view).pages(RELAY, [parse_filter(asked)], 10**9, 20, 40))
    view.standings(RELAY, [to_event(event) for event in MANY[:40]])
    view.db.set_progress_handler(None, 0)
    return count


@pytest.fixture(scope="module")
def small_and_large() -> tuple[EventsView, EventsView]:
    events = list(map(to_event, MANY))
    return view_of(*events[:80], kind=TinyRuns), view_of(*events, kind=TinyRuns)


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 5},
        {"kinds": [1], "limit": 5},
        {"authors": [pubkey(BOB)], "limit": 5},
        {"authors": [pubkey(BOB)], "kinds": [1, 2], "limit": 5},
        {"#t": ["x"], "limit": 5},
        {"#t": ["x"], "kinds": [9], "limit": 5},
        {"until": 20, "limit": 5},
        {"since": 3, "until": 20, "#t": ["x"], "authors": [pubkey(BOB)], "limit": 5},
        {"ids": [MANY[0]["id"]]},
    ],
)
def test_what_an_answer_costs_does_not_depend_on_how_much_is_stored(
    asked: dict[str, Any], small_and_large: tuple[EventsView, EventsView]
) -> None:
    small, large = small_and_large
    assert steps(large, asked) <= steps(small, asked) * 1.5 + 50
