"""Pushkeys that are gone: told again, until they are set anew or forgotten."""

import sqlite3
from collections.abc import Iterator

import pytest

from eventlog.record import Record, encode
from gateway.facts import Removed, draft
from gateway.limits.ways import PUSHKEYS_GONE_MS
from gateway.views.pushkeys import PushkeysView

DAY_MS = 86_400_000
BASE_MS = 1_763_126_872_000


@pytest.fixture
def view() -> Iterator[PushkeysView]:
    made = PushkeysView(sqlite3.connect(":memory:"))
    yield made
    made.db.close()


def remove(view: PushkeysView, tenant: str, user: str, ms: int) -> None:
    fact = Removed(tenant, user, "target", "token", "unregistered")
    made = draft(fact, ts_ns=ms * 1_000_000, salt=b"s" * 16)
    (commitment,) = encode([made]).commitments
    seq = view.position
    view.apply([Record(seq, made.schema, made.ts_ns, made.kind, b"", commitment, made.payload)], seq + 1)


def test_a_pushkey_is_gone_until_it_is_set_anew(view: PushkeysView) -> None:
    remove(view, "matrix:app", "k", BASE_MS)
    assert view.is_gone("matrix:app", "k", 0)
    assert view.is_gone("matrix:app", "k", BASE_MS)
    assert not view.is_gone("matrix:app", "k", BASE_MS + 1)
    assert not view.is_gone("matrix:other", "k", 0)


def test_devices_of_instances_are_none_of_its_business(view: PushkeysView) -> None:
    remove(view, "a.example.com", "alice", BASE_MS)
    assert not view.is_gone("a.example.com", "alice", 0)


def test_after_three_months_it_is_forgotten(view: PushkeysView) -> None:
    remove(view, "matrix:app", "k", BASE_MS)
    remove(view, "matrix:app", "l", BASE_MS + PUSHKEYS_GONE_MS + DAY_MS)
    assert not view.is_gone("matrix:app", "k", 0)
    assert view.is_gone("matrix:app", "l", 0)
