"""Devices without Firebase, each with a push service on a real port: a browser, a UnifiedPush phone, an iPhone.

Messages are decrypted here with the key that only their device has, by code that is not the gateway's. This module must
not know the gateway.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli.demo.telling import check
from gateway.push.es256 import private_pem
from gateway.serve.fakes.apns import FakeAPNs, serve_fake_apns, token
from gateway.serve.fakes.certificate import write_certificate
from gateway.serve.fakes.fcm import Reply, serve_fake
from gateway.serve.fakes.webpush import FakePushService, Subscriber

IPHONE_APP = "app.takos.ios"


class Heard:
    """Wakes whoever waits until something that is asked for is there."""

    def __init__(self) -> None:
        self._news = trio.Event()

    def tell(self) -> None:
        """Say that something came."""
        self._news.set()
        self._news = trio.Event()

    async def until(self, holds: Callable[[], object], promise: str, s_max: float) -> None:
        """Wait for it; raises StoryBroken where it has not come within ``s_max`` seconds."""
        with trio.move_on_after(s_max):
            while not holds():
                await self._news.wait()
        check(holds(), promise)


class _PushService(FakePushService):
    """A push service that tells what comes."""

    heard: Heard

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """Answer, and tell."""
        reply = super().reply(method, path, headers, body)
        self.heard.tell()
        return reply


class _Apple(FakeAPNs):
    """An APNs that tells what comes."""

    heard: Heard

    def answer(self, method: str, path: str, version: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Answer, and tell."""
        answer = super().answer(method, path, version, headers, body)
        self.heard.tell()
        return answer


class Browser:
    """A browser, or a UnifiedPush distributor: its push service behind `url`, and one subscription of its own."""

    def __init__(self, name: str = "browser") -> None:
        self._name, self._service = name, _PushService()
        self._service.heard = Heard()
        self._subscriber: Subscriber | None = None

    @property
    def url(self) -> str:
        """The push service's origin."""
        return self._service.url

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the push service on a free port of this machine."""
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._service.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        task_status.started()
        await serve_fake(self._service, listener)

    def subscribe(self, application_server_key: str) -> str:
        """Subscribe with a gateway's key, the only one that may send; give what the page's script would post."""
        self._service.key = application_server_key
        self._subscriber = self._service.subscribe(self._name)
        return self._subscriber.json

    async def message(self, s_max: float) -> dict[str, Any]:
        """Wait for the first message that the page's service worker is given; raises StoryBroken."""
        subscriber = self._subscriber
        assert subscriber
        await self._service.heard.until(
            lambda: self._service.texts(subscriber), f"nothing came to the {self._name}", s_max
        )
        return self._service.texts(subscriber)[0]

    def seen_by_service(self) -> bytes:
        """The last message as the push service saw it."""
        raw: bytes = self._service.sent[-1]["raw"]
        return raw


class IPhone:
    """An iPhone whose app has a key of Apple's: the fake APNs behind `url`, over HTTP/2."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._apple = _Apple(self._key.public_key())
        self._apple.heard = Heard()
        self.url, self.token = "", token("iphone")

    async def serve(self, directory: Path, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the fake APNs on a free port; its certificate and the app's key are written into the directory."""
        cert, key = write_certificate(directory, "fake-apns")
        (directory / "apns.p8").write_text(private_pem(self._key), "ascii")
        async with trio.open_nursery() as nursery:
            self.url = await nursery.start(serve_fake_apns, self._apple, cert, key)
            task_status.started()

    async def alert(self, s_max: float) -> dict[str, Any]:
        """Wait for what the iPhone shows first; raises StoryBroken."""
        await self._apple.heard.until(self._taken, "nothing came to the iPhone", s_max)
        alert: dict[str, Any] = self._taken()[0]["payload"]["aps"]["alert"]
        return alert

    def _taken(self) -> list[dict[str, Any]]:
        return [sent for sent in self._apple.sent if sent["status"] == 200]
