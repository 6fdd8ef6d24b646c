"""Reading a relay in pages, against a relay that is a list."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.paging import Pages


class Event(msgspec.Struct, frozen=True):
    id: str
    created_at: int


def answer(events: list[Event], asked: dict[str, int], limit_max: int) -> list[Event]:
    found = [one for one in events if asked.get("since", 0) <= one.created_at <= asked.get("until", 10**10)]
    return sorted(found, key=lambda one: (-one.created_at, one.id))[: min(limit_max, asked["limit"])]


def read(events: list[Event], asked: dict[str, int], limit_max: int) -> list[Event]:
    pages = Pages(asked)
    given: list[Event] = []
    while (request := pages.request()) is not None:
        given += pages.take(answer(events, request, limit_max))
    return given


@given(st.lists(st.integers(0, 40), max_size=60))
def test_every_event_comes_once_and_the_newest_first(times: list[int]) -> None:
    events = [Event(f"{number:03}", at) for number, at in enumerate(times)]
    limit_max = max([times.count(at) for at in times], default=0) + 1
    assert read(events, {}, limit_max) == sorted(events, key=lambda one: (-one.created_at, one.id))


def test_a_filters_own_bounds_hold_over_all_pages() -> None:
    events = [Event(f"{number:03}", number) for number in range(100)]
    assert [one.created_at for one in read(events, {"since": 10, "until": 30}, 4)] == [*range(30, 9, -1)]
    assert [one.created_at for one in read(events, {"limit": 7}, 3)] == [*range(99, 92, -1)]
    assert read(events, {"limit": 0}, 3) == []


def test_a_relay_that_gives_the_newest_whatever_is_asked_for_is_not_asked_for_ever() -> None:
    pages, events = Pages({}), [Event(f"{number:03}", number) for number in range(5, 10)]
    assert pages.take(events) == events[::-1]
    assert pages.take(events) == []
    assert pages.request() is not None  # of the second before the oldest
    assert pages.take(events) == []
    assert pages.request() is None


def test_reading_goes_on_from_a_place_that_was_kept() -> None:
    events = [Event(f"{number:03}", number // 3) for number in range(100)]
    first, again = Pages({}), Pages({})
    request = first.request()
    assert request is not None
    given = first.take(answer(events, request, 10))
    again.go_on(first.place)
    while (request := again.request()) is not None:
        given += again.take(answer(events, request, 10))
    assert sorted(one.id for one in given) == [one.id for one in events]


@pytest.mark.parametrize("text", ["", "until:1", "since:1:", "until:x:"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|since|invalid literal"):
        Pages({}).go_on(text)
