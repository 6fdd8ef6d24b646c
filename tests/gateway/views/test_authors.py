"""An author has one number and one pseudonym for ever, in memory or not."""

import sqlite3

import pytest

from gateway.views import authors
from gateway.views.authors import Authors

KEYS = [f"{number:064x}" for number in range(9)]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Authors:
    monkeypatch.setattr(authors, "AUTHORS_CACHED_MAX", 3)
    db = sqlite3.connect(":memory:")
    db.executescript(authors.SCHEMA)
    return Authors(db)


def test_numbers_and_pseudonyms_stay_however_many_come(known: Authors) -> None:
    made = [known.add(key, key[-4:].encode()) for key in KEYS]
    assert [known.of(key) for key in KEYS] == made
    assert len({author.number for author in made}) == len(KEYS)
    assert known.pubkeys([author.number for author in made]) == [bytes.fromhex(key) for key in KEYS]
    assert known.of("f" * 64) is None


def test_who_deleted_once_is_known_to_delete_once_it_is_out_of_memory(known: Authors) -> None:
    known.note_deletion(known.add(KEYS[0], b""))
    for key in KEYS[1:]:
        known.add(key, b"")
    assert [author.deletes for key in KEYS if (author := known.of(key))] == [True] + [False] * 8


def test_the_kinds_that_somebody_writes_are_known_in_and_out_of_memory(
    known: Authors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authors, "AUTHOR_KINDS_CACHED_MAX", 2)
    for kind in (7, 1, 7, 9, 1):
        known.note_kinds({(1, 2, kind), (1, 3, 5)})
    assert known.kinds(1, 2, 10) == [1, 7, 9]
    assert known.kinds(1, 2, 2) == [1, 7]
    assert known.kinds(2, 2, 10) == []
