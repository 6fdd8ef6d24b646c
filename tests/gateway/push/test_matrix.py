"""Reading the Matrix push-gateway API, and what is made of an event."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Matrix, MatrixApp
from gateway.errors import ConfigInvalid, PushRefused
from gateway.limits.push import PAYLOAD_BYTES_MAX
from gateway.push.matrix import Apps, collapse_of, event_bytes, event_of, fcm_message, flat, notification_id, notify
from gateway.push.plan import payload_bytes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ("event_id", "room_id", "type", "content", "counts", "prio", "devices", "app_id", "pushkey", "pushkey_ts", "data")
)


def body(**event: Any) -> bytes:
    device = {"app_id": "a", "pushkey": "k"} | event.pop("device", {})
    return json.dumps({"notification": event | {"devices": [device]}}).encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, JSON | st.lists(st.dictionaries(NAMES, JSON), max_size=3)))
def test_any_json_is_a_request_or_refused_and_what_is_kept_can_be_read_again(event: dict[str, Any]) -> None:
    try:
        devices = notify(json.dumps({"notification": event}).encode())
    except PushRefused:
        return
    for device in devices:
        if device.event is not None:
            assert event_of(event_bytes(device.event)) == device.event
            assert payload_bytes(flat(device.event), {}) <= PAYLOAD_BYTES_MAX


def test_what_is_too_long_is_cut_and_ids_never_are() -> None:
    long = {f"key{number}": "あ" * 2000 for number in range(9)}
    (device,) = notify(body(event_id="$" + "e" * 400, room_id="!r", content=long, sender="s" * 3000))
    assert device.event is not None
    data = flat(device.event)
    assert payload_bytes(data, {}) <= PAYLOAD_BYTES_MAX
    assert data["event_id"] == "$" + "e" * 400
    assert data["room_id"] == "!r"


def test_a_low_priority_stays_low_and_counts_are_told() -> None:
    (device,) = notify(body(event_id="$1", prio="low", counts={"unread": 2, "missed_calls": True, "x": 1}))
    assert device.event is not None
    assert fcm_message(device.event, "token", "k") == {
        "token": "k",
        "data": {"event_id": "$1", "prio": "normal", "unread": "2"},
        "android": {"priority": "normal"},
    }


def test_one_event_is_one_notification_a_pushkey_and_counts_collapse_into_one() -> None:
    (event,), (other,) = notify(body(event_id="$1")), notify(body(event_id="$2"))
    (counts,), (more) = notify(body(counts={"unread": 1})), notify(body(counts={"unread": 2}))
    assert event.event is not None
    assert other.event is not None
    assert counts.event is not None
    assert more[0].event is not None
    ids = {notification_id(one, key) for one in (event.event, other.event) for key in ("k", "l")}
    assert len(ids) == 4
    assert collapse_of(event.event) != collapse_of(other.event)
    assert collapse_of(counts.event) == collapse_of(more[0].event)


@pytest.mark.parametrize(
    ("told", "ms"), [(42, 42_000), (1_763_126_872, 1_763_126_872_000), (1_763_126_872_123, 1_763_126_872_123), ("x", 0)]
)
def test_pushkey_ts_is_read_in_seconds_and_in_milliseconds(told: object, ms: int) -> None:
    (device,) = notify(body(device={"pushkey_ts": told}))
    assert device.since_ms == ms


def test_an_exact_app_id_wins_and_two_fitting_patterns_serve_nobody() -> None:
    exact, some = MatrixApp(project="exact"), MatrixApp()
    apps = Apps(Matrix(apps={"com.a.b": exact, "com.*": some, "com.a.*.c": some}))
    assert apps.serving("com.a.b") is exact
    assert apps.serving("com.z") is some
    assert apps.serving("com.a.x.c") is None
    assert apps.serving("org.a") is None
    assert not Apps(Matrix())


def test_the_operators_options_go_into_the_message_and_may_name_no_target() -> None:
    (device,) = notify(body(event_id="$1"))
    assert device.event is not None
    with_options = type(device.event)(
        "$1", device.event.texts, options={"apns": {"payload": 1}, "android": {"ttl": "5s"}}
    )
    message = fcm_message(with_options, "token", "k")
    assert message["apns"] == {"payload": 1}
    assert message["android"] == {"priority": "high", "ttl": "5s"}
    for wrong in ("[]", "{", '{"token":"x"}', '{"a":"' + "x" * 3000 + '"}'):
        with pytest.raises(ConfigInvalid, match="fcm_options"):
            Apps(Matrix(apps={"a": MatrixApp(fcm_options=wrong)}))
