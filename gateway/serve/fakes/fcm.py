"""A fake Firebase Cloud Messaging: the token endpoint and ``messages:send``, errors included, and a record of it all.

For the demo, the tests and the benchmarks: it speaks the protocol that `gateway.serve.delivery.fcm` speaks, and is as
strict about a request as FCM is. It fails on demand: all sends (`Fake.failing`), or those to a token that names a
failure, ``unregistered:…`` for ever, ``unavailable*2:…`` the first two times. Its own head parser is small and trusting
(h11 would cost the benchmark a third of its time): never expose it.
This module must not know the gateway.
"""

import base64
import json
import re
import ssl
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec
import trio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.serve.clock import SystemClock
from gateway.serve.port.wire import SecureWire, Wire

SENT_MAX = 200_000  # sends remembered; the oldest go, the count stays
HEAD_BYTES_MAX = 65_536
BODY_BYTES_MAX = 1_048_576
PAYLOAD_BYTES_MAX = 4_096
NEVER_S = 3_600.0  # how long a send that "times out" is kept waiting

_SEND = re.compile(r"/v1/projects/([^/]+)/messages:send")
_TOKEN = re.compile(r"([a-z-]+)(?:\*(\d+))?:")
_TARGETS = ("token", "fid", "topic", "condition")
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; status 0 resets the connection, status -1 never answers."""

    status: int
    body: bytes
    headers: str = ""
    kind: str = "application/json"


def _error(status: int, name: str, *details: dict[str, Any], headers: str = "", text: str = "") -> Reply:
    error = {"code": status, "message": text or name, "status": name, "details": list(details)}
    return Reply(status, msgspec.json.encode({"error": error}), headers)


def _fcm(code: str) -> dict[str, str]:
    return {"@type": _FCM_ERROR, "errorCode": code}


def _violation(name: str) -> dict[str, Any]:
    return {"@type": _BAD_REQUEST, "fieldViolations": [{"field": name, "description": f"Invalid value at '{name}'"}]}


def _quota(subject: str) -> dict[str, Any]:
    return {"@type": _QUOTA_FAILURE, "violations": [{"subject": subject, "description": "Quota exceeded"}]}


FAILURES: dict[str, Reply] = {
    "unregistered": _error(404, "NOT_FOUND", _fcm("UNREGISTERED")),
    "not-found": _error(404, "NOT_FOUND"),
    "html": Reply(404, b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", kind="text/html"),
    "sender-id-mismatch": _error(403, "PERMISSION_DENIED", _fcm("SENDER_ID_MISMATCH")),
    "forbidden": _error(403, "PERMISSION_DENIED"),
    "invalid-argument": _error(400, "INVALID_ARGUMENT", _fcm("INVALID_ARGUMENT"), _violation("message.data")),
    "invalid-token": _error(400, "INVALID_ARGUMENT", _fcm("INVALID_ARGUMENT"), _violation("message.token")),
    "third-party-auth": _error(401, "UNAUTHENTICATED", _fcm("THIRD_PARTY_AUTH_ERROR")),
    "unauthenticated": _error(401, "UNAUTHENTICATED"),
    "quota": _error(429, "RESOURCE_EXHAUSTED", _fcm("QUOTA_EXCEEDED"), _quota("project:fake")),
    "quota-soon": _error(429, "RESOURCE_EXHAUSTED", _fcm("QUOTA_EXCEEDED"), headers="Retry-After: 2\r\n"),
    "quota-device": _error(429, "RESOURCE_EXHAUSTED", _fcm("QUOTA_EXCEEDED"), _quota("device")),
    "internal": _error(500, "INTERNAL", _fcm("INTERNAL")),
    "unavailable": _error(503, "UNAVAILABLE", _fcm("UNAVAILABLE")),
    "unavailable-soon": _error(503, "UNAVAILABLE", _fcm("UNAVAILABLE"), headers="Retry-After: 10\r\n"),
    "bad-gateway": Reply(502, b"<html>502</html>", kind="text/html"),
    "unspecified": _error(400, "UNKNOWN", _fcm("UNSPECIFIED_ERROR")),
    "reset": Reply(0, b""),
    "timeout": Reply(-1, b""),
}


@dataclass(slots=True)
class Fake:
    """The fake's state; tests read and turn it directly."""

    public_key: rsa.RSAPublicKey | None = None  # whose assertions are accepted; None: anybody's
    failing: str = ""  # a name of FAILURES: every send fails so
    failing_left: int = -1  # so many times; -1 for ever
    lifetime_s: int = 3600
    latency_s: float = 0.0
    tokens: set[str] = field(default_factory=set)
    sent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=SENT_MAX))
    count: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    clock: SystemClock = field(default_factory=SystemClock)

    def fail(self, spec: str) -> None:
        """Fail all sends: ``name`` for ever, ``name:3`` three times, "" no more."""
        name, _, times = spec.partition(":")
        if name and name not in FAILURES:
            raise ValueError(f"{name!r} is none of {', '.join(FAILURES)}")
        if times and not times.isdecimal():
            raise ValueError(f"{times!r} is no number of times")
        self.failing, self.failing_left = name, int(times) if times else -1

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer one request."""
        if method == "POST" and path == "/token":
            return self._token(body)
        if method == "POST" and (found := _SEND.fullmatch(path)):
            return self._send(found[1], headers, body)
        if path == "/sent":
            if method == "DELETE":
                self.sent.clear()
            return Reply(200, msgspec.json.encode({"count": self.count, "sent": list(self.sent)}))
        if path == "/count":
            return Reply(200, b"%d" % self.count)
        if method == "POST" and path == "/fail":
            try:
                self.fail(body.decode())
            except ValueError as why:
                return Reply(400, msgspec.json.encode({"error": str(why)}))
            return Reply(200, b"{}")
        return FAILURES["html"]

    def _token(self, body: bytes) -> Reply:
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        if not self._assertion_fits(form.get("assertion", "")) or not form.get("grant_type", "").endswith("jwt-bearer"):
            return Reply(400, b'{"error":"invalid_grant"}')
        text = f"fake-{len(self.tokens) + 1}"
        self.tokens.add(text)
        answer = {"access_token": text, "expires_in": self.lifetime_s, "token_type": "Bearer"}
        return Reply(200, msgspec.json.encode(answer))

    def _assertion_fits(self, assertion: str) -> bool:
        signed, _, signature = assertion.rpartition(".")
        if self.public_key is None:
            return bool(signed)
        try:
            raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
            self.public_key.verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _send(self, project: str, headers: dict[str, str], body: bytes) -> Reply:
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return FAILURES["unauthenticated"]
        try:
            asked = msgspec.json.decode(body)
            message, validate_only = asked["message"], asked.get("validate_only", False)
            wrong = _wrong(message)
        except (msgspec.MsgspecError, KeyError, AttributeError, TypeError):
            return FAILURES["invalid-argument"]
        reply = wrong or self._failure(message) or self._taken(project)
        self.count += reply.status == 200
        sent = {"project": project, "message": message, "validate_only": validate_only, "status": reply.status}
        self.sent.append(sent | {"at_ms": self.clock.now_ms()})
        if reply.status == 401:
            self.tokens.clear()
        return reply

    def _taken(self, project: str) -> Reply:
        return Reply(200, b'{"name":"projects/%b/messages/%d"}' % (project.encode(), self.count))

    def _failure(self, message: dict[str, Any]) -> Reply | None:
        if self.failing and self.failing_left:
            self.failing_left -= self.failing_left > 0
            return FAILURES[self.failing]
        target = message.get("token") or message.get("fid") or ""
        found = _TOKEN.match(target)
        if not found or found[1] not in FAILURES:
            return None
        self.tries[target] += 1
        return FAILURES[found[1]] if not found[2] or self.tries[target] <= int(found[2]) else None


def _wrong(message: dict[str, Any]) -> Reply | None:
    """What FCM would refuse about a message."""
    if sum(target in message for target in _TARGETS) != 1:
        return _error(400, "INVALID_ARGUMENT", _fcm("INVALID_ARGUMENT"), _violation("message"))
    data, shown = message.get("data", {}), message.get("notification", {})
    if not all(isinstance(value, str) for value in data.values()) or any(map(_reserved, data)):
        return FAILURES["invalid-argument"]
    texts = [text for part in (data, shown) for pair in part.items() for text in pair]
    return FAILURES["invalid-argument"] if sum(len(text.encode()) for text in texts) > PAYLOAD_BYTES_MAX else None


def _reserved(key: str) -> bool:
    return key in ("from", "message_type", "notification") or key.startswith(("google", "gcm"))


class Answering(Protocol):
    """A fake that `serve_fake` can serve."""

    latency_s: float

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer one request."""
        ...


