"""A connection's messages become the right effects, within its limits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Relay
from gateway.nostr import session as module
from gateway.nostr.session import Effect, Replicate, Send, Session, Store, Subscribe, Unsubscribe
from tests.signing import signed, signed_fields

LIMITS = Relay(subscriptions_max=2, filters_max=2, subid_chars_max=8)


def take(session: Session, *frames: Any) -> list[Effect]:
    return session.take([json.dumps(frame, separators=(",", ":")) for frame in frames])


def test_neighbouring_events_are_one_batch_and_a_request_between_parts_them() -> None:
    first, second, third = (["EVENT", signed_fields(content=text)] for text in "abc")
    effects = take(Session(LIMITS), first, second, ["REQ", "x", {}], third)
    assert [type(effect) for effect in effects] == [Store, Subscribe, Store]
    assert isinstance(effects[0], Store)
    assert [event.content for event in effects[0].events] == ["a", "b"]


def test_a_bad_event_is_refused_without_parting_the_batch() -> None:
    bad = ["EVENT", {**signed_fields(), "content": "changed"}]
    effects = take(Session(LIMITS), ["EVENT", signed_fields()], bad, ["EVENT", signed_fields(content="b")])
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
        ["REQ", "x", {"search": "y"}],
    ],
)
def test_a_refused_request_is_closed_with_its_own_id(frame: list[Any]) -> None:
    session = Session(LIMITS)
    [effect] = take(session, frame)
    assert isinstance(effect, Send)
    assert effect.refused == "request"
    assert json.loads(effect.text)[:2] == ["CLOSED", frame[1]]
    assert not session.open


def test_a_refused_request_ends_the_subscription_that_had_its_id() -> None:
    session = Session(LIMITS)
    effects = take(session, ["REQ", "x", {}], ["REQ", "x"])
    assert isinstance(effects[1], Unsubscribe)
    assert not session.open


def test_subscriptions_are_counted_and_one_in_place_of_another_is_not() -> None:
    session = Session(LIMITS)
    effects = take(session, ["REQ", "a", {}], ["REQ", "b", {}], ["REQ", "b", {"kinds": [1]}], ["REQ", "c", {}])
    assert [type(effect) for effect in effects] == [Subscribe, Subscribe, Subscribe, Send]
    assert set(session.open) == {"a", "b"}
    assert [type(effect) for effect in take(session, ["CLOSE", "a"], ["CLOSE", "a"], ["REQ", "c", {}])] == [
        Unsubscribe,
        Unsubscribe,
        Subscribe,
    ]


def test_replication_frames_are_handed_on_as_they_came_and_take_the_place_of_a_subscription() -> None:
    session = Session(LIMITS)
    text = '["REQ", "r", {"relayID":"' + "0" * 64 + '"}]'
    assert session.take([text]) == [Replicate((text,))]
    take(session, ["REQ", "r", {}])
    assert session.take([text]) == [Unsubscribe("r"), Replicate((text,))]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.randoms())
def test_never_more_than_the_limit_is_open(ids: list[str], random: Any) -> None:
    session = Session(LIMITS)
    for sub_id in ids:
        take(session, [random.choice(["REQ", "CLOSE"]), sub_id, *([{}] if random.random() < 0.9 else [])])
        assert len(session.open) <= 2


def test_neighbouring_rows_are_handed_on_together() -> None:
    row = '["EVENT",{"relayID":"x"}]'
    effects = Session(LIMITS).take([row, row, '["CLOSE","a"]', row])
    assert effects == [Replicate((row, row)), Unsubscribe("a"), Replicate((row,))]


def test_values_of_all_open_filters_are_bounded_and_a_closed_one_gives_its_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FILTER_VALUES_MAX", 5)
    session = Session(LIMITS)
    three = {"kinds": [1, 2, 3]}
    assert [type(one) for one in take(session, ["REQ", "a", three], ["REQ", "b", three])] == [Subscribe, Send]
    assert [type(one) for one in take(session, ["REQ", "a", three, {}], ["REQ", "b", {}])] == [Subscribe, Subscribe]
    assert [type(one) for one in take(session, ["CLOSE", "a"], ["REQ", "a", three])] == [Unsubscribe, Subscribe]
