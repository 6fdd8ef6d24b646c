"""Web Push: RFC 8291's own example, what a browser reads, and what each answer means."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.push.envelope import Notification
from gateway.push.fcm import Braked, Delivered, Failed, Gone, Transient, Verdict
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent
from gateway.push.subscription import Subscription, endpoint
from gateway.push.vapid import base64url_bytes
from gateway.push.webpush import TEXT_BYTES_MAX, encrypt, headers, judge, text_of
from gateway.serve.fakes.webpush import Subscriber

# RFC 8291 appendix A
TEXT = b"When I grow up, I want to be a watermelon"
OURS = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
THEIRS = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
URL = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV"


def key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(base64url_bytes(text)), ec.SECP256R1())


def to(subscriber: Subscriber) -> Subscription:
    return Subscription(endpoint(subscriber.endpoint), subscriber.p256dh, subscriber.auth)


def test_the_rfcs_example_comes_out_byte_for_byte() -> None:
    browser = Subscription(endpoint(URL), base64url_bytes(P256DH), base64url_bytes(AUTH))
    assert encrypt(TEXT, browser, key(OURS), base64url_bytes(SALT)) == base64url_bytes(BODY)


def test_the_fake_browser_reads_the_rfcs_example() -> None:
    assert Subscriber(URL, key(THEIRS), base64url_bytes(AUTH)).decrypt(base64url_bytes(BODY)) == TEXT


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.binary(max_size=TEXT_BYTES_MAX))
def test_a_browser_reads_whatever_was_encrypted_for_it_and_no_body_is_too_long(text: bytes) -> None:
    browser = Subscriber(URL, key(THEIRS), base64url_bytes(AUTH))
    body = encrypt(text, to(browser), key(OURS), base64url_bytes(SALT))
    assert len(body) <= 4096
    assert browser.decrypt(body) == text


def notification(message: str, **fields: str) -> Notification:
    return Notification(
        **({"id": "n1", "type": "like", "actor_id": "bob", "ref_type": "post", "ref_id": "p1"} | fields),
        message=message,
        created_ms=None,
    )  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.text(max_size=8000), st.sampled_from([TEXT_BYTES_MAX, 1024]))
def test_a_text_of_any_length_fits_and_ids_stay_whole(message: str, bytes_max: int) -> None:
    raw = text_of(notification(message), "通知", "webpush", bytes_max)
    assert len(raw) <= bytes_max
    read = json.loads(raw)
    assert read["data"] == {
        "notification_id": "n1",
        "type": "like",
        "ref_type": "post",
        "ref_id": "p1",
        "actor_id": "bob",
    }
    assert read["notification"]["title"] == "通知"
    assert message.startswith(read["notification"]["body"])


def test_a_matrix_event_is_flat_for_browsers_and_in_matrix_form_for_unifiedpush() -> None:
    texts = {"event_id": "$1", "room_id": "!r", "content_body": "hello", "sender": "@a:b"}
    event = MatrixEvent("$1", texts, {"unread": 2}, extra={"account": "x"})
    assert json.loads(text_of(event, "", "webpush")) == {
        "account": "x",
        "event_id": "$1",
        "room_id": "!r",
        "sender": "@a:b",
        "content": {"body": "hello"},
        "unread": 2,
    }
    assert json.loads(text_of(event, "", "unifiedpush"))["notification"] == {
        "event_id": "$1",
        "room_id": "!r",
        "sender": "@a:b",
        "content": {"body": "hello"},
        "prio": "high",
        "counts": {"unread": 2},
    }
    long = MatrixEvent("$1", texts | {f"content_{n}": "x" * 1000 for n in range(9)})
    read = json.loads(text_of(long, "", "webpush"))
    assert (read["event_id"], read["room_id"]) == ("$1", "!r")


def test_the_headers_say_how_long_how_urgent_and_what_it_replaces() -> None:
    told = dict(headers(Manner(True, None, "c" * 32), 60, is_encrypted=True))
    assert told[b"ttl"] == b"60"
    assert told[b"urgency"] == b"high"
    assert told[b"content-encoding"] == b"aes128gcm"
    assert told[b"topic"] == b"c" * 32
    assert dict(headers(Manner(True, 9, "c"), 60, is_encrypted=True))[b"ttl"] == b"9"
    low = dict(headers(Manner(False, None, "c"), -5, is_encrypted=False))
    assert (low[b"urgency"], low[b"ttl"], low[b"content-type"]) == (b"normal", b"0", b"application/json")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (201, Delivered()),
        (202, Delivered()),
        (404, Gone("gone")),
        (410, Gone("gone")),
        (413, Failed("too-large")),
        (429, Braked("device", "9")),
        (403, Failed("not-authorised")),
        (307, Failed("redirected")),
        (400, Failed("http-400")),
        (408, Transient("http-408", "9", scope="device")),
        (503, Transient("http-503", "9", scope="device")),
    ],
)
def test_an_answer_is_only_ever_about_its_device(status: int, verdict: Verdict) -> None:
    assert judge(status, "9") == verdict
