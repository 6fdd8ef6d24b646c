"""Tenants: what each may use, decided request by request, and what each has used, told to itself and to the operator.

    a request ─▶ rate ─▶ (verified) ─▶ devices | notifications by the minute and by the day ─▶ recorded
Invariants: a limit that the operator set is not passed by requests that are under way at once; a repeat costs nothing;
a report tells a tenant of itself alone, and each signed inquiry is answered once.
This module must not know signatures, or how anything is delivered.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio
from cachetools import LRUCache

from eventlog.errors import Absent
from gateway.errors import PushRefused
from gateway.facts import Removed, fact_of
from gateway.limits.push import RATE_KEYS_MAX
from gateway.limits.tenants import FULL_RETRY_S, INQUIRIES_PER_MINUTE, INQUIRY_NONCES_MAX, TENANTS_SHOWN_MAX
from gateway.push.bucket import Buckets, Rates
from gateway.push.envelope import Registration
from gateway.push.inquiry import Inquiry
from gateway.push.instant import DAY_MS, instant_text
from gateway.push.matrix import is_matrix
from gateway.push.quota import Quota
from gateway.push.target import identity
from gateway.push.tenant import Directory, Signer
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView
from gateway.views.pushkeys import PushkeysView
from gateway.views.usage import UsageView


def limited(sentence: str, wait_s: float) -> PushRefused:
    """429 with Retry-After, in whole seconds."""
    return PushRefused(429, "rate-limited", sentence, max(1, math.ceil(wait_s)))


def _who(tenant: str) -> str:
    return "This app" if is_matrix(tenant) else "This instance"


class Tenancy:
    """The limits and the figures of all tenants."""

    def __init__(self, clock: Clock, ledger: Ledger, directory: Directory) -> None:
        self._clock, self._ledger, self._directory = clock, ledger, directory
        self._devices, self._pushkeys = ledger.view(DevicesView), ledger.view(PushkeysView)
        self._outbox, self._usage = ledger.view(OutboxView), ledger.view(UsageView)
        self._requests, self._notifications = Rates(RATE_KEYS_MAX), Rates(RATE_KEYS_MAX)
        self._admitted: LRUCache[tuple[str, int], int] = LRUCache(RATE_KEYS_MAX)  # by tenant and day, in this run
        self._enrolling: Counter[str] = Counter()  # new devices under way
        self._inquiries = Buckets(INQUIRIES_PER_MINUTE / 60, INQUIRIES_PER_MINUTE, RATE_KEYS_MAX)
        self._nonces: dict[tuple[str, str], int] = {}  # -> when the inquiry expires
        self._began_ms = clock.now_ms()

    # -- limits -------------------------------------------------------------------------------------------------------

    def quota(self, tenant: str) -> Quota:
        """What a tenant may use."""
        return self._directory.quota(tenant)

    def reconfigure(self, directory: Directory) -> None:
        """Go by another configuration from now on; what was used so far counts on."""
        self._directory = directory

    def admit_request(self, signer: Signer) -> None:
        """Count a request that names an instance, before any fetch or signature work; raise PushRefused 429."""
        self._admit(signer.domain, self.quota(signer.tenant))

    def admit_app_request(self, tenant: str) -> None:
        """Count a request of the Matrix door that names an app; raise PushRefused 429."""
        self._admit(tenant, self.quota(tenant))

    def _admit(self, name: str, quota: Quota) -> None:
        wait_s = self._requests.take(name, quota.requests_per_minute, trio.current_time())
        if wait_s:
            raise limited("Too many requests; try again later.", wait_s)

    @contextmanager
    def enrolling(self, envelope: Registration, tenant: str) -> Iterator[None]:
        """Hold a place for a device while its record is made; raise PushRefused 429 where there is none."""
        new = self._adds_one(envelope, tenant)
        with self._place(tenant, self._devices.held(tenant), new=new):
            yield

    @contextmanager
    def notifying(self, tenant: str, pushkey: str) -> Iterator[None]:
        """Hold a place for a Matrix pushkey while its notification is recorded, as `enrolling` does for a device."""
        with self._place(tenant, self._pushkeys.held(tenant), new=not self._pushkeys.holds(tenant, pushkey)):
            yield

    @contextmanager
    def _place(self, tenant: str, held: int, *, new: bool) -> Iterator[None]:
        most = self.quota(tenant).devices_max
        if new and held + self._enrolling[tenant] >= most:
            raise limited(f"{_who(tenant)} has as many devices registered as it may ({most}).", FULL_RETRY_S)
        self._enrolling[tenant] += new
        try:
            yield
        finally:
            self._enrolling[tenant] -= new
            if not self._enrolling[tenant]:
                del self._enrolling[tenant]

    def _adds_one(self, envelope: Registration, tenant: str) -> bool:
        if envelope.action != "register":
            return False
        target = identity(envelope.target_kind, envelope.target)
        if self._devices.holder(tenant, envelope.target_kind, target) is not None:
            return False
        if self._devices.superseded(tenant, envelope.target_kind, target, envelope.issued_ms):
            return False
        # Whoever has all the devices that a user may have gives one away for each new one.
        return self._devices.held_by(tenant, envelope.user) < self.quota(tenant).devices_per_user_max

    def admit_notification(self, tenant: str, deliveries: int) -> None:
        """Count a new, verified notification; raise PushRefused 429 where the queue or a quota is full."""
        quota, now_ms = self.quota(tenant), self._clock.now_ms()
        if self._outbox.queued(tenant) + deliveries > quota.queued_max:
            raise limited(
                f"Too many notifications are waiting; {_who(tenant).lower()} may have {quota.queued_max}.", 30
            )
        key = (tenant, now_ms // DAY_MS)
        # What this run admitted may not be in the view yet; what earlier ones did is in the view alone.
        admitted = max(self._usage.accepted_on(*key), self._admitted.get(key, 0)) if quota.notifications_per_day else 0
        if admitted >= (quota.notifications_per_day or math.inf):
            sentence = f"{_who(tenant)} has sent all {quota.notifications_per_day} notifications of today (UTC)."
            raise limited(sentence, (DAY_MS - now_ms % DAY_MS) / 1000)
        wait_s = self._notifications.take(tenant, quota.notifications_per_minute, trio.current_time())
        if wait_s:
            raise limited("Too many notifications; try again later.", wait_s)
        if quota.notifications_per_day:
            self._admitted[key] = admitted + 1

    # -- reports ------------------------------------------------------------------------------------------------------

    def once(self, tenant: str, asked: Inquiry) -> None:
        """Let a verified inquiry pass the first time; raise PushRefused 401, 409 or 429.

        Nonces are in memory, since a report changes nothing: one signed before this process began may have been
        answered by an earlier one, and is refused.
        """
        if asked.issued_ms < self._began_ms:
            raise PushRefused(401, "envelope-expired", "It was signed before this gateway started; sign another.")
        wait_s = self._inquiries.take(tenant, trio.current_time())
        if wait_s:
            raise limited("Too many reports; try again later.", wait_s)
        if (tenant, asked.nonce) in self._nonces:
            raise PushRefused(409, "nonce-reused", "This nonce was used before.")
        if len(self._nonces) >= INQUIRY_NONCES_MAX:
            now_ms = self._clock.now_ms()
            self._nonces = {key: expires_ms for key, expires_ms in self._nonces.items() if expires_ms > now_ms}
        if len(self._nonces) >= INQUIRY_NONCES_MAX:
            raise limited("Too many reports; try again later.", 60)
        self._nonces[tenant, asked.nonce] = asked.expires_ms

    def report(self, tenant: str, asked: Inquiry) -> dict[str, Any]:
        """What a tenant is told of itself."""
        seqs = self._usage.dead(tenant, asked.since_ms, asked.after_seq, asked.limit)
        return {
            "ok": True,
            "tenant": tenant,
            "at": instant_text(self._clock.now_ms()),
            "usage": self._used(tenant),
            "limits": self._limits(tenant),
            "dead": [told for seq in seqs if (told := self._dead(seq)) is not None],
            "after": seqs[-1] if seqs and len(seqs) == asked.limit else None,
        }

    def overview(self) -> Iterator[dict[str, Any]]:
        """Every tenant for the operator, those that sent most first; each costs some 50 µs, when it is asked for."""
        names = dict.fromkeys((*self._usage.tenants(), *sorted(self._devices.tenants()), *self._directory.tenants()))
        for tenant in list(names)[:TENANTS_SHOWN_MAX]:
            yield {
                "tenant": tenant,
                "admitted": self._directory.is_admitted(tenant),
                "usage": self._used(tenant),
                "limits": self._limits(tenant),
            }

    def _used(self, tenant: str) -> dict[str, Any]:
        usage = self._usage.usage(tenant)
        today = self._usage.accepted_on(tenant, self._clock.now_ms() // DAY_MS)
        failed = {reason: count for (one, reason), count in sorted(usage.outcomes.items()) if one == "failed"}
        return {
            "devices": (self._pushkeys if is_matrix(tenant) else self._devices).held(tenant),
            "accepted": usage.accepted,
            "acceptedToday": today,
            "bytes": usage.size_bytes,
            "deliveries": usage.deliveries,
            "delivered": usage.settled("delivered"),
            "failed": failed,
            "removed": usage.settled("removed"),
            "expired": usage.settled("expired"),
            "queued": self._outbox.queued(tenant),
        }

    def _limits(self, tenant: str) -> dict[str, int | None]:
        quota = self.quota(tenant)
        per_user = {} if is_matrix(tenant) else {"devicesPerUser": quota.devices_per_user_max}
        return {
            "requestsPerMinute": quota.requests_per_minute,
            "devices": quota.devices_max,
            **per_user,
            "notificationsPerMinute": quota.notifications_per_minute or None,
            "notificationsPerDay": quota.notifications_per_day or None,
            "queued": quota.queued_max,
        }

    def _dead(self, seq: int) -> dict[str, Any] | None:
        """One dead device, for the instance that registered it; None where it was erased."""
        try:
            record = self._ledger.log.record(seq)
        except Absent:
            return None
        fact = fact_of(record)
        if not isinstance(fact, Removed):
            return None
        return {
            "seq": seq,
            "at": instant_text(record.ts_ns // 1_000_000),
            "userId": fact.user,
            "targetKind": fact.target_kind,
            # It has the token, and finds it by this; an answer that is kept or logged gives it to nobody else.
            "tokenSha256": hashlib.sha256(fact.target.encode()).hexdigest(),
            "reason": fact.reason,
        }
