"""Messages: anything is read as something, and every trap that JSON lays is answered."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr import message as wire
from gateway.nostr.event import stored_form
from tests.gateway.nostr.test_filter import JSON
from tests.signing import signed, signed_fields

DEEP = 100_000


@given(st.text() | st.binary())
def test_any_text_is_a_message_never_an_exception(text: str | bytes) -> None:
    wire.decode(text)


@given(st.sampled_from(["EVENT", "REQ", "CLOSE", "AUTH"]), st.lists(JSON, max_size=3))
def test_any_json_behind_a_verb_is_a_message_never_an_exception(verb: str, rest: list[Any]) -> None:
    wire.decode(json.dumps([verb, *rest], separators=(",", ":")))


@given(st.dictionaries(st.sampled_from(list(signed_fields())), JSON))
def test_an_event_with_any_json_in_its_fields_is_refused_or_complete(fields: dict[str, Any]) -> None:
    answer = wire.decode(json.dumps(["EVENT", {**signed_fields(), **fields}], separators=(",", ":")))
    assert isinstance(answer, wire.Publish | wire.BadEvent | wire.Malformed)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_a_right_event_is_published_however_it_is_spaced(separators: tuple[str, str]) -> None:
    text = json.dumps(["EVENT", signed_fields()], separators=separators)
    message = wire.decode(text)
    assert isinstance(message, wire.Publish)
    assert message.event.id == signed().id


def test_of_duplicate_keys_one_counts_and_only_it_is_kept() -> None:
    fields = json.dumps(signed_fields())[1:-1]
    last = wire.decode(f'["EVENT",{{"content":"other",{fields}}}]')
    assert isinstance(last, wire.Publish)
    assert last.event.content == "hello"
    assert isinstance(wire.decode(f'["EVENT",{{{fields},"content":"other"}}]'), wire.BadEvent)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"kind": 1.0}, "kind"),
        ({"kind": True}, "kind"),
        ({"kind": "1"}, "kind"),
        ({"kind": 65_536}, "kind"),
        ({"created_at": 1e3}, "created_at"),
        ({"created_at": -1}, "created_at"),
        ({"created_at": 2**53}, "created_at"),
        ({"created_at": 2**70}, ""),
        ({"tags": [["a", None]]}, "tags"),
        ({"tags": ["a"]}, "tags"),
        ({"tags": {}}, "tags"),
        ({"content": None}, "content"),
        ({"sig": "00"}, "sig"),
        ({"content": "changed"}, "id"),
    ],
)
def test_an_event_of_the_wrong_shape_is_refused_by_its_id_with_the_field(change: dict[str, Any], part: str) -> None:
    message = wire.decode(json.dumps(["EVENT", {**signed_fields(), **change}], separators=(",", ":")))
    assert isinstance(message, wire.BadEvent)
    assert message.event_id == signed().id
    assert message.reason.startswith("invalid: ")
    assert part in message.reason


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("", wire.NOTICE_NOT_JSON),
        ("{", wire.NOTICE_NOT_JSON),
        ("[" * DEEP, wire.NOTICE_NOT_JSON),
        ('["EVENT",' + "[" * DEEP, wire.NOTICE_NOT_JSON),
        ('["EVENT",{"content":"\\ud800"}]', wire.NOTICE_NOT_JSON),
        ("[1e999]", wire.NOTICE_NOT_JSON),
        ("NaN", wire.NOTICE_NOT_JSON),
        (b"[]", wire.NOTICE_NOT_JSON),
        ("{}", wire.NOTICE_NOT_A_FRAME),
        ("[]", wire.NOTICE_NOT_A_FRAME),
        ("[1]", wire.NOTICE_NOT_A_FRAME),
        ('["EVENT"]', wire.NOTICE_NO_EVENT),
        ('["EVENT",[]]', wire.NOTICE_NO_EVENT),
        ('["EVENT",{}]', wire.NOTICE_NO_EVENT),
        ('["EVENT",{},{}]', wire.NOTICE_NO_EVENT),
        ('["REQ"]', wire.NOTICE_NO_SUBSCRIPTION),
        ('["REQ",1,{}]', wire.NOTICE_NO_SUBSCRIPTION),
        ('["CLOSE"]', "CLOSE frame missing subscription id"),
        ('["WHAT","x"]', "unsupported: WHAT frames are not understood here"),
    ],
)
def test_what_has_no_id_to_answer_to_gets_a_notice(text: str | bytes, notice: str) -> None:
    assert wire.decode(text) == wire.Malformed(notice)


def test_a_frame_is_replication_iff_it_carries_a_relay_id() -> None:
    for frame in (
        ["EVENT", {"id": "0" * 64, "relayID": "1" * 64}],
        ["EVENT", {**signed_fields(), "relayID": None}],
        ["EVENT", {"id": "0" * 64, "relayID": "1" * 64}, {"receipts": True}],
        ["REQ", "x", {"kinds": [1]}, {"relayID": "1" * 64}],
        ["REQ", "x", {"#relay": ["1" * 64]}],
    ):
        text = json.dumps(frame, separators=(",", ":"))
        assert wire.decode(text) == wire.Replication(text, "x" if frame[0] == "REQ" else "")


def test_requests_and_closes_are_read() -> None:
    message = wire.decode('["REQ","x",{"kinds":[1]},{}]')
    assert isinstance(message, wire.Request)
    assert message.sub_id == "x"
    assert [asked.kinds for asked in message.filters] == [{1}, None]
    assert wire.decode('["REQ","x",{"kinds":1}]') == wire.BadRequest("x", "invalid: kinds must be a list")
    assert wire.decode('["CLOSE","x"]') == wire.Close("x")


def test_answers_are_the_json_that_clients_know() -> None:
    assert json.loads(wire.ok("ab", True)) == ["OK", "ab", True, ""]
    assert json.loads(wire.ok('"', False, "invalid: é")) == ["OK", '"', False, "invalid: é"]
    assert json.loads(wire.eose("x")) == ["EOSE", "x"]
    assert json.loads(wire.eose("x", "finish")) == ["EOSE", "x", ["finish"]]
    assert json.loads(wire.counted("x", 3, approximate=False, hll=None)) == ["COUNT", "x", {"count": 3}]
    many = wire.counted("x", 3, approximate=True, hll="00")
    assert json.loads(many) == ["COUNT", "x", {"count": 3, "approximate": True, "hll": "00"}]
    assert json.loads(wire.closed("x", "error: y")) == ["CLOSED", "x", "error: y"]
    assert json.loads(wire.notice("n")) == ["NOTICE", "n"]
    for text in (wire.ok("ab", False, "error: y"), wire.closed("x", "error: y"), wire.notice("error: y")):
        assert wire.reason_of(text) == "error: y"
    assert wire.reason_of('["NEG-ERR","x","error: y",5]') == "error: y"
    assert json.loads(wire.event_head('"\\') + "{}]") == ["EVENT", '"\\', {}]


def test_what_is_stored_of_an_event_off_the_wire_are_its_seven_fields_whatever_else_was_said() -> None:
    event = signed(tags=[["t", "x"]])
    fields = json.loads(stored_form(event)) | {"unknown": 1}
    message = wire.decode(json.dumps(["EVENT", fields], separators=(",", ":")))
    assert isinstance(message, wire.Publish)
    assert stored_form(message.event) == stored_form(event)
