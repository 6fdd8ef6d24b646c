"""A fake push service and the browsers behind it: RFC 8030 endpoints that check VAPID, and subscribers that decrypt.

For the demo, the tests, and ``heliograph fake-webpush``. Its cryptography is its own, step by step after RFC 8188 and
8291, so that it would show where ours is wrong. A subscription may be made to fail, by the names of `FAILURES`. Plain
http on this machine; it is served by `gateway.serve.fakes.fcm.serve_fake`. This module must not know the gateway.
"""

import base64
import hashlib
import hmac
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.serve.clock import SystemClock
from gateway.serve.fakes.fcm import Reply

SENT_MAX = 10_000
BODY_BYTES_MAX = 4_096
EXPIRY_S_MAX = 86_400
HEAD_BYTES = 16 + 4 + 1

FAILURES = {
    "gone": Reply(410, b""),
    "not-found": Reply(404, b""),
    "too-large": Reply(413, b""),
    "too-many": Reply(429, b"", "Retry-After: 120\r\n"),
    "unavailable": Reply(503, b"", "Retry-After: 30\r\n"),
    "forbidden": Reply(403, b""),
    "moved": Reply(307, b"", "Location: http://127.0.0.1:1/elsewhere\r\n"),
    "reset": Reply(0, b""),
    "timeout": Reply(-1, b""),
}


def unpadded(text: str) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def padless(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def extract_and_expand(salt: bytes, material: bytes, info: bytes, size: int) -> bytes:
    """HKDF with SHA-256 for at most 32 bytes (RFC 5869)."""
    key = hmac.digest(salt, material, hashlib.sha256)
    return hmac.digest(key, info + b"\x01", hashlib.sha256)[:size]


class Subscriber:
    """A browser's subscription, with the private key that only the browser has."""

    def __init__(self, endpoint: str, private: ec.EllipticCurvePrivateKey | None = None, auth: bytes = b"") -> None:
        self.endpoint, self._private = endpoint, private or ec.generate_private_key(ec.SECP256R1())
        self.auth = auth or SystemClock().random_bytes(16)
        public = self._private.public_key()
        self.p256dh = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def json(self) -> str:
        """What ``JSON.stringify(subscription)`` gives in a browser."""
        keys = {"p256dh": padless(self.p256dh), "auth": padless(self.auth)}
        return json.dumps({"endpoint": self.endpoint, "expirationTime": None, "keys": keys})

    def decrypt(self, body: bytes) -> bytes:
        """Read a message as a browser does (RFC 8291 §3.4, one record); raise cryptography's InvalidTag."""
        salt, size, length = body[:16], int.from_bytes(body[16:20]), body[20]
        theirs = body[HEAD_BYTES : HEAD_BYTES + length]
        record = body[HEAD_BYTES + length :]
        assert len(record) <= size, "one record is all that is allowed"
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs)
        shared = self._private.exchange(ec.ECDH(), point)
        info = b"WebPush: info\x00" + self.p256dh + theirs
        material = extract_and_expand(self.auth, shared, info, 32)
        key = extract_and_expand(salt, material, b"Content-Encoding: aes128gcm\x00", 16)
        nonce = extract_and_expand(salt, material, b"Content-Encoding: nonce\x00", 12)
        text = AESGCM(key).decrypt(nonce, record, None).rstrip(b"\x00")
        assert text.endswith(b"\x02"), "the last record ends with its delimiter"
        return text[:-1]


def _read(subscriber: Subscriber, body: bytes) -> bytes:
    """What the browser makes of a body; nothing where it cannot read it, which no push service would notice."""
    try:
        return subscriber.decrypt(body)
    except (InvalidTag, ValueError, IndexError, AssertionError):
        return b""


@dataclass(slots=True)
class FakePushService:
    """The service's state; tests read and turn it directly. ``url`` is its origin."""

    url: str = ""
    latency_s: float = 0.0
    key: str = ""  # the only application server key that is taken; "" takes any
    subscribers: dict[str, Subscriber] = field(default_factory=dict)
    failing: dict[str, tuple[str, int]] = field(default_factory=dict)  # path -> (failure, how often yet; -1: for ever)
    sent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=SENT_MAX))

    def subscribe(self, name: str, fails: str = "", times: int = -1) -> Subscriber:
        """Make a browser with a subscription of its own, or another; ValueError where ``fails`` is no failure."""
        path = f"/push/{name}"
        if fails and fails not in FAILURES:
            raise ValueError(f"{fails!r} is none of {', '.join(FAILURES)}")
        self.failing[path] = (fails, times if fails else 0)
        self.subscribers[path] = made = Subscriber(self.url + path)
        return made

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer one request: of a sender, or of whoever tries it out."""
        if path == "/sent" or (path.startswith("/subscribe/") and method == "POST"):
            return self._tried(method, path, body)
        subscriber = self.subscribers.get(path)
        if method != "POST" or subscriber is None:
            return FAILURES["not-found"]
        reply = self._failure(path) or self._refusal(headers, body) or Reply(201, b"", f"Location: {self.url}/m/1\r\n")
        text = _read(subscriber, body) if headers.get("content-encoding") == "aes128gcm" else body
        self.sent.append({"path": path, "status": reply.status, "headers": headers, "text": text, "raw": body})
        return reply

    def _tried(self, method: str, path: str, body: bytes) -> Reply:
        if path == "/sent":
            if method == "DELETE":
                self.sent.clear()
            told = [
                {
                    "name": one["path"].removeprefix("/push/"),
                    "status": one["status"],
                    "text": one["text"].decode("utf-8", "replace"),
                }
                | {name: one["headers"].get(name, "") for name in ("ttl", "urgency", "topic")}
                for one in self.sent
            ]
            return Reply(200, json.dumps({"count": len(told), "sent": told}).encode())
        fails, _, times = body.decode("utf-8", "replace").strip().partition(":")
        try:
            made = self.subscribe(path.removeprefix("/subscribe/"), fails, int(times) if times else -1)
        except ValueError as why:
            return Reply(400, json.dumps({"error": str(why)}).encode())
        return Reply(200, made.json.encode())

    def _failure(self, path: str) -> Reply | None:
        name, left = self.failing.get(path, ("", 0))
        if not left:
            return None
        self.failing[path] = (name, left - (left > 0))
        return FAILURES[name]

    def _refusal(self, headers: dict[str, str], body: bytes) -> Reply | None:
        """What a real service would refuse."""
        if not headers.get("ttl", "").isdigit() or len(headers.get("topic", "")) > 32:
            return Reply(400, b"")
        if len(body) > BODY_BYTES_MAX:
            return FAILURES["too-large"]
        return None if self._is_signed(headers.get("authorization", "")) else FAILURES["forbidden"]

    def _is_signed(self, authorization: str) -> bool:
        scheme, _, rest = authorization.partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        signed, _, signature = parts.get("t", "").rpartition(".")
        if scheme != "vapid" or not signed or (self.key and parts.get("k") != self.key):
            return False
        try:
            raw = unpadded(signature)
            der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(parts["k"]))
            point.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError, KeyError):
            return False
        claims = json.loads(unpadded(signed.partition(".")[2]))
        left_s = claims["exp"] - SystemClock().now_ms() // 1000
        return bool(claims["aud"] == self.url and 0 < left_s <= EXPIRY_S_MAX)

    def texts(self, subscriber: Subscriber) -> list[dict[str, Any]]:
        """What a browser was given, decrypted: only messages that the service took."""
        path = subscriber.endpoint.removeprefix(self.url)
        return [json.loads(sent["text"]) for sent in self.sent if sent["path"] == path and sent["status"] == 201]
