"""Two relays brought in step and kept so: two of our own, and one of ours with one that is too simple for NIP-77."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import pytest
import trio
import trio.testing
from trio_websocket import WebSocketRequest

from gateway.client import bulk
from gateway.client.clock import SystemClock
from gateway.client.line import LineLost
from gateway.client.paging import Pages
from gateway.client.standing import Standing
from gateway.client.station import RequestRefused, Station, open_station
from gateway.client.stored import stored_of
from gateway.client.syncing import Side, Sync, Tally, Wanted, keep_in_step, pages
from gateway.limits.client import SYNC_TRIES_MAX, SYNC_WINDOW_S
from tests.gateway.client.proxy import proxy
from tests.gateway.client.tinyrelay import ComparingRelay, TinyRelay, Wires, tiny_relay
from tests.gateway.client.worker import RELAY_ID, issued, rows
from tests.server import running
from tests.signing import NOW_S, signed_fields

WAIT_S = 90
LONG_S = 3_600  # of a clock that jumps: what never ends takes it in a minute


class Calm(SystemClock):
    """The machine's time, and dice that always show the shortest pause."""

    def roll(self) -> float:
        return 0.0


class Jumping(Calm):
    """The time of a clock that jumps."""

    def now_ms(self) -> int:
        return NOW_S * 1000 + int(trio.current_time() * 1000)


def side(url: str, *, is_mirror: bool = False) -> Side:
    async def same() -> str:
        return url

    return Side("one", same, is_mirror)


