"""A takos instance for tests: its key, its document, and what it signs, by code of its own, not the gateway's."""

import base64
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def plain_canonical(value: object) -> bytes:
    """Equal to the wire form for every payload of a real client (strings, integers, null, objects)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass
class Instance:
    """One instance with one key."""

    domain: str = "demo.example.com"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        return (
            self.key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def document(self, **changes: Any) -> bytes:
        pem = self.pem
        webhook = {"algorithm": "ES256", "publicKey": pem}
        return json.dumps(
            {"instance": self.domain, "registrationPublicKey": pem, "webhook": webhook} | changes
        ).encode()

    def sign(self, message: bytes) -> str:
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()

    def registration(self, now_ms: int, **changes: Any) -> dict[str, Any]:
        """A signed envelope; a change to None takes the field away, a ``signature`` replaces the true one."""
        fields = {
            "action": "register",
            "instance": self.domain,
            "userId": "alice",
            "token": "token-1",
            "platform": "ios",
            "appId": "",
            "issuedAt": iso(now_ms),
            "expiresAt": iso(now_ms + 300_000),
            "nonce": str(uuid.uuid4()),
        } | changes
        signature = fields.pop("signature", ...)
        fields = {name: value for name, value in fields.items() if value is not None}
        return fields | {"signature": self.sign(plain_canonical(fields)) if signature is ... else signature}

    def event(self, now_ms: int, user: str = "alice", **changes: Any) -> dict[str, Any]:
        """An event's body; ``changes`` are to the notification."""
        notification = {
            "id": str(uuid.uuid4()),
            "user_id": user,
            "type": "like",
            "actor_id": "bob",
            "ref_type": "post",
            "ref_id": "p1",
            "message": "Bob さんがいいねしました",
            "created_at": iso(now_ms),
            "read": 0,
            "data_json": None,
        } | changes
        return {"instance": self.domain, "userId": user, "notification": notification}

    def signed(self, body: dict[str, Any]) -> tuple[bytes, str]:
        """(the body as sent, its X-Push-Signature)."""
        return json.dumps(body).encode(), self.sign(plain_canonical(body))
