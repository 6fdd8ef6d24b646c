"""The push API: registrations and events in, each judged, recorded once, and answered when it is durable (push §3–6).

    cheap checks ─ rates ─▶ shape, times ─▶ who ─▶ rates ─▶ keys (cache, fetch) ─▶ signature ─▶ decide, record ─▶ answer
Invariants: nothing that was refused leaves state behind, save metrics and rates; of concurrent requests with one nonce
or one notification id exactly one takes effect; an answer goes out after its record is durable and the views show it.
This module must not know how pushes are sent (`gateway.serve.delivery.dispatch`), nor how errors become HTTP.
"""

import hmac
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import trio
from cachetools import LRUCache
from prometheus_client import Counter
from quart import Response, request
from quart_trio import QuartTrio

from gateway.config import Config
from gateway.errors import PushRefused
from gateway.facts import SALT_BYTES, Accepted, Answered, Deregistered, Fact, PushTarget, Registered, draft
from gateway.limits.push import PSEUDONYMS_MAX, RATE_KEYS_MAX, SKEW_MS_MAX
from gateway.push.address import source_of
from gateway.push.bucket import Buckets
from gateway.push.envelope import Envelope, Event, Registration, event, registration
from gateway.push.es256 import PublicKey, signature_bytes, verifies
from gateway.push.inquiry import inquiry
from gateway.push.matrix import is_matrix
from gateway.push.plan import judge_title
from gateway.push.target import identity
from gateway.push.tenant import SECRET_NEVER, Directory, Signer
from gateway.push.tenantclass import TenantClasses
from gateway.push.wellknown import WellKnown
from gateway.serve.clock import Clock
from gateway.serve.custody.receipts import receipt
from gateway.serve.delivery.dispatch import Dispatcher
from gateway.serve.delivery.fcm import Sender, read_accounts
from gateway.serve.delivery.wayout import WayOut
from gateway.serve.delivery.ways import Ways
from gateway.serve.inflight import Inflight
from gateway.serve.ledger import Ledger, Ticket
from gateway.serve.metrics import Metrics
from gateway.serve.patience import Patience
from gateway.serve.port.asgi import Direct
from gateway.serve.port.direct import Handler, direct
from gateway.serve.push.fetch import Documents, Fetch, Fetcher
from gateway.serve.push.lastgood import LastGood
from gateway.serve.push.tenancy import Tenancy
from gateway.views.devices import DevicesView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView

Answer = dict[str, object]
Serve = Callable[[bytes, str, str, str], Awaitable[Answer]]  # body, X-Push-Signature, X-Push-Secret, address
Key = Callable[[WellKnown], PublicKey]


