"""A bar says up to when, for a relay or for all; the last word counts, and no key stands in it."""

import sqlite3

from eventlog.record import Record
from gateway.facts import Barred, Fact, RelayUnregistered, draft
from gateway.views.bars import BarsView, mark_of
from tests.signing import ALICE, BOB, pubkey

MARK = mark_of(b"secret", pubkey(ALICE))


def folded(*facts: Fact) -> BarsView:
    view = BarsView(sqlite3.connect(":memory:"))
    for seq, fact in enumerate(facts):
        made = draft(fact, ts_ns=1)
        view.apply([Record(seq, made.schema, 1, made.kind, b"", b"", made.payload)], seq + 1)
    return view


def test_a_bar_everywhere_holds_on_every_relay_and_one_of_a_relay_there_alone() -> None:
    view = folded(Barred("", MARK, 10), Barred("one", MARK, 20))
    assert (view.until_s("one", MARK), view.until_s("two", MARK)) == (20, 10)
    assert view.until_s("one", mark_of(b"secret", pubkey(BOB))) == -1
    assert BarsView(view.db).until_s("two", MARK) == 10


def test_the_last_word_counts_and_an_unregistered_relay_has_none() -> None:
    assert folded(Barred("one", MARK, 20), Barred("one", MARK, 5)).until_s("one", MARK) == 5
    gone = folded(Barred("one", MARK, 20), Barred("", MARK, 7), RelayUnregistered("w", "one", None, None))
    assert gone.until_s("one", MARK) == 7


def test_a_mark_needs_the_secret_and_whether_there_is_any_bar_is_known() -> None:
    assert mark_of(b"another", pubkey(ALICE)) != MARK
    assert len(MARK) == 32
    assert BarsView(sqlite3.connect(":memory:")).is_empty
    view = folded(Barred("", MARK, 1))
    assert not view.is_empty
    assert not BarsView(view.db).is_empty
