"""Last good documents: one a domain, until its server takes it back or a day is over."""

import sqlite3
from collections.abc import Iterator

import pytest

from eventlog.record import Record, encode
from gateway.facts import Fact, Published, Revoked, draft
from gateway.push.instant import DAY_MS
from gateway.views.documents import DocumentsView, LastGood

BASE_MS = 20_000 * DAY_MS + 5_000


@pytest.fixture
def view() -> Iterator[DocumentsView]:
    made = DocumentsView(sqlite3.connect(":memory:"))
    yield made
    made.db.close()


def fold(view: DocumentsView, fact: Fact, ms: int = BASE_MS) -> None:
    made = draft(fact, ts_ns=ms * 1_000_000)
    (commitment,) = encode([made]).commitments
    seq = view.position
    view.apply([Record(seq, made.schema, made.ts_ns, made.kind, b"", commitment, made.payload)], seq + 1)


def published(domain: str = "a.example", key: bytes = b"k", ms: int = BASE_MS) -> Published:
    return Published(domain, key, b"w", None, ms)


def test_the_last_document_of_a_domain_is_the_one_that_stands(view: DocumentsView) -> None:
    assert view.last_good("a.example") is None
    fold(view, published())
    fold(view, published(key=b"l"))
    assert view.last_good("a.example") == LastGood(b"l", b"w", None, BASE_MS, "", 20_000, 2)
    assert view.count() == 1


def test_what_its_server_took_back_is_told_until_there_is_another(view: DocumentsView) -> None:
    fold(view, Revoked("a.example", "gone"))
    assert view.last_good("a.example") is None
    fold(view, published())
    for reason in ("gone", "invalid"):
        fold(view, Revoked("a.example", reason))
        found = view.last_good("a.example")
        assert found is not None
        assert found.revoked == reason
    fold(view, published())
    found = view.last_good("a.example")
    assert found is not None
    assert found.revoked == ""


def test_records_are_counted_by_the_day_and_a_document_of_yesterday_is_forgotten(view: DocumentsView) -> None:
    fold(view, published("b.example"))
    fold(view, published())
    fold(view, published(ms=BASE_MS + DAY_MS), BASE_MS + DAY_MS)
    found = view.last_good("a.example")
    assert found is not None
    assert (found.day, found.recorded) == (20_001, 1)
    assert view.last_good("b.example") is not None
    fold(view, published(ms=BASE_MS + DAY_MS + 1), BASE_MS + DAY_MS + 1)
    assert view.last_good("b.example") is None
