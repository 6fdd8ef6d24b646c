"""The fake APNs is as strict as Apple about what matters."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.push.apns import provider_token
from gateway.serve.fakes.apns import FakeAPNs, token

KEY = ec.generate_private_key(ec.SECP256R1())
NOW_S = 1_763_126_872


def headers(**changes: str) -> dict[str, str]:
    bearer = "bearer " + provider_token(KEY, "ABC1234567", "DEF7654321", NOW_S)
    return {"authorization": bearer, "apns-topic": "com.example"} | changes


@pytest.mark.parametrize(
    ("path", "version", "changes", "body", "answer"),
    [
        ("/3/device/" + token("x"), "2", {}, b"{}", (200, "")),
        ("/3/device/" + token("gone"), "2", {}, b"{}", (410, "Unregistered")),
        ("/3/device/" + token("x"), "1.1", {}, b"{}", (404, "BadPath")),
        ("/elsewhere", "2", {}, b"{}", (404, "BadPath")),
        ("/3/device/" + token("x"), "2", {"authorization": "bearer a.b.c"}, b"{}", (403, "InvalidProviderToken")),
        ("/3/device/" + token("x"), "2", {"apns-topic": ""}, b"{}", (400, "MissingTopic")),
        ("/3/device/" + token("x"), "2", {}, json.dumps("x" * 4096).encode(), (413, "PayloadTooLarge")),
    ],
)
def test_what_apple_would_say(
    path: str, version: str, changes: dict[str, str], body: bytes, answer: tuple[int, str]
) -> None:
    fake = FakeAPNs(KEY.public_key(), now_s=NOW_S + 60)
    assert fake.answer("POST", path, version, headers(**changes), body) == answer
    assert fake.sent[0]["status"] == answer[0]


def test_a_provider_token_is_good_for_an_hour() -> None:
    fake = FakeAPNs(KEY.public_key(), now_s=NOW_S + 3_601)
    assert fake.answer("POST", "/3/device/" + token("x"), "2", headers(), b"{}")[0] == 403
