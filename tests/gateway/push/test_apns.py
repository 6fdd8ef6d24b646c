"""APNs: Apple's table, the message, and Sygnal's example for Matrix."""

import json

import pytest

from gateway.limits.push import PAYLOAD_BYTES_MAX
from gateway.push.apns import headers, judge, payload
from gateway.push.envelope import Notification
from gateway.push.fcm import Braked, Delivered, Failed, Gone, Mismatched, Transient, Unauthenticated, Verdict
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent

TEXTS = {
    "event_id": "$qTOWWTEL48yPm3uT-gdNhFcoHxfKbZuqRVnnWWSkGBs",
    "room_id": "!slw48wfj34rtnrf:example.com",
    "type": "m.room.message",
    "sender": "@exampleuser:matrix.org",
    "sender_display_name": "Major Tom",
    "room_name": "Mission Control",
    "content_body": "I'm floating in a most peculiar way.",
}


@pytest.mark.parametrize(
    ("status", "reason", "verdict"),
    [
        (200, "", Delivered()),
        (410, "Unregistered", Gone("unregistered")),
        (410, "ExpiredToken", Gone("unregistered")),
        (400, "BadDeviceToken", Mismatched()),
        (400, "DeviceTokenNotForTopic", Mismatched()),
        (400, "PayloadEmpty", Failed("PayloadEmpty")),
        (400, "TopicDisallowed", Failed("TopicDisallowed", alarm=True)),
        (403, "ExpiredProviderToken", Unauthenticated()),
        (403, "InvalidProviderToken", Unauthenticated()),
        (403, "Forbidden", Failed("Forbidden", alarm=True)),
        (404, "BadPath", Failed("BadPath", alarm=True)),
        (413, "PayloadTooLarge", Failed("PayloadTooLarge")),
        (429, "TooManyRequests", Braked("device", "7")),
        (429, "TooManyProviderTokenUpdates", Braked("project", "7")),
        (500, "InternalServerError", Transient("InternalServerError", "7")),
        (503, "", Transient("http-503", "7")),
    ],
)
def test_each_answer_of_apples_table(status: int, reason: str, verdict: Verdict) -> None:
    assert judge(status, "7", json.dumps({"reason": reason}).encode()) == verdict


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"reason":"\xed"}', b'{"reason":7}', b'{"reason":"a b"}', b"[" * 10_000]
)
def test_any_body_is_some_verdict(body: bytes) -> None:
    assert judge(400, "", body) == Failed("http-400")


def test_a_notification_is_an_alert_with_the_five_references_and_always_fits() -> None:
    read = json.loads(payload(Notification("n", "like", "m", "bob", "post", "p", None), "通知"))
    assert read["aps"] == {"alert": {"title": "通知", "body": "m"}, "sound": "default"}
    assert read["notification_id"] == "n"
    long = payload(Notification("n", "like", '"\n' * 4000, "bob", "post", "p", None), "通知")
    assert len(long) <= PAYLOAD_BYTES_MAX


def test_sygnals_documented_example_field_by_field() -> None:
    read = json.loads(payload(MatrixEvent("$1", TEXTS, {"unread": 2, "missed_calls": 1}), ""))
    assert read == {
        "room_id": TEXTS["room_id"],
        "event_id": TEXTS["event_id"],
        "aps": {
            "alert": {
                "loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT",
                "loc-args": ["Major Tom", "Mission Control", "I'm floating in a most peculiar way."],
            },
            "badge": 3,
        },
    }


def test_ids_alone_go_with_the_devices_own_payload_and_the_counts_beside_them() -> None:
    own = {"mutable-content": 1, "content-available": 1, "alert": {"loc-key": "SINGLE_UNREAD", "loc-args": []}}
    ids = {"event_id": "$1", "room_id": "!r"}
    counts = {"unread": 2, "missed_calls": 1}
    read = json.loads(payload(MatrixEvent("$1", ids, counts, extra={"aps": own}), ""))
    assert read == ids | {"aps": own, "unread_count": 2, "missed_calls": 1}


