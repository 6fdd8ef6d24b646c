"""Instances' documents: fetched over a path that a stranger's choice of name cannot bend, and cached (push §1).

Invariants: what is dialled, `gateway.serve.dialling` has judged; no redirects, 16 KiB, 5 s in all. One fetch in flight
per domain; failures are remembered; a name without a good document so far is on a budget, for each try; few are fetched
at once, and strangers apart from those whose documents were good. The one exception, a plain-http address on this
machine, comes from the configuration alone.
This module must not know what a document means (`gateway.push.wellknown`) or what is signed.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import trio
from cachetools import LRUCache

from gateway.errors import PushRefused
from gateway.limits.push import (
    FIRST_FETCHES_PER_ADDRESS,
    RATE_KEYS_MAX,
    WELLKNOWN_BYTES_MAX,
    WELLKNOWN_DOMAINS_MAX,
    WELLKNOWN_FAILED_S,
    WELLKNOWN_FRESH_S,
    WELLKNOWN_REFETCH_S,
    WELLKNOWN_S_MAX,
    WELLKNOWN_STALE_S,
)
from gateway.limits.tenants import (
    WELLKNOWN_BUSY_S,
    WELLKNOWN_FETCHES_MAX,
    WELLKNOWN_STRANGERS_MAX,
    WELLKNOWN_WAIT_S,
)
from gateway.push.address import source_of
from gateway.push.bucket import Buckets
from gateway.push.tenant import Signer
from gateway.push.wellknown import PATH, WellKnown, judge
from gateway.serve.delivery.httpclient import Answer, Connection, PeerFailed
from gateway.serve.dialling import Dial, NotPublic, Resolve, connected, dialler, resolver
from gateway.serve.inflight import Inflight
from gateway.serve.push.lastgood import LastGood

Fetch = Callable[[Signer], Awaitable[bytes]]


def unreachable(why: str) -> PushRefused:
    """502 for a document that could not be had; ``why`` must name no address."""
    return PushRefused(502, "well-known-unreachable", f"The instance's takos-push.json cannot be fetched: {why}.")


class Withdrawn(PushRefused):
    """The instance's own server says that there is no document: an answer, where a failure is none."""


class Fetcher:
    """Fetches one document, for a stranger's sake or from this machine."""

    def __init__(self, resolve: Resolve | None = None, dial: Dial | None = None) -> None:
        self._resolve, self._dial = resolve or resolver(), dial or dialler()

    async def __call__(self, signer: Signer) -> bytes:
        """Fetch a signer's document within 5 s; raise PushRefused 502 ``well-known-unreachable``."""
        try:
            with trio.fail_after(WELLKNOWN_S_MAX):
                answer = await (self._local(signer.url) if signer.url else self._public(signer.domain))
        except trio.TooSlowError:
            raise unreachable(f"it took more than {WELLKNOWN_S_MAX:.0f} seconds") from None
        except PeerFailed as why:
            raise unreachable(f"the server {why}") from None
        except NotPublic:
            raise unreachable("the name has no address, or one that is not public") from None
        except OSError:
            raise unreachable("the name or its server cannot be reached") from None
        return _document(answer)

    async def _public(self, domain: str) -> Answer:
        return await _get(await connected(domain, self._resolve, self._dial), domain, PATH)

    async def _local(self, url: str) -> Answer:
        parts = urlsplit(url)
        stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
        return await _get(stream, parts.netloc, parts.path or "/")


async def _get(stream: trio.abc.Stream, host: str, path: str) -> Answer:
    connection = Connection(stream)
    headers = [
        (b"host", host.encode()),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"connection", b"close"),
        (b"user-agent", b"heliograph"),
    ]
    try:
        return await connection.exchange("GET", path, headers, b"", WELLKNOWN_BYTES_MAX)
    finally:
        await connection.aclose()


def _document(answer: Answer) -> bytes:
    if answer.status != 200:
        moved = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
        why = unreachable(f"the server answered {answer.status}{moved}")
        raise Withdrawn(why.status, why.code, why.sentence) if answer.status in (404, 410) else why
    if answer.header(b"content-encoding").strip().lower() not in ("", "identity"):
        raise unreachable("the server answered an encoded body")
    return answer.body


