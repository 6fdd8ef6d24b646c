"""Frames: any text is one, and answers are JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.replication import frame as wire
from gateway.replication.frame import (
    Close,
    Malformed,
    NegClose,
    NegMessage,
    NegOpen,
    Publish,
    PublishMany,
    Renewal,
    Request,
    decode,
)


@pytest.mark.parametrize(
    ("message", "frame"),
    [
        ('["EVENT", {"a" : 1.10 }]', Publish({"a": 1.1}, b'{"a" : 1.10 }')),
        ('["EVENT",{},"more"]', Publish({}, b"{}")),
        ('["REQ","s",{"relayID":"x"},5]', Request("s", [{"relayID": "x"}, 5])),
        ('["CLOSE","s"]', Close("s")),
        ('["AUTH","t"]', Renewal("t")),
        ('["EVENTS",[{"a" : 1},5],{"receipts":true}]', PublishMany((Publish({"a": 1}, b'{"a" : 1}', True), None))),
        ('["EVENTS",{}]', Malformed("Invalid EVENT payload")),
        ('["NEG-OPEN","n",{"relayID":"x"},"61"]', NegOpen("n", {"relayID": "x"}, "61")),
        ('["NEG-MSG","n","61"]', NegMessage("n", "61")),
        ('["NEG-CLOSE","n"]', NegClose("n")),
        ('["NEG-OPEN","n",{},5]', Malformed("Malformed Nostr frame")),
        ('["NEG-MSG","n"]', Malformed("Malformed Nostr frame")),
        ("", Malformed("Invalid message payload")),
        ('["EVENT",{', Malformed("Invalid message payload")),
        ('["EVENT",{"a":"\\ud800"}]', Malformed("Invalid message payload")),
        (b'["CLOSE","s"]', Malformed("Invalid message payload")),
        ("[" * 50_000, Malformed("Invalid message payload")),
        ("{}", Malformed("Malformed Nostr frame")),
        ("5", Malformed("Malformed Nostr frame")),
        ("[]", Malformed("Malformed Nostr frame")),
        ("[5]", Malformed("Malformed Nostr frame")),
        ('["EVENT"]', Malformed("Invalid EVENT payload")),
        ('["EVENT","x"]', Malformed("Invalid EVENT payload")),
        ('["REQ"]', Malformed("REQ frame missing subscription id")),
        ('["REQ",5,{}]', Malformed("REQ frame missing subscription id")),
        ('["REQ",""]', Malformed("REQ frame missing subscription id")),
        ('["COUNT","s"]', Malformed("unsupported: COUNT frames are not understood here")),
        ('["CLOSE"]', Malformed("CLOSE frame missing subscription id")),
        ('["AUTH",{}]', Malformed("AUTH frame missing its token")),
    ],
)
def test_each_message_is_one_frame(message, frame):
    assert decode(message) == frame


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
VERBS = st.sampled_from(["EVENT", "REQ", "CLOSE", "AUTH", "X"])


@given(st.text() | st.binary() | JSON.map(json.dumps) | st.tuples(VERBS, JSON, JSON).map(json.dumps))
def test_any_message_is_a_frame(message):
    assert isinstance(decode(message), wire.ClientFrame)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_answers_are_the_json_that_the_protocol_says(text):
    assert json.loads(wire.ok(text, False, text)) == ["OK", text, False, text]
    assert json.loads(wire.ok(None, True, "stored")) == ["OK", None, True, "stored"]
    assert json.loads(wire.eose(text)) == ["EOSE", text]
    assert json.loads(wire.eose(text, text)) == ["EOSE", text, {"cursor": text}]
    assert json.loads(wire.eose(text, text, more=True)) == ["EOSE", text, {"cursor": text, "more": True}]
    assert json.loads(wire.oks([(text, True, "")])) == ["OKS", [[text, True, ""]]]
    assert json.loads(wire.closed(text, text)) == ["CLOSED", text, text]
    assert json.loads(wire.notice(text)) == ["NOTICE", text]
    assert json.loads(wire.revoked(text, 3)) == ["TOKEN", "REVOKED", {"reason": text, "sequence": 3}]
    assert json.loads(wire.renewed(5)) == ["TOKEN", "RENEWED", {"expiresAt": 5}]
    assert json.loads(wire.row_event(text, b'{"a":1}')) == ["EVENT", text, {"a": 1}]


def test_a_receipt_is_asked_for_behind_the_row_and_comes_last() -> None:
    for behind, wanted in (('{"receipts":true}', True), ('{"receipts":1}', False), ("true", False), ("{}", False)):
        frame = wire.decode(f'["EVENT",{{"a":1}},{behind}]')
        assert isinstance(frame, wire.Publish)
        assert frame.receipts is wanted, behind
    assert json.loads(wire.ok("ab", True, "stored", {"seq": 3})) == ["OK", "ab", True, "stored", {"seq": 3}]
