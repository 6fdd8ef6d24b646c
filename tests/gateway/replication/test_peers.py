"""Which peers are asked, and what of their answers is believed."""

import json

from gateway.limits.mirror import PEER_FAILURES_MAX, PEER_IN_FLIGHT_MAX, PEER_REST_MS, PEERS_ASKED_MAX
from gateway.replication.filter import filter_of
from gateway.replication.peers import Gathering, Peers, request

A, ID = "aa" * 32, "0a" * 32
NOW = 1_763_818_354_133


def asked(**fields):
    return filter_of({"relayID": A, **fields}, limit_default=100, limit_max=100)


def event(number: int = 1, sub: str = "s", **more) -> str:
    fields = {"id": f"{number:064x}", "relayID": A, "kind": 1, "created_at": number, "eventData": "aaaa", **more}
    return json.dumps(["EVENT", sub, fields])


def gathered(messages: list[str], filters=(), seen=frozenset(), room=9, flaw=None) -> list[int]:
    gathering = Gathering(filters or [asked()], seen, room, lambda _: flaw)
    for message in messages:
        assert not gathering.take(message, "s")
    return [row.created_at for row in gathering.rows]


def test_a_peer_has_no_more_in_flight_than_it_may():
    peers = Peers()
    for _ in range(PEER_IN_FLIGHT_MAX):
        assert peers.choose(["a"], NOW) == ["a"]
    assert peers.choose(["a", "b"], NOW) == ["b"]
    peers.ended("a", 10, NOW)
    assert peers.choose(["a"], NOW) == ["a"]


def test_failures_in_a_row_give_a_rest_after_which_one_request_tries():
    peers = Peers()
    for _ in range(PEER_FAILURES_MAX):
        assert peers.choose(["a"], NOW) == ["a"]
        peers.ended("a", None, NOW)
    assert peers.choose(["a"], NOW + PEER_REST_MS - 1) == []
    assert peers.choose(["a"], NOW - 10 * PEER_REST_MS) == ["a"]  # the clock was put back: no rest without end
    peers.ended("a", None, NOW)
    assert peers.choose(["a"], NOW + PEER_REST_MS) == ["a"]
    assert peers.choose(["a"], NOW + PEER_REST_MS) == []
    peers.ended("a", 5, NOW + PEER_REST_MS)
    assert peers.choose(["a"], NOW + PEER_REST_MS) == peers.choose(["a"], NOW + PEER_REST_MS) == ["a"]


def test_an_answer_between_failures_counts_them_anew():
    peers = Peers()
    for latency in (*[None] * (PEER_FAILURES_MAX - 1), 5, *[None] * (PEER_FAILURES_MAX - 1)):
        assert peers.choose(["a"], NOW) == ["a"]
        peers.ended("a", latency, NOW)
    assert peers.choose(["a"], NOW) == ["a"]


def test_the_quick_and_reliable_are_asked_first():
    peers = Peers()
    urls = [f"p{number}" for number in range(PEERS_ASKED_MAX + 2)]
    for url in peers.choose(urls[:2], NOW):
        peers.ended(url, 1_000, NOW)
    for url in peers.choose(urls[2:3], NOW):
        peers.ended(url, 1, NOW)
    chosen = peers.choose([*urls, urls[2]], NOW)
    assert chosen[0] == urls[2]
    assert len(chosen) == PEERS_ASKED_MAX
    assert not {urls[0], urls[1]} & set(chosen)


def test_rows_are_gathered_once_the_newest_first_as_many_as_there_is_room_for():
    assert gathered([event(1), event(3), event(2), event(3)]) == [3, 2, 1]
    assert gathered([event(1), event(3), event(2)], room=2) == [3, 2]
    assert gathered([event(1), event(2)], seen={bytes.fromhex(f"{1:064x}")}) == [2]


def test_what_was_not_asked_for_or_does_not_hold_is_not_believed():
    bad = [
        "no json", '["EVENT"]', '["EVENT","s"]', '["EVENT","s",5]', event(1, sub="other"), event(2, relayID="bb" * 32),
        event(3, eventData="?"), event(4, id="x"), event(5, kind=7), event(6, sig="00"),
    ]  # fmt: skip
    assert gathered([*bad, event(9)], [asked(kinds=[1])], flaw="the signature does not verify") == [9]


def test_a_peer_is_done_with_its_eose_or_closed():
    gathering = Gathering([asked()], frozenset(), 9, lambda _: None)
    assert not gathering.take('["EOSE","other"]', "s")
    assert not gathering.take('["NOTICE","s"]', "s")
    assert gathering.take('["EOSE","s"]', "s")
    assert gathering.take('["CLOSED","s","why"]', "s")


def test_a_peer_is_asked_for_what_was_asked():
    fields = {"relayID": [A], "ids": [ID], "kinds": [1, 2], "since": 5, "until": 9, "limit": 3}
    assert json.loads(request([asked(**fields), asked()], "s")) == ["REQ", "s", fields, {"relayID": [A], "limit": 100}]
