"""The way out to Apple without Firebase: HTTP/2, and a provider token signed with the team's key.

Apple's devices are a few of a community's; so this goes by httpx over h2, a library at 1.4 ms of CPU a push, and not by
a client of our own. Invariant: one provider token a key serves for 50 minutes, since Apple refuses newer ones that come
more often than every 20. This module must not know records, nor what a verdict leads to.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import trio

from gateway.config import APNsApp, Config
from gateway.errors import ConfigInvalid, PushRefused
from gateway.limits.ways import APNS_CONNECTIONS_MAX, APNS_TOKEN_S
from gateway.push.apns import headers, judge, payload, provider_token
from gateway.push.content import Content
from gateway.push.es256 import KeyInvalid, PrivateKey, private_key
from gateway.push.fcm import Delivered, Transient, Unauthenticated, Verdict
from gateway.push.manner import Manners
from gateway.push.turns import Delivery
from gateway.serve.clock import Clock
from gateway.serve.delivery.httpclient import client_context
from gateway.serve.delivery.wayout import WayOut

LANE = "@apns:"  # and the app id; no Firebase project has such a name


@dataclass(slots=True)
class _App:
    """One app's key, and the provider token made with it."""

    topic: str
    key_id: str
    team_id: str
    key: PrivateKey
    token: str = ""
    until_s: float = 0.0

    def provider_token(self, now_s: int) -> str:
        """A token that Apple takes."""
        if not self.token or trio.current_time() >= self.until_s:
            self.token = provider_token(self.key, self.key_id, self.team_id, now_s)
            self.until_s = trio.current_time() + APNS_TOKEN_S
        return self.token


class APNs(WayOut):
    """Sends to ``apns`` targets of the configured apps. Raises ConfigInvalid that names the app."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._manners = Manners(config.push)
        self._title, self._clock, self._send_s_max = config.push.title, clock, config.fcm.send_s_max
        self._apps = {name: _app(name, app) for name, app in config.apns.apps.items()}
        try:
            context = client_context(config.apns.ca_file)
        except OSError as why:
            raise ConfigInvalid(f"apns.ca_file: {why}") from None
        context.set_alpn_protocols(["h2"])
        self._client = httpx.AsyncClient(
            base_url=config.apns.base_url,
            verify=context,
            http1=False,
            http2=True,
            timeout=None,  # noqa: S113 - the deadline below holds for all of it
            limits=httpx.Limits(max_connections=APNS_CONNECTIONS_MAX),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
            await self._client.__aexit__()

    def judge(self, app_id: str) -> None:
        """Refuse an app that no key is configured for; raise PushRefused 400."""
        if app_id not in self._apps:
            raise PushRefused(400, "invalid-field", "appId is no app that this gateway sends to APNs for.")

    def knows(self, project: str) -> bool:
        """Whether the lane's app is configured."""
        return project.removeprefix(LANE) in self._apps

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        """Send one push; once more with a new token where that was stale. Cancelled: it may have been delivered."""
        app = self._apps[delivery.project.removeprefix(LANE)]
        if dry_run:  # APNs has no dry run: what can be known without it is that the app has a key
            return Delivered(asked=False)
        verdict = await self._once(app, delivery, content)
        if isinstance(verdict, Unauthenticated):
            verdict = await self._once(app, delivery, content)
        return verdict

    async def _once(self, app: _App, delivery: Delivery, content: Content) -> Verdict:
        now_s = self._clock.now_ms() // 1000
        token = app.provider_token(now_s)
        manner = self._manners.of(content)
        expires_s = now_s + manner.device_ttl_s if manner.device_ttl_s else delivery.expires_ms // 1000
        lines = headers(manner, app.topic, expires_s) | {"authorization": f"bearer {token}"}
        try:
            with trio.fail_after(self._send_s_max):
                answer = await self._client.post(
                    f"/3/device/{delivery.target}", headers=lines, content=payload(content, self._title)
                )
        except trio.TooSlowError:
            return Transient("timeout")
        except httpx.HTTPError:
            return Transient("unreachable")
        verdict = judge(answer.status_code, answer.headers.get("retry-after", ""), answer.content)
        if isinstance(verdict, Unauthenticated) and app.token == token:
            app.token = ""
        return verdict


def _app(name: str, app: APNsApp) -> _App:
    where = f'apns.apps."{name}"'
    if not (app.key_file and app.key_id and app.team_id):
        raise ConfigInvalid(f"{where} needs key_file, key_id and team_id, as Apple's developer pages give them")
    try:
        key = private_key(Path(app.key_file).read_text("ascii"))
    except (OSError, UnicodeError, KeyInvalid) as why:
        raise ConfigInvalid(f"{where}.key_file is not a .p8 file from Apple that can be read: {why}") from None
    return _App(app.topic or name, app.key_id, app.team_id, key)
