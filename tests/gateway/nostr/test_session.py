"""A connection's messages become the right effects, within its limits."""

import json
from typing import Any

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Relay
from gateway.limits.mirror import NEG_OPEN_MAX
from gateway.limits.nostr import AUTH_SKEW_S_MAX
from gateway.negentropy import CompareEnd, CompareOn
from gateway.nostr import session as module
from gateway.nostr.account import Account, Budget
from gateway.nostr.filter import Filter
from gateway.nostr.session import (
    Compare,
    Count,
    Effect,
    Replicate,
    Send,
    Session,
    Store,
    Subscribe,
    Unsubscribe,
)
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed, signed_fields

LIMITS = Relay(subscriptions_max=2, filters_max=2, subid_chars_max=8)


def session_of(limits: Relay = LIMITS, *accounts: Account) -> Session:
    return Session(limits, "challenge", lambda url: url == "wss://us.example/relay", accounts)


def take(session: Session, *frames: Any) -> list[Effect]:
    return session.take([json.dumps(frame, separators=(",", ":")) for frame in frames], NOW_S * 1000)


def test_neighbouring_events_are_one_batch_and_a_request_between_parts_them() -> None:
    first, second, third = (["EVENT", signed_fields(content=text)] for text in "abc")
    effects = take(session_of(), first, second, ["REQ", "x", {}], third)
    assert [type(effect) for effect in effects] == [Store, Subscribe, Store]
    assert isinstance(effects[0], Store)
    assert [event.content for event in effects[0].events] == ["a", "b"]


def test_a_bad_event_is_refused_without_parting_the_batch() -> None:
    bad = ["EVENT", {**signed_fields(), "content": "changed"}]
    effects = take(session_of(), ["EVENT", signed_fields()], bad, ["EVENT", signed_fields(content="b")])
    assert isinstance(effects[0], Send)
    assert json.loads(effects[0].text)[:3] == ["OK", signed().id, False]
    assert isinstance(effects[1], Store)
    assert len(effects[1].events) == 2


@pytest.mark.parametrize(
    "frame",
    [
        ["REQ", "", {}],
        ["REQ", "123456789", {}],
        ["REQ", "x"],
        ["REQ", "x", {}, {}, {}],
        ["REQ", "x", {"kinds": 1}],
        ["REQ", "x", {"search": 1}],
        ["REQ", "x", {"searching": "y"}],
    ],
)
def test_a_refused_request_is_closed_with_its_own_id(frame: list[Any]) -> None:
    session = session_of()
    [effect] = take(session, frame)
    assert isinstance(effect, Send)
    assert effect.refused == "request"
    assert json.loads(effect.text)[:2] == ["CLOSED", frame[1]]
    assert not session.open


def test_a_refused_request_ends_the_subscription_that_had_its_id() -> None:
    session = session_of()
    effects = take(session, ["REQ", "x", {}], ["REQ", "x"])
    assert isinstance(effects[1], Unsubscribe)
    assert not session.open


def test_subscriptions_are_counted_and_one_in_place_of_another_is_not() -> None:
    session = session_of()
    effects = take(session, ["REQ", "a", {}], ["REQ", "b", {}], ["REQ", "b", {"kinds": [1]}], ["REQ", "c", {}])
    assert [type(effect) for effect in effects] == [Subscribe, Subscribe, Subscribe, Send]
    assert set(session.open) == {"a", "b"}
    assert [type(effect) for effect in take(session, ["CLOSE", "a"], ["CLOSE", "a"], ["REQ", "c", {}])] == [
        Unsubscribe,
        Unsubscribe,
        Subscribe,
    ]


def proof(key: PrivateKey = ALICE, **change: Any) -> dict[str, Any]:
    tags = [
        ["relay", change.pop("relay", "wss://us.example/relay")],
        ["challenge", change.pop("challenge", "challenge")],
    ]
    return signed_fields(key, change.pop("kind", 22_242), "", tags, change.pop("created_at", NOW_S))


def answer(effect: Effect) -> list[Any]:
    assert isinstance(effect, Send)
    found: list[Any] = json.loads(effect.text)
    return found