@dataclass(slots=True)
class _Entry:
    """What is known of one domain; times by trio's clock."""

    keys: WellKnown | None = None
    fetched_s: float = -math.inf
    failure: PushRefused | None = None
    again_s: float = -math.inf  # the failure is remembered until then
    refetched_s: float = -math.inf
    is_known: bool = False  # whether there ever was a good document
    is_withdrawn: bool = False  # whether the server has said, since, that there is none
    used_s: float = -math.inf  # when the document was fetched that last verified a request,
    kept_s: float = -math.inf  # and the one that was last handed on to be kept
    is_configured: bool = False


class Documents:
    """Every instance's keys: pinned, cached or fetched."""

    def __init__(self, fetch: Fetch, first_fetches_per_minute: int, last_good: LastGood | None = None) -> None:
        self._fetch, self._last_good = fetch, last_good
        self._entries: LRUCache[str, _Entry] = LRUCache(WELLKNOWN_DOMAINS_MAX)
        self._inflight = Inflight()
        self._per_all = Buckets(first_fetches_per_minute / 60, first_fetches_per_minute, 1)
        self._per_source = Buckets(FIRST_FETCHES_PER_ADDRESS / 60, FIRST_FETCHES_PER_ADDRESS, RATE_KEYS_MAX)
        self._strangers = trio.Semaphore(WELLKNOWN_STRANGERS_MAX)
        self._known = trio.Semaphore(WELLKNOWN_FETCHES_MAX)

    async def keys(self, signer: Signer, source: str) -> WellKnown:
        """An instance's keys, at most 300 s old if they can be had; raise PushRefused 429 or 502.

        ``source`` is the address that asks: unknown names are on its budget.
        """
        if signer.keys is not None:
            return signer.keys
        entry = self._entries.get(signer.domain) or self._recalled(signer.domain)
        if entry is not None and (found := _current(entry)):
            return found
        async with self._inflight.hold(("document", signer.domain)):
            entry = self._entries.get(signer.domain)
            if entry is not None and (found := _current(entry)):
                return found  # somebody fetched it while we waited
            if entry is None or not entry.is_known:
                self._spend(signer, source)
            if entry is None:
                entry = self._entries[signer.domain] = _Entry()
            await self._refresh(entry, signer)
            return _usable(entry)

    async def refetched(self, signer: Signer, used: WellKnown) -> WellKnown | None:
        """After a signature failed against ``used``: newer keys, fetched at most once in 30 s, or None."""
        entry = self._entries.get(signer.domain)
        if signer.keys is not None or entry is None:
            return None
        async with self._inflight.hold(("document", signer.domain)):
            if entry.keys is used and trio.current_time() - max(entry.refetched_s, entry.fetched_s) >= _cooldown(entry):
                entry.refetched_s = trio.current_time()
                await self._refresh(entry, signer)
            return entry.keys if entry.keys is not used else None

    def used(self, signer: Signer, keys: WellKnown) -> None:
        """Hear that keys have verified a request: from then on `keep` may keep them."""
        entry = self._entries.get(signer.domain)
        if entry is not None and entry.keys is keys:
            entry.used_s, entry.is_configured = entry.fetched_s, signer.configured

    def keep(self, domain: str) -> None:
        """Keep a document over a restart, if it was fetched and used since that was last done: once a fetch."""
        entry = self._entries.get(domain)
        if self._last_good is None or entry is None or entry.keys is None:
            return
        if entry.kept_s < entry.used_s == entry.fetched_s:
            age_s = trio.current_time() - entry.fetched_s
            if self._last_good.keep(domain, entry.keys, age_s, configured=entry.is_configured):
                entry.kept_s = entry.fetched_s

    def _recalled(self, domain: str) -> _Entry | None:
        """What is known of a domain from before this run, or from before it was forgotten here."""
        found = None if self._last_good is None else self._last_good.recall(domain)
        if found is None:
            return None
        fetched_s = trio.current_time() - found.age_s
        made = _Entry(found.keys, fetched_s, is_known=True, is_withdrawn=found.is_withdrawn, kept_s=fetched_s)
        self._entries[domain] = made
        return made

    def _spend(self, signer: Signer, source: str) -> None:
        if signer.configured:
            return
        now_s = trio.current_time()
        wait_s = self._per_source.take(source_of(source), now_s) or self._per_all.take("all", now_s)
        if wait_s:
            sentence = "Too many unknown instances are being looked up; try again later."
            raise PushRefused(429, "rate-limited", sentence, math.ceil(wait_s))

    async def _refresh(self, entry: _Entry, signer: Signer) -> None:
        try:
            body = await self._fetched(entry, signer)
        except PushRefused as refused:
            if isinstance(refused, Withdrawn):
                entry.is_withdrawn = True
                self._taken_back(signer, "gone")
            entry.failure = refused
            entry.again_s = trio.current_time() + (refused.retry_after_s or WELLKNOWN_FAILED_S)
            return
        entry.fetched_s = trio.current_time()
        try:
            entry.keys, entry.failure = judge(body, signer.domain), None
            entry.is_known, entry.is_withdrawn = True, False
        except PushRefused as refused:
            # It was fetched and holds no valid key: whatever we had is revoked by that.
            entry.keys, entry.failure, entry.again_s = None, refused, entry.fetched_s + WELLKNOWN_FAILED_S
            self._taken_back(signer, "invalid")

    def _taken_back(self, signer: Signer, reason: str) -> None:
        if self._last_good is not None:
            self._last_good.revoke(signer.domain, reason)

    async def _fetched(self, entry: _Entry, signer: Signer) -> bytes:
        places = self._known if entry.is_known or signer.configured else self._strangers
        try:
            with trio.fail_after(WELLKNOWN_WAIT_S):
                await places.acquire()
        except trio.TooSlowError:
            sentence = "Too many instances are being looked up; try again later."
            raise PushRefused(429, "rate-limited", sentence, WELLKNOWN_BUSY_S) from None
        try:
            return await self._fetch(signer)
        finally:
            places.release()

    def standing(self, domain: str) -> dict[str, object]:
        """Say for an operator how an instance's document stands; nothing where it was not asked for so far."""
        entry = self._entries.get(domain) or self._recalled(domain)
        if entry is None:
            return {"state": "not fetched yet"}
        now_s = trio.current_time()
        is_fresh = entry.keys is not None and now_s - entry.fetched_s < WELLKNOWN_FRESH_S
        state = "good" if entry.failure is None else "failing" if entry.keys is None else "failing, the last one serves"
        told: dict[str, object] = {"state": state, "fresh": is_fresh}
        if entry.keys is not None:
            told["age_s"] = round(now_s - entry.fetched_s)
        if entry.failure is not None:
            told |= {"code": entry.failure.code, "error": entry.failure.sentence}
        return told


def _cooldown(entry: _Entry) -> float:
    # The first failing signature re-fetches at once, even right after the first fetch: a key may just have rotated.
    return WELLKNOWN_REFETCH_S if entry.refetched_s > -math.inf else 0.0


def _current(entry: _Entry) -> WellKnown | None:
    """The keys that serve without a fetch: fresh ones, or old ones while a failure is remembered."""
    now_s = trio.current_time()
    if entry.keys is not None and now_s - entry.fetched_s < WELLKNOWN_FRESH_S:
        return entry.keys
    return _usable(entry) if now_s < entry.again_s else None


def _usable(entry: _Entry) -> WellKnown:
    """The last good keys, if they are not too old, or revoked; raise the failure otherwise."""
    age_s_max = WELLKNOWN_FRESH_S if entry.is_withdrawn else WELLKNOWN_STALE_S
    if entry.keys is not None and trio.current_time() - entry.fetched_s < age_s_max:
        return entry.keys
    failure = entry.failure
    assert failure is not None
    # A fresh one for each request: a shared exception would gather all their tracebacks.
    raise PushRefused(failure.status, failure.code, failure.sentence, failure.retry_after_s)
