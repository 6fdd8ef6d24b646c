"""One relay as a synchronisation sees it, over what relays do that no specification foresees."""

import json
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketRequest

from gateway.client import bulk
from gateway.client import station as station_
from gateway.client.line import LineLost
from gateway.client.proving import Identity
from gateway.client.station import (
    Answers,
    KeyWanted,
    NoComparison,
    RequestRefused,
    TooLarge,
    open_station,
)
from gateway.client.stored import Stored, stored_of
from gateway.nostr.authentication import auth_flaw
from gateway.nostr.event import stored_event
from gateway.nostr.signature import Signer
from tests.gateway.client.tinyrelay import Frames, TinyRelay, tiny_relay
from tests.signing import NOW_S

WAIT_S = 60


def event(number: int) -> Stored:
    return stored_of(json.dumps({"id": f"{number:064x}", "created_at": number, "relayID": "r"}).encode())


async def test_what_is_published_is_what_is_fetched_byte_for_byte() -> None:
    events = [event(number) for number in range(4)]
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay()) as relay, open_station(relay.url) as station:
            assert await station.publish(events) == {}
            found = await station.fetch({"ids": [one.id for one in events]})
            assert sorted(found, key=lambda one: one.id) == events


class Leaving(TinyRelay):
    """Closes each connection at once."""

    async def serve(self, request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.aclose(4404, "Relay not registered")


async def dialling() -> None:
    """What is cancelled is so within a nursery of its own."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()


@pytest.mark.parametrize("doing", [trio.sleep_forever, dialling])
async def test_a_connection_that_ends_says_so_whatever_was_being_done(doing: Callable[[], Awaitable[None]]) -> None:
    with trio.fail_after(WAIT_S):
        async with tiny_relay(Leaving()) as relay:
            with pytest.raises(LineLost, match="4404"):
                async with open_station(relay.url):
                    await doing()


async def test_a_relay_that_closes_a_request_behind_its_eose_has_answered_it() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return [["EOSE", frame[1]], ["CLOSED", frame[1], ""]] if frame[0] == "REQ" else None

    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url) as station:
            assert await station.fetch({}) == []


async def test_a_request_that_is_closed_is_refused_with_the_relays_reason() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return [["CLOSED", frame[1], "auth-required: who are you"]] if frame[0] == "REQ" else None

    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url) as station:
            with pytest.raises(RequestRefused, match="who are you"):
                await station.fetch({})


class Guarded:
    """A relay that wants BOB's key proved for the verbs named, sends challenges as it says, and counts proofs."""

    def __init__(self, *verbs: str, before: bool = True, taken: bool = True) -> None:
        self.verbs, self.before, self.taken, self.proofs, self.proved = verbs, before, taken, 0, False

    def __call__(self, frame: list[Any]) -> Frames | None:
        if frame[0] == "AUTH":
            self.proofs += 1
            is_good = auth_flaw(stored_event(json.dumps(frame[1]).encode()), "c", lambda _: True, NOW_S) is None
            self.proved = is_good and self.taken
            return [["OK", frame[1]["id"], self.proved, "" if self.proved else "restricted: not a member"]]
        if self.proved or frame[0] not in self.verbs:
            return None
        reason = "auth-required: who are you"
        refusal: list[Any] = {
            "EVENT": lambda: ["OK", frame[1]["id"], False, reason],
            "NEG-OPEN": lambda: ["NEG-ERR", frame[1], reason],
        }.get(frame[0], lambda: ["CLOSED", frame[1], reason])()
        return [["AUTH", "c"], refusal] if self.before else [refusal, ["AUTH", "c"]]


BY_BOB = Identity(Signer("02" * 32), lambda: NOW_S * 1000, bytes)


@pytest.mark.parametrize("before", [True, False], ids=["challenge first", "refusal first"])
async def test_what_wants_a_key_proved_is_done_once_it_is(before: bool) -> None:
    guard = Guarded("REQ", "EVENT", before=before)
    events = [event(number) for number in range(4)]
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(guard)) as relay, open_station(relay.url, identity=BY_BOB) as station:
            assert await station.publish(events) == {}
            assert len(await station.fetch({})) == 4
    assert guard.proofs == 1


