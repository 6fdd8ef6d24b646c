"""The fake FCM is as strict as the real one about what it is sent."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.push.oauth import account, token_form
from gateway.serve.fakes.fcm import FAILURES, Fake, service_account

KEY = rsa.generate_private_key(65537, 2048)
SENDER = account(service_account(KEY, "http://x"), any_token_uri=True)


def token(fake: Fake) -> str:
    return str(json.loads(fake.reply("POST", "/token", {}, token_form(SENDER, 1000)).body)["access_token"])


def send(fake: Fake, message: Any, bearer: str) -> int:
    body = json.dumps({"message": message}).encode()
    return fake.reply("POST", "/v1/projects/p/messages:send", {"authorization": f"Bearer {bearer}"}, body).status


def test_a_token_is_given_for_an_assertion_by_the_right_key_alone() -> None:
    fake = Fake(KEY.public_key())
    assert token(fake) == "fake-1"
    other = Fake(rsa.generate_private_key(65537, 2048).public_key())
    assert other.reply("POST", "/token", {}, token_form(SENDER, 1000)).status == 400
    assert fake.reply("POST", "/token", {}, b"grant_type=password").status == 400


def test_a_send_needs_a_token_that_was_given() -> None:
    fake = Fake(KEY.public_key())
    assert send(fake, {"token": "t"}, "guess") == 401
    assert send(fake, {"token": "t"}, token(fake)) == 200
    assert fake.count == 1


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"token": "t", "fid": "f"},
        {"token": "t", "data": {"n": 1}},
        {"token": "t", "data": {"from": "x"}},
        {"token": "t", "data": {"google.x": "x"}},
        {"token": "t", "data": {"k": "x" * 4096}},
        {"token": "t", "notification": {"body": "あ" * 1400}},
        "nonsense",
    ],
)
def test_a_message_that_fcm_would_refuse_is_refused(message: Any) -> None:
    fake = Fake()
    assert send(fake, message, token(fake)) == 400


def test_failures_are_had_by_name_for_all_or_for_one_token_and_so_many_times() -> None:
    fake = Fake()
    bearer = token(fake)
    fake.fail("unavailable:2")
    assert [send(fake, {"token": "t"}, bearer) for _ in range(3)] == [503, 503, 200]
    assert [send(fake, {"token": "internal*1:t"}, bearer) for _ in range(2)] == [500, 200]
    assert [send(fake, {"fid": "unregistered:t"}, bearer) for _ in range(2)] == [404, 404]
    with pytest.raises(ValueError, match="none of"):
        fake.fail("gremlins")
    assert len(fake.sent) == 7
    assert fake.reply("DELETE", "/sent", {}, b"").status == 200
    assert not fake.sent
    assert fake.reply("GET", "/count", {}, b"").body == b"2"
    assert fake.reply("GET", "/else", {}, b"") == FAILURES["html"]