def events(numbers: range) -> list[dict[str, Any]]:
    return [signed_fields(content=f"note {number}", created_at=NOW_S - number // 2) for number in numbers]


async def publish(url: str, some: list[dict[str, Any]], *, is_mirror: bool = False) -> None:
    async with open_station(url, is_mirror=is_mirror) as station:
        assert await station.publish([stored_of(json.dumps(one).encode()) for one in some]) == {}


async def ids(url: str, asked: dict[str, Any] | None = None, *, is_mirror: bool = False) -> set[str]:
    async with open_station(url, is_mirror=is_mirror) as station:
        return {one.id async for page in pages(station, Pages(asked or {})) for one in page}


def wanted(tally: Tally, said: list[str], direction: Any = "both", asked: dict[str, Any] | None = None) -> Wanted:
    return Wanted(asked or {}, direction, Calm(), tally, said.append)


async def until(url: str, count: int, asked: dict[str, Any] | None = None, *, is_mirror: bool = False) -> None:
    while len(await ids(url, asked, is_mirror=is_mirror)) < count:  # noqa: ASYNC110 - the relay is asked
        await trio.sleep(0.05)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[str, str]]:
    async with running() as one, running() as other:
        yield f"{one.ws_url}/relay", f"{other.ws_url}/relay"


async def test_what_differs_is_carried_both_ways_and_nothing_else() -> None:
    some = events(range(400))
    with trio.fail_after(WAIT_S):
        async with two() as (ours, theirs):
            await publish(ours, some[:300])
            await publish(theirs, some[200:])
            tally, said = Tally(), list[str]()
            await keep_in_step(side(ours), side(theirs), wanted(tally, said), once=True)
            assert (tally.down, tally.up, tally.refused, tally.missing) == (100, 200, 0, 0)
            assert await ids(ours) == await ids(theirs) == {one["id"] for one in some}
            again = Tally()
            await keep_in_step(side(ours), side(theirs), wanted(again, said), once=True)
            assert (again.down, again.up, again.rounds) == (0, 0, 2)


@pytest.mark.parametrize(("direction", "counts"), [("down", (60, 40)), ("up", (50, 60))])
async def test_one_direction_and_a_filter_carry_no_more_than_was_asked(direction: str, counts: tuple[int, int]) -> None:
    some = events(range(60))
    asked = {"since": some[59]["created_at"], "until": NOW_S}
    with trio.fail_after(WAIT_S):
        async with two() as (ours, theirs):
            await publish(ours, some[:50])
            await publish(theirs, some[20:])
            tally = Tally()
            await keep_in_step(side(ours), side(theirs), wanted(tally, [], direction, asked), once=True)
            assert (len(await ids(ours)), len(await ids(theirs))) == counts


async def test_after_the_comparison_what_comes_live_is_carried_both_ways_and_its_echo_is_not() -> None:
    some = events(range(30))
    with trio.fail_after(WAIT_S):
        async with two() as (ours, theirs), trio.open_nursery() as nursery:
            await publish(theirs, some[:10])
            tally, said = Tally(), list[str]()
            nursery.start_soon(_keep, ours, theirs, wanted(tally, said))
            await until(ours, 10)
            while not said:  # noqa: ASYNC110 - the text is all there is to see
                await trio.sleep(0.05)
            await publish(ours, some[10:20])
            await publish(theirs, some[20:])
            await until(ours, 30)
            await until(theirs, 30)
            nursery.cancel_scope.cancel()
    assert (tally.down, tally.up) == (20, 10)


async def _keep(ours: str, theirs: str, wanted: Wanted) -> None:
    await keep_in_step(side(ours), side(theirs), wanted, once=False)


async def test_a_cut_is_followed_by_another_comparison_and_nothing_is_lost() -> None:
    some = events(range(40))
    with trio.fail_after(WAIT_S):
        async with running() as one, running() as other, proxy(other.port) as network, trio.open_nursery() as nursery:
            ours, theirs = f"{one.ws_url}/relay", f"{other.ws_url}/relay"
            await publish(theirs, some[:10])
            tally, said = Tally(), list[str]()
            through = f"{network.url.replace('http', 'ws')}/relay"
            nursery.start_soon(_keep, ours, through, wanted(tally, said))
            await until(ours, 10)
            network.cut()
            await publish(theirs, some[10:25])  # while nobody follows
            await publish(ours, some[25:])
            await until(ours, 40)
            await until(theirs, 40)
            nursery.cancel_scope.cancel()
    assert any("is lost" in text for text in said)


async def test_after_a_cut_mirrors_go_on_behind_their_cursors_and_nothing_is_compared_again() -> None:
    asked, some, said = {"relayID": RELAY_ID}, rows(range(60)), list[str]()
    with trio.fail_after(WAIT_S):
        async with running() as one, running() as other, proxy(other.port) as network, trio.open_nursery() as nursery:
            urls = [
                (await trio.to_thread.run_sync(issued, each.url, 600))["replicationConnectionUrl"]
                for each in (one, other)
            ]
            await publish(urls[0], some[:20], is_mirror=True)
            through = urls[1].replace(f":{other.port}", f":{network.url.rpartition(':')[2]}")
            tally = Tally()
            sides = [side(url, is_mirror=True) for url in (urls[0], through)]
            nursery.start_soon(lambda: keep_in_step(*sides, wanted(tally, said, "both", asked), once=False))
            await until(urls[1], 20, asked, is_mirror=True)
            while not said:  # noqa: ASYNC110 - the text is all there is to see
                await trio.sleep(0.05)
            rounds = tally.rounds
            network.cut()
            await publish(urls[1], some[20:40], is_mirror=True)  # while nobody follows
            await publish(urls[0], some[40:], is_mirror=True)
            for url in urls:
                await until(url, 60, asked, is_mirror=True)
            while len(said) < 3:  # noqa: ASYNC110 - the text is all there is to see
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    assert tally.rounds == rounds
    assert (tally.down, tally.up) == (20, 40)
    assert [text.partition(":")[0].partition(" (")[0] for text in said] == [
        "in step",
        "a connection is lost",
        "in step",
    ]


async def test_what_was_cut_off_before_its_answer_is_no_echo_when_it_comes_again() -> None:
    class Cut:
        async def publish(self, *_: Any) -> dict[str, str]:
            raise LineLost(1006, "cut")

    cut, one = cast("Station", Cut()), stored_of(json.dumps(events(range(1))[0]).encode())
    way = Sync(cut, cut, wanted(Tally(), []), Standing({}))._ways()["down"]
    with pytest.raises(LineLost):
        await way.carry([one])
    way.heard(one, None)
    assert way._arriving.receive_nowait() == (one, None)


async def test_after_a_cut_a_window_is_compared_first_and_then_what_is_older() -> None:
    def filters() -> list[dict[str, Any]]:
        return [frame[2] for frame in simple.heard if frame[0] == "NEG-OPEN"]

    some, said = events(range(12)), list[str]()
    with trio.fail_after(WAIT_S):
        async with (
            running() as one,
            tiny_relay(TinyRelay()) as simple,
            proxy(int(simple.url.rstrip("/").rpartition(":")[2])) as network,
            trio.open_nursery() as nursery,
        ):
            ours = f"{one.ws_url}/relay"
            nursery.start_soon(_keep, ours, network.url.replace("http", "ws"), wanted(Tally(), said))
            while not any("in step" in text for text in said):  # noqa: ASYNC110 - the text is all there is to see
                await trio.sleep(0.05)
            network.cut()
            simple.events = {event["id"]: event for event in some}  # made long ago, and come now
            await until(ours, 12)
            nursery.cancel_scope.cancel()
    assert filters()[0] == {}
    begin_s = filters()[1]["since"]
    assert filters()[2] == {"until": begin_s - 1}


async def test_a_relay_without_nip_77_is_read_in_pages_and_this_is_said() -> None:
    some = events(range(25))
    with trio.fail_after(WAIT_S):
        async with running() as one, tiny_relay(TinyRelay(page=4)) as simple:
            ours = f"{one.ws_url}/relay"
            await publish(ours, some[:15])
            simple.events = {event["id"]: event for event in some[10:]}
            said = list[str]()
            await keep_in_step(side(ours), side(simple.url), wanted(Tally(), said), once=True)
            assert await ids(ours) == set(simple.events) == {event["id"] for event in some}
    assert any("in pages" in text for text in said)


async def test_what_a_relay_refuses_is_counted_and_named() -> None:
    bad = {**events(range(1))[0], "sig": "00" * 64}
    with trio.fail_after(WAIT_S):
        async with running() as one, tiny_relay(TinyRelay()) as simple:
            simple.events = {bad["id"]: bad}
            tally, said = Tally(), list[str]()
            await keep_in_step(side(f"{one.ws_url}/relay"), side(simple.url), wanted(tally, said), once=True)
    assert (tally.down, tally.refused) == (0, 1)
    assert any(f"refuses {bad['id']}" in text for text in said)


@pytest.mark.parametrize(
    ("reason", "is_superseded"),
    [
        ("blocked: its author deleted this event", True),
        ("blocked: its author, or whom it is for, asked to vanish", True),
        ("blocked: its author, or whom it is for, was erased here", True),
        ("duplicate: a newer version is stored", True),
        ("replaced: have newer event", True),
        ("deleted: user requested deletion", True),
        ("blocked: this key may not write here", False),
        ("invalid: the signature does not verify", False),
        ("error: deleted", False),
        ("", False),
    ],
)
def test_what_is_deleted_or_replaced_at_the_other_relay_is_no_refusal(reason: str, is_superseded: bool) -> None:
    tally = Tally()
    tally.refuse(reason)
    assert (tally.refused, tally.superseded) == (not is_superseded, is_superseded)
    assert ("1 deleted or replaced" in str(tally)) is is_superseded


async def test_more_than_a_relay_compares_at_once_is_compared_in_halves_of_time() -> None:
    some = events(range(20))

    def odd(frame: list[Any]) -> list[list[Any]] | None:
        if frame[0] == "NEG-OPEN":
            asked.append(frame[2])
            wide = frame[2].get("until", NOW_S + 10**6) - frame[2].get("since", 0) > 10**8
            return [["NEG-ERR", frame[1], "blocked: too many records" if wide else "unsupported: not at all"]]
        return None

    asked: list[dict[str, Any]] = []
    with trio.fail_after(WAIT_S):
        async with running() as one, tiny_relay(TinyRelay(odd)) as simple:
            simple.events = {event["id"]: event for event in some}
            await keep_in_step(side(f"{one.ws_url}/relay"), side(simple.url), wanted(Tally(), []), once=True)
            assert len(await ids(f"{one.ws_url}/relay")) == 20
    assert len(asked) > 2
    assert asked[0] == {}
    assert "until" in asked[1]


async def test_rows_of_two_mirrors_are_brought_in_step_and_kept_so() -> None:
    asked = {"relayID": RELAY_ID}
    some = rows(range(60))
    with trio.fail_after(WAIT_S):
        async with running() as one, running() as other, trio.open_nursery() as nursery:
            urls = [
                (await trio.to_thread.run_sync(issued, each.url, 600))["replicationConnectionUrl"]
                for each in (one, other)
            ]
            await publish(urls[0], some[:20], is_mirror=True)
            await publish(urls[1], some[10:40], is_mirror=True)
            said = list[str]()
            what = wanted(Tally(), said, "both", asked)
            sides = [side(url, is_mirror=True) for url in urls]
            nursery.start_soon(lambda: keep_in_step(*sides, what, once=False))
            while not said:  # noqa: ASYNC110 - the text is all there is to see
                await trio.sleep(0.05)
            await publish(urls[1], some[40:], is_mirror=True)
            for url in urls:
                await until(url, 60, asked, is_mirror=True)
            nursery.cancel_scope.cancel()


async def test_who_cannot_be_reached_at_first_and_who_refuses_are_told() -> None:
    with trio.fail_after(WAIT_S):
        async with running() as one:
            ours = side(f"{one.ws_url}/relay")
            with pytest.raises(LineLost):
                await keep_in_step(ours, side("ws://127.0.0.1:1/"), wanted(Tally(), []), once=False)
            closed = TinyRelay(lambda frame: [["CLOSED", frame[1], "auth-required: no"]])
            async with tiny_relay(closed) as simple:
                with pytest.raises(RequestRefused, match="auth-required"):
                    await keep_in_step(ours, side(simple.url), wanted(Tally(), []), once=True)


# -- relays that cut, over a network in memory and with a clock that jumps ---------------------------------------------


def plain(numbers: range, created_at: int = NOW_S) -> list[dict[str, Any]]:
    """Events that nobody verifies, two to a second, the newest first."""
    return [{"id": sha256(b"%d" % one).hexdigest(), "created_at": created_at - one // 2} for one in numbers]


def holding(relay: TinyRelay, some: list[dict[str, Any]]) -> None:
    relay.events |= {one["id"]: one for one in some}


def sent(relay: TinyRelay) -> list[str]:
    return [frame[1]["id"] for frame in relay.heard if frame[0] == "EVENT"]


def jumping(tally: Tally, said: list[str], direction: Any = "down", asked: dict[str, Any] | None = None) -> Wanted:
    return Wanted(asked or {}, direction, Jumping(), tally, said.append)


@asynccontextmanager
async def wired(ours: TinyRelay, theirs: TinyRelay) -> AsyncIterator[tuple[Side, Side]]:
    async with trio.open_nursery() as nursery:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "dial", Wires(nursery, {"ours": ours, "theirs": theirs}).dial)
            with trio.fail_after(LONG_S):
                yield side(ours.url), side(theirs.url)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("direction", ["down", "up", "both"])
async def test_pages_go_on_where_a_relay_cut_and_nothing_is_sent_twice(
    direction: str, autojump_clock: trio.testing.MockClock
) -> None:
    some, tally = plain(range(120)), Tally()
    ours, theirs = TinyRelay(page=20, cut=7), TinyRelay(page=20, cut=7)
    if direction != "up":
        holding(theirs, some)
    if direction == "up":
        holding(ours, some)
    async with wired(ours, theirs) as sides:
        await keep_in_step(*sides, jumping(tally, [], direction), once=True)
    assert set(ours.events) == set(theirs.events) == {one["id"] for one in some}
    target = theirs if direction == "up" else ours
    assert sorted(sent(target)) == sorted(one["id"] for one in some)
    assert target.taken == 120 // 7 + 1
    source = ours if direction == "up" else theirs
    assert sum(frame[0] == "REQ" for frame in source.heard) < 3 * target.taken  # and no page is asked for anew
    assert tally.down + tally.up == 120  # what came from there is not brought back either


async def test_what_came_while_pages_were_cut_is_carried_too_wherever_in_time_it_lies(
    autojump_clock: trio.testing.MockClock,
) -> None:
    some, late, said = plain(range(100)), plain(range(200, 210)), list[str]()
    older = [{**one, "created_at": NOW_S - 3 * SYNC_WINDOW_S} for one in plain(range(300, 310))]
    left = [*late, *older]

    def at_cut() -> None:  # while nobody follows
        for _ in range(min(2, len(left))):
            holding(theirs, [left.pop(0), left.pop(-1)] if len(left) > 1 else [left.pop()])

    ours, theirs = TinyRelay(page=20, cut=12, at_cut=at_cut), TinyRelay(page=20)
    holding(theirs, [*some, {**plain(range(400, 401))[0], "created_at": NOW_S - 9 * SYNC_WINDOW_S}])
    async with wired(ours, theirs) as sides, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: keep_in_step(*sides, jumping(Tally(), said), once=False))
        while not any("all of it is in step" in text for text in said):  # noqa: ASYNC110 - the text is all there is
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert not left
    assert set(ours.events) == set(theirs.events)
    assert len(theirs.events) == 121


async def test_more_than_a_relay_compares_is_compared_in_spans_that_are_remembered_over_cuts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    some, tally = [*plain(range(150)), *plain(range(200, 250), NOW_S - 10**8)], Tally()
    ours, theirs = ComparingRelay(cut=30), ComparingRelay(most=40)
    holding(theirs, some)
    async with wired(ours, theirs) as sides:
        await keep_in_step(*sides, jumping(tally, []), once=True)
    assert set(ours.events) == {one["id"] for one in some}
    assert sorted(sent(ours)) == sorted(ours.events)
    assert theirs.taken > 6
    assert len({str(asked) for asked in theirs.refused}) == len(theirs.refused)
    assert ours.most_open == theirs.most_open == 1


@pytest.mark.parametrize("is_kept", [True, False])
async def test_what_is_refused_or_dropped_over_and_over_ends_and_is_told(
    is_kept: bool, autojump_clock: trio.testing.MockClock
) -> None:
    def odd(frame: list[Any]) -> list[list[Any]] | None:
        return (
            [["OK", frame[1]["id"], not is_kept, "" if not is_kept else "blocked: no"]] if frame[0] == "EVENT" else None
        )

    some, tally = plain(range(100)), Tally()
    ours, theirs = ComparingRelay(odd=odd, cut=30), ComparingRelay()
    holding(theirs, some)
    async with wired(ours, theirs) as sides:
        await keep_in_step(*sides, jumping(tally, []), once=True)
    assert len(sent(ours)) == 100
    assert (tally.refused, tally.down, tally.dropped) == ((100, 0, 0) if is_kept else (0, 100, 90))


async def test_without_news_a_single_synchronisation_ends_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = TinyRelay(), TinyRelay(cut=0)
    async with wired(ours, theirs) as sides:
        with pytest.raises(LineLost, match="too many frames"):
            await keep_in_step(*sides, jumping(Tally(), []), once=True)
    assert theirs.taken == SYNC_TRIES_MAX + 1


async def test_a_relay_that_finds_everything_too_large_is_read_in_pages(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = ComparingRelay(), ComparingRelay(most=-1)
    holding(theirs, plain(range(30)))
    async with wired(ours, theirs) as sides:
        await keep_in_step(*sides, jumping(Tally(), []), once=True)
    assert len(ours.events) == 30
    assert len(theirs.refused) < 64


async def test_a_relay_that_gives_what_was_not_asked_for_is_not_asked_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def odd(frame: list[Any]) -> list[list[Any]] | None:
        if frame[0] == "REQ" and "ids" in frame[2]:
            return [["EVENT", frame[1], *plain(range(1))], ["EOSE", frame[1]]]
        return None

    tally, ours, theirs = Tally(), ComparingRelay(), ComparingRelay(odd=odd)
    holding(theirs, plain(range(30)))
    async with wired(ours, theirs) as sides:
        await keep_in_step(*sides, jumping(tally, []), once=True)
    assert (tally.down, tally.missing) == (1, 29)


@pytest.mark.parametrize(("renews", "failure", "taken"), [(False, RequestRefused, 1), (True, LineLost, 2)])
async def test_a_token_that_is_refused_is_told_at_once_unless_there_is_another(
    renews: bool, failure: type[Exception], taken: int, autojump_clock: trio.testing.MockClock
) -> None:
    class Closed(TinyRelay):
        async def serve(self, request: WebSocketRequest) -> None:
            self.taken += 1
            await (await request.accept()).aclose(4403, "Token expired")

    ours, theirs = TinyRelay(), Closed()
    async with wired(ours, theirs) as (one, other):
        with pytest.raises(failure, match="4403 Token expired"):
            await keep_in_step(one, replace(other, renews=renews), jumping(Tally(), []), once=False)
    assert theirs.taken == taken
