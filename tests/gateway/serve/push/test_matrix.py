"""The Matrix door over a whole gateway and a fake FCM: what homeservers and takos clients send and are told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.config import FCM, Config, Firebase, Matrix, MatrixApp, Project, Push, Registration
from gateway.errors import ConfigInvalid
from gateway.push.matrix import Apps
from gateway.serve.fakes.fcm import Fake, serve_fake, service_account
from gateway.serve.push import tenancy
from gateway.views import usage
from tests.fakes import MemoryLog
from tests.server import running

VECTORS = msgspec.json.decode((Path(__file__).parents[3] / "vectors" / "matrix.json").read_bytes())
KEY = rsa.generate_private_key(65537, 2048)
NOTIFY = "/_matrix/push/v1/notify"
APP = "com.example.gcm.apiv1"
WEB = Firebase(api_key="k", project_id="p", app_id="1:2:web:3", messaging_sender_id="2", vapid_key="B")


@dataclass
class World:
    client: httpx.AsyncClient
    fake: Fake
    log: MemoryLog

    async def notify(self, *devices: dict[str, Any], **event: Any) -> dict[str, list[str]]:
        body = {"notification": VECTORS["sygnal"]["notification"] | event | {"devices": list(devices)}}
        answer = await self.client.post(NOTIFY, json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, list[str]] = answer.json()
        return told

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [sent["message"] for sent in self.fake.sent]


def app_config(account: Path, url: str, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "registration": Registration(secret="s" * 32),
        "push": Push(answer_wait_s=30.0),
        "fcm": FCM(base_url=url, allow_any_token_uri=True, projects={"default": Project(credentials=str(account))}),
        "matrix": Matrix(apps={APP: MatrixApp(), "com.example.*.pattern": MatrixApp()}),
    }
    return Config(**(settings | changes))


@asynccontextmanager
async def world(tmp_path: Path, log: MemoryLog | None = None, **changes: Any) -> AsyncIterator[World]:
    fake = Fake(KEY.public_key())
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(serve_fake, fake, listener)
        account = tmp_path / "account.json"
        account.write_bytes(service_account(KEY, url))
        async with (
            running(app_config(account, url, **changes), log=log) as gateway,
            httpx.AsyncClient(base_url=gateway.url, timeout=60) as client,
        ):
            assert isinstance(gateway.ledger.log, MemoryLog)
            yield World(client, fake, gateway.ledger.log)
        nursery.cancel_scope.cancel()


def device(pushkey: str = "spqr", **fields: Any) -> dict[str, Any]:
    return {"app_id": APP, "pushkey": pushkey, "pushkey_ts": 42} | fields


async def test_the_specifications_example_is_answered_field_by_field(tmp_path: Path) -> None:
    example = VECTORS["specification"]
    (sent,) = example["request"]["notification"]["devices"]
    async with world(tmp_path) as it:  # its app is not ours, so its pushkey is rejected, as in the example
        answer = await it.client.post(NOTIFY, json=example["request"])
        assert answer.json() == example["response"] | {"retryable": [], "failed": []}
        assert answer.headers["content-type"] == "application/json"
    async with world(tmp_path, matrix=Matrix(apps={sent["app_id"]: MatrixApp()})) as it:
        answer = await it.client.post(NOTIFY, json=example["request"])
        assert answer.json() == {"rejected": [], "retryable": [], "failed": []}
        assert it.messages[0]["data"] == example["data"]


async def test_sygnals_example_leaves_as_sygnal_sends_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        assert await it.notify(device()) == {"rejected": [], "retryable": [], "failed": []}
    assert it.messages == [VECTORS["sygnal"]["message"]]


async def test_a_takos_request_is_answered_with_three_disjoint_lists(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        answer = (await it.client.post(NOTIFY, json=VECTORS["takos"]["request"])).json()
    assert answer == VECTORS["takos"]["response"]
    data = {message["token"]: message["data"] for message in it.messages}
    assert data["device-a"] == VECTORS["takos"]["data"]


async def test_a_pushkey_of_several_apps_is_told_once_and_rejected_only_where_nothing_better_is_true(
    tmp_path: Path,
) -> None:
    never, later = "invalid-argument:x", "unavailable:x"
    async with world(tmp_path) as it:
        strangers = [device(pushkey, app_id="com.example.stranger") for pushkey in (never, later, "gone:x")]
        patterns = [device(later, app_id="com.example.a.pattern"), device(never, app_id="com.example.a.pattern")]
        answer = await it.notify(*strangers, *patterns, device(later), device(never))
        assert answer == {"rejected": ["gone:x"], "retryable": [later], "failed": [never]}


async def test_a_pushkey_that_is_gone_stays_rejected_until_it_is_set_anew(tmp_path: Path) -> None:
    dead = device("unregistered:x")
    async with world(tmp_path) as it:
        assert (await it.notify(dead))["rejected"] == ["unregistered:x"]
        assert (await it.notify(dead, event_id="$other"))["rejected"] == ["unregistered:x"]
        assert it.fake.tries["unregistered:x"] == 1
    async with world(tmp_path, log=it.log) as it:
        assert (await it.notify(dead, event_id="$third"))["rejected"] == ["unregistered:x"]
        assert it.fake.tries["unregistered:x"] == 0
        anew = dead | {"pushkey_ts": 4_000_000_000}
        await it.notify(anew, event_id="$third")
        assert it.fake.tries["unregistered:x"] == 1


async def test_asking_again_sends_nothing_twice_also_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for _ in range(2):
            assert await it.notify(device(), device()) == {"rejected": [], "retryable": [], "failed": []}
        assert len(it.messages) == 1
    async with world(tmp_path, log=it.log) as it:
        assert await it.notify(device()) == {"rejected": [], "retryable": [], "failed": []}
        assert it.messages == []
        await it.notify(device(), event_id="$another")
        assert len(it.messages) == 1


async def test_what_could_not_be_delivered_yet_is_retryable_and_what_never_will_is_failed(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        told = await it.notify(device("unavailable:x"), device("invalid-argument:x"), device("good"))
    assert told == {"rejected": [], "retryable": ["unavailable:x"], "failed": ["invalid-argument:x"]}


async def test_while_a_breaker_is_open_everything_is_retryable_at_once(tmp_path: Path) -> None:
    async with world(tmp_path, push=Push(answer_wait_s=600)) as it:
        it.fake.fail("quota")
        with trio.fail_after(60):
            assert (await it.notify(device()))["retryable"] == ["spqr"]
            assert (await it.notify(device("other"), event_id="$2"))["retryable"] == ["other"]
        assert len(it.fake.sent) == 1


async def test_counts_alone_are_sent_each_time(tmp_path: Path) -> None:
    counts = {"notification": {"counts": {"unread": 3}, "devices": [device()]}}
    async with world(tmp_path) as it:
        for _ in range(2):
            assert (await it.client.post(NOTIFY, json=counts)).json()["rejected"] == []
    assert [message["data"] for message in it.messages] == [{"prio": "high", "unread": "3"}] * 2


async def test_default_payload_goes_along_and_a_malformed_one_rejects_the_pushkey(tmp_path: Path) -> None:
    good = device(data={"default_payload": {"aps": {"mutable-content": 1}, "google.x": "no"}})
    bad = device("badpayload", data={"default_payload": None})
    async with world(tmp_path) as it:
        assert (await it.notify(good, bad))["rejected"] == ["badpayload"]
    assert it.messages[0]["data"]["aps"] == '{"mutable-content":1}'
    assert "google.x" not in it.messages[0]["data"]


async def test_an_app_id_may_be_a_pattern_and_others_are_rejected(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        told = await it.notify(device("a", app_id="com.example.x.pattern"), device("b", app_id="org.other"))
    assert told["rejected"] == ["b"]
    assert [message["token"] for message in it.messages] == ["a"]


MALFORMED = [
    (b"{", 400, "M_NOT_JSON"),
    (b"[" * 100_000, 400, "M_NOT_JSON"),
    (b"{}", 400, "M_MISSING_PARAM"),
    (b'{"notification":[]}', 400, "M_MISSING_PARAM"),
    (b'{"notification":{"devices":[]}}', 400, "M_MISSING_PARAM"),
    (b'{"notification":{"devices":[1]}}', 400, "M_BAD_JSON"),
    (b'{"notification":{"devices":[{"app_id":"a"}]}}', 400, "M_MISSING_PARAM"),
    (b'{"notification":{"content":[],"devices":[{}]}}', 400, "M_BAD_JSON"),
    (b'{"notification":"\xed\xa0"}', 400, "M_NOT_JSON"),
    (b" " * 300_000, 413, "M_TOO_LARGE"),
]


async def test_a_malformed_request_has_matrix_error_code_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for body, status, errcode in MALFORMED:
            answer = await it.client.post(NOTIFY, content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["errcode"]) == (status, errcode), body[:80]
        assert not [record for record in it.log.records if record.kind.startswith("push.")]


async def test_the_door_is_shut_until_an_app_is_named_and_says_so_in_matrix_words(tmp_path: Path) -> None:
    async with world(tmp_path, matrix=Matrix()) as it:
        shut = await it.client.post(NOTIFY, json={})
        assert (shut.status_code, shut.json()["errcode"]) == (404, "M_UNRECOGNIZED")
    async with world(tmp_path) as it:
        other = await it.client.get(NOTIFY)
        assert (other.status_code, other.json()["errcode"]) == (405, "M_UNRECOGNIZED")


async def test_with_a_secret_only_its_bearer_may_ask(tmp_path: Path) -> None:
    async with world(tmp_path, matrix=Matrix(secret="open sesame", apps={APP: MatrixApp()})) as it:
        body = {"notification": {"event_id": "$1", "devices": [device()]}}
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer no"}, 401),
            ({"Authorization": "Bearer open sesame"}, 200),
        ):
            assert (await it.client.post(NOTIFY, json=body, headers=headers)).status_code == status


async def test_an_app_with_a_full_queue_is_answered_429(tmp_path: Path) -> None:
    async with world(tmp_path, push=Push(queued_per_tenant_max=1, answer_wait_s=0.1)) as it:
        assert (await it.notify(device("timeout:x"), device("timeout:y")))["retryable"] == ["timeout:y", "timeout:x"]
        body = {"notification": {"event_id": "$2", "devices": [device("z")]}}
        answer = await it.client.post(NOTIFY, json=body)
        assert (answer.status_code, answer.json()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("quota", "sent", "refused"),
    [
        ({"devices_per_tenant_max": 2}, [("a", "$1"), ("b", "$1"), ("a", "$2")], ("c", "$3")),
        ({"notifications_per_day": 2}, [("a", "$1"), ("a", "$2"), ("a", "$2")], ("a", "$3")),
    ],
)
async def test_an_app_has_the_quotas_of_a_tenant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quota: dict[str, int],
    sent: list[tuple[str, str]],
    refused: tuple[str, str],
) -> None:
    for module in (tenancy, usage):  # no midnight falls into the test
        monkeypatch.setattr(module, "DAY_MS", 10**15)
    nothing: dict[str, list[str]] = {"rejected": [], "retryable": [], "failed": []}
    async with world(tmp_path, matrix=Matrix(apps={APP: MatrixApp(**quota), "other": MatrixApp()})) as it:
        for pushkey, event_id in sent:
            assert await it.notify(device(pushkey), event_id=event_id) == nothing
        pushkey, event_id = refused
        body = {"notification": {"event_id": event_id, "devices": [device(pushkey)]}}
        answer = await it.client.post(NOTIFY, json=body)
        assert (answer.status_code, answer.json()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert int(answer.headers["Retry-After"]) > 0
        before = len(it.messages)
        assert (await it.notify(device("z", app_id="other"), event_id="$9"))["retryable"] == []
        assert len(it.messages) == before + 1
        if "devices_per_tenant_max" in quota:
            both = await it.notify(device("a"), device("new"), event_id="$4")
            assert both == nothing | {"retryable": ["new"]}


async def test_public_firebase_is_what_the_operator_configured_else_404(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        absent = await it.client.get("/public/firebase")
        assert (absent.status_code, absent.json()["ok"], absent.json()["code"]) == (404, False, "not-found")
    async with world(tmp_path, firebase=WEB) as it:
        answer = await it.client.get("/public/firebase")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.json() == {
        "apiKey": "k",
        "projectId": "p",
        "appId": "1:2:web:3",
        "messagingSenderId": "2",
        "vapidKey": "B",
    }


def test_a_way_that_does_not_exist_stops_the_start() -> None:
    with pytest.raises(ConfigInvalid, match="way"):
        Apps(Matrix(apps={"a": MatrixApp(way="pigeon")}))
    with pytest.raises(ConfigInvalid, match="fcm_options"):
        Apps(Matrix(apps={"a": MatrixApp(fcm_options='{"token":"x"}')}))
