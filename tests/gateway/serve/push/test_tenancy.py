"""Tenants over the push API: quotas at their edges, and what a tenant and the operator are told."""

import hashlib
import json
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import trio
import trio.testing

from gateway.config import Config, Matrix, MatrixApp, Push
from gateway.config import Instance as Entry
from gateway.errors import PushRefused
from gateway.facts import Removed
from gateway.push.inquiry import Inquiry
from gateway.push.tenant import Directory
from gateway.serve.push import tenancy
from gateway.views import usage
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView
from gateway.views.pushkeys import PushkeysView
from gateway.views.usage import UsageView
from tests.fakes import FakeClock, memory_ledger
from tests.gateway.serve.push.test_service import EVIL, TAKOS, Gateway, code, gateway, now
from tests.takos import Instance, iso, plain_canonical

OWN = TAKOS.domain


def fields(who: Instance = TAKOS, **more: str) -> dict[str, str]:
    at = now()
    return {
        "action": "tenant",
        "instance": who.domain,
        "issuedAt": iso(at),
        "expiresAt": iso(at + 300_000),
        "nonce": str(uuid.uuid4()),
    } | more


async def ask(g: Gateway, asked: dict[str, str], who: Instance = TAKOS) -> tuple[int, dict[str, Any]]:
    signature = who.sign(plain_canonical(asked))
    answer = await g.client.get(f"/push/tenant?{urlencode(asked)}", headers={"X-Push-Signature": signature})
    return answer.status_code, json.loads(await answer.get_data())


async def report(g: Gateway, who: Instance = TAKOS, **more: str) -> dict[str, Any]:
    status, told = await ask(g, fields(who, **more), who)
    assert status == 200, told
    return told


@pytest.fixture
def one_long_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """No midnight falls into the test."""
    for module in (tenancy, usage):
        monkeypatch.setattr(module, "DAY_MS", 10**15)


@pytest.mark.usefixtures("one_long_day")
async def test_a_tenant_is_told_what_it_used_what_it_may_and_which_of_its_devices_died(tmp_path: Path) -> None:
    config = Config(push=Push(notifications_per_day=50), instances={OWN: Entry(devices_per_tenant_max=7)})
    async with gateway(tmp_path, config) as g:
        for token in ("token-1", "unregistered:x", "invalid-argument:y"):
            assert (await g.register(token=token))[0] == 200
        body = TAKOS.event(now())
        assert (await g.notify(body))[0] == 200
        await g.settled()
        assert (await g.notify(body))[1]["duplicate"] is True
        told = await report(g)
        assert told["tenant"] == OWN
        assert told["usage"] == {
            "devices": 2,
            "accepted": 1,
            "acceptedToday": 1,
            "bytes": len(json.dumps(body)),
            "deliveries": 3,
            "delivered": 1,
            "failed": dict.fromkeys(told["usage"]["failed"], 1),
            "removed": 1,
            "expired": 0,
            "queued": 0,
        }
        assert len(told["usage"]["failed"]) == 1
        assert (told["limits"]["devices"], told["limits"]["notificationsPerDay"]) == (7, 50)
        assert told["limits"]["notificationsPerMinute"] is None
        (dead,) = told["dead"]
        assert (dead["userId"], dead["targetKind"], dead["reason"]) == ("alice", "token", "unregistered")
        assert dead["tokenSha256"] == hashlib.sha256(b"unregistered:x").hexdigest()
        assert "unregistered:x" not in json.dumps(told)
        assert (await report(g, since=iso(now() + 1000)))["dead"] == []
        assert (await report(g, after=str(dead["seq"])))["dead"] == []