def test_several_keys_are_proved_and_count_for_what_comes_behind() -> None:
    session = session_of()
    before, first, second, after = take(
        session,
        ["EVENT", signed_fields()],
        ["AUTH", proof()],
        ["AUTH", proof(BOB)],
        ["EVENT", signed_fields()],
    )
    assert answer(first) == ["OK", proof()["id"], True, ""]
    assert answer(second)[2] is True
    assert isinstance(before, Store)
    assert isinstance(after, Store)
    assert (before.keys, after.keys) == (frozenset(), {pubkey(ALICE), pubkey(BOB)})


@pytest.mark.parametrize(
    "event",
    [
        proof(challenge="another"),
        proof(relay="wss://other.example/relay"),
        proof(created_at=NOW_S - AUTH_SKEW_S_MAX - 1),
        proof(created_at=NOW_S + AUTH_SKEW_S_MAX + 1),
        proof(kind=1),
        {**proof(), "sig": "0" * 128},
        {**proof(), "content": "changed"},
    ],
)
def test_what_proves_nothing_is_answered_so_and_leaves_nothing(event: dict[str, Any]) -> None:
    session = session_of()
    [effect] = take(session, ["AUTH", event])
    assert answer(effect)[:3] == ["OK", event["id"], False]
    assert answer(effect)[3].startswith("invalid: ")
    assert not session.keys


def test_a_connection_proves_so_many_keys_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_KEYS_MAX", 1)
    session = session_of()
    first, again, other = take(session, ["AUTH", proof()], ["AUTH", proof()], ["AUTH", proof(BOB)])
    assert [answer(one)[2] for one in (first, again, other)] == [True, True, False]
    assert answer(other)[3].startswith("rate-limited: ")


@pytest.mark.parametrize("frame", [["AUTH"], ["AUTH", "token"], ["AUTH", {}], ["AUTH", proof(), 1]])
def test_an_auth_frame_without_an_event_gets_a_notice(frame: list[Any]) -> None:
    [effect] = take(session_of(), frame)
    assert answer(effect)[0] == "NOTICE"


def test_a_message_that_comes_too_fast_is_refused_in_the_form_of_its_kind() -> None:
    session = session_of(LIMITS, Account(Budget(messages_per_s=1)))
    frames = [
        ["REQ", "x", {}],
        ["EVENT", signed_fields()],
        ["REQ", "x", {}],
        ["COUNT", "y", {}],
        ["AUTH", proof()],
        ["EVENT", {**signed_fields(), "content": "changed"}],
        ["REQ"],
        ["CLOSE", "x"],
    ]
    first, event, ended, request, count, auth, bad, notice, close = take(session, *frames)
    assert isinstance(first, Subscribe)
    assert isinstance(ended, Unsubscribe)
    assert isinstance(close, Unsubscribe)
    verbs = [answer(one)[0] for one in (event, request, count, auth, bad, notice)]
    assert verbs == ["OK", "CLOSED", "CLOSED", "OK", "OK", "NOTICE"]
    assert all(answer(one)[-1].startswith("rate-limited: ") for one in (event, request, count, auth, bad, notice))
    rows = [json.dumps(frame) for frame in (["EVENT", {"relayID": "0"}], ["REQ", "x", {"relayID": "0"}])]
    assert session.take(rows, NOW_S * 1000) == [Replicate((text,), too_fast=True) for text in rows]
    later = session.take([json.dumps(["REQ", "x", {}])], (NOW_S + 1) * 1000)
    assert isinstance(later[0], Subscribe)


def test_connections_of_one_address_share_its_subscriptions_and_give_them_back() -> None:
    shared = Account(Budget(subscriptions=2))
    one, two = session_of(LIMITS, shared), session_of(LIMITS, shared)
    take(one, ["REQ", "a", {}], ["REQ", "a", {}], ["REQ", "b", {}])
    [refused] = take(two, ["REQ", "a", {}])
    assert answer(refused)[2].startswith("rate-limited: ")
    assert isinstance(take(one, ["REQ", "a", {"kinds": [1]}])[0], Subscribe)
    one.leave()
    assert isinstance(take(two, ["REQ", "a", {}])[0], Subscribe)
    assert shared.subscriptions == 1


