"""Sending to FCM: one connection pool for all projects, one OAuth token a project (push §5).

Invariants: a token is fetched by one task at a time, ahead of its end, and the old one serves while a refresh fails; a
401 mints a new one once; every send has a deadline of at least 10 s and ends as a verdict, whatever the world does.
This module must not know records or what a verdict leads to.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import trio
from cachetools import LRUCache

from gateway.config import FCM, Push
from gateway.errors import ConfigInvalid
from gateway.limits.push import (
    FCM_ANSWER_BYTES_MAX,
    FCM_SEND_S_MIN,
    MESSAGES_MAX,
    TOKEN_AGAIN_S,
    TOKEN_AHEAD_S,
    TOKEN_CONNECTIONS_MAX,
    TOKEN_FAILED_S,
)
from gateway.push.content import Content, fcm
from gateway.push.envelope import Notification
from gateway.push.fcm import Transient, Unauthenticated, Verdict, classify, request_body, shared_part
from gateway.push.manner import Manners
from gateway.push.oauth import Account, AnswerInvalid, Token, account, token_form, token_of
from gateway.push.plan import timed
from gateway.push.turns import Delivery
from gateway.serve.clock import Clock
from gateway.serve.delivery.httpclient import Connection, Overdue, PeerFailed, Pool, client_context
from gateway.serve.delivery.wayout import NotNow, WayOut
from gateway.serve.metrics import Metrics
from gateway.serve.patience import Patience

FORM = (b"content-type", b"application/x-www-form-urlencoded")
JSON = (b"content-type", b"application/json")


class TokenUnavailable(NotNow):
    """The world's: the token endpoint gives no token now."""


