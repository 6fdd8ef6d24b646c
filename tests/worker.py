"""A worker for tests, written from the specification and not with the product's code: json.dumps, hmac, httpx.

Only `exit_code` runs the product: its command line.
"""

import hashlib
import hmac
import json
import secrets
import time
from typing import Any
from urllib.parse import quote

import httpx

from gateway.cli.main import main

SECRET = "s" * 32
INTERNAL = "public-gateway:hyperbee"
KEY = "ab" * 32
NAME = "npub1abc:My-Relay"


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sign(value: object, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), canonical(value).encode(), hashlib.sha256).hexdigest()


def relay_id(identifier: str) -> str:
    text = " ".join(identifier.strip().lower().split())
    return hashlib.sha256(f"hypertuna-relay-id:{text}".encode()).hexdigest()


def once(now_ms: int | None = None) -> dict[str, Any]:
    return {"nonce": secrets.token_hex(12), "issuedAt": now_ms or time.time_ns() // 1_000_000}


def registration(relay_key: str = KEY, now_ms: int | None = None, **metadata: Any) -> dict[str, Any]:
    return {"relayKey": relay_key, **once(now_ms), "peers": [], "metadata": {"identifier": NAME, **metadata}}


def exit_code(words: list[str]) -> int:
    """Run the command line in this process."""
    try:
        main(words)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Worker:
    """Signs with one secret and speaks to one gateway; ``now_ms`` stands in for its clock."""

    def __init__(self, client: httpx.AsyncClient, secret: str = SECRET, now_ms: int | None = None) -> None:
        self.client, self.secret, self.now_ms = client, secret, now_ms

    async def post(self, path: str, body: Any) -> httpx.Response:
        return await self.client.post(path, content=json.dumps(body, ensure_ascii=False).encode())

    async def send(self, action: str, payload: dict[str, Any]) -> httpx.Response:
        """A signed token request, as it is given."""
        return await self.post(
            f"/api/relay-tokens/{action}", {"payload": payload, "signature": sign(payload, self.secret)}
        )

    async def submit(self, payload: dict[str, Any]) -> httpx.Response:
        """A signed registration, as it is given."""
        return await self.post("/api/relays", {"registration": payload, "signature": sign(payload, self.secret)})

    async def register(self, relay_key: str = KEY, **metadata: Any) -> dict[str, Any]:
        answer = await self.submit(registration(relay_key, self.now_ms, **metadata))
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["relay"])

    async def issue(self, relay_key: str = KEY, **more: Any) -> dict[str, Any]:
        payload = {"relayKey": relay_key, "relayAuthToken": "secret-auth", **once(self.now_ms), **more}
        answer = await self.send("issue", payload)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def revoke(self, relay_key: str = KEY, **more: Any) -> dict[str, Any]:
        answer = await self.send("revoke", {"relayKey": relay_key, **once(self.now_ms), **more})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def unregister(self, relay_key: str = KEY) -> httpx.Response:
        headers = {"x-signature": sign({"relayKey": relay_key}, self.secret)}
        return await self.client.delete(f"/api/relays/{quote(relay_key)}", headers=headers)

    async def read(self, what: str = "*") -> httpx.Response:
        """A signed read: of one relay, or of the list."""
        issued = once(self.now_ms)["issuedAt"]
        signature = sign({"read": what, "issuedAt": issued}, self.secret)
        path = "/api/relays" if what == "*" else f"/api/relays/{quote(what)}"
        return await self.client.get(path, headers={"x-signature": signature, "x-issued-at": str(issued)})
