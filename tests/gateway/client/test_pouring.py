"""A stream of events poured into a relay: in lots, several at once, through cuts."""

import json
from collections.abc import Mapping

import pytest
import trio

from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.pouring import Lot, Next, pour
from gateway.client.stored import stored_of
from gateway.client.syncing import Side
from tests.gateway.client.proxy import proxy
from tests.gateway.client.test_syncing import Calm, side
from tests.gateway.client.tinyrelay import TinyRelay, tiny_relay

WAIT_S = 60


def lot(number: int) -> Lot:
    made = [{"id": f"{number}-{one}", "created_at": number} for one in range(3)]
    return Lot([stored_of(json.dumps(one).encode()) for one in made], number + 1)


def stream(count: int) -> Next:
    lots = iter(range(count))

    async def more() -> Lot | None:
        await trio.lowlevel.checkpoint()
        number = next(lots, None)
        return None if number is None else lot(number)

    return more


class Places:
    """Where the stream was told to be settled."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.refused: dict[str, str] = {}

    async def __call__(self, end: int, refused: Mapping[str, str]) -> None:
        self.refused |= refused
        if end >= 0:
            self.seen.append(end)


async def test_every_lot_is_published_and_the_place_never_jumps_over_one_that_is_not() -> None:
    places = Places()
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay()) as relay:
            await pour(side(relay.url), stream(40), places, clock=Calm(), tell=[].append)
            assert len(relay.events) == 120
    assert places.seen == sorted(places.seen)
    assert places.seen[-1] == 40


async def test_what_was_on_its_way_when_the_connection_was_cut_is_sent_again() -> None:
    said, places = list[str](), Places()
    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay()) as relay, proxy(int(relay.url.split(":")[2][:-1])) as network:
            relay.odd = lambda frame: network.cut() if len(relay.heard) in (20, 50) else None
            url = f"{network.url.replace('http', 'ws')}/"
            await pour(side(url), stream(30), places, clock=Calm(), tell=said.append)
            assert len(relay.events) == 90
    assert places.seen[-1] == 30
    assert len(said) == 2


async def test_refusals_are_told_with_their_reasons() -> None:
    places = Places()

    def odd(frame: list[object]) -> list[list[object]] | None:
        event = frame[1]
        assert isinstance(event, dict)
        return [["OK", event["id"], False, "blocked: no"]] if event["id"] == "1-1" else None

    with trio.fail_after(WAIT_S):
        async with tiny_relay(TinyRelay(odd)) as relay:
            await pour(side(relay.url), stream(3), places, clock=Calm(), tell=[].append)
    assert places.refused == {"1-1": "blocked: no"}
    assert places.seen[-1] == 3


async def test_where_nobody_is_or_a_token_is_refused_twice_it_ends() -> None:
    with trio.fail_after(WAIT_S):
        with pytest.raises(LineLost):
            await pour(side("ws://127.0.0.1:1/"), stream(1), Places(), clock=Calm(), tell=[].append)
        tries: list[int] = []

        async def url() -> str:
            tries.append(1)
            raise LineLost(4403 if len(tries) > 1 else NO_CLOSE, "Token expired")

        with pytest.raises(LineLost):
            await pour(Side("one", url), stream(1), Places(), clock=Calm(), tell=[].append)
        assert len(tries) == 1