def test_counts_alone_are_a_badge_and_show_no_alert_of_the_devices_own() -> None:
    own = {"aps": {"alert": {"loc-key": "SINGLE_UNREAD", "loc-args": []}}, "mine": 1}
    assert json.loads(payload(MatrixEvent("counts", {}, {"unread": 0}, extra=own), "")) == {"aps": {"badge": 0}}


@pytest.mark.parametrize(
    ("changes", "loc_key"),
    [
        ({"content_body": ""}, "MSG_FROM_USER_IN_ROOM"),
        ({"room_name": ""}, "MSG_FROM_USER_WITH_CONTENT"),
        ({"room_name": "", "content_body": ""}, "MSG_FROM_USER"),
        ({"type": "m.room.member", "membership": "invite"}, "USER_INVITE_TO_NAMED_ROOM"),
        ({"type": "m.room.member", "membership": "invite", "room_name": ""}, "USER_INVITE_TO_CHAT"),
        ({"type": "m.room.member", "membership": "join"}, "MSG_FROM_USER"),
        ({"type": "m.room.encrypted", "content_body": ""}, "MSG_FROM_USER_IN_ROOM"),
        ({"type": "org.example.poll"}, "MSG_FROM_USER"),
        ({"content_msgtype": "m.image"}, "IMAGE_FROM_USER_IN_ROOM"),
        ({"content_msgtype": "m.image", "room_name": ""}, "IMAGE_FROM_USER"),
        ({"content_msgtype": "m.emote"}, "ACTION_FROM_USER_IN_ROOM"),
        ({"content_msgtype": "m.emote", "room_name": ""}, "ACTION_FROM_USER"),
        ({"type": "m.call.invite"}, "VOICE_CALL_FROM_USER"),
        ({"sender": "", "sender_display_name": ""}, "SINGLE_UNREAD"),
    ],
)
def test_the_alert_says_as_much_as_the_event_tells(changes: dict[str, str], loc_key: str) -> None:
    texts = {key: text for key, text in (TEXTS | changes).items() if text}
    assert json.loads(payload(MatrixEvent("$1", texts, is_target=True), ""))["aps"]["alert"]["loc-key"] == loc_key


def test_a_call_with_pictures_is_told_from_one_without() -> None:
    texts = {"event_id": "$1", "type": "m.call.invite", "sender": "@a:b"}
    for sdp, loc_key in (("m=audio 1\r\nm=video 2", "VIDEO_CALL_FROM_USER"), ("m=audio 1", "VOICE_CALL_FROM_USER")):
        event = MatrixEvent("$1", texts, rest={"offer": {"sdp": sdp}})
        assert json.loads(payload(event, ""))["aps"]["alert"] == {"loc-key": loc_key, "loc-args": ["@a:b"]}


def test_the_devices_own_payload_stays_and_what_is_too_long_shrinks_to_ids() -> None:
    extra = {"aps": {"mutable-content": 1, "alert": {"loc-key": "SINGLE_UNREAD", "loc-args": []}}, "mine": 1}
    read = json.loads(payload(MatrixEvent("$1", {"event_id": "$1"}, extra=extra), ""))
    assert read == extra | {"event_id": "$1"}
    long = MatrixEvent("$1", TEXTS | dict.fromkeys(("content_body", "room_name", "sender_display_name"), "x" * 1024))
    raw = payload(MatrixEvent("$1", long.texts, extra={"mine": "y" * 2000}), "")
    assert len(raw) <= PAYLOAD_BYTES_MAX
    assert json.loads(raw)["event_id"] == TEXTS["event_id"]


def test_the_headers_name_the_app_the_end_and_what_it_replaces() -> None:
    told = headers(Manner(True, None, "c" * 32), "com.example", 99)
    assert told["apns-topic"] == "com.example"
    assert told["apns-expiration"] == "99"
    assert told["apns-collapse-id"] == "c" * 32
    assert told["apns-priority"] == "10"
    assert headers(Manner(False, None, "c"), "t", 0)["apns-priority"] == "5"
