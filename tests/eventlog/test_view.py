"""A view is the same whatever way it came to be, and seals rows and bookmark together."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from eventlog.chronicle import Retained
from eventlog.limits import VIEW_LAG_RECORDS
from eventlog.record import Record
from eventlog.view import bookmark_of
from tests.eventlog.words import WordsView, oracle

RECORDS = [
    Record(seq, 1, seq, "word.said" if seq % 3 else "other.thing", b"", b"", b"abc"[seq % 2 : seq % 4])
    for seq in range(60)
]


@given(st.lists(st.integers(1, 20), min_size=1))
def test_the_digest_does_not_depend_on_the_batches(sizes: list[int]) -> None:
    whole, pieces = WordsView(sqlite3.connect(":memory:")), WordsView(sqlite3.connect(":memory:"))
    whole.apply(RECORDS, 60)
    at = 0
    for size in [*sizes, 60]:
        pieces.apply(RECORDS[at : at + size], min(at + size, 60))
        at = min(at + size, 60)
    assert pieces.digest() == whole.digest()
    assert pieces.position == whole.position == 60
    assert whole.found() == oracle(RECORDS)
    whole.db.close()
    pieces.db.close()


def test_another_row_is_another_digest() -> None:
    one, other = WordsView(sqlite3.connect(":memory:")), WordsView(sqlite3.connect(":memory:"))
    one.apply(RECORDS, 60)
    other.apply(RECORDS[:-1], 59)
    assert one.digest() != other.digest()


def test_rows_and_bookmark_are_sealed_together_or_not_at_all() -> None:
    db = sqlite3.connect(":memory:")
    view = WordsView(db)
    view.apply(RECORDS[:10], 10)
    view.commit("log.example", b"root")
    view.apply(RECORDS[10:], 60)
    db.execute("ROLLBACK")  # what a crash does
    again = WordsView(db)
    assert again.position == 10
    assert again.found() == oracle(RECORDS[:10])
    assert again.bookmark() == (1, "log.example", 10, b"root")


def test_a_batch_of_no_interest_writes_nothing_until_the_bookmark_lags_far() -> None:
    db = sqlite3.connect(":memory:")
    view = WordsView(db)
    view.apply([], VIEW_LAG_RECORDS - 1)
    assert not view.due
    assert not db.in_transaction
    view.apply([], VIEW_LAG_RECORDS)
    assert view.due
    view.commit("log.example", b"root")
    assert not view.due
    changes = db.total_changes
    view.commit("log.example", b"root")
    assert db.total_changes == changes


def test_a_database_without_a_bookmark_has_none() -> None:
    db = sqlite3.connect(":memory:")
    assert bookmark_of(db) is None
    WordsView(db)
    assert bookmark_of(db) is None


def test_what_a_view_ignores_changes_nothing_in_it_and_retention_is_ignored_by_none() -> None:
    view = WordsView(sqlite3.connect(":memory:"))
    before = view.digest()
    others = [record for record in RECORDS if record.kind != "word.said"]
    assert view.ignores({record.kind for record in others})
    view.apply(others, 60)
    assert view.digest() == before
    assert not view.ignores({record.kind for record in RECORDS})
    assert not view.ignores({Retained.kind})
    view.db.close()
