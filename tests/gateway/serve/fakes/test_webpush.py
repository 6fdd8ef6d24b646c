"""The fake push service is as strict as a real one, and its browsers read only what is theirs."""

import pytest
from cryptography.exceptions import InvalidTag

from gateway.push import vapid
from gateway.push.subscription import Subscription, endpoint
from gateway.push.webpush import encrypt
from gateway.serve.clock import SystemClock
from gateway.serve.fakes.webpush import FAILURES, FakePushService, Subscriber

URL = "http://127.0.0.1:9100"
OURS = vapid.private_key(b"\x02" * 32)


def service(**fields: str) -> FakePushService:
    return FakePushService(url=URL, **fields)  # type: ignore[arg-type]


def headers(**changes: str) -> dict[str, str]:
    now_s = SystemClock().now_ms() // 1000
    signed = vapid.authorization(OURS, URL, now_s, "")
    return {"ttl": "60", "content-encoding": "aes128gcm", "authorization": signed} | changes


def body(subscriber: Subscriber, text: bytes = b"{}") -> bytes:
    to = Subscription(endpoint(subscriber.endpoint), subscriber.p256dh, subscriber.auth)
    return encrypt(text, to, vapid.private_key(b"\x03" * 32), b"\x04" * 16)


def test_a_signed_message_is_taken_and_read() -> None:
    fake = service(key=vapid.application_server_key(OURS))
    browser = fake.subscribe("a")
    assert fake.reply("POST", "/push/a", headers(), body(browser, b'{"x":1}')).status == 201
    assert fake.texts(browser) == [{"x": 1}]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ttl": ""}, 400),
        ({"topic": "x" * 33}, 400),
        ({"authorization": ""}, 403),
        ({"authorization": "vapid t=a.b.c, k=AAAA"}, 403),
        (
            {"authorization": vapid.authorization(OURS, "https://other.example", SystemClock().now_ms() // 1000, "")},
            403,
        ),
        ({"authorization": vapid.authorization(OURS, URL, 0, "")}, 403),
    ],
)
def test_what_a_push_service_refuses(changes: dict[str, str], status: int) -> None:
    fake = service()
    browser = fake.subscribe("a")
    assert fake.reply("POST", "/push/a", headers(**changes), body(browser)).status == status
    assert fake.texts(browser) == []


def test_another_senders_key_is_refused_and_an_unknown_path_is_not_found() -> None:
    fake = service(key="another")
    browser = fake.subscribe("a")
    assert fake.reply("POST", "/push/a", headers(), body(browser)).status == 403
    assert fake.reply("POST", "/push/b", headers(), body(browser)).status == 404


def test_it_fails_on_demand_so_many_times() -> None:
    fake = service()
    browser = fake.subscribe("a", fails="unavailable", times=1)
    assert fake.reply("POST", "/push/a", headers(), body(browser)) == FAILURES["unavailable"]
    assert fake.reply("POST", "/push/a", headers(), body(browser)).status == 201


def test_one_browser_cannot_read_anothers_message() -> None:
    fake = service()
    one, other = fake.subscribe("a"), fake.subscribe("b")
    with pytest.raises(InvalidTag):
        other.decrypt(body(one))
