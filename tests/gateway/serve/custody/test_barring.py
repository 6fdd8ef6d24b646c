"""An erased key's events stay away, nothing names it, and what moderators said of it goes on to hold."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from eventlog.record import Draft
from gateway.config import Relay
from gateway.facts import Moderated, Vanished, draft
from gateway.nostr.event import Event
from gateway.serve.custody.barring import SECRET, Barring
from gateway.serve.ledger import Ledger
from gateway.serve.relay.intake import Intake
from gateway.serve.verify import Verifier
from gateway.views.bars import BarsView
from gateway.views.events import EventsView
from gateway.views.moderation import ModerationView
from gateway.views.subjects import OfKey
from tests.fakes import FakeClock, memory_ledger
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed

RELAY = "public-gateway:hyperbee"
A = pubkey(ALICE)


@asynccontextmanager
async def barring(directory: Path) -> AsyncIterator[tuple[Ledger, Barring]]:
    async with memory_ledger(EventsView, ModerationView, BarsView) as ledger:
        yield ledger, Barring(FakeClock(), ledger, directory)


async def erased(ledger: Ledger, at: Barring, *said: Draft) -> None:
    """Record what is said, then what an erasure of Alice's key records first."""
    if said:
        await ledger.record(said)
    found = OfKey(A)
    turn = 0
    while turn < found.passes:
        for records in ledger.log.read(0):
            for record in records:
                found.take(record, turn)
        turn += 1
    await ledger.record(at.drafts(A, found))


async def test_what_was_made_before_an_erasure_is_barred_and_what_comes_later_is_not(tmp_path: Path) -> None:
    async with barring(tmp_path) as (ledger, at):
        assert not at.is_barred(RELAY, signed(ALICE))
        assert not (tmp_path / "keys").exists()
        await erased(ledger, at)
        assert at.is_barred(RELAY, signed(ALICE, created_at=NOW_S))
        assert not at.is_barred(RELAY, signed(ALICE, created_at=NOW_S + 1))
        assert at.is_barred("another", signed(BOB, kind=1059, tags=[["p", A]]))
        assert at.barred(RELAY, [signed(ALICE, created_at=NOW_S), signed(BOB)]) == {signed(ALICE, created_at=NOW_S).id}
        assert not at.is_barred(RELAY, signed(BOB, tags=[["p", A]]))
        assert not at.is_barred(RELAY, signed(ALICE, kind=62))
        assert (tmp_path / "keys" / SECRET).stat().st_mode & 0o777 == 0o600


async def test_a_wish_to_vanish_that_reached_further_goes_on_to_hold(tmp_path: Path) -> None:
    async with barring(tmp_path) as (ledger, at):
        wish = Vanished(RELAY, bytes.fromhex(A), NOW_S + 600)
        await erased(ledger, at, draft(wish, ts_ns=1, salt=bytes(16)))
        await erased(ledger, at)
        assert at.is_barred(RELAY, signed(ALICE, created_at=NOW_S + 600))
        assert not at.is_barred(RELAY, signed(ALICE, created_at=NOW_S + 601))


async def test_a_banned_key_stays_banned_where_it_was_until_a_moderator_lifts_its_mark(tmp_path: Path) -> None:
    async with barring(tmp_path) as (ledger, at):
        await erased(ledger, at, said("banpubkey", A))
        later = signed(ALICE, created_at=NOW_S + 10)
        assert at.is_barred(RELAY, later)
        assert not at.is_barred("another", later)
        await ledger.record([said("unbanpubkey", at.mark(A).hex())])
        assert not at.is_barred(RELAY, later)


def said(method: str, value: str) -> Draft:
    return draft(Moderated(RELAY, b"a" * 32, method, value, ""), ts_ns=1, salt=bytes(16))


async def test_bars_whose_secret_is_lost_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with barring(tmp_path) as (ledger, at):
        await erased(ledger, at)
        (tmp_path / "keys" / SECRET).unlink()
        clock = FakeClock()
        clock.random_bytes(1)  # another secret
        assert not Barring(clock, ledger, tmp_path).is_barred(RELAY, signed(ALICE))
    assert "the secret of bars is gone" in capsys.readouterr().out


async def test_an_event_in_flight_as_a_bar_is_raised_is_not_let_in(tmp_path: Path) -> None:
    async with barring(tmp_path) as (ledger, _):
        verifier = Verifier(threads=1)
        intake = Intake(Relay(), FakeClock(), ledger, verifier, lambda *_: None)
        raised = False

        def barred(relay_key: str, events: Sequence[Event]) -> list[str]:
            """Raised after the first look, before the submit."""
            nonlocal raised
            was, raised = raised, True
            return [event.id for event in events] if was else []

        intake.barred = barred
        async with trio.open_nursery() as nursery:
            await nursery.start(verifier.run)
            answers = await intake.take(RELAY, [signed(ALICE)])
            nursery.cancel_scope.cancel()
        assert answers.results == {"blocked": 1}
        assert ledger.log.durable_size == 0
