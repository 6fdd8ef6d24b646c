"""Make signed nostr events for tests, by other means than the code under test: json.dumps and a signing key."""

import hashlib
import json
from typing import Any

from coincurve import PrivateKey

from gateway.nostr.event import Event

ALICE = PrivateKey(b"\x01" * 32)
BOB = PrivateKey(b"\x02" * 32)
NOW_S = 1_763_126_872


def pubkey(key: PrivateKey) -> str:
    return key.public_key_xonly.format().hex()


def signed_fields(
    key: PrivateKey = ALICE,
    kind: int = 1,
    content: str = "hello",
    tags: list[list[str]] | None = None,
    created_at: int = NOW_S,
) -> dict[str, Any]:
    """The seven fields, as a client would send them."""
    tags = tags or []
    hashed = json.dumps(
        [0, pubkey(key), created_at, kind, tags, content], ensure_ascii=False, separators=(",", ":")
    ).encode()
    digest = hashlib.sha256(hashed).digest()
    return {
        "id": digest.hex(),
        "pubkey": pubkey(key),
        "created_at": created_at,
        "kind": kind,
        "tags": tags,
        "content": content,
        "sig": key.sign_schnorr(digest, b"\x00" * 32).hex(),
    }


def signed(
    key: PrivateKey = ALICE,
    kind: int = 1,
    content: str = "hello",
    tags: list[list[str]] | None = None,
    created_at: int = NOW_S,
) -> Event:
    fields = signed_fields(key, kind, content, tags, created_at)
    return Event(**{**fields, "tags": tuple(map(tuple, fields["tags"]))})
