"""Events on their way in: one outcome for an id at a time, and nothing answered before it is so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from gateway.config import Policy, Relay
from gateway.errors import ConfigInvalid
from gateway.nostr.event import Event
from gateway.serve.ledger import Ledger
from gateway.serve.relay.answers import Answers
from gateway.serve.relay.intake import Intake
from gateway.serve.verify import Verifier
from gateway.views.events import EventsView
from gateway.views.moderation import ModerationView
from tests.fakes import FakeClock, memory_ledger
from tests.signing import ALICE, BOB, pubkey, signed

RELAY = "public-gateway:hyperbee"


class Desk:
    """An intake over a ledger in memory; ephemeral events are written down."""

    def __init__(self, ledger: Ledger, verifier: Verifier) -> None:
        self.ledger, self.delivered = ledger, list[str]()
        self.intake = Intake(
            Relay(), FakeClock(), ledger, verifier, lambda relay, event, raw: self.delivered.append(event.id)
        )

    async def take(self, *events: Event) -> Answers:
        return await self.intake.take(RELAY, events)

    @property
    def subjects(self) -> list[bytes]:
        return [self.ledger.log.record(seq).subject for seq in range(self.ledger.log.durable_size)]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    verifier = Verifier(threads=1)
    async with memory_ledger(EventsView, ModerationView) as ledger, trio.open_nursery() as nursery:
        await nursery.start(verifier.run)
        yield Desk(ledger, verifier)
        nursery.cancel_scope.cancel()


def results(answers: Answers) -> list[str]:
    return sorted(answers.results.elements())


async def test_each_event_gets_one_answer_with_its_own_id() -> None:
    async with desk() as at:
        events = [signed(content=str(number)) for number in range(6)]
        answers = await at.take(*events, events[0])
        told = [event_id for event_ids in answers.ids.values() for event_id in event_ids]
        assert sorted(told) == sorted([event.id for event in events] + [events[0].id])
        assert results(answers) == ["accepted"] * 6 + ["duplicate"]


async def test_two_who_bring_one_event_at_the_same_time_get_it_stored_once() -> None:
    async with desk() as at:
        found: list[str] = []

        async def bring() -> None:
            found.extend(results(await at.take(*[signed(content=str(number)) for number in range(8)])))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(bring)
        assert sorted(found) == ["accepted"] * 8 + ["duplicate"] * 16
        assert at.ledger.log.durable_size == 8


async def test_a_forgery_in_flight_does_not_hold_up_its_original_for_ever_nor_pass_for_it() -> None:
    async with desk() as at:
        forged = msgspec.structs.replace(signed(), sig="0" * 128)
        found: dict[str, list[str]] = {}

        async def bring(name: str, event: Event) -> None:
            found[name] = results(await at.take(event, *[signed(content=str(number)) for number in range(5)]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bring, "forger", forged)
            nursery.start_soon(bring, "author", signed())
        assert "invalid" not in found["author"]
        assert len(found["author"]) == len(found["forger"]) == 6
        payloads = [at.ledger.log.record(seq).payload or b"" for seq in range(at.ledger.log.durable_size)]
        assert len(payloads) == 6
        assert not any(forged.sig.encode() in payload for payload in payloads)


async def test_a_caller_that_goes_away_leaves_nothing_in_flight() -> None:
    async with desk() as at:
        events = [signed(content=str(number)) for number in range(9)]
        with trio.move_on_after(0):
            await at.take(*events)
        assert not at.intake._in_flight
        assert set(results(await at.take(*events))) <= {"accepted", "duplicate"}
        assert at.ledger.log.durable_size == 9


async def test_an_author_has_one_pseudonym_from_the_first_event_on_and_it_says_nothing() -> None:
    async with desk() as at:
        await at.take(signed(), signed(content="b"), signed(BOB))
        await at.take(signed(content="c"))
        alice, bob = at.subjects[0], at.subjects[2]
        assert at.subjects == [alice, alice, bob, alice]
        assert alice != bob
        assert len(alice) == 16
        assert pubkey(ALICE)[:8].encode() not in alice


async def test_an_event_that_a_deletion_overtakes_in_flight_is_told_so() -> None:
    async with desk() as at:
        event = signed()
        deletion = signed(kind=5, tags=[["e", event.id]])
        answers = await at.take(deletion, event)
        assert results(answers) == ["accepted", "blocked"]
        assert results(await at.take(event)) == ["blocked"]


async def test_an_ephemeral_event_is_delivered_when_it_verifies_and_never_recorded() -> None:
    async with desk() as at:
        good = signed(kind=20_001)
        forged = msgspec.structs.replace(signed(kind=20_001, content="b"), sig="0" * 128)
        assert results(await at.take(good, forged)) == ["accepted", "invalid"]
        assert at.delivered == [good.id]
        assert at.ledger.log.durable_size == 0


async def test_after_the_log_has_failed_nothing_is_accepted() -> None:
    async with desk() as at:
        await at.take(signed())
        at.ledger.log.break_down()  # type: ignore[attr-defined]
        assert sorted(results(await at.take(signed(content="b"), signed()))) == ["duplicate", "error"]


async def test_a_keys_rate_is_used_up_by_its_own_events_and_by_no_forgeries() -> None:
    async with desk() as at:
        at.intake.reconfigure(Relay(policy=Policy(events_per_minute_per_key=2)))
        forged = [msgspec.structs.replace(signed(content=str(number)), sig="0" * 128) for number in range(5)]
        assert results(await at.take(*forged)) == ["invalid"] * 5
        events = [signed(content=letter) for letter in "abc"]
        assert results(await at.take(*events)) == ["accepted"] * 2 + ["rate-limited"]
        assert results(await at.take(signed(content="d"), events[0])) == ["duplicate", "rate-limited"]
        assert results(await at.take(signed(BOB))) == ["accepted"]


async def test_another_policy_holds_from_the_next_event_on_and_one_that_is_wrong_changes_nothing() -> None:
    async with desk() as at:
        assert results(await at.take(signed(content="1"))) == ["accepted"]
        at.intake.reconfigure(Relay(policy=Policy(block_keys=(pubkey(ALICE),))))
        assert results(await at.take(signed(content="2"))) != ["accepted"]
        with pytest.raises(ConfigInvalid, match="block_addresses"):
            at.intake.reconfigure(Relay(policy=Policy(block_addresses=("nowhere",))))
        assert results(await at.take(signed(content="3"))) != ["accepted"]
        at.intake.reconfigure(Relay())
        assert results(await at.take(signed(content="4"))) == ["accepted"]
