"""Web Push and UnifiedPush over a whole gateway, a fake push service and browsers that decrypt."""

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from gateway.config import Config, Instance, Matrix, MatrixApp, Push, Registration, WebPush
from gateway.errors import ConfigInvalid, Unavailable
from gateway.facts import Deferred, Removed, Settled, fact_of
from gateway.serve.clock import SystemClock
from gateway.serve.delivery.webpush import WebPush as Way
from gateway.serve.delivery.webpush import judge_local
from gateway.serve.fakes.fcm import serve_fake
from gateway.serve.fakes.webpush import FakePushService, Subscriber
from tests import takos
from tests.fakes import MemoryLog
from tests.server import running

TAKOS = takos.Instance()


def now_ms() -> int:
    return SystemClock().now_ms()


@dataclass
class World:
    client: httpx.AsyncClient
    service: FakePushService
    log: MemoryLog

    async def register(self, kind: str, target: str, action: str = "register") -> httpx.Response:
        body = TAKOS.registration(now_ms(), token=target, targetKind=kind, platform="web", action=action)
        return await self.client.post("/push/register", json=body)

    async def push(self, **changes: Any) -> dict[str, Any]:
        raw, signature = TAKOS.signed(TAKOS.event(now_ms(), **changes))
        headers = {"X-Push-Signature": signature, "Content-Type": "application/json"}
        answer = await self.client.post("/internal/push/events", content=raw, headers=headers)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def facts(self, kind: type) -> list[Any]:
        return [fact_of(record) for record in self.log.records if record.kind == kind.kind]


@asynccontextmanager
async def world(tmp_path: Path, log: MemoryLog | None = None, **changes: Any) -> AsyncIterator[World]:
    service = FakePushService()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        service.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(serve_fake, service, listener)
        settings: dict[str, Any] = {
            "data": str(tmp_path),
            "registration": Registration(secret="s" * 32),
            "push": Push(answer_wait_s=30.0),
            "webpush": WebPush(local_origins=(service.url,), contact="mailto:ops@example.com"),
            "instances": {TAKOS.domain: Instance(public_key=TAKOS.pem)},
        }
        async with (
            running(Config(**(settings | changes)), log=log) as gateway,
            httpx.AsyncClient(base_url=gateway.url, timeout=60) as client,
        ):
            assert isinstance(gateway.ledger.log, MemoryLog)
            service.key = (await client.get("/push/vapid")).json().get("publicKey", "")
            yield World(client, service, gateway.ledger.log)
        nursery.cancel_scope.cancel()


