"""The way out to browsers and UnifiedPush distributors: Web Push, signed with our VAPID key.

Invariants: each message is encrypted with a key and a salt of its own; a push service sees no text (but of a
UnifiedPush endpoint that was registered without keys); a message that a service finds too large is tried once more,
shorter. The VAPID key is made at first start and is what browsers subscribe to, so losing it loses every subscription:
back it up with the other keys. This module must not know records, nor what a verdict leads to.
"""

from pathlib import Path
from typing import Self

import msgspec
import trio
from cachetools import LRUCache
from cryptography.hazmat.primitives.asymmetric import ec
from quart import Response
from quart_trio import QuartTrio

from gateway.config import Config
from gateway.errors import ConfigInvalid, PushRefused, Unavailable
from gateway.limits.ways import AUDIENCES_MAX, VAPID_AGAIN_S
from gateway.push import vapid
from gateway.push.content import Content
from gateway.push.fcm import Delivered, Failed, Transient, Verdict
from gateway.push.manner import Manners
from gateway.push.subscription import Subscription, endpoint, subscription
from gateway.push.turns import Delivery
from gateway.push.webpush import SALT_BYTES, TEXT_BYTES_MAX, encrypt, headers, judge, text_of
from gateway.serve.clock import Clock
from gateway.serve.delivery.egress import Crowded, Egress, Resting
from gateway.serve.delivery.httpclient import Answer, PeerFailed
from gateway.serve.delivery.wayout import WayOut
from gateway.serve.keys import KEY_BYTES, stored_key

LANE = "@webpush"  # no Firebase project has such a name
SHORT_BYTES = 1_024
TOO_LARGE = 413
CORS = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=300"}


class WebPush(WayOut):
    """Sends to ``webpush`` and ``unifiedpush`` targets; `routes` adds the page that tells the public key."""

    def __init__(self, config: Config, clock: Clock, egress: Egress | None = None) -> None:
        self._title, self._clock, self._send_s_max = config.push.title, clock, config.fcm.send_s_max
        self._manners = Manners(config.push)
        self._contact = config.webpush.contact or _https(config.server.public_url)
        self._key = _vapid_key(config, clock)
        for origin in config.webpush.local_origins:
            judge_local(origin)
        self._egress = egress or Egress(config.webpush.local_origins)
        self._authorizations: LRUCache[str, tuple[bytes, float]] = LRUCache(AUDIENCES_MAX)

    async def __aenter__(self) -> Self:
        await self._egress.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):  # closing forcefully does not wait
            await self._egress.__aexit__()

    @property
    def public_key(self) -> str:
        """What browsers pass to ``pushManager.subscribe`` as ``applicationServerKey``."""
        return vapid.application_server_key(self._key)

    def routes(self, app: QuartTrio) -> None:
        """Add ``GET /push/vapid``."""
        body = msgspec.json.encode({"publicKey": self.public_key})

        async def view() -> Response:
            return Response(body, content_type="application/json", headers=CORS)

        app.add_url_rule("/push/vapid", "push_vapid", view, methods=["GET"])

    def judge(self, target: str) -> None:
        """Refuse an endpoint that is not on the public web; raise PushRefused 400."""
        self._egress.judge(subscription(target).endpoint)

    def knows(self, project: str) -> bool:
        """There is one lane for all: hosts have brakes of their own, since anybody chooses them."""
        return project == LANE

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        """Send one message. Cancelled: it may have been delivered."""
        try:
            to = subscription(delivery.target)
            self._egress.judge(to.endpoint)
        except PushRefused:
            return Failed("endpoint-refused")
        if dry_run:
            return Delivered(asked=False)
        try:
            with trio.fail_after(self._send_s_max):
                answer = await self._post(delivery, content, to, TEXT_BYTES_MAX)
                if answer.status == TOO_LARGE:
                    answer = await self._post(delivery, content, to, SHORT_BYTES)
        except trio.TooSlowError:
            return Transient("timeout", scope="device")
        except Resting as resting:
            return Transient("resting", str(resting), scope="device")
        except Crowded:
            return Transient("crowded", scope="device")
        except PushRefused:
            return Failed("endpoint-refused")
        except PeerFailed:
            return Transient("unreachable", scope="device")
        return judge(answer.status, answer.header(b"retry-after"))

    async def _post(self, delivery: Delivery, content: Content, to: Subscription, bytes_max: int) -> Answer:
        text = text_of(content, self._title, delivery.target_kind, bytes_max)
        ttl_s = (delivery.expires_ms - self._clock.now_ms()) // 1000
        lines = headers(self._manners.of(content), ttl_s, is_encrypted=bool(to.p256dh))
        lines.append((b"authorization", self._authorization(to.endpoint.origin)))
        if to.p256dh:
            ours = vapid.private_key(self._clock.random_bytes(KEY_BYTES))
            text = encrypt(text, to, ours, self._clock.random_bytes(SALT_BYTES))
        return await self._egress.post(to.endpoint, lines, text)

    def _authorization(self, origin: str) -> bytes:
        found = self._authorizations.get(origin)
        if found is not None and trio.current_time() < found[1]:
            return found[0]
        made = vapid.authorization(self._key, origin, self._clock.now_ms() // 1000, self._contact).encode()
        self._authorizations[origin] = (made, trio.current_time() + VAPID_AGAIN_S)
        return made


def judge_local(origin: str) -> None:
    """Refuse what is not a plain-http origin on this machine; raise ConfigInvalid."""
    try:
        read = endpoint(origin)
    except PushRefused:
        read = None
    if read is None or read.scheme != "http" or read.host not in ("127.0.0.1", "localhost") or read.origin != origin:
        raise ConfigInvalid(f"webpush.local_origins: expected http://127.0.0.1:PORT, got {origin!r}")


def _https(url: str) -> str:
    return url if url.startswith("https://") else ""


def _vapid_key(config: Config, clock: Clock) -> ec.EllipticCurvePrivateKey:
    """The operator's key or our own, as 64 hex digits in a file; raise Unavailable."""
    path = Path(config.webpush.key_file) if config.webpush.key_file else Path(config.data) / "keys" / "vapid.key"
    text = stored_key(path.parent, path.name, clock)
    try:
        scalar = bytes.fromhex(text)
    except ValueError:
        scalar = b""
    if len(scalar) != KEY_BYTES:
        raise Unavailable(f"the key {path} is not {2 * KEY_BYTES} hex digits")
    return vapid.private_key(scalar)
