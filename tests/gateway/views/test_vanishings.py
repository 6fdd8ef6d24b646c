"""Who vanished brings back nothing from before, in that relay or in all; what they write afterwards is theirs."""

import sqlite3

import pytest

from gateway.views import vanishings
from gateway.views.vanishings import EVERY_RELAY, Vanishings, addressees
from tests.signing import ALICE, BOB, pubkey, signed


@pytest.fixture
def gone() -> Vanishings:
    db = sqlite3.connect(":memory:")
    db.executescript(vanishings.SCHEMA)
    return Vanishings(db)


def test_nobody_vanished_at_first(gone: Vanishings) -> None:
    assert not gone.any
    assert not gone.bars(1, signed(created_at=1))


@pytest.mark.parametrize(("relay", "elsewhere"), [(1, False), (EVERY_RELAY, True)])
def test_what_was_made_up_to_then_is_barred(gone: Vanishings, relay: int, elsewhere: bool) -> None:
    gone.add(relay, bytes.fromhex(pubkey(ALICE)), 9)
    gone.add(relay, bytes.fromhex(pubkey(ALICE)), 5)
    assert gone.any
    assert gone.bars(1, signed(created_at=9))
    assert not gone.bars(1, signed(created_at=10))
    assert not gone.bars(1, signed(BOB, created_at=9))
    assert not gone.bars(1, signed(kind=62, created_at=9))
    assert gone.bars(2, signed(created_at=9)) == elsewhere


def test_wraps_for_somebody_go_with_them(gone: Vanishings) -> None:
    gone.add(1, bytes.fromhex(pubkey(ALICE)), 9)
    wrap = signed(BOB, 1_059, created_at=9, tags=[["p", pubkey(ALICE)], ["p", "rubbish"]])
    assert addressees(wrap) == [pubkey(ALICE)]
    assert gone.bars(1, wrap)
    assert not gone.bars(1, signed(BOB, created_at=9, tags=[["p", pubkey(ALICE)]]))
