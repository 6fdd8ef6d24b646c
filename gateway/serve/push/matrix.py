"""The Matrix push-gateway door, and the public Firebase configuration (push §7, §8).

    who may ask ─ rates ─ read ─▶ each device: served? gone? seen before? ─▶ one batch of records ─▶ wait ─▶ answer
Invariants: what is answered as neither rejected, failed nor retryable was taken by its push service; what is retryable
is in the log and is sent by us whether or not anybody asks again; asking again sends nothing twice, it tells how far
things are. This module must not know how pushes are sent, nor how errors become HTTP.
"""

import hmac
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import trio
from quart import Response, request
from quart_trio import QuartTrio

from eventlog.record import Draft
from gateway.config import Config, Firebase, MatrixApp
from gateway.errors import PushRefused
from gateway.facts import SALT_BYTES, Accepted, PushTarget, draft
from gateway.limits.push import RATE_KEYS_MAX
from gateway.limits.ways import MATRIX_COUNTS_KEPT_MS
from gateway.push.bucket import Buckets
from gateway.push.matrix import (
    TENANT,
    Apps,
    MatrixDevice,
    MatrixEvent,
    event_bytes,
    holder,
    notification_id,
    notify,
    options,
    target,
)
from gateway.serve.clock import Clock
from gateway.serve.delivery.dispatch import Dispatcher
from gateway.serve.delivery.ways import Ways
from gateway.serve.inflight import Inflight
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.push.tenancy import Tenancy
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView
from gateway.views.pushkeys import PushkeysView