class Credentials:
    """One project's OAuth token: cached, refreshed ahead, one refresh in flight."""

    def __init__(self, sender: Account, pool: Pool, clock: Clock, metrics: Metrics) -> None:
        self._sender, self._pool, self._clock, self._asked = sender, pool, clock, metrics.push_oauth
        self._failed_s, self._failure = -TOKEN_FAILED_S, ""
        self._lock = trio.Lock()
        self._token: Token | None = None
        self._ends_s = self._refresh_s = 0.0

    async def bearer(self) -> str:
        """A token that lives; raise TokenUnavailable."""
        now_s = trio.current_time()
        if self._token is not None and now_s < self._refresh_s:
            return self._token.text
        if self._token is not None and now_s < self._ends_s and self._lock.locked():
            return self._token.text  # somebody is refreshing it
        async with self._lock:
            if self._token is None and trio.current_time() < self._failed_s + TOKEN_FAILED_S:
                raise TokenUnavailable(self._failure)  # whoever waited while it failed need not ask again
            if self._token is None or trio.current_time() >= self._refresh_s:
                await self._refresh()
            assert self._token is not None
            return self._token.text

    def refused(self, bearer: str) -> None:
        """Drop a token that was not accepted, unless it was replaced already."""
        if self._token is not None and self._token.text == bearer:
            self._token = None

    async def _refresh(self) -> None:
        form = token_form(self._sender, self._clock.now_ns() // 1_000_000_000)
        path = urlsplit(self._sender.token_uri).path or "/"
        try:
            with trio.fail_after(FCM_SEND_S_MIN):
                answer = await self._pool.post(path, [FORM], form, FCM_ANSWER_BYTES_MAX)
            token = token_of(answer.status, answer.body)
        except (PeerFailed, AnswerInvalid, trio.TooSlowError) as why:
            self._asked.labels("failed").inc()
            if self._token is None or trio.current_time() >= self._ends_s:
                self._token = None
                told = str(why) or "the token endpoint did not answer in time"
                self._failed_s, self._failure = trio.current_time(), f"no OAuth token: {told}"
                raise TokenUnavailable(self._failure) from why
            self._refresh_s = trio.current_time() + TOKEN_AGAIN_S
            return
        self._asked.labels("given").inc()
        now_s = trio.current_time()
        self._token = token
        self._ends_s = now_s + token.lifetime_s
        self._refresh_s = self._ends_s - min(TOKEN_AHEAD_S, token.lifetime_s / 4)


class Project:
    """One Firebase project, ready to be sent to."""

    def __init__(self, sender: Account, credentials: Credentials) -> None:
        self.path = f"/v1/projects/{sender.project_id}/messages:send"
        self.credentials = credentials


def read_accounts(config: FCM) -> dict[str, Account]:
    """Read every project's service account file; raise ConfigInvalid that names the project."""
    accounts = {}
    for name, project in config.projects.items():
        try:
            raw = Path(project.credentials).read_bytes()
            accounts[name] = account(raw, any_token_uri=config.allow_any_token_uri)
        except OSError as why:
            raise ConfigInvalid(f"fcm.projects.{name}.credentials: cannot read the file: {why}") from None
        except ConfigInvalid as why:
            raise ConfigInvalid(f"fcm.projects.{name}.credentials: {why}") from None
    return accounts


class Sender(WayOut):
    """All projects behind one base URL. An async context manager: leaving it closes the connections."""

    def __init__(self, config: FCM, accounts: dict[str, Account], clock: Clock, metrics: Metrics, push: Push) -> None:
        self._manners = Manners(push)
        self._title, self._device_ttl_s, self._clock, self._cut = push.title, push.device_ttl_s, clock, metrics.push_cut
        self._messages: LRUCache[tuple[int, str], bytes] = LRUCache(MESSAGES_MAX)
        try:
            context = client_context(config.ca_file)
        except OSError as why:
            raise ConfigInvalid(f"fcm.ca_file: {why}") from None
        self._patience = Patience(max(config.send_s_max, FCM_SEND_S_MIN), Connection.cut)
        self._pool = Pool(config.base_url, context, config.connections_max, self._patience)
        self._token_pools: dict[str, Pool] = {}
        self._projects: dict[str, Project] = {}
        for name, sender in accounts.items():
            pool = self._token_pools.setdefault(
                sender.token_uri, Pool(sender.token_uri, context, TOKEN_CONNECTIONS_MAX)
            )
            self._projects[name] = Project(sender, Credentials(sender, pool, clock, metrics))
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for pool in (self._pool, *self._token_pools.values()):
            await self._stack.enter_async_context(pool)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(self._patience.run)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def knows(self, project: str) -> bool:
        """Whether this project is configured."""
        return project in self._projects

    async def send(self, delivery: Delivery, content: Content, *, dry_run: bool) -> Verdict:
        """Send one message; raise TokenUnavailable before anything was sent. Cancelled: it may have been delivered."""
        to, target = self._projects[delivery.project], delivery.target
        shared = self._shared(delivery, content)
        body = request_body(delivery.target_kind, target, shared, validate_only=dry_run)
        verdict = await self._once(to, body, target)
        return await self._once(to, body, target) if isinstance(verdict, Unauthenticated) else verdict

    def _shared(self, delivery: Delivery, content: Content) -> bytes:
        """What all devices of a notification are sent, spelled out once."""
        key = (delivery.seq, delivery.target_kind)
        found = self._messages.get(key)
        if found is None:
            manner = self._manners.of(content)
            message = fcm(content, delivery.target_kind, "", self._title, manner)
            message = timed(message, manner.device_ttl_s or self._device_ttl_s, self._clock.now_ms() // 1000)
            found = self._messages[key] = shared_part(message, delivery.target_kind)
            if isinstance(content, Notification) and message["notification"]["body"] != content.message:
                self._cut.inc()
        return found

    async def _once(self, to: Project, body: bytes, target: str) -> Verdict:
        bearer = await to.credentials.bearer()
        headers = [(b"authorization", b"Bearer " + bearer.encode()), JSON]
        try:
            answer = await self._pool.post(self._pool.path + to.path, headers, body, FCM_ANSWER_BYTES_MAX)
        except Overdue:
            return Transient("timeout")
        except PeerFailed:
            return Transient("unreachable")
        retry_after = answer.header(b"retry-after") if answer.status >= 300 else ""
        verdict = classify(answer.status, retry_after, answer.body, target)
        if isinstance(verdict, Unauthenticated):
            to.credentials.refused(bearer)
        return verdict
