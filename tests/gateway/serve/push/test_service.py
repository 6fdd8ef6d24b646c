"""The push API end to end: real signatures, a real fake FCM behind a socket, a log in memory."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import structs
from quart_trio import QuartTrio

from eventlog.record import Record
from gateway.config import FCM, Config, Project, Push
from gateway.config import Instance as Entry
from gateway.errors import ConfigInvalid, PushRefused
from gateway.facts import Accepted, Published, Registered, Revoked, Settled
from gateway.push.tenant import SECRET_NEVER, Signer
from gateway.serve.clock import SystemClock
from gateway.serve.fakes.fcm import Fake, serve_fake, service_account
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.port.http import failures
from gateway.serve.push.service import PushService
from gateway.views.devices import DevicesView
from gateway.views.documents import DocumentsView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView
from gateway.views.pushkeys import PushkeysView
from gateway.views.usage import UsageView
from tests.fakes import MemoryLog, memory_ledger
from tests.takos import Instance, iso

KEY = rsa.generate_private_key(65537, 2048)
TAKOS, EVIL = Instance(), Instance("evil.example")
EVENTS = "/internal/push/events"


class Documents:
    """The instances of the world, and how often each was asked."""

    def __init__(self) -> None:
        self.bodies = {one.domain: one.document() for one in (TAKOS, EVIL)}
        self.asked: Counter[str] = Counter()

    async def __call__(self, signer: Signer) -> bytes:
        self.asked[signer.domain] += 1
        await trio.sleep(0.01)
        if signer.domain not in self.bodies:
            raise PushRefused(502, "well-known-unreachable", "The document cannot be fetched: no such name.")
        return self.bodies[signer.domain]


class Gateway:
    """The service behind an application, with what a test looks at."""

    def __init__(
        self, app: QuartTrio, ledger: Ledger, fake: Fake, documents: Documents, metrics: Metrics, service: PushService
    ) -> None:
        self.client, self.ledger, self.fake, self.documents = app.test_client(), ledger, fake, documents
        self.metrics, self.service = metrics, service

    @property
    def log(self) -> MemoryLog:
        assert isinstance(self.ledger.log, MemoryLog)
        return self.ledger.log

    def records(self, kind: str) -> list[Record]:
        return [record for record in self.log.records if record.kind == kind]

    async def post(self, path: str, body: bytes | dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.post(path, data=raw, headers={"Content-Type": "application/json"} | sent)
        read = json.loads(await answer.get_data())
        if "Retry-After" in answer.headers:
            read["retry_after"] = int(answer.headers["Retry-After"])
        return answer.status_code, read

    async def register(self, who: Instance = TAKOS, **changes: Any) -> tuple[int, dict[str, Any]]:
        return await self.post("/push/register", who.registration(now(), **changes))

    async def notify(self, body: dict[str, Any] | None = None, who: Instance = TAKOS) -> tuple[int, dict[str, Any]]:
        raw, signature = who.signed(body or who.event(now()))
        return await self.post(EVENTS, raw, X_Push_Signature=signature)

    async def settled(self) -> None:
        """Wait until nothing is pending."""
        outbox = self.ledger.view(OutboxView)
        with trio.fail_after(30):
            while outbox.queued_all():  # noqa: ASYNC110 - the view tells nobody
                await trio.sleep(0.005)


def now() -> int:
    return SystemClock().now_ms()


@asynccontextmanager
async def gateway(
    tmp_path: Path, config: Config | None = None, log: MemoryLog | None = None, fake: Fake | None = None
) -> AsyncIterator[Gateway]:
    config, fake = config or Config(), fake or Fake(KEY.public_key())
    if config.push.answer_wait_s == Push().answer_wait_s:  # what can be delivered must be, also on a busy machine
        config = structs.replace(config, push=structs.replace(config.push, answer_wait_s=20))
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_fake, fake, listeners[0])
        base_url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        account = tmp_path / "account.json"
        account.write_bytes(service_account(KEY, base_url))
        projects = {"default": Project(credentials=str(account))}
        fcm = FCM(base_url=base_url, allow_any_token_uri=True, projects=projects, connections_max=20)
        fields = {name: getattr(config, name) for name in config.__struct_fields__} | {
            "fcm": fcm,
            "data": str(tmp_path),
        }
        documents, metrics = Documents(), Metrics()
        async with memory_ledger(
            DevicesView, DocumentsView, NoncesView, OutboxView, PushkeysView, UsageView, log=log
        ) as ledger:
            service = PushService(Config(**fields), SystemClock(), ledger, metrics, documents)
            app = QuartTrio("test")
            failures(app, metrics)
            service.routes(app)
            async with trio.open_nursery() as sending:
                await sending.start(service.run)
                yield Gateway(app, ledger, fake, documents, metrics, service)
                sending.cancel_scope.cancel()
        nursery.cancel_scope.cancel()


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    assert answer[1]["ok"] is False
    assert answer[1]["error"].endswith(".")
    return answer[0], answer[1]["code"]


async def test_a_registered_device_gets_the_notification_and_the_sender_is_told(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        assert await g.register() == (
            200,
            {
                "ok": True,
                "action": "register",
                "tenant": "demo.example.com",
                "userId": "alice",
                "duplicate": False,
            },
        )
        body = TAKOS.event(now())
        assert await g.notify(body) == (200, {"ok": True, "delivered": 1, "queued": 0, "duplicate": False})
        (sent,) = g.fake.sent
        assert sent["message"]["token"] == "token-1"
        assert sent["message"]["notification"] == {"title": "通知", "body": "Bob さんがいいねしました"}
        assert sent["message"]["data"]["notification_id"] == body["notification"]["id"]
        assert not sent["validate_only"]


async def test_a_user_without_devices_is_a_normal_answer(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        assert await g.notify() == (200, {"ok": True, "delivered": 0, "queued": 0, "duplicate": False})
        assert not g.fake.sent


async def test_the_alias_and_both_places_of_the_signature_work(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        envelope = TAKOS.registration(now())
        signature = envelope.pop("signature")
        assert (await g.post("/push/register", envelope, X_Push_Signature=signature))[0] == 200
        raw, signature = TAKOS.signed(TAKOS.event(now()))
        assert (await g.post("/push/webhook", raw, X_Push_Signature=signature))[1]["delivered"] == 1


async def test_the_same_envelope_again_changes_nothing_and_another_with_its_nonce_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        envelope = TAKOS.registration(now())
        assert (await g.post("/push/register", envelope))[1]["duplicate"] is False
        spaced = json.dumps(envelope, indent=2).encode()
        assert (await g.post("/push/register", spaced))[1]["duplicate"] is True
        assert len(g.records(Registered.kind)) == 1
        other = await g.register(nonce=envelope["nonce"], userId="mallory")
        assert code(other) == (409, "nonce-reused")
        assert [record.kind for record in g.log.records] == [Published.kind, Registered.kind]


async def test_an_older_envelope_is_answered_superseded_and_undoes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        at = now()
        await g.register(userId="bob", issuedAt=iso(at), expiresAt=iso(at + 300_000))
        answer = await g.register(userId="alice", issuedAt=iso(at - 1), expiresAt=iso(at + 299_999))
        assert answer == (
            200,
            {
                "ok": True,
                "action": "register",
                "tenant": "demo.example.com",
                "userId": "alice",
                "duplicate": False,
                "superseded": True,
            },
        )
        assert (await g.notify(TAKOS.event(now(), "bob")))[1]["delivered"] == 1
        assert (await g.notify(TAKOS.event(now(), "alice")))[1]["delivered"] == 0


async def test_a_deregistered_device_gets_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        answer = await g.register(action="deregister", platform="", appId="")
        assert answer[1]["action"] == "deregister"
        assert (await g.notify())[1]["delivered"] == 0


async def test_no_instance_reaches_another_tenants_devices(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        assert (await g.notify(EVIL.event(now()), EVIL))[1]["delivered"] == 0
        forged = TAKOS.event(now())
        assert code(await g.notify(forged, EVIL)) == (401, "signature-invalid")
        both = EVIL.event(now()) | {"tenant": TAKOS.domain}
        assert code(await g.notify(both, EVIL)) == (403, "instance-not-allowed")
        g.documents.bodies[EVIL.domain] = EVIL.document(tenant=TAKOS.domain)
        assert (await g.notify(EVIL.event(now()), EVIL))[1]["delivered"] == 0
        assert not g.fake.sent


async def test_a_repeated_notification_is_told_the_first_figures_and_pushes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        body = TAKOS.event(now())
        await g.notify(body)
        assert await g.notify(body) == (200, {"ok": True, "delivered": 1, "queued": 0, "duplicate": True})
        assert len(g.fake.sent) == 1


async def test_of_concurrent_requests_with_one_nonce_exactly_one_takes_effect(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        nonce = TAKOS.registration(now())["nonce"]
        envelopes = [TAKOS.registration(now(), nonce=nonce, token=f"t{n % 3}") for n in range(12)]
        answers: list[int] = []

        async def post(envelope: dict[str, Any]) -> None:
            answers.append((await g.post("/push/register", envelope))[0])

        async with trio.open_nursery() as nursery:
            for envelope in envelopes:
                nursery.start_soon(post, envelope)
        assert len(g.records(Registered.kind)) == 1
        assert set(answers) <= {200, 409}
        assert answers.count(409) >= 8


async def test_of_concurrent_requests_with_one_id_exactly_one_takes_effect(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        body = TAKOS.event(now())
        answers: list[dict[str, Any]] = []

        async def post() -> None:
            answers.append((await g.notify(body))[1])

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(post)
        assert len(g.records(Accepted.kind)) == len(g.fake.sent) == 1
        assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 19
        assert {(answer["delivered"], answer["queued"]) for answer in answers} == {(1, 0)}


REFUSED_ENVELOPES = [
    ({"signature": None}, (401, "signature-missing")),
    ({"signature": ""}, (401, "signature-missing")),
    ({"signature": "x" * 88}, (401, "signature-invalid")),
    ({"signature": "AAAA"}, (401, "signature-invalid")),
    ({"signature": EVIL.sign(b"x")}, (401, "signature-invalid")),
    ({"userId": None}, (400, "missing-field")),
    ({"action": "x"}, (400, "invalid-field")),
    ({"instance": "127.0.0.1"}, (400, "invalid-field")),
    ({"instance": "localhost"}, (400, "invalid-field")),
    ({"instance": "nowhere.example"}, (502, "well-known-unreachable")),
    ({"instance": "external:unknown"}, (403, "instance-not-allowed")),
    ({"issuedAt": iso(0), "expiresAt": iso(300_000)}, (401, "envelope-expired")),
    ({"issuedAt": iso(4_000_000_000_000), "expiresAt": iso(4_000_000_300_000)}, (401, "envelope-not-yet-valid")),
]


@pytest.mark.parametrize(("changes", "expected"), REFUSED_ENVELOPES)
async def test_a_refused_registration_says_why_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    async with gateway(tmp_path) as g:
        assert code(await g.register(**changes)) == expected
        assert not g.log.records


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "malformed-json")),
        (b"{", (400, "malformed-json")),
        (b'{"a":1,"a":2}', (400, "duplicate-key")),
        (b"[" * 10_000, (400, "malformed-json")),
        (b"{}", (400, "missing-field")),
    ],
)
async def test_a_malformed_body_is_refused_on_both_paths(
    tmp_path: Path, body: bytes, expected: tuple[int, str]
) -> None:
    async with gateway(tmp_path) as g:
        assert code(await g.post("/push/register", body)) == expected
        assert code(await g.post(EVENTS, body)) == expected
        assert not g.documents.asked


async def test_an_event_without_a_signature_or_too_old_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        assert code(await g.post(EVENTS, TAKOS.event(now()))) == (401, "signature-missing")
        assert code(await g.notify(TAKOS.event(now(), created_at=iso(now() - 86_401_000)))) == (400, "stale")
        assert code(await g.notify(TAKOS.event(now(), created_at=iso(now() + 61_000)))) == (400, "stale")
        assert not g.log.records


async def test_a_secret_serves_where_one_is_configured_and_the_well_known_one_never_does(tmp_path: Path) -> None:
    config = Config(instances={TAKOS.domain: Entry(secret="s3cret")})
    async with gateway(tmp_path, config) as g:
        await g.register()
        assert (await g.post(EVENTS, TAKOS.event(now()), X_Push_Secret="s3cret"))[1]["delivered"] == 1
        for secret in ("wrong", "", SECRET_NEVER, "s3cretx"):
            assert code(await g.post(EVENTS, TAKOS.event(now()), X_Push_Secret=secret))[0] == 401
        assert code(await g.post(EVENTS, EVIL.event(now()), X_Push_Secret="s3cret"))[0] == 401
        raw = json.dumps(TAKOS.event(now())).encode()
        both = await g.post(EVENTS, raw, X_Push_Secret="s3cret", X_Push_Signature=TAKOS.sign(b"other"))
        assert code(both) == (401, "signature-invalid")


async def test_slug_and_domain_reach_the_same_devices(tmp_path: Path) -> None:
    config = Config(instances={"external:demo": Entry(domain=TAKOS.domain)})
    async with gateway(tmp_path, config) as g:
        assert (await g.register(instance="external:demo"))[1]["tenant"] == "external:demo"
        assert (await g.notify())[1]["delivered"] == 1
        assert (await g.notify(TAKOS.event(now()) | {"instance": "external:demo"}))[1]["delivered"] == 1


async def test_a_blocked_instance_is_refused_before_any_fetch(tmp_path: Path) -> None:
    async with gateway(tmp_path, Config(push=Push(block=(TAKOS.domain,)))) as g:
        assert code(await g.register()) == (403, "instance-not-allowed")
        assert not g.documents.asked


async def test_rates_are_limited_per_address_and_per_instance_with_a_retry_after(tmp_path: Path) -> None:
    async with gateway(tmp_path, Config(push=Push(rate_per_address=3))) as g:
        answers = [await g.post(EVENTS, b"{") for _ in range(4)]
        assert code(answers[-1]) == (429, "rate-limited")
        assert answers[-1][1]["retry_after"] >= 1
    async with gateway(tmp_path, Config(push=Push(rate_per_instance=2))) as g:
        answers = [await g.notify() for _ in range(3)]
        assert code(answers[-1]) == (429, "rate-limited")
        assert (await g.notify(EVIL.event(now()), EVIL))[0] == 200


async def test_a_queue_that_is_full_for_one_tenant_is_not_full_for_another(tmp_path: Path) -> None:
    config = Config(push=Push(queued_per_tenant_max=1, answer_wait_s=0.05))
    async with gateway(tmp_path, config) as g:
        for who in (TAKOS, EVIL):
            await g.register(who, token=f"unavailable:{who.domain}")
        assert (await g.notify())[1]["queued"] == 1
        assert code(await g.notify()) == (429, "rate-limited")
        assert (await g.notify(EVIL.event(now()), EVIL))[1]["queued"] == 1


async def test_an_answer_given_early_is_repeated_word_for_word_even_after_a_restart(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        await g.register(token="unavailable:x")
        body = TAKOS.event(now())
        assert await g.notify(body) == (200, {"ok": True, "delivered": 1, "queued": 1, "duplicate": False})
        again = (200, {"ok": True, "delivered": 1, "queued": 1, "duplicate": True})
        assert await g.notify(body) == again
        log = g.log
    async with gateway(tmp_path, log=log) as g:
        assert await g.notify(body) == again
        assert not g.fake.sent


async def test_nonces_survive_a_restart(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        envelope = TAKOS.registration(now())
        await g.post("/push/register", envelope)
        log = g.log
    async with gateway(tmp_path, log=log) as g:
        assert (await g.post("/push/register", envelope))[1]["duplicate"] is True
        assert code(await g.register(nonce=envelope["nonce"], token="other")) == (409, "nonce-reused")


async def test_what_was_accepted_and_not_settled_is_delivered_after_a_restart_and_what_was_settled_is_not(
    tmp_path: Path,
) -> None:
    config = Config(push=Push(answer_wait_s=0.05))
    stuck = Fake(KEY.public_key())
    stuck.fail("timeout")
    async with gateway(tmp_path, config, fake=stuck) as g:
        await g.register()
        first = TAKOS.event(now())
        assert (await g.notify(first))[1] == {"ok": True, "delivered": 0, "queued": 1, "duplicate": False}
        log = g.log
    async with gateway(tmp_path, config, log) as g:
        await g.settled()
        assert [sent["message"]["data"]["notification_id"] for sent in g.fake.sent] == [first["notification"]["id"]]
        log = g.log
    async with gateway(tmp_path, config, log) as g:
        await g.notify()
        assert len(g.fake.sent) == 1
        assert len(g.records(Settled.kind)) == 2


async def test_a_dead_device_is_removed_and_a_wrong_project_costs_none(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register(token="unregistered:x")
        await g.register(token="not-found:y")
        await g.register(token="html:z")
        assert (await g.notify())[1]["delivered"] == 0
        await g.notify()
        targets = Counter(sent["message"]["token"] for sent in g.fake.sent)
        assert targets == {"unregistered:x": 1, "not-found:y": 2, "html:z": 2}


async def test_while_a_breaker_is_open_the_answer_does_not_wait_for_what_cannot_come(tmp_path: Path) -> None:
    fake = Fake(KEY.public_key())
    async with gateway(tmp_path, Config(push=Push(answer_wait_s=600)), fake=fake) as g:
        await g.register()
        fake.fail("quota")  # no Retry-After: a minute
        body = TAKOS.event(now())
        with trio.fail_after(60):
            assert (await g.notify())[1] == {"ok": True, "delivered": 0, "queued": 1, "duplicate": False}
            assert len(g.fake.sent) == 1
            answer = {"ok": True, "delivered": 0, "queued": 1, "duplicate": False}
            assert await g.notify(body) == (200, answer)
            assert await g.notify(body) == (200, answer | {"duplicate": True})
        assert len(g.fake.sent) == 1


async def test_a_dry_run_only_validates(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        assert (await g.notify(TAKOS.event(now()) | {"dryRun": True}))[1]["delivered"] == 1
        assert g.fake.sent[0]["validate_only"] is True


async def test_a_rotated_key_is_found_by_one_fetch_more(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        rotated = Instance(TAKOS.domain)
        g.documents.bodies[TAKOS.domain] = rotated.document()
        assert (await g.notify(rotated.event(now()), rotated))[1]["delivered"] == 1
        for _ in range(5):
            assert code(await g.notify(who=TAKOS)) == (401, "signature-invalid")
        assert g.documents.asked[TAKOS.domain] == 2


async def test_an_instance_whose_site_is_down_while_the_gateway_restarts_is_known_by_its_last_document(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        rotated = Instance(TAKOS.domain)
        g.documents.bodies[TAKOS.domain] = rotated.document()
        assert (await g.notify(rotated.event(now()), rotated))[1]["delivered"] == 1
        assert len(g.records(Published.kind)) == 2
        log = g.log
    async with gateway(tmp_path, log=log) as g:
        g.documents.bodies.clear()
        assert (await g.notify(rotated.event(now()), rotated))[1]["delivered"] == 1
        assert code(await g.notify(who=TAKOS)) == (401, "signature-invalid")  # the key that was rotated away
        assert code(await g.notify(EVIL.event(now()), EVIL)) == (502, "well-known-unreachable")


async def test_a_document_is_kept_only_with_something_that_it_verified(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        assert code(await g.notify(who=Instance(TAKOS.domain))) == (401, "signature-invalid")
        assert g.log.records == []
        await g.register()
        await g.notify()
        assert [record.kind for record in g.log.records[:2]] == [Published.kind, Registered.kind]
        assert len(g.records(Published.kind)) == 1


async def test_a_document_without_a_key_revokes_what_was_kept_also_after_a_restart(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        g.documents.bodies[TAKOS.domain] = b"{}"
        assert code(await g.notify(who=Instance(TAKOS.domain))) == (401, "signature-invalid")
        with trio.fail_after(30):
            while not g.records(Revoked.kind):  # noqa: ASYNC110 - nobody is told of it
                await trio.sleep(0.005)
        log = g.log
    async with gateway(tmp_path, log=log) as g:
        g.documents.bodies.clear()
        assert code(await g.notify()) == (502, "well-known-unreachable")


async def test_when_the_log_fails_the_answer_is_503_and_nothing_is_sent(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register()
        g.log.break_down()
        status, body = await g.notify()
        assert (status, body["code"]) == (503, "log-unavailable")
        assert body["retry_after"] >= 1
        assert not g.fake.sent


async def test_fid_and_token_of_one_spelling_are_two_devices(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        await g.register(token="same")
        await g.register(token="same", targetKind="fid")
        assert (await g.notify())[1]["delivered"] == 2
        assert sorted(next(iter(sent["message"])) for sent in g.fake.sent) == ["fid", "token"]


async def test_another_configuration_holds_from_the_next_request_on_and_one_that_is_wrong_changes_nothing(
    tmp_path: Path,
) -> None:
    async with gateway(tmp_path) as g:
        assert (await g.register())[0] == 200
        g.service.reconfigure(Config(push=Push(block=(TAKOS.domain,))))
        assert code(await g.notify()) == (403, "instance-not-allowed")
        with pytest.raises(ConfigInvalid):
            g.service.reconfigure(Config(instances={TAKOS.domain: Entry(public_key="none")}))
        assert code(await g.notify()) == (403, "instance-not-allowed")
        g.service.reconfigure(Config(instances={TAKOS.domain: Entry(devices_per_tenant_max=1)}))
        assert (await g.notify())[1]["delivered"] == 1
        assert code(await g.register(token="another")) == (429, "rate-limited")
        accepted = g.metrics.push_accepted.labels("configured")
        assert accepted._value.get() == 1, "it is a configured tenant from now on"