async def test_a_comparison_that_wants_a_key_is_begun_again_once_it_is_proved() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return guard(frame) or ([["NEG-MSG", frame[1], "61"]] if frame[0] == "NEG-OPEN" else None)

    guard = Guarded("NEG-OPEN")
    with trio.fail_after(WAIT_S):
        async with (
            tiny_relay(TinyRelay(odd)) as relay,
            open_station(relay.url, identity=BY_BOB) as station,
            station.compare({}) as comparison,
        ):
            assert await comparison.ask(b"\x61") == b"\x61"


async def test_without_a_key_what_is_wanted_is_named_and_only_a_protected_event_is_passed_over() -> None:
    protected = stored_of(json.dumps({"id": "9" * 64, "created_at": 1, "tags": [["-"]]}).encode())
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(Guarded("REQ", "EVENT"))) as relay, open_station(relay.url) as station:
            with pytest.raises(KeyWanted, match="NIP-42"):
                await station.fetch({})
            assert await station.publish([protected]) == {protected.id: "auth-required: who are you"}
            with pytest.raises(KeyWanted, match="who are you"):
                await station.publish([protected, event(1)])


async def test_a_key_that_the_relay_does_not_take_is_told_with_its_reason() -> None:
    guard = Guarded("REQ", "EVENT", taken=False)
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(guard)) as relay, open_station(relay.url, identity=BY_BOB) as station:
            with pytest.raises(RequestRefused, match="not a member"):
                await station.fetch({})
            with pytest.raises(RequestRefused, match="not a member"):
                await station.publish([event(1)])


async def test_a_challenge_at_once_is_answered_before_anything_is_asked_for() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        if frame[0] == "REQ" and not guard.proofs:
            return [["AUTH", "c"], ["EOSE", frame[1]]]  # as if nothing were there
        return guard(frame)

    guard = Guarded()
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url, identity=BY_BOB) as station:
            await station.introduce({})
            assert guard.proved


