"""Who may read and write on the normal socket, what is counted, searched and moderated: from the client's end."""

from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey

from gateway.config import Policy, Relay
from gateway.nostr.hyperloglog import HyperLogLog
from tests.fakes import MemoryLog
from tests.gateway.serve.relay.test_plugin import ANSWER, script
from tests.gateway.serve.relay.test_service import URL, FakeSocket, bench, ids
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed_fields


def wrapped(recipient: PrivateKey, text: str = "", kind: int = 1_059) -> dict[str, Any]:
    return signed_fields(PrivateKey(text.encode().rjust(32, b"w")), kind, text, [["p", pubkey(recipient)]])


async def test_a_gift_wrap_is_shown_to_its_addressee_alone_stored_and_live_and_takes_no_place_in_a_limit() -> None:
    async with bench() as here:
        to_alice, to_bob, note = wrapped(ALICE, "a"), wrapped(BOB, "b"), signed_fields(created_at=NOW_S - 9)
        await here.publish(note, to_alice, to_bob)
        stranger, alice = here.connect(), here.connect()
        await here.prove(alice, ALICE)
        for socket in (stranger, alice):
            socket.say(["REQ", "all", {"limit": 2}], ["REQ", "ids", {"ids": [to_alice["id"], to_bob["id"]]}])
        heard = await stranger.hear("EOSE", 2)
        assert ids(heard) == [note["id"]]
        heard = await alice.hear("EOSE", 2)
        assert ids(heard) == [to_alice["id"], note["id"], to_alice["id"]]
        await here.publish(wrapped(ALICE, "c"), wrapped(BOB, "d"), wrapped(ALICE, "e", 21_059))
        assert await stranger.silence() == []
        assert set(ids(await alice.silence())) == {wrapped(ALICE, "c")["id"], wrapped(ALICE, "e", 21_059)["id"]}


async def test_whoever_asks_for_wraps_alone_is_told_to_authenticate_and_then_served() -> None:
    async with bench() as here:
        await here.publish(*(wrapped(key, text) for key, text in ((ALICE, "a"), (BOB, "b"), (ALICE, "c"))))
        socket = here.connect()
        socket.say(["REQ", "x", {"kinds": [1_059]}])
        [closed] = await socket.hear("CLOSED")
        assert closed[2].startswith("auth-required: ")
        await here.prove(socket, BOB, ALICE)
        socket.say(["REQ", "x", {"kinds": [1_059], "#p": [pubkey(ALICE)]}])
        assert sorted(frame[2]["content"] for frame in (await socket.hear("EOSE"))[:-1]) == ["a", "c"]


async def test_each_connection_has_a_challenge_of_its_own() -> None:
    async with bench() as here:
        first, second = here.connect(), here.connect()
        for socket in (first, second):
            socket.say(["REQ", "x", {"kinds": [1_059]}])
            await socket.hear("CLOSED")
        assert first.challenge
        assert first.challenge != second.challenge
        tags = [["relay", URL], ["challenge", first.challenge]]
        second.say(["AUTH", signed_fields(kind=22_242, tags=tags)])
        assert (await second.hear("OK"))[0][2] is False


async def test_a_challenge_comes_unasked_only_where_the_configuration_says_so() -> None:
    for limits in (Relay(), Relay(auth_at_connect=True)):
        async with bench(limits) as here:
            socket = here.connect()
            socket.say(["REQ", "x", {}], ["EVENT", signed_fields()])
            await socket.hear("OK")
            assert bool(socket.challenge) is limits.auth_at_connect


async def test_a_protected_event_is_stored_for_its_author_and_nobody_else() -> None:
    async with bench() as here:
        event = signed_fields(tags=[["-"]])
        socket = here.connect()
        socket.say(["EVENT", event])
        assert (await socket.hear("OK"))[0][3].startswith("auth-required: ")
        assert socket.challenge
        await here.prove(socket, BOB)
        socket.say(["EVENT", event])
        assert (await socket.hear("OK"))[0][3].startswith("restricted: ")
        await here.prove(socket, ALICE)
        socket.say(["EVENT", event])
        assert (await socket.hear("OK"))[0][2:] == [True, ""]


async def test_an_event_is_shown_until_it_ends_and_not_a_second_longer() -> None:
    async with bench() as here:
        event = signed_fields(tags=[["expiration", str(NOW_S + 60)], ["t", "x"]])
        await here.publish(event)
        for seconds, found in ((59, [event["id"]]), (1, [])):
            here.clock.advance(seconds)
            for asked in ({}, {"ids": [event["id"]]}, {"#t": ["x"]}, {"authors": [pubkey(ALICE)]}):
                socket = here.connect()
                socket.say(["REQ", "x", asked])
                assert ids(await socket.hear("EOSE")) == found
        assert "expired" in (await here.publish(event))[0][3]
        assert here.ledger.log.durable_size == 1


