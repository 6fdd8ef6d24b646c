"""Pushkeys that are gone: told again, until they are set anew or forgotten."""

import sqlite3
from collections.abc import Iterator

import pytest

from eventlog.record import Record, encode
from gateway.facts import Accepted, Removed, draft
from gateway.limits.ways import PUSHKEY_HELD_DAYS, PUSHKEYS_GONE_MS
from gateway.push.instant import DAY_MS
from gateway.views.pushkeys import PushkeysView

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


def accept(view: PushkeysView, tenant: str, user: str, ms: int) -> None:
    fact = Accepted(tenant, user, f"{ms}", None, None, ms, (), "", b"{}")
    made = draft(fact, ts_ns=ms * 1_000_000, salt=b"s" * 16)
    (commitment,) = encode([made]).commitments
    seq = view.position
    view.apply([Record(seq, made.schema, made.ts_ns, made.kind, b"", commitment, made.payload)], seq + 1)


@pytest.mark.parametrize("app", ["a", "a" * 30, "a" * 300])
def test_a_pushkey_that_was_notified_is_a_device_of_its_app_for_a_month(view: PushkeysView, app: str) -> None:
    tenant = f"matrix:{app}"
    accept(view, tenant, "k", BASE_MS)
    accept(view, tenant, "k", BASE_MS + DAY_MS)
    accept(view, tenant, "l", BASE_MS)
    accept(view, "takos.example", "matrix:", BASE_MS)
    assert (view.held(tenant), view.held("takos.example")) == (2, 0)
    assert view.holds(tenant, "k")
    accept(view, tenant, "m", BASE_MS + (PUSHKEY_HELD_DAYS + 1) * DAY_MS)
    assert view.held(tenant) == 2
    assert not view.holds(tenant, "l")


def test_a_pushkey_that_is_gone_is_no_device_and_the_count_survives_a_restart(view: PushkeysView) -> None:
    for key in ("k", "l"):
        accept(view, "matrix:app", key, BASE_MS)
    remove(view, "matrix:app", "k", BASE_MS)
    assert view.held("matrix:app") == 1
    view.commit("origin", b"root")
    view.restart()
    assert view.held("matrix:app") == 1