async def test_a_browser_decrypts_what_an_instance_sent_signed_by_the_key_it_subscribed_with(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        browser = it.service.subscribe("firefox")
        assert (await it.register("webpush", browser.json)).json()["ok"] is True
        assert (await it.push(id="n1"))["delivered"] == 1
    assert it.service.texts(browser) == [
        {
            "notification": {"title": "通知", "body": "Bob さんがいいねしました"},
            "data": {"notification_id": "n1", "type": "like", "ref_type": "post", "ref_id": "p1", "actor_id": "bob"},
        }
    ]
    (sent,) = it.service.sent
    assert 3_500 <= int(sent["headers"]["ttl"]) <= 3_600
    assert sent["headers"]["urgency"] == "high"
    assert len(sent["headers"]["topic"]) == 32


async def test_the_key_is_made_once_with_mode_0600_and_told_to_any_origin(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        answer = await it.client.get("/push/vapid")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert len(it.service.key) == 87
    first = it.service.key
    assert stat.S_IMODE((tmp_path / "keys" / "vapid.key").stat().st_mode) == 0o600
    async with world(tmp_path) as it:
        assert it.service.key == first


async def test_new_keys_of_an_endpoint_replace_the_old_and_the_endpoint_alone_deregisters(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        old = it.service.subscribe("phone")
        await it.register("webpush", old.json)
        fresh = it.service.subscribe("phone")
        await it.register("webpush", fresh.json)
        assert (await it.push())["delivered"] == 1
        assert len(it.service.texts(fresh)) == 1
        assert (await it.register("webpush", fresh.endpoint, "deregister")).json()["ok"] is True
        assert (await it.push())["delivered"] == 0


async def test_a_subscription_that_is_gone_is_removed_and_never_asked_again(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for name in ("gone", "not-found"):
            await it.register("webpush", it.service.subscribe(name, fails=name).json)
        assert await it.push() == {"ok": True, "delivered": 0, "queued": 0, "duplicate": False}
        assert [fact.reason for fact in it.facts(Removed)] == ["gone", "gone"]
        await it.push()
    assert len(it.service.sent) == 2


async def test_too_many_and_unavailable_wait_as_long_as_was_asked(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for name in ("too-many", "unavailable"):
            await it.register("webpush", it.service.subscribe(name, fails=name).json)
        began = now_ms()
        assert (await it.push())["queued"] == 2
        waits = {fact.reason: fact.not_before_ms - began for fact in it.facts(Deferred)}
    assert waits["device-quota-exceeded"] >= 120_000
    assert waits["http-503"] >= 30_000


async def test_a_redirect_and_a_refusal_fail_and_the_device_stays(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for name in ("moved", "forbidden"):
            await it.register("webpush", it.service.subscribe(name, fails=name).json)
        assert (await it.push())["delivered"] == 0
        assert {fact.reason for fact in it.facts(Settled)} == {"redirected", "not-authorised"}
        assert it.facts(Removed) == []


async def test_what_is_too_large_is_sent_once_more_shorter(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        browser = it.service.subscribe("small", fails="too-large", times=1)
        await it.register("webpush", browser.json)
        assert (await it.push(message="x" * 3_000))["delivered"] == 1
    first, second = (sent["text"] for sent in it.service.sent)
    assert len(first) > 3_000
    assert len(second) <= 1_024


async def test_a_unifiedpush_endpoint_is_encrypted_for_where_it_has_keys(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        keyed, bare = it.service.subscribe("keyed"), it.service.subscribe("bare")
        await it.register("unifiedpush", keyed.json)
        await it.register("unifiedpush", bare.endpoint)
        assert (await it.push(id="u"))["delivered"] == 2
        assert [it.service.texts(one)[0]["data"]["notification_id"] for one in (keyed, bare)] == ["u", "u"]
        coding = {sent["path"]: sent["headers"].get("content-encoding") for sent in it.service.sent}
    assert coding == {"/push/keyed": "aes128gcm", "/push/bare": None}


REFUSED = [
    ("webpush", "https://127.0.0.1/x"),
    ("webpush", "https://push.example.net:8443/x"),
    ("webpush", "http://push.example.net/x"),
    ("unifiedpush", "https://router.lan/x"),
    ("unifiedpush", "not a url"),
    ("apns", "ab" * 32),
    ("pigeon", "x"),
]


async def test_a_target_that_leads_nowhere_public_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for kind, target in REFUSED:
            text = Subscriber(target).json if kind == "webpush" else target
            answer = await it.register(kind, text)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid-field"), (kind, target)
        assert not [record for record in it.log.records if record.kind.startswith("push.")]


async def test_switched_off_there_is_no_page_no_key_and_no_such_target(tmp_path: Path) -> None:
    async with world(tmp_path, webpush=WebPush(enabled=False)) as it:
        assert (await it.register("webpush", Subscriber("https://push.example.net/x").json)).status_code == 400
        assert (await it.client.get("/push/vapid")).status_code == 404
    assert not (tmp_path / "keys" / "vapid.key").exists()


async def test_the_matrix_door_reaches_browsers_and_unifiedpush_too(tmp_path: Path) -> None:
    apps = {"web": MatrixApp(way="webpush"), "up": MatrixApp(way="unifiedpush")}
    async with world(tmp_path, matrix=Matrix(apps=apps)) as it:
        browser, phone = it.service.subscribe("browser"), it.service.subscribe("phone")
        dead = it.service.subscribe("dead", fails="gone")
        keys = json.loads(browser.json)["keys"]
        data = {"endpoint": browser.endpoint, "auth": keys["auth"]}
        gone_keys = json.loads(dead.json)["keys"]
        gone_data = {"endpoint": dead.endpoint, "auth": gone_keys["auth"]}
        devices = [
            {"app_id": "web", "pushkey": keys["p256dh"], "data": data},
            {"app_id": "web", "pushkey": gone_keys["p256dh"], "data": gone_data},
            {"app_id": "web", "pushkey": "no key", "data": data},
            {"app_id": "up", "pushkey": phone.endpoint},
            {"app_id": "up", "pushkey": "https://10.0.0.1/x"},
        ]
        body = {"notification": {"event_id": "$1", "room_id": "!r", "counts": {"unread": 1}, "devices": devices}}
        for _ in range(2):
            answer = await it.client.post("/_matrix/push/v1/notify", json=body)
            assert sorted(answer.json()["rejected"]) == sorted([gone_keys["p256dh"], "no key", "https://10.0.0.1/x"])
            assert answer.json()["failed"] == answer.json()["retryable"] == []
        discovery = await it.client.get("/_matrix/push/v1/notify")
        assert discovery.json() == {"unifiedpush": {"gateway": "matrix"}}
    assert it.service.texts(browser) == [{"event_id": "$1", "room_id": "!r", "unread": 1}]
    assert it.service.texts(phone)[0]["notification"]["event_id"] == "$1"
    assert len(it.service.sent) == 3


@pytest.mark.parametrize("origin", ["https://127.0.0.1:9", "http://10.0.0.1:9", "http://127.0.0.1:9/x", "127.0.0.1:9"])
def test_a_local_origin_must_be_plain_http_on_this_machine(origin: str) -> None:
    with pytest.raises(ConfigInvalid, match="local_origins"):
        judge_local(origin)


def test_a_key_file_that_holds_no_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "vapid.key").write_text("mine")
    with pytest.raises(Unavailable, match="64 hex digits"):
        Way(Config(webpush=WebPush(key_file=str(tmp_path / "vapid.key"))), SystemClock())


async def test_a_browser_gets_the_keys_that_sygnals_page_names_and_no_other(tmp_path: Path) -> None:
    async with world(tmp_path, matrix=Matrix(apps={"web": MatrixApp(way="webpush")})) as it:
        browser = it.service.subscribe("browser")
        keys = json.loads(browser.json)["keys"]
        data = {"endpoint": browser.endpoint, "auth": keys["auth"], "default_payload": {"session_id": "7192"}}
        asked = {"app_id": "web", "pushkey": keys["p256dh"], "data": data | {"events_only": True}}
        told = {
            "room_id": "!slw48wfj34rtnrf:example.com",
            "room_name": "Mission Control",
            "room_alias": "#exampleroom:matrix.org",
            "membership": "invite",
            "event_id": "$3957tyerfgewrf384",
            "sender": "@exampleuser:matrix.org",
            "sender_display_name": "Major Tom",
            "user_is_target": True,
            "type": "m.room.message",
            "content": {"msgtype": "m.text", "body": "I'm floating", "info": {"w": 1}},
        }
        counts = {"unread": 2, "missed_calls": 1}
        for event in (told | {"counts": counts, "prio": "high"}, {"counts": {"unread": 0}}):
            answer = await it.client.post(
                "/_matrix/push/v1/notify", json={"notification": event | {"devices": [asked]}}
            )
            assert answer.json() == {"rejected": [], "failed": [], "retryable": []}
    assert it.service.texts(browser) == [told | counts | {"session_id": "7192"}], "no counts alone: events_only"


async def test_a_browser_that_wants_the_last_of_each_room_alone_has_it_replaced_at_its_push_service(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, matrix=Matrix(apps={"web": MatrixApp(way="webpush")})) as it:
        topics = []
        for last in (True, False):
            browser = it.service.subscribe(f"browser-{last}")
            keys = json.loads(browser.json)["keys"]
            data = {"endpoint": browser.endpoint, "auth": keys["auth"], "only_last_per_room": last}
            device = {"app_id": "web", "pushkey": keys["p256dh"], "data": data}
            for number in range(2):
                event = {"event_id": f"${number}", "room_id": "!r", "devices": [device]}
                await it.client.post("/_matrix/push/v1/notify", json={"notification": event})
            topics.append({sent["headers"]["topic"] for sent in it.service.sent})
            it.service.sent.clear()
    assert [len(of) for of in topics] == [1, 2]
    assert not topics[0] & topics[1]
