"""Targets: one spelling each, and which are the same device."""

import base64

import pytest

from gateway.errors import PushRefused
from gateway.push.target import TARGET_KINDS, identity, target_text
from tests.gateway.push.test_subscription import AUTH, P256DH, browser

URL = "https://push.example.net/abc"


def test_a_subscription_is_known_by_its_endpoint_and_anything_else_by_all_of_it() -> None:
    text = target_text("webpush", browser(), leaving=False)
    assert text == f'{{"endpoint":"{URL}","keys":{{"auth":"{AUTH}","p256dh":"{P256DH}"}}}}'
    assert identity("webpush", text) == URL
    assert identity("unifiedpush", target_text("unifiedpush", URL, leaving=False)) == URL
    assert identity("token", "{abc") == "{abc"
    assert "token" in TARGET_KINDS


def test_to_leave_the_endpoint_alone_is_enough() -> None:
    assert target_text("webpush", URL, leaving=True) == URL
    with pytest.raises(PushRefused, match="keys"):
        target_text("webpush", URL, leaving=False)


def test_an_apns_token_is_hex_or_base64_and_nothing_else() -> None:
    raw = bytes(range(32))
    for text in (raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode()):
        assert target_text("apns", text, leaving=False) == raw.hex()
    for wrong in ("token", "ab" * 20, "zz*" * 32, "../3/device"):
        with pytest.raises(PushRefused):
            target_text("apns", wrong, leaving=False)
