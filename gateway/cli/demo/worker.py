"""A worker: it registers its relay and asks for tokens, each request signed with the secret that it shares.

It stands outside the gateway, and speaks HTTP alone. This module must not know the server.
"""

import secrets
import time
import uuid
from typing import Any

import httpx

from gateway.replication.signature import sign


class Worker:
    """One worker with one relay of its own."""

    def __init__(self, client: httpx.AsyncClient, secret: str, name: str) -> None:
        self.relay_key, self.relay_auth_token = secrets.token_hex(32), secrets.token_hex(32)
        self.identifier = f"npub1{secrets.token_hex(16)}:{name}"
        self._client, self._secret, self._name = client, secret, name

    async def register(self) -> dict[str, Any]:
        """Register the relay; the answer's ``relay`` holds both of its URLs."""
        registration = {
            "relayKey": self.relay_key,
            "nonce": str(uuid.uuid4()),
            "issuedAt": time.time_ns() // 1_000_000,
            "peers": [],
            "metadata": {
                "identifier": self.identifier,
                "name": self._name,
                "description": "made by the demo",
                "isPublic": True,
                "gatewayPath": self.identifier.replace(":", "/"),
            },
        }
        signed = {"registration": registration, "signature": sign(self._secret, registration)}
        return await self._asked("/api/relays", signed)

    async def issue(self, pubkey: str | None = None) -> dict[str, Any]:
        """Ask for a pair of tokens."""
        return await self._token("issue", relayAuthToken=self.relay_auth_token, pubkey=pubkey)

    async def refresh(self, token: str) -> dict[str, Any]:
        """Exchange a token for a fresh pair."""
        return await self._token("refresh", token=token)

    async def revoke(self, pubkey: str | None = None, reason: str = "the demo is over") -> dict[str, Any]:
        """Revoke a subject's tokens."""
        return await self._token("revoke", pubkey=pubkey, reason=reason)

    async def _token(self, verb: str, **payload: str | None) -> dict[str, Any]:
        fresh = {"nonce": str(uuid.uuid4()), "issuedAt": time.time_ns() // 1_000_000}
        given = {key: value for key, value in payload.items() if value is not None}
        whole = {"relayKey": self.relay_key, **given, **fresh}
        return await self._asked(
            f"/api/relay-tokens/{verb}", {"payload": whole, "signature": sign(self._secret, whole)}
        )

    async def _asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self._client.post(path, json=body)
        if answer.status_code != 200:
            raise httpx.HTTPStatusError(
                f"{path}: {answer.status_code} {answer.text}", request=answer.request, response=answer
            )
        made: dict[str, Any] = answer.json()
        return made
