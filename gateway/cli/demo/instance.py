"""A takos instance on this machine: its own P-256 key, its document behind a real port, and the requests it signs.

It stands outside the gateway: what it sends is what a real instance sends. This module must not know the server.
"""

import json
import time
import uuid
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.push import es256
from gateway.push.canonical import canonical
from gateway.push.instant import instant_text
from gateway.push.wellknown import document

HEAD_BYTES_MAX = 8192
HEAD_S_MAX = 5.0
ENVELOPE_MS = 300_000  # what takos clients use


class Instance:
    """One instance, by its domain."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.document = json.dumps(document(domain, self._key.public_key())).encode()
        self.url = ""

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the document at `url`, on a free port of this machine."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/.well-known/takos-push.json"
        task_status.started()
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        head += f"Content-Length: {len(self.document)}\r\n\r\n".encode()
        asked = b""
        try:
            with trio.move_on_after(HEAD_S_MAX):
                while b"\r\n\r\n" not in asked and len(asked) < HEAD_BYTES_MAX:
                    more = await stream.receive_some()
                    if not more:
                        return
                    asked += more
                await stream.send_all(head + self.document)
        except trio.BrokenResourceError:
            return  # the fetcher is gone: nobody is left to answer
        finally:
            await trio.aclose_forcefully(stream)

    def signature(self, body: dict[str, Any]) -> str:
        """Sign the canonical JSON of a body."""
        return es256.sign(self._key, canonical(body))

    def registration(self, user: str, token: str, action: str = "register", **changes: str) -> dict[str, Any]:
        """A signed envelope that registers (or deregisters) a user's device; ``changes`` are to its fields."""
        now_ms = time.time_ns() // 1_000_000
        body = {
            "action": action,
            "instance": self.domain,
            "userId": user,
            "token": token,
            "platform": "android" if action == "register" else "",
            "appId": "app.takos" if action == "register" else "",
            "issuedAt": instant_text(now_ms),
            "expiresAt": instant_text(now_ms + ENVELOPE_MS),
            "nonce": str(uuid.uuid4()),
            **changes,
        }
        return {**body, "signature": self.signature(body)}

    def notification(self, user: str, message: str) -> tuple[dict[str, Any], dict[str, str]]:
        """An event for a user's devices, and the header that signs it."""
        body = {
            "instance": self.domain,
            "userId": user,
            "notification": {
                "id": str(uuid.uuid4()),
                "user_id": user,
                "type": "like",
                "actor_id": "bob",
                "ref_type": "post",
                "ref_id": "p1",
                "message": message,
                "created_at": instant_text(time.time_ns() // 1_000_000),
                "read": 0,
                "data_json": None,
            },
        }
        return body, {"X-Push-Signature": self.signature(body)}
