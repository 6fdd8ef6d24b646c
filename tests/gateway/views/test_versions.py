"""Where versions stand, and what an ``a`` tag names; which version wins is told in the tests of the events' view."""

import sqlite3

import pytest

from gateway.views import versions
from gateway.views.eventkeys import Mark
from gateway.views.versions import Place, Versions, named_place, place_of
from tests.signing import ALICE, pubkey, signed


def test_only_replaceable_and_addressable_events_have_a_place() -> None:
    assert place_of(1, 2, signed(kind=1)) is place_of(1, 2, signed(kind=20_000)) is None
    plain, named = place_of(1, 2, signed(kind=0)), place_of(1, 2, signed(kind=30_000, tags=[["d", "x"]]))
    assert plain == place_of(1, 2, signed(kind=0, tags=[["d", "x"]]))
    assert named != place_of(1, 2, signed(kind=30_000))


@pytest.mark.parametrize(
    ("value", "is_named"),
    [("0:{}:", True), ("30000:{}:a:b", True), ("1:{}:", False), ("٣:{}:", False), ("0:x:", False), ("", False)],
)
def test_an_a_tag_names_a_place_of_its_own_author(value: str, is_named: bool) -> None:
    assert (named_place(1, 2, pubkey(ALICE), value.format(pubkey(ALICE))) is not None) == is_named


def test_what_a_place_points_to_is_no_version_once_its_row_is_gone() -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(versions.SCHEMA + "CREATE TABLE event (seq INTEGER PRIMARY KEY, created, tie, half);")
    held, place = Versions(db), Place(1, 2, 0, b"")
    db.execute("INSERT INTO event VALUES (7, 5, 0, 0)")
    held.put(place, 7)
    assert held.current(place) == 7
    assert held.is_superseded(place, Mark(4, 9, 9))
    assert not held.is_superseded(place, Mark(6, 0, 0))
    db.execute("DELETE FROM event")
    assert not held.is_superseded(place, Mark(4, 9, 9))
