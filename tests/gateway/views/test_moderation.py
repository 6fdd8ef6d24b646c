"""The lists are what was said last, whatever the batches, and a restart finds them."""

import sqlite3

from eventlog.record import Record
from gateway.facts import Moderated, RelayUnregistered, draft
from gateway.views.moderation import ModerationView
from tests.signing import ALICE, BOB, pubkey

A, B = pubkey(ALICE), pubkey(BOB)


def said(view: ModerationView, *changes: tuple[str, str, str]) -> None:
    for relay, method, value in changes:
        made = draft(Moderated(relay, b"a" * 32, method, value, "why"), ts_ns=1, salt=bytes(16))
        seq = view.position
        view.apply([Record(seq, made.schema, 1, made.kind, b"", b"", made.payload)], seq + 1)


def test_a_key_is_on_one_list_at_a_time_and_each_relay_has_its_own() -> None:
    view = ModerationView(sqlite3.connect(":memory:"))
    said(view, ("one", "allowpubkey", A), ("one", "banpubkey", A), ("one", "banpubkey", B), ("two", "allowpubkey", A))
    assert view.lists("one") == {"banned pubkeys": dict.fromkeys(sorted((A, B)), "why")}
    assert view.rules("one").block_keys == {A, B}
    assert view.rules("two").allow_keys == {A}
    assert view.rules("three").block_keys == frozenset()
    said(view, ("one", "unbanpubkey", A))
    assert view.rules("one").block_keys == {B}
    assert (view.count("one"), view.count("two")) == (1, 1)
    again = ModerationView(view.db)
    assert again.rules("one") == view.rules("one")


def test_words_replace_each_other_and_an_unregistered_relay_is_forgotten() -> None:
    view = ModerationView(sqlite3.connect(":memory:"))
    said(
        view, ("one", "changerelayname", "first"), ("one", "changerelayname", "second"), ("one", "changerelayicon", "i")
    )
    assert view.words("one") == {"name": "second", "icon": "i"}
    gone = draft(RelayUnregistered("default", "one", None, None), ts_ns=1)
    view.apply([Record(3, gone.schema, 1, gone.kind, b"", b"", gone.payload)], 4)
    assert view.words("one") == {}
    assert view.rules("one").block_keys == frozenset()
