"""Who the gateway talks to: takos instances with keys and documents, and an FCM that notes what arrives.

Both stand behind plain HTTP on this machine, each in a thread. Written from the protocol pages, not from the gateway.
"""

import base64
import http.server
import json
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.secrecy import secret

Reply = tuple[int, dict[str, str], bytes]


class Handler(http.server.BaseHTTPRequestHandler):
    """Hand every request to the function that the server carries."""

    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status, headers, answer = self.server.reply(self.path, dict(self.headers), body)  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = _serve  # noqa: N815 - names of the standard library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class Site(http.server.ThreadingHTTPServer):
    """An HTTP server on a free port of this machine."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, reply: Callable[[str, dict[str, str], bytes], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = reply
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the gateway was killed: meant

    def close(self) -> None:
        self.shutdown()
        self.server_close()


def now_ms() -> int:
    return int(time.time() * 1000)


def iso(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).replace(microsecond=at_ms % 1000 * 1000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


class Instance:
    """A takos instance: a domain, a P-256 key, and the document that says so."""

    def __init__(self, domain: str, *, folded: bool = False) -> None:
        self.domain, self.folded = domain, folded
        self.fetches = 0
        self.broken: bytes | None = None
        self.rotate()
        self.site = Site(self._reply)

    @property
    def document_url(self) -> str:
        return f"{self.site.url}/.well-known/takos-push.json"

    @property
    def pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def rotate(self) -> None:
        """Take a new key."""
        self.key = ec.generate_private_key(ec.SECP256R1())

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path != "/.well-known/takos-push.json":
            return 404, {}, b"{}"
        self.fetches += 1
        pem = self.pem.replace("\n", "\\n") if self.folded else self.pem
        document = {
            "instance": self.domain,
            "registrationPublicKey": pem,
            "webhook": {"algorithm": "ES256", "publicKey": pem},
        }
        cache = {"Content-Type": "application/json", "Cache-Control": "public, max-age=31536000, immutable"}
        return 200, cache, self.broken or json.dumps(document).encode()

    def sign(self, body: dict[str, Any]) -> str:
        return base64.b64encode(raw_signature(self.key, canonical(body))).decode()

    def registration(self, user: str = "alice", token: str = "fcm-1", **changes: Any) -> dict[str, Any]:
        """An envelope, not signed yet; ``issued_ms`` and ``life_ms`` set its times, None removes a key."""
        issued_ms = changes.pop("issued_ms", now_ms())
        life_ms = changes.pop("life_ms", 300_000)
        body = {
            "action": "register",
            "instance": self.domain,
            "userId": user,
            "token": secret(token) if isinstance(token, str) else token,
            "platform": "web",
            "appId": "",
            "issuedAt": iso(issued_ms),
            "expiresAt": iso(issued_ms + life_ms),
            "nonce": str(uuid.uuid4()),
            **changes,
        }
        return {key: value for key, value in body.items() if value is not None}

    def signed(self, user: str = "alice", token: str = "fcm-1", **changes: Any) -> dict[str, Any]:
        """An envelope with its signature in the body, as real clients send it."""
        body = self.registration(user, token, **changes)
        return {**body, "signature": self.sign(body)}

    def event(self, user: str = "alice", **changes: Any) -> dict[str, Any]:
        """A notification as an instance sends it; ``changes`` are the notification's fields, None removes one."""
        notification = {
            "id": str(uuid.uuid4()),
            "user_id": user,
            "type": "like",
            "actor_id": "bob",
            "ref_type": "post",
            "ref_id": "p1",
            "message": 'Bob さんが "いいね"\n😀',
            "created_at": iso(now_ms()),
            "read": 0,
            "data_json": None,
            **changes,
        }
        kept = {key: value for key, value in notification.items() if value is not None or key == "data_json"}
        return {"instance": self.domain, "userId": user, "notification": kept}


class FCM:
    """FCM HTTP v1 and its token endpoint; a device token that begins with a name of ``FAILURES`` fails so."""

    FAILURES: ClassVar[dict[str, tuple[int, str, str]]] = {
        "unregistered": (404, "NOT_FOUND", "UNREGISTERED"),
        "bare404": (404, "NOT_FOUND", ""),
        "invalid": (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        "busy": (503, "UNAVAILABLE", "UNAVAILABLE"),
        "apns": (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
    }

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.minted = 0
        self.answers = threading.Event()  # cleared: whoever sends waits until it is set
        self.answers.set()
        self.site = Site(self._reply)
        self.rsa = rsa.generate_private_key(65537, 2048)

    def account(self) -> bytes:
        """A service account file in Google's format."""
        pem = self.rsa.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fields = {
            "type": "service_account",
            "project_id": "demo-project",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "client_email": "gateway@demo-project.iam.gserviceaccount.com",
            "token_uri": f"{self.site.url}/token",
        }
        return json.dumps(fields).encode()

    def tokens(self) -> list[str]:
        """The device tokens that were sent to, in order of arrival."""
        return [sent["message"].get("token") or sent["message"]["fid"] for sent in list(self.sent)]

    def _reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path == "/token":
            form = parse_qs(body.decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            assert form["assertion"][0].count(".") == 2
            self.minted += 1
            bearer = secret(f"ya29.{self.minted}-{uuid.uuid4().hex}")
            return 200, {}, json.dumps({"access_token": bearer, "expires_in": 3599}).encode()
        assert path == "/v1/projects/demo-project/messages:send", path
        assert headers.get("Authorization", headers.get("authorization", "")).startswith("Bearer ya29.")
        asked = json.loads(body)
        self.sent.append(asked)
        self.answers.wait()
        return self._judged(asked["message"].get("token") or asked["message"]["fid"])

    def _judged(self, token: str) -> Reply:
        failure = self.FAILURES.get(token.partition("-")[0])
        if failure is None:
            return 200, {}, b'{"name":"projects/demo-project/messages/1"}'
        status, name, code = failure
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        details = [{"@type": kind, "errorCode": code}] if code else []
        error = {"code": status, "message": name, "status": name, "details": details}
        return status, {}, json.dumps({"error": error}).encode()
