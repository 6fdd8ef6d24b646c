"""A phone, as far as Google lets anyone see it: the fake FCM on a real port, and what it has handed over.

A notification has arrived when the fake answered its send with 200; one that it never answered is held, not arrived.
This module must not know the gateway.
"""

from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.cli.demo.telling import check
from gateway.serve.fakes.fcm import Fake, Reply, serve_fake, service_account


class Watched(Fake):
    """A fake that wakes whoever waits for its next answer."""

    def __init__(self, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(public_key=public_key)
        self.news = trio.Event()

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer, and tell."""
        reply = super().reply(method, path, headers, body)
        self.news.set()
        self.news = trio.Event()
        return reply


class Phone:
    """The phones behind one fake FCM."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._fake = Watched(self._key.public_key())
        self.url = ""

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the fake FCM at `url`, on a free port of this machine."""
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        task_status.started()
        await serve_fake(self._fake, listener)

    def write_credentials(self, path: Path) -> None:
        """Write the service account file that the gateway is to use."""
        path.write_bytes(service_account(self._key, self.url, "heliograph-demo"))

    def fall_silent(self) -> None:
        """Take requests and never answer."""
        self._fake.fail("timeout")

    def answer_again(self) -> None:
        """Answer what comes from now on; what was held stays unanswered."""
        self._fake.fail("")

    @property
    def held(self) -> int:
        """How many sends were never answered."""
        return sum(send["status"] == -1 for send in self._fake.sent)

    def arrivals(self, notification_id: str) -> int:
        """How often a notification has arrived."""
        return len(self._arrived(notification_id))

    def _arrived(self, notification_id: str) -> list[dict[str, Any]]:
        taken = [send["message"] for send in self._fake.sent if send["status"] == 200]
        return [message for message in taken if message["data"].get("notification_id") == notification_id]

    async def message(self, notification_id: str, s_max: float) -> dict[str, Any]:
        """Wait for a notification to arrive; raises StoryBroken when it has not within ``s_max`` seconds."""
        with trio.move_on_after(s_max):
            while not self.arrivals(notification_id):
                await self._fake.news.wait()
        check(self.arrivals(notification_id), f"a notification that was accepted did not arrive within {s_max:.0f} s")
        return self._arrived(notification_id)[0]