@pytest.mark.parametrize("url", [URL, "ALL_RELAYS"])
async def test_who_asks_to_vanish_is_gone_from_stored_rows_and_cannot_be_brought_back(url: str) -> None:
    async with bench() as here:
        mine = [signed_fields(), signed_fields(kind=5, tags=[["e", "0" * 64]]), signed_fields(kind=0)]
        later, foreign = signed_fields(content="later", created_at=NOW_S + 9), signed_fields(BOB)
        await here.publish(*mine, later, foreign, wrapped(ALICE), wrapped(BOB))
        request = signed_fields(kind=62, tags=[["relay", url]], created_at=NOW_S + 1)
        assert (await here.publish(request))[0][2:] == [True, ""]
        socket = here.connect()
        await here.prove(socket, ALICE, BOB)
        socket.say(["REQ", "x", {}])
        assert sorted(ids(await socket.hear("EOSE"))) == sorted(
            event["id"] for event in (later, foreign, wrapped(BOB), request)
        )
        for event in (*mine, wrapped(ALICE), wrapped(ALICE, "new"), signed_fields(content="old", created_at=1)):
            assert (await here.publish(event))[0][3].startswith("blocked: ")
        against = signed_fields(kind=5, tags=[["e", request["id"]]], created_at=NOW_S + 2)
        await here.publish(against)
        assert (await here.publish(request))[0][3].startswith("duplicate: ")
        log = here.ledger.log
    assert isinstance(log, MemoryLog)
    async with bench(log=log) as again:
        assert (await again.publish(mine[0]))[0][3].startswith("blocked: ")


async def test_a_request_to_vanish_from_elsewhere_is_kept_and_changes_nothing() -> None:
    async with bench() as here:
        await here.publish(signed_fields())
        await here.publish(signed_fields(kind=62, tags=[["relay", "wss://other.example"]]))
        assert (await here.publish(signed_fields()))[0][3].startswith("duplicate: ")


async def test_every_relay_lets_go_of_who_asks_all_of_them_and_one_of_who_asks_it() -> None:
    async with bench() as here:
        for url, standing in ((URL, "duplicate: "), ("ALL_RELAYS", "blocked: ")):
            other = here.connect("another")
            other.say(["EVENT", signed_fields()])
            await other.hear("OK")
            await here.publish(signed_fields(kind=62, tags=[["relay", url]]))
            other.say(["EVENT", signed_fields()])
            assert (await other.hear("OK"))[0][3].startswith(standing)


async def count(socket: FakeSocket, *filters: dict[str, Any]) -> Any:
    socket.say(["COUNT", "c", *filters])
    [answer] = await socket.hear("COUNT")
    assert answer[1] == "c"
    return answer[2]


async def test_a_count_is_what_a_request_without_limit_would_find() -> None:
    async with bench() as here:
        await here.publish(*(signed_fields((ALICE, BOB)[at % 2], at % 3, str(at), [["t", "x"]]) for at in range(12)))
        socket = here.connect()
        assert await count(socket, {"kinds": [1]}) == {"count": 4}
        assert await count(socket, {"kinds": [1, 2], "limit": 1}, {"authors": [pubkey(BOB)]}) == {"count": 9}
        assert await count(socket, {"ids": ["0" * 64]}) == {"count": 0}
        assert (await count(here.connect("another"), {}))["count"] == 0


async def test_a_count_that_goes_too_far_says_that_it_is_not_exact() -> None:
    async with bench(Relay(count_max=3)) as here:
        await here.publish(*(signed_fields(content=str(at)) for at in range(5)))
        socket = here.connect()
        assert await count(socket, {}) == {"count": 3, "approximate": True}


async def test_a_count_of_one_tag_has_the_registers_of_its_authors() -> None:
    async with bench() as here:
        target = "ab" * 32
        await here.publish(
            *(signed_fields(key, 7, str(at), [["e", target]]) for key in (ALICE, BOB) for at in range(3))
        )
        answer = await count(here.connect(), {"kinds": [7], "#e": [target]})
        expected = HyperLogLog(int(target[32], 16) + 8)
        for key in (ALICE, BOB):
            expected.add(bytes.fromhex(pubkey(key)))
        assert answer == {"count": 6, "hll": expected.hex}


async def test_what_is_not_shown_is_not_counted_either() -> None:
    async with bench() as here:
        await here.publish(wrapped(ALICE, "a"), wrapped(BOB, "b"), signed_fields(tags=[["expiration", str(NOW_S + 1)]]))
        socket = here.connect()
        assert await count(socket, {}) == {"count": 1}
        here.clock.advance(1)
        assert await count(socket, {}) == {"count": 0}
        socket.say(["COUNT", "c", {"kinds": [1_059]}])
        assert (await socket.hear("CLOSED"))[-1][2].startswith("auth-required: ")
        await here.prove(socket, ALICE)
        assert await count(socket, {"kinds": [1_059]}) == {"count": 1}


async def test_a_refused_count_is_closed_and_leaves_the_subscription_of_that_name_open() -> None:
    async with bench() as here:
        socket = here.connect()
        socket.say(["REQ", "c", {}], ["COUNT", "c"], ["COUNT", "c", {"kinds": 1}], ["COUNT", 1, {}])
        await socket.hear("NOTICE")
        await here.publish(signed_fields())
        assert ids(await socket.silence()) == [signed_fields()["id"]]


