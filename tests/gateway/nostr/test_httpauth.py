"""A signed request is good for one address, one body and a minute."""

import base64
import hashlib
import json
from typing import Any

import pytest
from coincurve import PrivateKey

from gateway.errors import NostrRefused
from gateway.nostr.httpauth import signer
from tests.signing import ALICE, NOW_S, pubkey, signed_fields

URL = "https://us.example/relay"
BODY = b'{"method":"supportedmethods","params":[]}'


def header(body: bytes = BODY, key: PrivateKey = ALICE, **change: Any) -> str:
    tags = [
        ["u", change.get("u", URL)],
        ["method", change.get("method", "POST")],
        ["payload", hashlib.sha256(body).hexdigest()],
    ]
    event = signed_fields(key, change.get("kind", 27_235), "", tags, change.get("created_at", NOW_S))
    return "Nostr " + base64.b64encode(json.dumps({**event, **change.get("fields", {})}).encode()).decode()


def signed_by(text: str, body: bytes = BODY) -> str:
    return signer(text, body, lambda url: url == URL, NOW_S).pubkey


def test_a_signature_names_its_key() -> None:
    assert signed_by(header()) == pubkey(ALICE)
    assert signed_by(header(created_at=NOW_S - 60).replace("Nostr", "nostr")) == pubkey(ALICE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Bearer x",
        "Nostr ",
        "Nostr !",
        "Nostr " + base64.b64encode(b"{}").decode(),
        "Nostr " + "A" * 9_000,
        header(b"another body"),
        header(u="https://other.example/relay"),
        header(method="GET"),
        header(kind=1),
        header(created_at=NOW_S - 61),
        header(created_at=NOW_S + 61),
        header(fields={"sig": "0" * 128}),
        header(fields={"content": "x"}),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(NostrRefused, match=r"^(auth-required|invalid): "):
        signed_by(text)
