"""What a replica of tests needs of a worker: a relay's state as it is seen through a proxy, tokens, and rows."""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from tests.worker import INTERNAL, SECRET, once, relay_id, sign

CONFIG = f'[registration]\nsecret = "{SECRET}"\n'
RELAY_ID = relay_id("replica")


def rows(numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Replication rows, the same for the same number."""
    return [
        {
            "id": hashlib.sha256(f"row {number}".encode()).hexdigest(),
            "relayID": RELAY_ID,
            "kind": 30078,
            "created_at": 1_700_000_000 + number % 7,  # in no order, as others' clocks
            "eventData": base64.b64encode(f"row {number}".encode()).decode(),
        }
        for number in numbers
    ]


def through(state: dict[str, Any], base: str) -> dict[str, Any]:
    """Put another host into a relay's URLs."""
    host = urlsplit(base).netloc
    urls = {
        key: urlunsplit(urlsplit(state[key])._replace(netloc=host)) for key in state if key.endswith("onnectionUrl")
    }
    return {**state, **urls}


def issued(base: str, ttl_s: int, **more: Any) -> dict[str, Any]:
    """Ask for a token of the gateway's own relay. Raises httpx.HTTPError."""
    payload = {"relayKey": INTERNAL, "ttlSeconds": ttl_s, **once(), **more}
    body = json.dumps({"payload": payload, "signature": sign(payload)})
    answer = httpx.post(f"{base}/api/relay-tokens/issue", content=body, timeout=30)
    answer.raise_for_status()
    given: dict[str, Any] = answer.json()
    return given


def state_of(base: str) -> dict[str, Any]:
    """The public state of the gateway's own relay."""
    state: dict[str, Any] = httpx.get(f"{base}/api/relays/{INTERNAL}", timeout=30).json()
    return state
