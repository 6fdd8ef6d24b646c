"""A worker: registers relays and asks for tokens, signing with an HMAC; written from relay-and-mirror.md §1–2 alone."""

import hashlib
import hmac
import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.conformance.fakes import now_ms
from tests.conformance.world import Answer, World, ask
from tests.secrecy import secret

INTERNAL = "public-gateway:hyperbee"
JSON = {"Content-Type": "application/json"}


def hmac_of(value: object, secret: str) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def relay_id(identifier: str) -> str:
    """The hash that replication rows name their relay by (§4)."""
    plain = " ".join(identifier.strip().lower().split())
    return hashlib.sha256(f"hypertuna-relay-id:{plain}".encode()).hexdigest()


@dataclass
class Worker:
    """Somebody who holds a registration secret."""

    w: World
    secret: str = "worker-secret"

    def sign(self, value: object) -> str:
        return hmac_of(value, self.secret)

    def registration(self, relay_key: str, name: str, **changes: Any) -> dict[str, Any]:
        """A registration of ``npub1…:name``; ``metadata`` in ``changes`` is laid over, other keys replace."""
        metadata = {
            "identifier": f"npub1conform:{name}",
            "name": name,
            "gatewayPath": f"npub1conform/{name}",
            "isPublic": True,
            **changes.pop("metadata", {}),
        }
        kept = {key: value for key, value in metadata.items() if value is not None}
        body = {"relayKey": relay_key, "nonce": uuid.uuid4().hex, "issuedAt": now_ms(), "peers": [], "metadata": kept}
        return {key: value for key, value in {**body, **changes}.items() if value is not None}

    def post_registration(self, registration: dict[str, Any]) -> Answer:
        return self.w.post("/api/relays", {"registration": registration, "signature": self.sign(registration)})

    def register(self, relay_key: str, name: str, **changes: Any) -> Answer:
        return self.post_registration(self.registration(relay_key, name, **changes))

    def delete(self, relay_key: str, signed: object = None) -> Answer:
        headers = {"x-signature": self.sign(signed if signed is not None else {"relayKey": relay_key})}
        return ask(self.w.server.url, "DELETE", f"/api/relays/{quote(relay_key, safe='')}", None, headers)

    def read(self, relay_key: str | None) -> Answer:
        """GET one relay, or the list, signed."""
        issued = now_ms()
        signature = self.sign({"read": relay_key or "*", "issuedAt": issued})
        path = f"/api/relays/{quote(relay_key, safe='')}" if relay_key else "/api/relays"
        return self.w.get(path, {"x-signature": signature, "x-issued-at": str(issued)})

    def token(self, action: str, payload: dict[str, Any], *, once: bool = True) -> Answer:
        """POST to /api/relay-tokens/{action}; with nonce and time unless told otherwise. None removes a key."""
        extra = {"nonce": uuid.uuid4().hex, "issuedAt": now_ms()} if once else {}
        full = {key: value for key, value in {**extra, **payload}.items() if value is not None}
        return self.w.post(f"/api/relay-tokens/{action}", {"payload": full, "signature": self.sign(full)})

    def issue(self, relay_key: str, pubkey: str | None = None, **changes: Any) -> dict[str, Any]:
        """A token's answer; it must be given."""
        payload = {"relayKey": relay_key, "relayAuthToken": "auth-1", "pubkey": pubkey, **changes}
        answer = self.token("issue", payload)
        assert answer.status == 200, answer
        body: dict[str, Any] = answer.body
        secret(body["token"])
        secret(body["replicationToken"])
        return body


def fresh_key() -> str:
    return uuid.uuid4().hex * 2