@pytest.mark.parametrize(
    ("filters", "hint"),
    [
        ([{}], [["finish"]]),
        ([{"limit": 5}], [["finish"]]),
        ([{"limit": 4}], [["more"]]),
        ([{"limit": 0}], []),
        ([{"kinds": [1], "limit": 2}], [["more"]]),
        ([{"kinds": [9]}], [["finish"]]),
        ([{"authors": []}], [["finish"]]),
        ([{"limit": 4}, {"kinds": [9]}], []),
        ([{"kinds": [1]}, {"kinds": [9]}], [["finish"]]),
    ],
)
async def test_the_end_says_whether_there_is_more(filters: list[dict[str, Any]], hint: list[Any]) -> None:
    async with bench() as here:
        events_held = [signed_fields(content=str(at), created_at=at) for at in range(5)]
        await here.publish(*events_held)
        socket = here.connect()
        socket.say(["REQ", "x", *filters], ["REQ", "y", {"ids": [event["id"] for event in events_held], "limit": 4}])
        ends = [frame for frame in await socket.hear("EOSE", 2) if frame[0] == "EOSE"]
        assert ends == [["EOSE", "x", *hint], ["EOSE", "y", ["more"]]]


async def test_the_operators_lists_and_rates_hold() -> None:
    policy = Policy(block_keys=(pubkey(BOB),), events_per_minute_per_key=2)
    async with bench(Relay(policy=policy)) as here:
        assert (await here.publish(signed_fields(BOB)))[0][3].startswith("blocked: ")
        answers = await here.publish(*(signed_fields(content=str(at)) for at in range(4)))
        assert sorted(answer[2] for answer in answers) == [False, False, True, True]
        assert all(answer[2] or answer[3].startswith("rate-limited: ") for answer in answers)
        here.clock.advance(60)
        assert (await here.publish(signed_fields(content="later")))[0][2] is True


async def test_a_plugin_decides_after_the_signature_and_before_the_log(tmp_path: Path) -> None:
    command = script(tmp_path, ANSWER.format(rest='"action": asked["event"]["content"]'))
    async with bench(Relay(policy=Policy(plugin=command, plugin_s_max=60))) as here:
        actions = ("accept", "reject", "shadowReject")
        socket = here.connect()
        socket.say(*(["EVENT", signed_fields(content=action)] for action in actions))
        heard = {frame[1]: frame[2] for frame in await socket.hear("OK", 3)}
        assert [heard[signed_fields(content=action)["id"]] for action in actions] == [True, False, True]
        assert here.ledger.log.durable_size == 1


async def test_an_address_has_so_many_subscriptions_over_all_its_connections() -> None:
    async with bench(Relay(subscriptions_per_address_max=1)) as here:
        one, two = here.connect(), here.connect()
        one.say(["REQ", "x", {}])
        await one.hear("EOSE")
        two.say(["REQ", "x", {}])
        assert (await two.hear("CLOSED"))[0][2].startswith("rate-limited: ")
        one.close()
        await one.silence()
        two.say(["REQ", "x", {}])
        await two.hear("EOSE")


async def test_a_search_finds_what_has_all_words_the_best_first_and_goes_on_live() -> None:
    async with bench() as here:
        texts = ["purple cats", "a purple cat; the Purple cat", "a purple cat", "a purple dog"]
        await here.publish(*(signed_fields(content=text, created_at=at) for at, text in enumerate(texts)))
        await here.publish(wrapped(BOB, "purple cat"))
        socket = here.connect()
        socket.say(
            ["REQ", "x", {"search": "purple cat lang:en", "limit": 2}], ["REQ", "y", {"search": "dog", "kinds": [7]}]
        )
        heard = await socket.hear("EOSE", 2)
        assert [frame[2]["content"] for frame in heard if frame[0] == "EVENT"] == texts[1:3]
        await here.publish(signed_fields(content="no"), signed_fields(content="CATS are purple"))
        assert [frame[1:] for frame in await socket.silence()] == [["x", signed_fields(content="CATS are purple")]]
        socket.say(["COUNT", "c", {"search": "cat"}])
        assert (await socket.hear("CLOSED"))[-1][2].startswith("unsupported: ")


async def test_a_relay_that_does_not_search_says_so() -> None:
    async with bench(Relay(search_events_max=0)) as here:
        socket = here.connect()
        socket.say(["REQ", "x", {"search": "y"}])
        assert (await socket.hear("CLOSED"))[0][2].startswith("unsupported: ")


async def test_a_gift_wrap_is_its_addressees_to_delete_in_either_order() -> None:
    async with bench() as here:
        first, second = wrapped(ALICE, "a"), wrapped(ALICE, "b")
        await here.publish(first)
        for key in (BOB, ALICE):
            await here.publish(signed_fields(key, 5, tags=[["e", first["id"]], ["e", second["id"]]]))
            answers = [(await here.publish(event))[0][3].partition(":")[0] for event in (first, second)]
            assert answers == (["blocked"] * 2 if key is ALICE else ["duplicate", ""])
        assert await count(here.connect(), {"kinds": [1]}) == {"count": 0}
