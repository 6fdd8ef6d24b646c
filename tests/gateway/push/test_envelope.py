"""Shapes, sizes and times: the cheap half of judging a request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.envelope import event, notification_of, registration
from tests.takos import Instance, iso, plain_canonical

NOW = 1_763_126_872_123
DAY = 86_400_000
TAKOS = Instance()


def refusal(read: Any, fields: object, header: str | None = None) -> tuple[int, str]:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    with pytest.raises(PushRefused) as refused:
        registration(body, header, NOW) if read is registration else event(body, header, NOW, DAY)
    return refused.value.status, refused.value.code


def test_a_registration_is_read_with_its_signed_bytes() -> None:
    fields = TAKOS.registration(NOW, extra={"a": [1, 2.5]}, platform="android", appId="app")
    read = registration(json.dumps(fields).encode(), None, NOW)
    assert (read.action, read.user, read.target, read.platform) == ("register", "alice", "token-1", "android")
    assert (read.target_kind, read.app_id, read.names) == ("token", "app", ("demo.example.com",))
    assert (read.issued_ms, read.expires_ms) == (NOW, NOW + 300_000)
    signature = fields.pop("signature")
    assert read.signature == signature
    assert read.canonical == plain_canonical(fields)


def test_a_deregistration_has_no_platform_and_no_app() -> None:
    fields = TAKOS.registration(NOW, action="deregister", platform="", appId="")
    assert registration(json.dumps(fields).encode(), "", NOW).action == "deregister"


def test_the_old_form_names_a_tenant_in_place_of_the_instance() -> None:
    fields = TAKOS.registration(NOW, instance=None, tenant="demo.example.com")
    assert registration(json.dumps(fields).encode(), None, NOW).names == ("demo.example.com",)


def test_an_installation_id_is_a_kind_of_its_own() -> None:
    fields = TAKOS.registration(NOW, targetKind="fid")
    assert registration(json.dumps(fields).encode(), None, NOW).target_kind == "fid"


def test_the_signature_may_come_in_the_header_and_must_not_differ_from_the_body() -> None:
    fields = TAKOS.registration(NOW)
    body = json.dumps(fields).encode()
    assert registration(body, fields["signature"], NOW).signature == fields["signature"]
    assert refusal(registration, body, "other") == (401, "signature-invalid")
    del fields["signature"]
    assert registration(json.dumps(fields).encode(), "from header", NOW).signature == "from header"
    assert registration(json.dumps(fields).encode(), None, NOW).signature == ""


@pytest.mark.parametrize("field", ["action", "instance", "userId", "token", "platform", "appId"])
@pytest.mark.parametrize("wrong", [1, None, ["x"], {"a": 1}, True])
def test_every_field_of_a_registration_is_a_string_that_must_be_there(field: str, wrong: object) -> None:
    fields = TAKOS.registration(NOW)
    del fields[field]
    assert refusal(registration, fields) == (400, "missing-field")
    if field != "instance" or wrong is not None:
        assert refusal(registration, fields | {field: wrong})[0] == 400


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": "subscribe"}, "invalid-field"),
        ({"action": "Register"}, "invalid-field"),
        ({"userId": ""}, "invalid-field"),
        ({"userId": "a" * 513}, "invalid-field"),
        ({"userId": "é" * 257}, "invalid-field"),
        ({"userId": "a\nb"}, "invalid-field"),
        ({"userId": " a"}, "invalid-field"),
        ({"token": ""}, "invalid-field"),
        ({"token": "t" * 2049}, "invalid-field"),
        ({"platform": "p" * 65}, "invalid-field"),
        ({"appId": "p" * 513}, "invalid-field"),
        ({"nonce": "not-a-uuid"}, "invalid-field"),
        ({"nonce": ""}, "invalid-field"),
        ({"targetKind": "topic"}, "invalid-field"),
        ({"signature": 1}, "invalid-field"),
        ({"notification": {"id": "x"}}, "invalid-field"),
        ({"issuedAt": "2025-11-14"}, "invalid-field"),
        ({"issuedAt": 1763126872123}, "invalid-field"),
        ({"expiresAt": iso(NOW)}, "invalid-field"),
        ({"expiresAt": iso(NOW - 1)}, "invalid-field"),
        ({"expiresAt": iso(NOW + 600_001)}, "invalid-field"),
    ],
)
def test_a_registration_with_a_wrong_field_is_refused(changes: dict[str, Any], code: str) -> None:
    assert refusal(registration, TAKOS.registration(NOW) | changes) == (400, code)


@pytest.mark.parametrize(
    ("issued", "expires", "code"),
    [
        (-300_000, 0, "envelope-expired"),
        (-300_000, -1, "envelope-expired"),
        (60_001, 300_000, "envelope-not-yet-valid"),
        (-300_000, 1, ""),
        (60_000, 300_000, ""),
        (0, 600_000, ""),
    ],
)
def test_an_envelope_counts_from_a_minute_before_it_was_issued_until_it_expires(
    issued: int, expires: int, code: str
) -> None:
    fields = TAKOS.registration(NOW, issuedAt=iso(NOW + issued), expiresAt=iso(NOW + expires))
    if code:
        assert refusal(registration, fields) == (401, code)
    else:
        assert registration(json.dumps(fields).encode(), None, NOW).issued_ms == NOW + issued


def test_an_event_is_read_with_null_as_the_empty_string() -> None:
    fields = TAKOS.event(NOW, actor_id=None, ref_type=None, ref_id=None, message=None)
    read = event(json.dumps(fields).encode(), "sig", NOW, DAY)
    assert (read.user, read.signature, read.notification.created_ms) == ("alice", "sig", NOW)
    shown = read.notification
    assert (shown.actor_id, shown.ref_type, shown.ref_id, shown.message) == ("", "", "", "")
    assert notification_of(read.body) == (shown, False)


def test_the_set_up_check_of_an_instance_is_an_event() -> None:
    inner = {"id": "push-test-1", "type": "test", "message": "Push notification setup test"}
    fields = {"instance": "a.example", "tenant": "a.example", "userId": "alice", "notification": inner}
    read = event(json.dumps(fields).encode(), None, NOW, DAY)
    assert read.names == ("a.example", "a.example")
    assert read.notification.created_ms is None


def test_the_signature_of_an_event_covers_a_field_of_that_name() -> None:
    fields = TAKOS.event(NOW) | {"signature": "x"}
    assert b'"signature":"x"' in event(json.dumps(fields).encode(), None, NOW, DAY).canonical


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id": None}, "invalid-field"),
        ({"id": ""}, "invalid-field"),
        ({"id": 7}, "invalid-field"),
        ({"id": "i" * 513}, "invalid-field"),
        ({"type": ""}, "invalid-field"),
        ({"message": 1}, "invalid-field"),
        ({"actor_id": 1}, "invalid-field"),
        ({"ref_id": "r" * 513}, "invalid-field"),
        ({"created_at": "yesterday"}, "invalid-field"),
        ({"created_at": NOW}, "invalid-field"),
        ({"created_at": iso(NOW - DAY - 1)}, "stale"),
        ({"created_at": iso(NOW + 60_001)}, "stale"),
    ],
)
def test_an_event_with_a_wrong_notification_is_refused(changes: dict[str, Any], code: str) -> None:
    assert refusal(event, TAKOS.event(NOW, **changes)) == (400, code)


@pytest.mark.parametrize("created", [-DAY, 60_000])
def test_an_event_at_the_edge_of_its_age_is_taken(created: int) -> None:
    body = json.dumps(TAKOS.event(NOW, created_at=iso(NOW + created))).encode()
    assert event(body, None, NOW, DAY).notification.created_ms == NOW + created


@pytest.mark.parametrize("field", ["id", "type", "message"])
def test_a_notification_has_an_id_a_type_and_a_message(field: str) -> None:
    fields = TAKOS.event(NOW)
    del fields["notification"][field]
    assert refusal(event, fields) == (400, "missing-field")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"notification": None}, "invalid-field"),
        ({"notification": "x"}, "invalid-field"),
        ({"userId": 1}, "invalid-field"),
        ({"instance": None}, "missing-field"),
        ({"instance": 5}, "invalid-field"),
        ({"dryRun": "yes"}, "invalid-field"),
        ({"action": "register"}, "invalid-field"),
    ],
)
def test_an_event_with_a_wrong_frame_is_refused(changes: dict[str, Any], code: str) -> None:
    assert refusal(event, TAKOS.event(NOW) | changes) == (400, code)


def test_neither_shape_is_taken_for_the_other() -> None:
    assert refusal(event, TAKOS.registration(NOW))[0] == 400
    assert refusal(registration, TAKOS.event(NOW))[0] == 400
    assert refusal(event, TAKOS.registration(NOW) | TAKOS.event(NOW))[0] == 400
    assert refusal(registration, TAKOS.registration(NOW) | TAKOS.event(NOW))[0] == 400


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_change_of_any_field_is_read_or_refused(data: st.DataObject) -> None:
    read, fields = data.draw(st.sampled_from([(registration, TAKOS.registration(NOW)), (event, TAKOS.event(NOW))]))
    fields[data.draw(st.sampled_from(sorted(fields)) | st.text(max_size=5))] = data.draw(junk)
    if isinstance(fields.get("notification"), dict):
        fields["notification"][data.draw(st.sampled_from(["id", "message", "created_at", "ref_id"]))] = data.draw(junk)
    body = json.dumps(fields).encode()
    try:
        registration(body, None, NOW) if read is registration else event(body, None, NOW, DAY)
    except PushRefused:
        return
