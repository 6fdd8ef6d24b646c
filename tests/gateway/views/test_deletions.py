"""A deletion bars what its author named, nobody else's, and of an address no version that came after it."""

import sqlite3

from gateway.views import deletions
from gateway.views.deletions import Deletions
from gateway.views.versions import Place

ID = "a" * 64


def test_what_is_barred_stays_barred_and_nothing_else_is() -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(deletions.SCHEMA)
    barred, place = Deletions(db), Place(1, 2, 0, b"name")
    barred.bar_id(1, 2, ID)
    barred.bar_id(1, 2, ID)
    assert barred.bars_id(1, 2, ID)
    assert not any((barred.bars_id(2, 2, ID), barred.bars_id(1, 3, ID), barred.bars_id(1, 2, "b" * 64)))
    barred.bar_address(place, 9)
    barred.bar_address(place, 5)
    assert barred.bars_address(place, 9)
    assert not barred.bars_address(place, 10)
    assert not barred.bars_address(place._replace(name=b"other"), 1)
