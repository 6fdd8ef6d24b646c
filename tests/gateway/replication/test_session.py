"""One connection's replication: frames in, effects out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Mirror
from gateway.errors import SocketRefused
from gateway.limits.mirror import NEG_ROWS_MAX
from gateway.negentropy import CompareEnd, CompareOn
from gateway.replication.binding import relay_id
from gateway.replication.grant import Grant
from gateway.replication.registration import internal_payload, relay_of
from gateway.replication.session import Compare, Drop, Refuse, Renew, Search, Session, Store, StoreMany
from gateway.replication.token import Claims

KEY, ID = "aa" * 32, "0a" * 32
NAME = "npub1abc:My-Relay"
OWN, OTHER = relay_id(NAME), "0b" * 32
NOW = 1_763_818_354_133
RELAY = relay_of({"relayKey": KEY, "peers": [], "metadata": {"identifier": NAME}})
OPEN = relay_of({"relayKey": KEY, "peers": [], "metadata": {"identifier": NAME, "requiresAuth": False}})
INTERNAL = relay_of(internal_payload("x", NOW))
FIELDS = {"id": ID, "relayID": OWN, "kind": 1, "created_at": 5, "eventData": "aaaa"}


def claims(expires: int = NOW + 1, pubkey: str | None = None) -> Claims:
    return Claims(expires, NOW - 9, pubkey, "auth", KEY, "relay-access", 1)


def session(*, mirror=True, relay=RELAY, token=True, expires=NOW + 1, pubkey=None, **config) -> Session:
    return Session(Grant(relay, mirror, claims(expires, pubkey) if token else None, ""), Mirror(**config))


def publish(**change) -> str:
    return json.dumps(["EVENT", {**FIELDS, **change}])


def req(*filters, sub="s") -> str:
    return json.dumps(["REQ", sub, *filters])


def refusal(of: Session, message) -> tuple[str, str, list]:
    effects = of.take(message, NOW)
    assert len(effects) == 1
    (effect,) = effects
    assert isinstance(effect, Refuse)
    return effect.frame, effect.reason, [json.loads(text) for text in effect.texts]


def test_what_comes_too_fast_is_refused_as_all_else_is_never_by_silence():
    of = session()
    [opened] = of.take(req({"relayID": OWN}), NOW)
    text = "rate-limited: slow down"
    for message, frame, answers in (
        (publish(), "EVENT", [["OK", ID, False, text]]),
        (publish(id=5), "EVENT", [["OK", None, False, text]]),
        (req({"relayID": OWN}, sub="t"), "REQ", [["CLOSED", "t", text], ["NOTICE", text]]),
        (req({"relayID": OWN}, sub=""), "other", [["NOTICE", text]]),
    ):
        [effect] = of.refuse_for_rate(message, NOW)
        assert isinstance(effect, Refuse)
        assert (effect.frame, effect.reason) == (frame, "rate-limited")
        assert [json.loads(answer) for answer in effect.texts] == answers
    ended, _ = of.refuse_for_rate(req({"relayID": OWN}), NOW)
    assert ended == Drop(opened.subscription)
    assert not of.open


def test_a_row_is_to_be_stored_under_the_tokens_subject():
    (effect,) = session(pubkey="cd" * 32).take(publish(), NOW)
    assert isinstance(effect, Store)
    assert (effect.writer, effect.is_open, effect.notice) == ("cd" * 32, False, "")


def test_an_untokened_row_is_to_be_stored_as_open_with_a_notice():
    for of in (session(mirror=False, token=False, relay=OPEN), session(mirror=False, expires=NOW, relay=OPEN)):
        (effect,) = of.take(publish(), NOW)
        assert isinstance(effect, Store)
        assert (effect.writer, effect.is_open) == ("", True)
        assert json.loads(effect.notice) == [
            "NOTICE", "replication token missing; event accepted on open relay",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "reason", "text"),
    [
        (publish(relayID=None), "replication-required", "replication-required"),
        (publish(relayID=""), "replication-required", "replication-required"),
        (publish(relayID="x"), "invalid-event", "invalid-event: relayID must be 64 lower-case hexadecimal characters"),
        (publish(relayID=OTHER), "relay-mismatch", "relay-mismatch: this relayID does not belong to the relay"),
        (publish(kind="1"), "invalid-event", "invalid-event: kind must be 0 to 65535"),
    ],
)
def test_a_refused_event_is_answered_with_ok_false(message, reason, text):
    assert refusal(session(), message) == ("EVENT", reason, [["OK", ID, False, text]])


def test_a_bad_id_is_named_as_it_came():
    assert refusal(session(), publish(id="xyz"))[2] == [["OK", "xyz", False, "invalid-event-id"]]
    assert refusal(session(), publish(id="x" * 257))[2] == [["OK", None, False, "invalid-event-id"]]
    assert refusal(session(), publish(id=5))[2] == [["OK", None, False, "invalid-event-id"]]


@pytest.mark.parametrize(
    ("message", "notice"),
    [
        ("{", "Invalid message payload"),
        (b"\x00", "Invalid message payload"),
        ("{}", "Malformed Nostr frame"),
        ('["EVENT"]', "Invalid EVENT payload"),
        ('["REQ"]', "REQ frame missing subscription id"),
        ('["PING"]', "unsupported: PING frames are not understood here"),
    ],
)
def test_what_is_no_frame_gets_a_notice(message, notice):
    assert refusal(session(), message) == ("other", "malformed", [["NOTICE", notice]])


FILTERS = "replication filters required on replication channel"
MISMATCH = "relay-mismatch: this relayID does not belong to the relay"


@pytest.mark.parametrize(
    ("message", "reason", "closed", "notice"),
    [
        (req(), "replication-required", f"replication-required: {FILTERS}", FILTERS),
        (req({}), "replication-required", f"replication-required: {FILTERS}", FILTERS),
        (req({"relayID": ""}), "replication-required", f"replication-required: {FILTERS}", FILTERS),
        (req({"relayID": OWN}, {"kinds": [1]}), "replication-required", f"replication-required: {FILTERS}", FILTERS),
        (req({"relayID": OWN}, 5), "replication-required", f"replication-required: {FILTERS}", FILTERS),
        (req({"relayID": OTHER}), "relay-mismatch", MISMATCH, MISMATCH),
        (req({"relayID": [OWN, OTHER]}), "relay-mismatch", MISMATCH, MISMATCH),
        (req({"relayID": OWN, "limit": -1}), "invalid-filter", *["invalid: limit must be a whole number"] * 2),
        (req(*[{"relayID": OWN}] * 33), "invalid-filter", *["invalid: a REQ has at most 32 filters"] * 2),
    ],
)
def test_a_refused_req_is_answered_with_closed_and_a_notice(message, reason, closed, notice):
    assert refusal(session(), message) == ("REQ", reason, [["CLOSED", "s", closed], ["NOTICE", notice]])


def test_a_subscription_id_has_64_characters_at_most():
    found = refusal(session(), req({"relayID": OWN}, sub="x" * 65))
    assert found[1] == "invalid-filter"


@pytest.mark.parametrize("mirror", [True, False])
def test_a_socket_that_needs_a_token_accepts_nothing_once_it_has_expired(mirror):
    of = session(mirror=mirror, expires=NOW)
    assert of.visible(NOW) == frozenset()
    assert refusal(of, publish()) == (
        "EVENT", "expired-token",
        [["OK", ID, False, "auth-required: the token has expired"], ["NOTICE", "auth token required for replication"]],
    )  # fmt: skip
    assert refusal(of, req({"relayID": OWN}))[1] == "expired-token"


def test_the_gateways_own_relay_carries_every_relayid_unless_configured_otherwise():
    (effect,) = session(relay=INTERNAL).take(publish(relayID=OTHER), NOW)
    assert isinstance(effect, Store)
    assert refusal(session(relay=INTERNAL, internal_relay_accepts_any=False), publish(relayID=OTHER))[1] == (
        "relay-mismatch"
    )


def test_a_req_with_a_used_id_replaces_the_subscription():
    of = session()
    (first,) = of.take(req({"relayID": OWN}), NOW)
    dropped, second = of.take(req({"relayID": OWN, "kinds": [1]}), NOW)
    assert dropped == Drop(first.subscription)
    assert of.open == {"s": second.subscription}


def test_a_refused_req_ends_the_subscription_of_that_id():
    of = session()
    (first,) = of.take(req({"relayID": OWN}), NOW)
    dropped, refused = of.take(req({}), NOW)
    assert dropped == Drop(first.subscription)
    assert isinstance(refused, Refuse)
    assert not of.open


def test_close_ends_a_subscription_and_is_silent_about_others():
    of = session()
    (first,) = of.take(req({"relayID": OWN}), NOW)
    assert of.take('["CLOSE","other"]', NOW) == []
    assert of.take('["CLOSE","s"]', NOW) == [Drop(first.subscription)]
    assert of.take('["CLOSE","s"]', NOW) == []


def test_subscriptions_are_limited_and_a_used_id_is_no_new_one():
    of = session(subscriptions_max=2)
    for sub in ("a", "b", "a"):
        assert isinstance(of.take(req({"relayID": OWN}, sub=sub), NOW)[-1], Search)
    assert refusal(of, req({"relayID": OWN}, sub="c"))[1] == "rate-limited"


def test_the_values_in_all_open_filters_are_bounded_and_a_replaced_one_makes_room():
    of = session(relay=INTERNAL, subscriptions_max=100)
    many = {"relayID": OWN, "ids": [f"{number:064x}" for number in range(1_023)]}
    for sub in range(32):
        assert isinstance(of.take(req(many, sub=str(sub)), NOW)[-1], Search)
    frame, reason, texts = refusal(of, req({"relayID": OWN}, sub="more"))
    assert (frame, reason) == ("REQ", "rate-limited")
    assert texts[0][2].startswith("rate-limited: at most 32768 values")
    assert isinstance(of.take(req({"relayID": OWN}, sub="0"), NOW)[-1], Search)
    assert isinstance(of.take(req({"relayID": OWN}, sub="more"), NOW)[-1], Search)


def test_an_untokened_req_is_accepted_with_a_notice():
    (effect,) = session(mirror=False, token=False, relay=OPEN).take(req({"relayID": OWN}), NOW)
    assert isinstance(effect, Search)
    assert json.loads(effect.notice) == ["NOTICE", "replication token missing; REQ accepted on open relay"]


def test_many_rows_are_judged_each_for_itself():
    rows = [FIELDS, {**FIELDS, "relayID": OTHER}, "no object", {**FIELDS, "relayID": ""}]
    [many] = session().take(json.dumps(["EVENTS", rows]), NOW)
    assert isinstance(many, StoreMany)
    assert [getattr(each, "metric", "") for each in many.entries] == [
        "",
        "relay-mismatch",
        "invalid-event",
        "replication-required",
    ]


def test_a_comparison_is_begun_carried_on_and_ended():
    of = session()
    [begun] = of.take(json.dumps(["NEG-OPEN", "n", {"relayID": OWN}, "61ff"]), NOW)
    assert isinstance(begun, Compare)
    assert (begun.sub_id, begun.message, begun.filter.limit) == ("n", b"a\xff", NEG_ROWS_MAX)
    assert of.take(json.dumps(["NEG-MSG", "n", "61"]), NOW) == [CompareOn("n", b"a")]
    assert of.take(json.dumps(["NEG-CLOSE", "n"]), NOW) == [CompareEnd("n")]


@pytest.mark.parametrize(
    ("asked", "message", "why"),
    [
        ({"relayID": OWN}, "6", "invalid: the message is not hexadecimal"),
        ({"kinds": [1]}, "61", "replication-required: replication filters required on replication channel"),
        ({"relayID": OTHER}, "61", "relay-mismatch: this relayID does not belong to the relay"),
        ({"relayID": OWN, "after": ""}, "61", "invalid: a comparison has no cursor"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said_in_a_neg_err(asked, message, why):
    frame, _, texts = refusal(session(), json.dumps(["NEG-OPEN", "n", asked, message]))
    assert (frame, texts) == ("NEG", [["NEG-ERR", "n", why]])


def test_what_only_the_log_could_tell_ends_a_subscription_after_all():
    of = session()
    [search] = of.take(req({"relayID": OWN, "after": "x"}), NOW)
    refused = of.refuse(search.subscription, "cursor-unknown: why", "cursor-unknown")
    assert [json.loads(text) for text in refused.texts] == [
        ["CLOSED", "s", "cursor-unknown: why"],
        ["NOTICE", "cursor-unknown: why"],
    ]
    assert of.open == {}


def test_who_sees_what():
    assert session().visible(NOW) == {False}
    assert session(serve_open_rows=True).visible(NOW) == {False, True}
    assert session(mirror=False).visible(NOW) == {False, True}
    assert session(mirror=False, token=False, relay=OPEN).visible(NOW) == {True}
    assert session(mirror=False, expires=NOW, relay=OPEN).visible(NOW) == {True}


def test_a_token_of_the_same_subject_carries_on_and_another_does_not():
    of = session(pubkey="cd" * 32)
    assert of.take('["AUTH","t"]', NOW) == [Renew("t")]
    with pytest.raises(SocketRefused):
        of.renew(claims(NOW + 100))
    of.renew(claims(NOW + 100, "cd" * 32))
    assert of.grant.tokened(NOW + 99)
    with pytest.raises(SocketRefused):
        session(mirror=False, token=False, relay=OPEN).renew(claims())


def test_leaving_ends_every_subscription():
    of = session()
    (first,) = of.take(req({"relayID": OWN}), NOW)
    assert of.leave() == [first.subscription]
    assert of.leave() == []


@pytest.mark.parametrize("levels", range(100, 1_200, 10))
def test_a_row_nested_to_any_depth_is_stored_or_refused(levels):
    (effect,) = session().take(publish()[:-2] + f',"x":{"[" * levels}{"]" * levels}}}]', NOW)
    assert isinstance(effect, Store | Refuse)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(OWN),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "limit"]), inner, max_size=4),
)
FRAMES = st.tuples(st.sampled_from(["EVENT", "REQ", "CLOSE", "AUTH"]), JSON, JSON).map(json.dumps)


@given(st.lists(FRAMES | st.text() | st.binary(), max_size=8), st.booleans(), st.booleans())
def test_any_messages_give_effects_and_never_more_subscriptions_than_allowed(messages, mirror, token):
    of = session(mirror=mirror, token=token or mirror, subscriptions_max=2)
    for message in messages:
        for effect in of.take(message, NOW):
            assert isinstance(effect, Store | Search | Drop | Renew | Refuse)
        assert len(of.open) <= 2