async def test_following_that_is_ended_for_want_of_a_key_goes_on_with_another_connection() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return [["EOSE", frame[1]], ["CLOSED", frame[1], "auth-required: it was a while"]]

    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url) as station:
            with pytest.raises(LineLost, match="it was a while"):
                await station.follow({}, lambda *_: None)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A clock that jumps over pauses once it is told to; answers come over real sockets, and may take their time."""
    monkeypatch.setattr(station_, "SYNC_ANSWER_S_MAX", inf)
    monkeypatch.setattr(bulk, "CLIENT_PING_S", inf)
    autojump_clock.autojump_threshold = inf
    return autojump_clock


async def test_what_was_too_fast_is_sent_again_after_a_pause(patient: trio.testing.MockClock) -> None:
    left = [3]

    def odd(frame: list[Any]) -> Frames | None:
        left[0] -= 1
        if left[0] < 0:
            return None
        return [["OK", frame[1]["id"], False, "rate-limited: slow down"] if frame[0] == "EVENT" else ["NOTICE", ""]]

    async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url) as station:
        patient.autojump_threshold = 0
        assert await station.publish([event(1), event(2)]) == {}
        assert len(relay.events) == 2
    assert trio.current_time() > 2


async def test_each_event_is_settled_once_by_its_last_answer_and_those_before_a_cut_are_too(
    patient: trio.testing.MockClock,
) -> None:
    left = [2]

    def odd(frame: list[Any]) -> Frames | None:
        left[0] -= 1
        if left[0] >= 0:
            return [["OK", frame[1]["id"], False, "rate-limited: slow down"]]
        return None

    settled: list[tuple[str, bool]] = []

    def hear(answers: Answers) -> None:
        settled.extend((name, accepted) for name, (accepted, _) in answers.items())

    async def converse(url: str) -> None:
        async with open_station(url) as station:
            patient.autojump_threshold = 0
            await station.publish([event(number) for number in range(3)], hear)
            assert sorted(settled) == [(event(number).id, True) for number in range(3)]
            left[0] = 0
            await station.publish([event(number) for number in range(3, 6)], hear)

    async with tiny_relay(TinyRelay(odd, cut=6)) as relay:
        with pytest.raises(LineLost):
            await converse(relay.url)
    assert sorted(settled) == [(event(number).id, True) for number in range(4)]


async def test_a_relay_that_is_too_fast_for_ever_is_taken_at_its_word(patient: trio.testing.MockClock) -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return [["OK", frame[1]["id"], False, "rate-limited: never"]] if frame[0] == "EVENT" else None

    async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url) as station:
        patient.autojump_threshold = 0
        assert await station.publish([event(1)]) == {event(1).id: "rate-limited: never"}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (["NOTICE", "unknown command NEG-OPEN"], NoComparison),
        (["NEG-ERR", "neg-1", "blocked: this query is too big"], TooLarge),
        (["NEG-ERR", "neg-1", "blocked: too many query results"], TooLarge),
        (["NEG-ERR", "neg-1", "blocked: more than 50000 match: narrow the filter by time"], TooLarge),
        (["NEG-ERR", "neg-1", "rate-limited: too many negentropy items"], TooLarge),
        (["NEG-ERR", "neg-1", "rate-limited: too many negentropy subscriptions"], NoComparison),
        (["NEG-ERR", "neg-1", "auth-required: who are you"], RequestRefused),
        (["CLOSED", "neg-1", "unsupported"], NoComparison),
    ],
)
async def test_how_a_relay_turns_a_comparison_down_says_what_to_do(answer: list[Any], failure: type[Exception]) -> None:
    with trio.fail_after(WAIT_S):
        async with (
            tiny_relay(TinyRelay(lambda _: [answer])) as relay,
            open_station(relay.url) as station,
            station.compare({}) as comparison,
        ):
            with pytest.raises(failure):
                await comparison.ask(b"\x61")


async def test_a_comparison_is_closed_though_its_answer_was_not_waited_for() -> None:
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(lambda _: [])) as relay, open_station(relay.url) as station:
            async with station.compare({}) as comparison, trio.open_nursery() as nursery:
                nursery.start_soon(comparison.ask, b"\x61")
                while not relay.heard:  # noqa: ASYNC110 - the relay is looked at
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            while len(relay.heard) < 2:  # noqa: ASYNC110 - the relay is looked at
                await trio.sleep(0.01)
    assert [frame[0] for frame in relay.heard] == ["NEG-OPEN", "NEG-CLOSE"]


async def test_a_relay_that_says_nothing_to_a_comparison_does_not_know_it(patient: trio.testing.MockClock) -> None:
    async with (
        tiny_relay(TinyRelay(lambda _: [])) as relay,
        open_station(relay.url) as station,
        station.compare({}) as comparison,
    ):
        patient.autojump_threshold = 0
        with pytest.raises(NoComparison):
            await comparison.ask(b"\x61")


async def test_an_older_mirror_is_sent_row_by_row() -> None:
    def odd(frame: list[Any]) -> Frames | None:
        return [["NOTICE", "unsupported: EVENTS frames are not understood here"]] if frame[0] == "EVENTS" else None

    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay, open_station(relay.url, is_mirror=True) as station:
            assert await station.publish([event(1), event(2)]) == {}
            assert await station.publish([event(3)]) == {}
            assert [frame[0] for frame in relay.heard] == ["EVENTS", "EVENT", "EVENT", "EVENT"]


async def test_what_comes_live_is_handed_on_until_the_block_ends() -> None:
    arrived: list[str] = []
    news = trio.Event()

    def take(one: Stored | None, cursor: str | None) -> None:
        assert one is not None
        assert cursor is None
        arrived.append(one.id)
        news.set()

    with trio.fail_after(WAIT_S):
        async with (
            tiny_relay(TinyRelay()) as relay,
            open_station(relay.url) as station,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(station.follow, {}, take)
            while not relay.heard:  # noqa: ASYNC110 - the relay is looked at
                await trio.sleep(0.01)
            await relay.tell({"id": "live", "created_at": 1})
            await news.wait()
            nursery.cancel_scope.cancel()
    assert arrived == ["live"]
    assert relay.heard[0][2]["limit"] == 0
