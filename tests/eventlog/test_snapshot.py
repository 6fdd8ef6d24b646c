"""A snapshot's name says which view and where; from names alone follows what may be started from, and what may go."""

from hypothesis import given
from hypothesis import strategies as st

from eventlog.snapshot import KEPT, Name, candidates, cap, name_of, superfluous

NAMES = [str(Name(view, at)) for view in ("events", "rows") for at in (10, 30, 20)]


@given(st.from_regex(r"\A[a-z_]{1,64}\Z"), st.integers(0, 10**20 - 1))
def test_a_name_is_read_as_it_was_written(view: str, position: int) -> None:
    assert name_of(str(Name(view, position))) == Name(view, position)


def test_other_files_are_no_snapshots() -> None:
    assert [name_of(text) for text in ("events.db", "events-1.db", f"{Name('events', 1)}.tmp", "")] == [None] * 4


def test_a_start_takes_the_newest_that_fits_the_log() -> None:
    assert [one.position for one in candidates(NAMES, "rows", floor=0, size=100)] == [30, 20, 10]
    assert [one.position for one in candidates(NAMES, "rows", floor=11, size=29)] == [20]
    assert candidates(NAMES, "tokens", floor=0, size=100) == []


def test_the_newest_two_of_each_view_stay() -> None:
    assert KEPT == 2
    assert sorted(map(str, superfluous([*NAMES, "other"]))) == [str(Name("events", 10)), str(Name("rows", 10))]


def test_retention_may_reach_as_far_as_every_view_has_a_snapshot() -> None:
    assert cap(NAMES, ["events", "rows"]) == 30
    assert cap([*NAMES, str(Name("rows", 40))], ["events", "rows"]) == 30
    assert cap(NAMES, ["events", "rows", "tokens"]) == 0
    assert cap([], []) == 0