async def test_dead_devices_come_by_the_page_and_one_tenant_is_told_nothing_of_another(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        for n in range(3):
            await g.register(token=f"unregistered:{n}")
        await g.notify()
        await g.settled()
        first = await report(g, limit="2")
        assert (len(first["dead"]), first["after"]) == (2, first["dead"][-1]["seq"])
        rest = await report(g, limit="2", after=str(first["after"]))
        assert (len(rest["dead"]), rest["after"]) == (1, None)
        other = await report(g, EVIL)
        assert (other["tenant"], other["usage"]["accepted"], other["dead"]) == (EVIL.domain, 0, [])
        assert code(await ask(g, fields(TAKOS), EVIL)) == (401, "signature-invalid")


async def test_a_dead_device_of_an_erased_user_is_told_no_more_and_the_pages_go_on_behind_it(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        for n in range(3):
            await g.register(token=f"unregistered:{n}")
        await g.notify()
        await g.settled()
        first = g.records(Removed.kind)[0]
        g.log.records[first.seq] = msgspec.structs.replace(first, payload=None)
        page = await report(g, limit="1")
        assert (page["dead"], page["after"]) == ([], first.seq)
        assert len((await report(g, after=str(page["after"])))["dead"]) == 2


async def test_an_inquiry_is_answered_once_and_only_if_it_was_signed_for_this_run(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        asked = fields()
        assert (await ask(g, asked))[0] == 200
        assert code(await ask(g, asked)) == (409, "nonce-reused")
        earlier = fields(issuedAt=iso(now() - 200_000), expiresAt=iso(now() + 60_000))
        assert code(await ask(g, earlier)) == (401, "envelope-expired")
        assert code(await ask(g, fields() | {"limit": "1"}, EVIL)) == (401, "signature-invalid")
        unsigned = await g.client.get(f"/push/tenant?{urlencode(fields())}")
        assert (unsigned.status_code, json.loads(await unsigned.get_data())["code"]) == (401, "signature-missing")
        assert not g.log.records


async def test_reports_have_a_rate_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "INQUIRIES_PER_MINUTE", 1)
    async with gateway(tmp_path) as g:
        assert (await ask(g, fields()))[0] == 200
        assert code(await ask(g, fields())) == (429, "rate-limited")
        assert (await g.register())[0] == 200


async def test_a_days_notifications_are_refused_until_midnight_and_then_begin_anew() -> None:
    clock = FakeClock(1_763_126_872_000)  # 2025-11-14T13:27:52Z
    async with memory_ledger(DevicesView, OutboxView, PushkeysView, UsageView) as ledger:
        tenants = tenancy.Tenancy(clock, ledger, Directory(Push(notifications_per_day=2), {}))
        for _ in range(2):
            tenants.admit_notification("a.example", 1)
        with pytest.raises(PushRefused) as refused:
            tenants.admit_notification("a.example", 1)
        assert refused.value.retry_after_s == 24 * 3600 - (13 * 3600 + 27 * 60 + 52)
        tenants.admit_notification("b.example", 1)
        clock.advance(refused.value.retry_after_s)
        tenants.admit_notification("a.example", 1)


async def test_nonces_of_reports_are_bounded_and_only_expired_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "INQUIRY_NONCES_MAX", 2)
    clock = FakeClock()
    async with memory_ledger(DevicesView, OutboxView, PushkeysView, UsageView) as ledger:
        tenants = tenancy.Tenancy(clock, ledger, Directory(Push(), {}))

        def once(nonce: str, life_s: int) -> int | None:
            at = clock.now_ms()
            asked = Inquiry(("a.example",), "", "", b"", b"", at + life_s * 1000, at, nonce, 0, -1, 1)
            try:
                tenants.once("a.example", asked)
            except PushRefused as refused:
                return refused.status
            return None

        assert [once("1", 10), once("2", 500), once("3", 10)] == [None, None, 429]
        clock.advance(11)
        assert [once("3", 10), once("2", 10)] == [None, 409]


async def test_a_tenant_that_has_all_its_devices_moves_and_drops_them_but_adds_none(tmp_path: Path) -> None:
    config = Config(push=Push(devices_per_user_max=2), instances={OWN: Entry(devices_per_tenant_max=3)})
    async with gateway(tmp_path, config) as g:
        for token in ("a", "b"):
            await g.register(token=token)
        await g.register(token="c", userId="bob")
        answer = await g.register(token="d", userId="bob")
        assert code(answer) == (429, "rate-limited")
        assert answer[1]["retry_after"] == 3600
        assert (await g.register(token="a", userId="bob"))[0] == 200  # moved, not added
        assert (await g.register(token="e", userId="bob"))[0] == 200  # his oldest goes for it
        assert (await g.register(EVIL, token="z"))[0] == 200
        assert (await report(g))["usage"]["devices"] == 3
        older = {"issuedAt": iso(now() - 200_000), "expiresAt": iso(now() + 60_000)}
        assert (await g.register(token="c", userId="carol", **older))[1]["superseded"] is True  # adds nothing
        assert (await g.register(action="deregister", token="b", platform="", userId="alice"))[0] == 200
        assert (await g.register(token="f", userId="carol"))[0] == 200


async def test_registrations_that_come_at_once_do_not_pass_the_limit_together(tmp_path: Path) -> None:
    config = Config(instances={OWN: Entry(devices_per_tenant_max=5)})
    async with gateway(tmp_path, config) as g:
        statuses: list[int] = []

        async def one(n: int) -> None:
            statuses.append((await g.register(token=f"t{n}", userId=f"u{n}"))[0])

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(one, n)
        assert sorted(statuses) == [200] * 5 + [429] * 15


@pytest.mark.usefixtures("one_long_day")
async def test_notifications_of_a_day_are_counted_across_a_restart_and_repeats_are_free(tmp_path: Path) -> None:
    config = Config(instances={OWN: Entry(notifications_per_day=2)})
    async with gateway(tmp_path, config) as g:
        first = TAKOS.event(now())
        assert (await g.notify(first))[0] == 200
        assert (await g.notify(first))[1]["duplicate"] is True
        assert (await g.notify())[0] == 200
        refused = await g.notify()
        assert code(refused) == (429, "rate-limited")
        assert refused[1]["retry_after"] >= 1
        assert (await g.notify(EVIL.event(now()), EVIL))[0] == 200
        log = g.log
    async with gateway(tmp_path, config, log) as g:
        assert code(await g.notify()) == (429, "rate-limited")
        assert (await g.notify(first))[1]["duplicate"] is True


async def test_notifications_of_a_minute_have_a_limit_that_unsigned_requests_do_not_use_up(tmp_path: Path) -> None:
    async with gateway(tmp_path, Config(push=Push(notifications_per_minute=1))) as g:
        for _ in range(3):
            raw, _signature = TAKOS.signed(TAKOS.event(now()))
            assert (await g.post("/push/webhook", raw, X_Push_Signature=EVIL.sign(b"x")))[0] == 401
        assert (await g.notify())[0] == 200
        assert code(await g.notify()) == (429, "rate-limited")


async def test_a_thousand_registrations_of_one_new_domain_are_one_fetch(tmp_path: Path) -> None:
    async with gateway(tmp_path) as g:
        bodies = [TAKOS.registration(now(), token=f"t{n}", userId=f"u{n}") for n in range(1000)]
        statuses: list[int] = []

        async def one(body: dict[str, Any]) -> None:
            statuses.append((await g.post("/push/register", body))[0])

        async with trio.open_nursery() as nursery:
            for body in bodies:
                nursery.start_soon(one, body)
        assert statuses == [200] * 1000
        assert g.documents.asked == {OWN: 1}


async def test_the_operator_sees_every_tenant_and_how_its_document_stands(tmp_path: Path) -> None:
    instances = {"pinned.example": Entry(public_key=TAKOS.pem), "external:x": Entry(domain="quiet.example")}
    async with gateway(tmp_path, Config(instances=instances, push=Push(block=("quiet.example",)))) as g:
        await g.register()
        await g.register(EVIL)
        await g.notify()
        told = {one["tenant"]: one for one in await g.service.tenants({})}
        assert list(told) == [OWN, EVIL.domain, "external:x", "pinned.example"]
        assert (told[OWN]["usage"]["accepted"], told[OWN]["usage"]["devices"]) == (1, 1)
        assert told[OWN]["document"]["state"] == "good"
        assert told["pinned.example"]["document"] == {"state": "pinned"}
        assert told["external:x"]["document"] == {"state": "not fetched yet"}
        assert (told["external:x"]["admitted"], told[OWN]["admitted"]) == (False, True)


async def test_an_app_of_the_matrix_door_has_rates_as_an_instance_has(autojump_clock: trio.testing.MockClock) -> None:
    apps = Matrix(apps={"com.*": MatrixApp(rate_per_instance=1), "org.app": MatrixApp(notifications_per_minute=1)})
    async with memory_ledger(DevicesView, OutboxView, PushkeysView, UsageView) as ledger:
        tenants = tenancy.Tenancy(FakeClock(), ledger, Directory(Push(rate_per_instance=2), {}, apps))
        tenants.admit_app_request("matrix:com.one")
        with pytest.raises(PushRefused) as refused:
            tenants.admit_app_request("matrix:com.one")
        assert (refused.value.status, refused.value.retry_after_s) == (429, 60)
        tenants.admit_app_request("matrix:com.two")
        for _ in range(2):
            tenants.admit_app_request("matrix:org.app")
        tenants.admit_notification("matrix:org.app", 1)
        with pytest.raises(PushRefused, match="Too many notifications"):
            tenants.admit_notification("matrix:org.app", 1)
        await trio.sleep(60)
        tenants.admit_notification("matrix:org.app", 1)
        tenants.admit_app_request("matrix:com.one")


async def test_a_limit_of_devices_counts_pushkeys_that_are_under_way() -> None:
    apps = Matrix(apps={"app": MatrixApp(devices_per_tenant_max=2)})
    async with memory_ledger(DevicesView, OutboxView, PushkeysView, UsageView) as ledger:
        tenants = tenancy.Tenancy(FakeClock(), ledger, Directory(Push(), {}, apps))
        with ExitStack() as under_way:
            for pushkey in ("a", "b"):
                under_way.enter_context(tenants.notifying("matrix:app", pushkey))
            with pytest.raises(PushRefused, match="This app has as many devices"):
                under_way.enter_context(tenants.notifying("matrix:app", "c"))
        with tenants.notifying("matrix:app", "c"):
            pass