def test_private_kinds_are_asked_for_only_behind_a_proof() -> None:
    session = session_of()
    asked = ["REQ", "x", {"kinds": [1_059]}]
    challenge, refused, _, taken, foreign = take(
        session, asked, ["AUTH", proof()], asked, ["REQ", "y", {"kinds": [1_059], "#p": [pubkey(BOB)]}]
    )
    assert answer(challenge) == ["AUTH", "challenge"]
    assert answer(refused)[2].startswith("auth-required: ")
    assert isinstance(taken, Subscribe)
    assert answer(foreign)[2].startswith("restricted: ")
    assert set(session.open) == {"x"}


def test_what_is_counted_is_refused_as_what_is_read_and_opens_nothing() -> None:
    session = session_of()
    assert take(session, ["COUNT", "c", {"kinds": [1]}]) == [Count("c", (Filter(kinds=frozenset({1})),))]
    for asked, why in (({"search": "x"}, "unsupported: "), ({"kinds": [1_059]}, "auth-required: ")):
        *_, effect = take(session, ["COUNT", "c", asked])
        assert isinstance(effect, Send)
        assert json.loads(effect.text)[2].startswith(why)
    *_, effect = take(session_of(Relay(search_events_max=0)), ["REQ", "r", {"search": "x"}])
    assert isinstance(effect, Send)
    assert json.loads(effect.text)[2].startswith("unsupported: ")
    assert session.open == {}


def test_replication_frames_are_handed_on_as_they_came_and_take_the_place_of_a_subscription() -> None:
    session = session_of()
    text = '["REQ", "r", {"relayID":"' + "0" * 64 + '"}]'
    assert session.take([text], NOW_S * 1000) == [Replicate((text,))]
    take(session, ["REQ", "r", {}])
    assert session.take([text], NOW_S * 1000) == [Unsubscribe("r"), Replicate((text,))]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.randoms())
def test_never_more_than_the_limit_is_open(ids: list[str], random: Any) -> None:
    session = session_of()
    for sub_id in ids:
        take(session, [random.choice(["REQ", "CLOSE"]), sub_id, *([{}] if random.random() < 0.9 else [])])
        assert len(session.open) <= 2


def test_neighbouring_rows_are_handed_on_together() -> None:
    row = '["EVENT",{"relayID":"x"}]'
    effects = session_of().take([row, row, '["CLOSE","a"]', row], NOW_S * 1000)
    assert effects == [Replicate((row, row)), Unsubscribe("a"), Replicate((row,))]


def test_values_of_all_open_filters_are_bounded_and_a_closed_one_gives_its_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FILTER_VALUES_MAX", 5)
    session = session_of()
    three = {"kinds": [1, 2, 3]}
    assert [type(one) for one in take(session, ["REQ", "a", three], ["REQ", "b", three])] == [Subscribe, Send]
    assert [type(one) for one in take(session, ["REQ", "a", three, {}], ["REQ", "b", {}])] == [Subscribe, Subscribe]
    assert [type(one) for one in take(session, ["CLOSE", "a"], ["REQ", "a", three])] == [Unsubscribe, Subscribe]


def refused(effects: list[Effect]) -> list[Any]:
    assert isinstance(effects[-1], Send)
    answer = json.loads(effects[-1].text)
    assert answer[0] == "NEG-ERR"
    return list(answer)


