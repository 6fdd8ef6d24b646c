"""One relay as a synchronisation sees it, over what relays do that no specification foresees."""

import json
from math import inf
from typing import Any

import pytest
import trio
import trio.testing

from gateway.client import bulk
from gateway.client import station as station_
from gateway.client.station import NoComparison, RequestRefused, Stored, TooLarge, open_station, stored_of
from tests.gateway.client.tinyrelay import Frames, TinyRelay, tiny_relay

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
        (["NEG-ERR", "neg-1", "blocked: too many records"], TooLarge),
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