class PushService:
    """Everything behind ``/push/`` and ``/internal/push/``; `run` sends what was accepted."""

    def __init__(
        self, config: Config, clock: Clock, ledger: Ledger, metrics: Metrics, fetch: Fetch | None = None
    ) -> None:
        judge_title(config.push.title)
        self._push, self._clock, self._ledger, self._metrics = config.push, clock, ledger, metrics
        self._devices, self._nonces = ledger.view(DevicesView), ledger.view(NoncesView)
        self._outbox = ledger.view(OutboxView)
        self._directory = Directory(config.push, config.instances, config.matrix)
        fetches, last_good = config.push.first_fetches_per_minute, LastGood(clock, ledger)
        self._documents = Documents(fetch or Fetcher(), fetches, last_good)
        self.ways = Ways(config, clock)
        self._inflight = Inflight()
        self._per_address = _per_minute(config.push.rate_per_address)
        self.tenancy = self._tenancy = Tenancy(clock, ledger, self._directory)
        self._pseudonyms: LRUCache[tuple[str, str], bytes] = LRUCache(PSEUDONYMS_MAX)
        fcm = Sender(config.fcm, read_accounts(config.fcm), clock, metrics, config.push)
        ways: dict[str, WayOut] = {"token": fcm, "fid": fcm} | self.ways.by_kind()
        classes = TenantClasses(config.push, config.instances)
        slots = config.fcm.connections_max
        self.dispatcher = Dispatcher(ledger, ways, clock, metrics, slots=slots, classes=classes)
        self._patience = Patience(config.push.answer_wait_s, self.dispatcher.waiting.let_go)
        for project in config.fcm.projects:
            metrics.push_breaker.labels(project).set(0)

    def routes(self, app: QuartTrio) -> None:
        """Add the four routes; refusals are raised, for the application to answer."""
        register = _view(self.register, self._metrics.push_registrations)
        notify = _view(self.notify, self._metrics.push_events)
        self.ways.routes(app)
        app.add_url_rule("/push/register", "push_register", register, methods=["POST"])
        app.add_url_rule("/internal/push/events", "push_events", notify, methods=["POST"])
        app.add_url_rule("/push/webhook", "push_webhook", notify, methods=["POST"])
        app.add_url_rule("/push/tenant", "push_tenant", self._inquire_view, methods=["GET"])

    def direct(self) -> dict[str, Direct]:
        """What answers the hot paths without Quart."""
        notify = direct(_counted(self.notify, self._metrics.push_events), self._metrics)
        return {"/internal/push/events": notify, "/push/webhook": notify}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send what the outbox shows, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._patience.run)
            await self.dispatcher.run(task_status)

    def reconfigure(self, config: Config) -> None:
        """Go by other lists, instances and quotas from now on; raise ConfigInvalid, and change nothing."""
        self._directory = Directory(config.push, config.instances, config.matrix)
        self._tenancy.reconfigure(self._directory)
        self.dispatcher.reclassify(TenantClasses(config.push, config.instances))

    def forget(self) -> None:
        """Let go of what is kept in memory: some of it was erased, and the log gives back the rest."""
        self._pseudonyms.clear()
        self.dispatcher.texts.forget()

    # -- registrations (push §3) --------------------------------------------------------------------------------------

    async def register(self, body: bytes, header: str, secret: str, source: str) -> Answer:
        """Answer a register or deregister envelope; raise PushRefused. Cancelled: it may still take effect."""
        del secret  # a registration is always signed
        self._spend(self._per_address, source)
        envelope = registration(body, header, self._clock.now_ms())
        if envelope.action == "register":
            self.ways.judge(envelope.target_kind, envelope.target, envelope.app_id)
        signer = self._signer(envelope)
        tenant = await self._verified(envelope, signer, source, lambda keys: keys.registration_key)
        return await self._enrol(envelope, tenant)

    async def _enrol(self, envelope: Registration, tenant: str) -> Answer:
        answer: Answer = {
            "ok": True,
            "action": envelope.action,
            "tenant": tenant,
            "userId": envelope.user,
            "duplicate": False,
        }
        target = (envelope.target_kind, identity(envelope.target_kind, envelope.target))
        async with self._inflight.hold(("nonce", tenant, envelope.nonce), ("target", tenant, *target)):
            digest = envelope.digest()
            used = self._nonces.used(tenant, envelope.nonce, self._clock.now_ms())
            if used is not None and used.digest != digest:
                raise PushRefused(409, "nonce-reused", "This nonce was used for another envelope.")
            if used is not None:
                return answer | {"duplicate": True} | self._receipt(envelope, used.seq)
            superseded = self._devices.superseded(tenant, *target, envelope.issued_ms)
            with self._tenancy.enrolling(envelope, tenant):
                seq = await self._record(self._enrolment(envelope, tenant, digest), tenant, envelope.user)
        answer |= self._receipt(envelope, seq)
        return answer | {"superseded": True} if superseded else answer

    def _receipt(self, envelope: Registration, seq: int) -> Answer:
        """Say where the record stands that holds an envelope, to who asked: a repeat is told what the first was."""
        return {"receipt": receipt(self._ledger.log, seq)} if envelope.receipts else {}

    def _enrolment(self, envelope: Registration, tenant: str, digest: bytes) -> Registered | Deregistered:
        if envelope.action == "deregister":
            return Deregistered(
                tenant=tenant,
                user=envelope.user,
                target=envelope.target,
                target_kind=envelope.target_kind,
                issued_ms=envelope.issued_ms,
                expires_ms=envelope.expires_ms,
                nonce=envelope.nonce,
                digest=digest,
                signature=envelope.signature,
                body=envelope.body,
            )
        return Registered(
            tenant=tenant,
            user=envelope.user,
            target=envelope.target,
            target_kind=envelope.target_kind,
            platform=envelope.platform,
            app_id=envelope.app_id,
            issued_ms=envelope.issued_ms,
            expires_ms=envelope.expires_ms,
            nonce=envelope.nonce,
            devices_max=self._tenancy.quota(tenant).devices_per_user_max,
            digest=digest,
            signature=envelope.signature,
            body=envelope.body,
        )

    # -- events (push §4) ---------------------------------------------------------------------------------------------

    async def notify(self, body: bytes, header: str, secret: str, source: str) -> Answer:
        """Answer an event; raise PushRefused. Cancelled: it may still be accepted, and is then delivered."""
        self._spend(self._per_address, source)
        read = event(body, header, self._clock.now_ms(), self._push.stale_s * 1000)
        signer = self._signer(read)
        if not read.signature and _secret_fits(signer, secret):
            tenant = signer.tenant
        else:
            tenant = await self._verified(read, signer, source, lambda keys: keys.webhook_key)
        return await self._accept(read, tenant)

    async def _accept(self, read: Event, tenant: str) -> Answer:
        deadline = trio.current_time() + self._push.answer_wait_s
        async with self._inflight.hold(("id", tenant, read.notification.id)):
            found = self._outbox.figures(tenant, read.notification.id)
            if found is None:
                await self._take_in(read, tenant)
        delivered, queued = await self._figures(tenant, read.notification.id, deadline)
        return {"ok": True, "delivered": delivered, "queued": queued, "duplicate": found is not None}

    async def _take_in(self, read: Event, tenant: str) -> None:
        """Record the event, and wait for its outcome while it becomes durable: one wait, not two."""
        targets = self._targets(tenant, read.user)
        self._tenancy.admit_notification(tenant, len(targets))
        now_ms, created_ms = self._clock.now_ms(), read.notification.created_ms
        fact = Accepted(
            tenant=tenant,
            user=read.user,
            notification_id=read.notification.id,
            created_ms=created_ms,
            forget_ms=None if created_ms is None else created_ms + self._push.stale_s * 1000 + SKEW_MS_MAX,
            expires_ms=now_ms + self._push.ttl_s * 1000,
            targets=targets,
            signature=read.signature,
            body=read.body,
        )

        def enqueued(seq: int) -> None:
            self.dispatcher.texts.keep(seq, read.notification, dry_run=read.dry_run)

        ticket = await self._submit(fact, tenant, read.user, enqueued)
        waits = targets and not self.dispatcher.breakers.are_open(to.project for to in targets)
        if waits:
            await self._outcome(ticket.seq_end - 1)
        if not ticket.is_applied:
            await ticket.wait()

    async def _outcome(self, accepted_seq: int) -> None:
        """Wait for a notification's outcome as long as a sender is made to wait."""
        self._patience.begin(accepted_seq)
        try:
            await self.dispatcher.waiting.progress(accepted_seq)
        finally:
            self._patience.end(accepted_seq)

    def _targets(self, tenant: str, user: str) -> tuple[PushTarget, ...]:
        return tuple(
            PushTarget(
                device.target,
                device.target_kind,
                device.app_id,
                self.ways.lane(device.target_kind, device.app_id),
            )
            for device in self._devices.devices(tenant, user)
        )

    async def _figures(self, tenant: str, notification_id: str, deadline: float) -> tuple[int, int]:
        """(delivered, queued) as the first answer says them: when all is settled, or when the wait is over."""
        while True:
            found = self._outbox.figures(tenant, notification_id)
            if found is None:  # erased while its sender waited: nothing was, or will be, delivered that anyone may know
                return 0, 0
            if found.answered is not None:
                return found.answered
            if not found.pending:
                return found.delivered, 0
            with trio.move_on_at(deadline) as wait:
                if not self.dispatcher.is_resting(found.seq):  # else nobody would wake us
                    await self.dispatcher.waiting.progress(found.seq)
            if wait.cancelled_caught or self.dispatcher.is_resting(found.seq):
                await self._answer_early(tenant, notification_id)

    async def _answer_early(self, tenant: str, notification_id: str) -> None:
        """Record what the first answer says, so that a repeat is told the same, also after a restart."""
        async with self._inflight.hold(("answer", tenant, notification_id)):
            found = self._outbox.figures(tenant, notification_id)
            if found is not None and found.answered is None and found.pending:
                fact = Answered(found.seq, found.delivered, found.pending)
                await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns())])

    # -- tenants (push §3, §6) ----------------------------------------------------------------------------------------

    async def inquire(self, pairs: Sequence[tuple[str, str]], header: str, source: str) -> Answer:
        """Tell an instance of its own tenant: usage, limits, dead devices; raise PushRefused."""
        self._spend(self._per_address, source)
        asked = inquiry(pairs, header, self._clock.now_ms())
        signer = self._signer(asked)
        tenant = await self._verified(asked, signer, source, lambda keys: keys.webhook_key)
        self._tenancy.once(tenant, asked)
        return self._tenancy.report(tenant, asked)

    async def _inquire_view(self) -> Response:
        pairs = list(request.args.items(multi=True))
        header = request.headers.get("X-Push-Signature", "")
        answer = await self.inquire(pairs, header, request.remote_addr or "")
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(answer), content_type="application/json", headers=headers)

    async def tenants(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """Answer the operator: every tenant, with how its document stands."""
        del asked
        told: list[dict[str, Any]] = []
        for one in self._tenancy.overview():
            await trio.lowlevel.checkpoint()  # there may be thousands
            told.append(one | {"document": self._standing(one["tenant"])})
        return told

    def _standing(self, tenant: str) -> dict[str, object]:
        if is_matrix(tenant):
            return {"state": ""}  # apps have none
        if self._directory.is_pinned(tenant):
            return {"state": "pinned"}
        return self._documents.standing(self._directory.domain(tenant))

    # -- what both share ----------------------------------------------------------------------------------------------

    def _signer(self, envelope: Envelope) -> Signer:
        signer = self._directory.resolve(envelope.names)
        self._tenancy.admit_request(signer)
        return signer

    async def _verified(self, envelope: Envelope, signer: Signer, source: str, key: Key) -> str:
        """Check the signature, once more with newer keys if it fails; give the tenant. Raise PushRefused."""
        if not envelope.signature:
            raise PushRefused(401, "signature-missing", "The request is not signed (X-Push-Signature).")
        signature = signature_bytes(envelope.signature)
        keys: WellKnown | None = await self._documents.keys(signer, source)
        assert keys is not None
        if not verifies(key(keys), signature, envelope.canonical):
            keys = await self._documents.refetched(signer, keys)
            if keys is None or not verifies(key(keys), signature, envelope.canonical):
                sentence = "The signature does not verify with the instance's public key."
                raise PushRefused(401, "signature-invalid", sentence)
        self._documents.used(signer, keys)
        return signer.tenant_by(keys)

    async def _record(self, fact: Fact, tenant: str, user: str) -> int:
        """Record one personal fact, durable and applied, under its user's pseudonym; give its seq."""
        ticket = await self._submit(fact, tenant, user, lambda _seq: None)
        await ticket.wait()
        return ticket.seq_end - 1

    async def _submit(self, fact: Fact, tenant: str, user: str, enqueued: Callable[[int], None]) -> Ticket:
        await self._ledger.log.room()
        salt = self._clock.random_bytes(SALT_BYTES)
        made = draft(fact, ts_ns=self._clock.now_ns(), subject=self._pseudonym(tenant, user), salt=salt)
        self._documents.keep(self._directory.domain(tenant))
        seq, ticket = self._ledger.submit([made])
        enqueued(seq)
        return ticket

    def _pseudonym(self, tenant: str, user: str) -> bytes:
        found = self._pseudonyms.get((tenant, user))
        if found is None:
            found = self._devices.pseudonym(tenant, user) or self._clock.random_bytes(SALT_BYTES)
            self._pseudonyms[tenant, user] = found
        return found

    def _spend(self, buckets: Buckets, key: str) -> None:
        wait_s = buckets.take(source_of(key), trio.current_time())
        if wait_s:
            raise PushRefused(429, "rate-limited", "Too many requests; try again later.", math.ceil(wait_s))


def _counted(serve: Serve, counter: Counter) -> Handler:
    """Read the two headers, serve, and count what came of it."""

    duplicate, accepted = counter.labels("duplicate"), counter.labels("accepted")

    async def handler(body: bytes, header: Callable[[str], str], source: str) -> Answer:
        try:
            answer = await serve(body, header("X-Push-Signature"), header("X-Push-Secret"), source)
        except PushRefused as refused:
            counter.labels(refused.code).inc()
            raise
        (duplicate if answer["duplicate"] else accepted).inc()
        return answer

    return handler


def _view(serve: Serve, counter: Counter) -> Callable[[], Awaitable[Response]]:
    """Make a route of a method."""
    handler = _counted(serve, counter)

    async def view() -> Response:
        body = await request.get_data(cache=False)
        assert isinstance(body, bytes)
        answer = await handler(body, lambda name: request.headers.get(name, ""), request.remote_addr or "")
        return Response(msgspec.json.encode(answer), content_type="application/json")

    return view


def _per_minute(count: int) -> Buckets:
    return Buckets(count / 60, count, RATE_KEYS_MAX)


def _secret_fits(signer: Signer, secret: str) -> bool:
    if not signer.secret or secret == SECRET_NEVER:
        return False
    return hmac.compare_digest(signer.secret.encode(), secret.encode())
