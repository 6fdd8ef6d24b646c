"""A fake APNs: HTTP/2 over TLS, provider tokens checked, errors on demand; an ASGI application that hypercorn serves.

For the demo, the tests, and ``heliograph fake-apns``. A device token whose first bytes spell a name of `FAILURES` fails
so. This module must not know the
gateway.
"""

import base64
import json
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypercorn.config import Config
from hypercorn.trio import serve

PAYLOAD_BYTES_MAX = 4_096
TOKEN_S_MAX = 3_600
NAME_CHARS_MAX = 31
JSON = [(b"content-type", b"application/json")]

FAILURES: dict[str, tuple[int, str]] = {
    "bad-device": (400, "BadDeviceToken"),
    "gone": (410, "Unregistered"),
    "too-many": (429, "TooManyRequests"),
    "busy": (503, "ServiceUnavailable"),
    "topic": (400, "TopicDisallowed"),
}


def token(name: str, number: int = 0) -> str:
    """A device token: one that fails as ``name`` says, or works where that is no failure's name."""
    return name.encode().ljust(31, b"\0").hex() + f"{number:02x}"


def _told(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("apns-")}


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(slots=True)
class FakeAPNs:
    """The fake's state; tests read and turn it directly."""

    public_key: ec.EllipticCurvePublicKey
    now_s: int = 0  # 0: do not judge the age of provider tokens
    given: int = 0  # device tokens
    stale: int = 0  # so many requests more are answered ExpiredProviderToken
    sent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=10_000))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["method"] in ("GET", "DELETE"):
            await self._tried(scope["method"], scope["path"], send)
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        status, reason = self.answer(scope["method"], scope["path"], scope["http_version"], headers, body)
        answer = json.dumps({"reason": reason}).encode() if reason else b""
        await send({"type": "http.response.start", "status": status, "headers": [(b"apns-id", b"fake")]})
        await send({"type": "http.response.body", "body": answer})

    async def _tried(self, method: str, path: str, send: Any) -> None:
        """Tell whoever tries it out what came, or a device token: ``/sent``, ``/token/NAME``."""
        told: dict[str, Any] = {}
        if path == "/sent":
            if method == "DELETE":
                self.sent.clear()
            kept = ("target", "status", "reason", "payload")
            shown = [{name: one[name] for name in kept} | _told(one["headers"]) for one in self.sent]
            told = {"count": len(shown), "sent": shown}
        elif path.startswith("/token/") and len(path) <= len("/token/") + NAME_CHARS_MAX:
            self.given += 1
            told = {"token": token(path.removeprefix("/token/"), self.given % 256)}
        await send({"type": "http.response.start", "status": 200 if told else 404, "headers": JSON})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    def answer(self, method: str, path: str, version: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """(status, reason) for one request, which is remembered."""
        target = path.removeprefix("/3/device/")
        status, reason = self._judged(method, path, version, headers, body)
        found = {"target": target, "headers": headers, "status": status, "reason": reason}
        self.sent.append(found | {"payload": json.loads(body) if body else None})
        return status, reason

    def _judged(self, method: str, path: str, version: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        if version != "2" or method != "POST" or not path.startswith("/3/device/"):
            return 404, "BadPath"
        if self.stale:
            self.stale -= 1
            return 403, "ExpiredProviderToken"
        if not self._is_signed(headers.get("authorization", "")):
            return 403, "InvalidProviderToken"
        if not headers.get("apns-topic"):
            return 400, "MissingTopic"
        if len(body) > PAYLOAD_BYTES_MAX:
            return 413, "PayloadTooLarge"
        name = bytes.fromhex(path.rpartition("/")[2])[:-1].rstrip(b"\0").decode("latin-1")
        return FAILURES.get(name, (200, ""))

    def _is_signed(self, authorization: str) -> bool:
        signed, _, signature = authorization.removeprefix("bearer ").rpartition(".")
        try:
            raw = _raw(signature)
            der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
            self.public_key.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
            head, claims = (json.loads(_raw(part)) for part in signed.split("."))
        except (InvalidSignature, ValueError):
            return False
        fresh = not self.now_s or 0 <= self.now_s - claims["iat"] < TOKEN_S_MAX
        return bool(fresh and head["alg"] == "ES256" and head["kid"] and claims["iss"])


async def serve_fake_apns(
    fake: FakeAPNs, cert: Path, key: Path, port: int = 0, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve for ever on a port of this machine, 0 for any free one; started with the URL. OSError where it is taken."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(cert), str(key)
    config.alpn_protocols = ["h2"]
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(_served, fake, config)
        task_status.started(f"https://localhost:{binds[0].rpartition(':')[2]}")


async def _served(fake: FakeAPNs, config: Config, task_status: trio.TaskStatus[list[str]]) -> None:
    await serve(fake, config, shutdown_trigger=trio.sleep_forever, task_status=task_status)
