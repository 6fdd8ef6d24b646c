"""Comparisons cut in time: together always what was asked for, and not cut twice in vain."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import spans as spans_
from gateway.client.spans import Filter, Spans
from gateway.limits.client import SYNC_AHEAD_S

NOW_S = 1_000


def matches(asked: Filter, at: int) -> bool:
    return (asked.get("since") or 0) <= at <= (2**53 if asked.get("until") is None else asked["until"])


def compared(spans: Spans, asked: dict[str, Any], times: list[int], most: int) -> tuple[list[Filter], int]:
    """The spans that a relay of events of these times compares at last, and how many it refused before."""
    left, done, refused = spans.of(asked), list[Filter](), 0
    while left:
        span = left.pop(0)
        if sum(matches(span, at) for at in times) <= most:
            done.append(span)
            continue
        halves = spans.halves(span, NOW_S)
        assert halves, "no more than ``most`` are of one second"
        left, refused = halves + left, refused + 1
    return done, refused


@given(
    st.lists(st.integers(0, NOW_S + 2 * SYNC_AHEAD_S), max_size=40),
    st.fixed_dictionaries({}, optional={"since": st.integers(0, 900), "until": st.integers(0, NOW_S)}),
)
def test_every_event_lies_in_one_span_and_a_second_comparison_is_refused_nothing(
    times: list[int], asked: dict[str, Any]
) -> None:
    most = max([1, *map(times.count, times), sum(at >= NOW_S + SYNC_AHEAD_S for at in times)])
    spans = Spans()
    done, _ = compared(spans, asked, times, most)
    for at in times:
        assert sum(matches(span, at) for span in done) == matches(asked, at)
    assert compared(spans, asked, times, most) == (done, 0)


@pytest.mark.parametrize("asked", [{"since": 5, "until": 5}, {"since": NOW_S + SYNC_AHEAD_S}, {"limit": 10}])
def test_what_cannot_be_halved_gives_no_halves(asked: dict[str, Any]) -> None:
    spans = Spans()
    spans.halves({}, NOW_S)
    assert spans.halves(asked, NOW_S) == []
    assert spans.of(asked) == [asked]


def test_beyond_the_limit_cuts_are_made_and_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_, "SYNC_CUTS_MAX", 1)
    spans = Spans()
    older, newer = spans.halves({"until": 8}, NOW_S)
    assert (older, newer) == ({"until": 4}, {"since": 5, "until": 8})
    assert len(spans.halves(older, NOW_S)) == 2
    assert spans.of({"until": 8}) == [older, newer]