def test_a_comparison_goes_on_until_it_is_closed_and_has_ids_of_its_own() -> None:
    session = session_of()
    [opened, asked, on] = take(
        session, ["NEG-OPEN", "n", {"kinds": [1]}, "6100"], ["REQ", "n", {}], ["NEG-MSG", "n", "61"]
    )
    assert isinstance(opened, Compare)
    assert (opened.sub_id, opened.message) == ("n", b"\x61\x00")
    assert isinstance(asked, Subscribe)
    assert on == CompareOn("n", b"\x61")
    assert take(session, ["NEG-OPEN", "n", {}, 16, "61"])[0] == CompareEnd("n")  # strfry's older form has a size
    [_, group] = take(session, ["NEG-OPEN", "n", [{"kinds": [1]}, {}], "61"])  # NDK asks with a list
    assert isinstance(group, Compare)
    assert len(group.filters) == 2
    assert take(session, ["NEG-CLOSE", "n"], ["NEG-CLOSE", "n"]) == [CompareEnd("n")]
    assert refused(take(session, ["NEG-MSG", "n", "61"]))[2].startswith("closed: ")
    assert "n" in session.open


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (["NEG-OPEN", "n", {"kinds": 1}, "61"], "invalid: "),
        (["NEG-OPEN", "n", {}, "6"], "invalid: "),
        (["NEG-OPEN", "n", {}], "invalid: "),
        (["NEG-OPEN", "n", [], "61"], "invalid: "),
        (["NEG-OPEN", "n", [{}, {}, {}], "61"], "invalid: "),
        (["NEG-OPEN", "n", [{}, {"relayID": "0"}], "61"], "unsupported: "),
        (["NEG-OPEN", "n", {"search": "x"}, "61"], "unsupported: "),
        (["NEG-OPEN", "123456789", {}, "61"], "invalid: "),
        (["NEG-OPEN", "n", {"kinds": [1_059]}, "61"], "auth-required: "),
        (["NEG-MSG", "n"], "invalid: "),
        (["NEG-MSG", "n", "xy"], "invalid: "),
    ],
)
def test_what_is_wrong_with_a_comparison_ends_it_with_the_reason(frame: list[Any], reason: str) -> None:
    session = session_of()
    effects = take(session, ["NEG-OPEN", "n", {}, "61"], frame)
    answer = refused(effects)
    assert answer[1] == frame[1][:8]
    assert answer[2].startswith(reason)
    assert (CompareEnd("n") in effects) == (frame[1] == "n")


@pytest.mark.parametrize("verb", ["NEG-OPEN", "NEG-MSG", "NEG-CLOSE"])
def test_a_comparison_without_an_id_gets_a_notice(verb: str) -> None:
    [effect] = take(session_of(), [verb])
    assert isinstance(effect, Send)
    assert json.loads(effect.text)[0] == "NOTICE"


def test_comparisons_are_bounded_and_one_that_ended_by_itself_gives_its_place_back() -> None:
    session = session_of()
    for number in range(NEG_OPEN_MAX):
        take(session, ["NEG-OPEN", f"n{number}", {}, "61"])
    assert refused(take(session, ["NEG-OPEN", "more", {}, "61"]))[2].startswith("blocked: ")
    session.compared("n0")
    assert isinstance(take(session, ["NEG-OPEN", "more", {}, "61"])[0], Compare)
    off = session_of(Relay(compare_events_max=0))
    assert refused(take(off, ["NEG-OPEN", "n", {}, "61"]))[2].startswith("unsupported: ")


def test_a_comparison_of_rows_is_the_mirrors_to_the_end() -> None:
    session = session_of()
    frames = [["NEG-OPEN", "n", {"relayID": "0" * 64}, "61"], ["NEG-MSG", "n", "61"], ["NEG-CLOSE", "n"]]
    texts = [json.dumps(frame, separators=(",", ":")) for frame in frames]
    assert take(session, *frames) == [Replicate((text,)) for text in texts]
    assert take(session, ["NEG-OPEN", "n", {}, "61"]) == [Replicate((texts[2],)), Compare("n", (Filter(),), b"a")]
    assert take(session, ["NEG-MSG", "n", "61"]) == [CompareOn("n", b"a")]
    assert take(session, frames[0]) == [CompareEnd("n"), Replicate((texts[0],))]


def test_a_comparison_that_comes_too_fast_is_ended_with_a_reason() -> None:
    session = session_of(LIMITS, Account(Budget(messages_per_s=1)))
    effects = take(session, ["NEG-OPEN", "n", {}, "61"], ["NEG-MSG", "n", "61"])
    assert refused(effects)[2].startswith("rate-limited: ")
    assert CompareEnd("n") in effects