PATH = "/_matrix/push/v1/notify"
Lists = dict[str, list[str]]
CORS = {"Access-Control-Allow-Origin": "*", "Cache-Control": "public, max-age=300"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One device of a request that is to be sent to."""

    tenant: str
    id: str
    user: str  # its pushkey, in one spelling
    device: MatrixDevice
    event: MatrixEvent
    to: PushTarget


class MatrixDoor:
    """Everything behind ``/_matrix/push/``, and ``/public/firebase``."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        ledger: Ledger,
        metrics: Metrics,
        *,
        dispatcher: Dispatcher,
        ways: Ways,
        tenancy: Tenancy,
    ) -> None:
        self._config, self._push, self._clock, self._ledger = config.matrix, config.push, clock, ledger
        self._apps, self._ways, self._tenancy = Apps(config.matrix), ways, tenancy
        self._metrics, self._dispatcher = metrics, dispatcher
        self._firebase = firebase_document(config.firebase)
        self._inflight = Inflight()
        self._per_address = Buckets(config.push.rate_per_address / 60, config.push.rate_per_address, RATE_KEYS_MAX)
        self._devices, self._pushkeys = ledger.view(DevicesView), ledger.view(PushkeysView)
        self._outbox = ledger.view(OutboxView)

    def routes(self, app: QuartTrio) -> None:
        """Add what is configured; the rest stays 404."""
        if self._apps:
            app.add_url_rule(PATH, "matrix_notify", self._notify_view, methods=["POST"])
        if any(entry.way == "unifiedpush" for entry in self._config.apps.values()):
            app.add_url_rule(PATH, "matrix_discovery", unifiedpush_view, methods=["GET"])
        if self._firebase:
            app.add_url_rule("/public/firebase", "public_firebase", self._firebase_view, methods=["GET"])

    async def _notify_view(self) -> Response:
        body = await request.get_data(cache=False)
        assert isinstance(body, bytes)
        answer = await self.notify(body, request.headers.get("Authorization", ""), request.remote_addr or "")
        return Response(msgspec.json.encode(answer), content_type="application/json")

    async def _firebase_view(self) -> Response:
        return Response(self._firebase, content_type="application/json", headers=CORS)

    async def notify(self, body: bytes, authorization: str, source: str) -> Lists:
        """Answer one request; raise PushRefused. Cancelled: what was recorded is delivered all the same."""
        self._authorise(authorization)
        wait_s = self._per_address.take(source, trio.current_time())
        if wait_s:
            raise PushRefused(429, "rate-limited", "Too many requests; try again later.", math.ceil(wait_s))
        answer: Lists = {"rejected": [], "retryable": [], "failed": []}
        asked = self._sorted(notify(body), answer)
        for tenant in dict.fromkeys(one.tenant for one in asked):
            self._tenancy.admit_app_request(tenant)
        deadline = trio.current_time() + self._push.answer_wait_s
        async with self._inflight.hold(*((one.tenant, one.id) for one in asked)):
            kept = await self._take_in(asked, answer)
        for one in kept:
            await self._outcome(one, deadline, answer)
        answer = _apart(**answer)
        for name, pushkeys in answer.items():
            self._metrics.push_matrix.labels(name).inc(len(pushkeys))
        return answer

    def _authorise(self, authorization: str) -> None:
        if not self._config.secret:
            return
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise PushRefused(401, "token-missing", "This gateway wants an Authorization: Bearer header.")
        if not hmac.compare_digest(secret.strip().encode(), self._config.secret.encode()):
            raise PushRefused(401, "token-unknown", "The bearer token is not this gateway's.")

    def _sorted(self, devices: Sequence[MatrixDevice], answer: Lists) -> list[_Asked]:
        """Put aside the devices that are rejected unasked; give the others once each."""
        asked: dict[tuple[str, str], _Asked] = {}
        for device in devices:
            app, tenant = self._apps.serving(device.app_id), TENANT + device.app_id
            if app is None or device.event is None or (to := self._target(device, app)) is None:
                _add(answer["rejected"], device.pushkey)
                continue
            if device.data.get("events_only") is True and not device.event.is_about_event:
                continue  # it asked to be spared what tells counts alone
            one = self._asked(tenant, device, device.event, app, to)
            if self._is_gone(one):
                _add(answer["rejected"], device.pushkey)
            else:
                asked[one.tenant, one.id] = one
        return list(asked.values())

    def _target(self, device: MatrixDevice, app: MatrixApp) -> PushTarget | None:
        """Where a pushkey leads; None where it leads nowhere, and its pusher may go."""
        try:
            kind, text = target(app.way, device)
            self._ways.judge(kind, text, device.app_id)
        except PushRefused:
            return None
        lane = app.project if app.project and kind == "token" else self._ways.lane(kind, device.app_id)
        return PushTarget(text, kind, device.app_id, lane)

    def _is_gone(self, one: _Asked) -> bool:
        return self._pushkeys.is_gone(one.tenant, one.user, one.device.since_ms)

    def _asked(self, tenant: str, device: MatrixDevice, event: MatrixEvent, app: MatrixApp, to: PushTarget) -> _Asked:
        event = msgspec.structs.replace(event, options=options(app, device.app_id))
        if not event.is_about_event:  # counts alone: nothing to remember, the newest replaces the others
            event = msgspec.structs.replace(event, id=f"counts {self._clock.random_bytes(SALT_BYTES).hex()}")
        user = holder(to.target_kind, to.target)
        return _Asked(tenant, notification_id(event, user), user, device, event, to)

    async def _take_in(self, asked: Sequence[_Asked], answer: Lists) -> list[_Asked]:
        """Record what is new, all in one batch; give what has an outcome or will have one."""
        known = [one for one in asked if self._outbox.figures(one.tenant, one.id) is not None]
        fresh = [one for one in asked if one not in known]
        taken: Counter[str] = Counter()
        with ExitStack() as places:
            drafts = []
            for one in fresh:
                try:
                    places.enter_context(self._tenancy.notifying(one.tenant, one.user))
                    self._tenancy.admit_notification(one.tenant, taken[one.tenant] + 1)
                except PushRefused:
                    if not taken and len(fresh) == len(asked) and one is fresh[-1]:
                        raise  # nothing of this request is taken, now or before
                    _add(answer["retryable"], one.device.pushkey)
                    continue
                taken[one.tenant] += 1
                known.append(one)
                drafts.append(self._draft(one))
            if drafts:
                await self._ledger.record(drafts)
        return known

    def _draft(self, one: _Asked) -> Draft:
        now_ms = self._clock.now_ms()
        keep_ms = self._push.stale_s * 1000 if one.event.is_about_event else MATRIX_COUNTS_KEPT_MS
        fact = Accepted(
            tenant=one.tenant,
            user=one.user,
            notification_id=one.id,
            created_ms=None,
            forget_ms=now_ms + keep_ms,
            expires_ms=now_ms + self._push.ttl_s * 1000,
            targets=(one.to,),
            signature="",
            body=event_bytes(one.event),
        )
        subject = self._devices.pseudonym(one.tenant, one.user) or self._clock.random_bytes(SALT_BYTES)
        return draft(fact, ts_ns=self._clock.now_ns(), subject=subject, salt=self._clock.random_bytes(SALT_BYTES))

    async def _outcome(self, one: _Asked, deadline: float, answer: Lists) -> None:
        """Wait for one device's outcome until the deadline, or a deferral, and put its pushkey where it belongs."""
        pushkey = one.device.pushkey
        with trio.move_on_at(deadline):
            while (seq := self._under_way(one)) is not None:
                await self._dispatcher.waiting.progress(seq)
        found = self._outbox.figures(one.tenant, one.id)
        if found is None or found.delivered:
            return
        if found.pending:
            _add(answer["retryable"], pushkey)
        elif self._is_gone(one):
            _add(answer["rejected"], pushkey)
        else:
            _add(answer["failed"], pushkey)

    def _under_way(self, one: _Asked) -> int | None:
        """The record of what is being sent now; None where it is settled, or waits for a later time or a breaker."""
        found = self._outbox.figures(one.tenant, one.id)
        if found is None or not found.pending or self._dispatcher.is_resting(found.seq):
            return None
        return found.seq


def _add(pushkeys: list[str], pushkey: str) -> None:
    if pushkey not in pushkeys:
        pushkeys.append(pushkey)


def _apart(rejected: list[str], retryable: list[str], failed: list[str]) -> Lists:
    """Name each pushkey in one list alone, also where several apps have it: a rejected one costs its pushers."""
    failed = [pushkey for pushkey in failed if pushkey not in retryable]
    rejected = [pushkey for pushkey in rejected if pushkey not in (*retryable, *failed)]
    return {"rejected": rejected, "retryable": retryable, "failed": failed}


def firebase_document(web: Firebase) -> bytes:
    """The JSON of ``/public/firebase``; empty where it is not configured."""
    if not web.api_key:
        return b""
    fields = {
        "apiKey": web.api_key,
        "projectId": web.project_id,
        "appId": web.app_id,
        "messagingSenderId": web.messaging_sender_id,
        "vapidKey": web.vapid_key,
        "authDomain": web.auth_domain,
        "storageBucket": web.storage_bucket,
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value})


async def unifiedpush_view() -> Response:
    """Say that pushkeys may be UnifiedPush endpoints (UnifiedPush, "Push gateway: discovery")."""
    return Response(b'{"unifiedpush":{"gateway":"matrix"}}', content_type="application/json")