async def serve_fake(fake: Answering, listener: trio.SocketListener, context: ssl.SSLContext | None = None) -> None:
    """Serve for ever on a listener, under TLS where a context is given."""

    async def connection(stream: trio.SocketStream) -> None:
        wire = Wire(stream)
        secured = SecureWire(wire, context, None) if context else None
        try:
            if secured is not None:
                await secured.shake()
            await _converse(fake, secured or wire)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client left, or never spoke TLS
        finally:
            await trio.aclose_forcefully(wire)

    await trio.serve_listeners(connection, [listener])


async def _converse(fake: Answering, stream: trio.abc.Stream) -> None:
    buffer = bytearray()
    while True:
        while (end := buffer.find(b"\r\n\r\n")) < 0:
            data = await stream.receive_some(65_536)
            if not data or len(buffer) > HEAD_BYTES_MAX:
                return
            buffer += data
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ", 2)
        size = end + 4 + min(int(headers.get("content-length", "0")), BODY_BYTES_MAX)
        while len(buffer) < size:
            data = await stream.receive_some(65_536)
            if not data:
                return
            buffer += data
        reply = fake.reply(method, path, headers, bytes(buffer[end + 4 : size]))
        del buffer[:size]
        if fake.latency_s:
            await trio.sleep(fake.latency_s)
        if reply.status == -1:
            await trio.sleep(NEVER_S)
        if reply.status <= 0:
            return
        head = f"HTTP/1.1 {reply.status} X\r\ncontent-type: {reply.kind}\r\n{reply.headers}"
        await stream.send_all(f"{head}content-length: {len(reply.body)}\r\n\r\n".encode() + reply.body)


def service_account(key: rsa.RSAPrivateKey, base_url: str, project_id: str = "fake-project") -> bytes:
    """A service account file in Google's format that names the fake's token endpoint."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    fields = {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": "fake",
        "private_key": pem.decode(),
        "client_email": f"gateway@{project_id}.iam.gserviceaccount.com",
        "token_uri": f"{base_url}/token",
    }
    return json.dumps(fields, indent=2).encode()
