"""Service accounts and tokens."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigInvalid
from gateway.push.oauth import GRANT, SCOPE, AnswerInvalid, account, assertion, token_form, token_of
from gateway.serve.fakes.fcm import service_account
from tests.takos import Instance

KEY = rsa.generate_private_key(65537, 2048)
FILE = service_account(KEY, "https://oauth2.googleapis.com")
ACCOUNT = account(FILE, any_token_uri=False)


def part(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_an_assertion_is_a_signed_jwt_for_an_hour() -> None:
    head, claims, signature = assertion(ACCOUNT, 1000).split(".")
    assert part(head) == {"alg": "RS256", "typ": "JWT", "kid": "fake"}
    assert part(claims) == {
        "iss": "gateway@fake-project.iam.gserviceaccount.com",
        "scope": SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": 1000,
        "exp": 4600,
    }
    raw = base64.urlsafe_b64decode(signature + "==")
    KEY.public_key().verify(raw, f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


def test_the_form_names_the_grant() -> None:
    form = parse_qs(token_form(ACCOUNT, 5).decode())
    assert form == {"grant_type": [GRANT], "assertion": [assertion(ACCOUNT, 5)]}


def test_a_token_endpoint_off_the_list_is_refused_unless_allowed() -> None:
    elsewhere = service_account(KEY, "https://evil.example")
    with pytest.raises(ConfigInvalid, match="allow_any_token_uri"):
        account(elsewhere, any_token_uri=False)
    assert account(elsewhere, any_token_uri=True).token_uri == "https://evil.example/token"


@pytest.mark.parametrize(
    "changes",
    [
        {"private_key": "x"},
        {"private_key": None},
        {"private_key": Instance().pem},
        {"project_id": "../../x"},
        {"project_id": ""},
        {"client_email": 5},
        {"token_uri": "token"},
        {"token_uri": "http://127.0.0.1:99999/token"},
    ],
)
def test_a_file_that_is_no_service_account_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid):
        account(json.dumps(json.loads(FILE) | changes).encode(), any_token_uri=True)


def test_an_answer_gives_the_token_and_its_life() -> None:
    token = token_of(200, b'{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}')
    assert (token.text, token.lifetime_s) == ("ya29.x", 3599)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":"invalid_grant"}'),
        (200, b"{}"),
        (200, b"<html>"),
        (200, b'{"access_token":""}'),
        (200, b'{"access_token":"a\\nb"}'),
        (200, b'{"access_token":"x","expires_in":"soon"}'),
    ],
)
def test_an_answer_without_a_token_is_told_apart(status: int, body: bytes) -> None:
    with pytest.raises(AnswerInvalid):
        token_of(status, body)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_account_or_a_configuration_error(raw: bytes) -> None:
    with pytest.raises(ConfigInvalid):
        account(raw, any_token_uri=True)
    with pytest.raises(AnswerInvalid):
        token_of(200, raw)
