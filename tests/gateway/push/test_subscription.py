"""Subscriptions: what browsers and distributors give, and which addresses are refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.subscription import Endpoint, endpoint, judge_address, subscription

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"


def browser(url: str = "https://push.example.net/abc", **keys: object) -> str:
    whole = {"p256dh": P256DH, "auth": AUTH} | keys
    return json.dumps({"endpoint": url, "expirationTime": None, "keys": whole})


def test_a_browsers_subscription_has_one_spelling_whatever_came_with_it() -> None:
    read = subscription(browser("https://PUSH.Example.net:443/abc?x=1"))
    assert read.endpoint == Endpoint("https", "push.example.net", 443, "/abc?x=1")
    assert (len(read.p256dh), len(read.auth)) == (65, 16)
    assert subscription(read.text) == read
    padded = browser("https://push.example.net/abc?x=1", auth=AUTH.replace("_", "/") + "==")
    assert subscription(padded) == read


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example.net/x",
        "https://push.example.net:8443/x",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://localhost/x",
        "https://router.local/x",
        "https://metadata.internal/x",
        "https://single/x",
        "https://push.example.net./x",
        "https://-bad-.example.net/x",
        "http://127.0.0.1:9101/x",
        "http://127.0.0.1:91000/x",
    ],
)
def test_an_endpoint_that_is_not_on_the_public_web_is_refused(url: str) -> None:
    with pytest.raises(PushRefused) as refused:
        judge_address(endpoint(url), {"http://127.0.0.1:9100"})
    assert (refused.value.status, refused.value.code) == (400, "invalid-field")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://push.example.net/x",
        "https://user@push.example.net/x",
        "https://user:pass@push.example.net/x",
        "https://[::1]/x",
        "https://push.example.net/x#fragment",
        "https://push.example.net/a b",
        "https://push.example.net/a\r\nHost: evil",
        "https://push.example.net\\@evil.example/x",
        "https://push.example.net/ä",
        "https://пример.example/x",
        "https:///x",
        "//push.example.net/x",
        "https://push.example.net/" + "x" * 1600,
        None,
        7,
    ],
)
def test_what_is_no_plain_url_is_refused_before_anything_else(url: object) -> None:
    with pytest.raises(PushRefused):
        endpoint(url)


def test_a_local_origin_is_taken_where_the_operator_named_it() -> None:
    judge_address(endpoint("http://127.0.0.1:9100/push/x"), {"http://127.0.0.1:9100"})
    judge_address(endpoint("https://push.example.net/x"), ())


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"endpoint":"https://push.example.net/x"}',
        '{"endpoint":"https://push.example.net/x","keys":[]}',
        browser(auth="AAAA"),
        browser(auth=None),
        browser(auth=7),
        browser(p256dh="B" * 87),
        browser(p256dh=P256DH[:-4]),
        browser(p256dh="ü" * 87),
        "{" * 5000,
    ],
)
def test_keys_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PushRefused) as refused:
        subscription(text)
    assert refused.value.status == 400


@settings(deadline=None)
@given(st.text(max_size=300) | st.text(max_size=100).map(lambda tail: f"https://push.example.net/{tail}"))
def test_any_text_is_refused_or_safe_in_a_request_line(text: str) -> None:
    try:
        read = endpoint(text)
    except PushRefused:
        return
    assert read.path.isascii()
    assert read.path.isprintable()
    assert " " not in read.path
