"""Requests to addresses that somebody else chose: push endpoints.

Invariants: what is dialled, `gateway.serve.dialling` has judged; no redirects, answers of a bounded size. Plain http
goes only to origins on this machine that the configuration names. A host that fails again and again rests; hosts
that have not yet answered well share a few places, so whoever is slow on purpose holds up nobody.
This module must not know what is sent, nor what an answer means.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import trio
from cachetools import LRUCache

from gateway.errors import PushRefused
from gateway.limits.push import FCM_CONNECT_S_MAX, FCM_IDLE_S_MAX
from gateway.limits.ways import (
    ENDPOINT_ANSWER_BYTES_MAX,
    HOST_FAILURES_MAX,
    HOST_REST_S_MAX,
    HOST_REST_S_MIN,
    HOSTS_KEPT_MAX,
    IDLE_CONNECTIONS_MAX,
    STRANGER_WAIT_S,
    STRANGERS_MAX,
)
from gateway.push.subscription import Endpoint, judge_address
from gateway.serve.delivery.httpclient import Answer, Connection, Headers, PeerFailed
from gateway.serve.dialling import Dial, NotPublic, Resolve, connected, dialler, resolver

# The push services of the browsers: no strangers from the first send on, until they fail like any other.
FAMILIAR = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    ".notify.windows.com",
    ".push.apple.com",
)


class Resting(Exception):
    """The host failed so often that nothing is sent to it for now; the text says for how many seconds."""

    def __init__(self, rest_s: float) -> None:
        super().__init__(str(math.ceil(rest_s)))


class Crowded(Exception):
    """All places for hosts that have not answered well yet are taken."""


@dataclass(slots=True)
class _Host:
    """What is known of one host."""

    familiar: bool = False
    failures: int = 0
    rests_until_s: float = 0.0


class Egress:
    """Keep-alive connections to any number of origins. An async context manager: leaving it closes them."""

    def __init__(
        self, local_origins: Sequence[str] = (), lookup: Resolve | None = None, dial: Dial | None = None
    ) -> None:
        self._local, self._resolve, self._dial = frozenset(local_origins), lookup or resolver(), dial or dialler()
        self._hosts: LRUCache[str, _Host] = LRUCache(HOSTS_KEPT_MAX)
        self._strangers = trio.Semaphore(STRANGERS_MAX)
        self._idle: deque[tuple[str, Connection]] = deque()  # (origin, connection), the longest unused first

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with trio.CancelScope(shield=True):  # closing forcefully does not wait
            while self._idle:
                await self._idle.pop()[1].aclose()

    def judge(self, to: Endpoint) -> None:
        """Refuse an endpoint that may not be sent to, before any look-up; raise PushRefused."""
        judge_address(to, self._local)

    async def post(self, to: Endpoint, headers: Headers, body: bytes) -> Answer:
        """Post under the caller's deadline; raise PeerFailed, PushRefused, Resting or Crowded.

        Cancelled, or PeerFailed: it may have been taken all the same.
        """
        self.judge(to)
        host = self._known(to)
        rest_s = host.rests_until_s - trio.current_time()
        if rest_s > 0:
            raise Resting(rest_s)
        if host.familiar:
            return await self._judged(to, host, headers, body)
        await self._enter()
        try:
            return await self._judged(to, host, headers, body)
        finally:
            self._strangers.release()

    async def _enter(self) -> None:
        """Take one of the strangers' places; raise Crowded."""
        with trio.move_on_after(STRANGER_WAIT_S) as wait:
            await self._strangers.acquire()
        if wait.cancelled_caught:
            raise Crowded

    def _known(self, to: Endpoint) -> _Host:
        found = self._hosts.get(to.origin)
        if found is None:
            familiar = any(to.host == name or (name[0] == "." and to.host.endswith(name)) for name in FAMILIAR)
            found = self._hosts[to.origin] = _Host(familiar)
        return found

    async def _judged(self, to: Endpoint, host: _Host, headers: Headers, body: bytes) -> Answer:
        """Exchange, and keep in mind how the host behaves; a cancelled exchange is one that took too long."""
        answered = False
        try:
            answer = await self._either(to, headers, body)
            answered = answer.status < 500
        finally:
            host.failures = 0 if answered else host.failures + 1
            host.familiar = answered or (host.familiar and host.failures < HOST_FAILURES_MAX)
            if host.failures >= HOST_FAILURES_MAX:
                rest_s = HOST_REST_S_MIN * 2 ** (host.failures - HOST_FAILURES_MAX)
                host.rests_until_s = trio.current_time() + min(rest_s, HOST_REST_S_MAX)
        return answer

    async def _either(self, to: Endpoint, headers: Headers, body: bytes) -> Answer:
        used = await self._used(to.origin)
        if used is not None:
            try:
                return await self._exchange(used, to, headers, body)
            except PeerFailed as why:
                if why.answer_begun:
                    raise
        return await self._exchange(await self._fresh(to), to, headers, body)

    async def _exchange(self, connection: Connection, to: Endpoint, headers: Headers, body: bytes) -> Answer:
        authority = to.origin.partition("//")[2].encode()
        whole = [(b"host", authority), *headers, (b"content-length", b"%d" % len(body))]
        try:
            answer = await connection.exchange("POST", to.path, whole, body, ENDPOINT_ANSWER_BYTES_MAX)
        except BaseException:
            await connection.aclose()
            raise
        if connection.reusable:
            connection.idle_since = trio.current_time()
            self._idle.append((to.origin, connection))
            if len(self._idle) > IDLE_CONNECTIONS_MAX:
                await self._idle.popleft()[1].aclose()
        else:
            await connection.aclose()
        return answer

    async def _used(self, origin: str) -> Connection | None:
        oldest_s = trio.current_time() - FCM_IDLE_S_MAX
        while self._idle and self._idle[0][1].idle_since < oldest_s:
            await self._idle.popleft()[1].aclose()
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == origin:
                found = self._idle[index][1]
                del self._idle[index]
                return found
        return None

    async def _fresh(self, to: Endpoint) -> Connection:
        try:
            with trio.fail_after(FCM_CONNECT_S_MAX):
                return Connection(await self._stream(to))
        except (OSError, trio.TooSlowError) as why:
            raise PeerFailed("could not be reached") from why

    async def _stream(self, to: Endpoint) -> trio.abc.Stream:
        if to.origin in self._local:
            return await trio.open_tcp_stream(to.host, to.port)
        try:
            return await connected(to.host, self._resolve, self._dial)
        except NotPublic:
            sentence = "token names a host that has no address, or one that is not public."
            raise PushRefused(400, "invalid-field", sentence) from None
