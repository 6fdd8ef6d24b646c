"""APNs over real HTTP/2 and TLS against the fake: delivery, provider tokens, and what each refusal leads to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.config import APNs, APNsApp, Config
from gateway.errors import ConfigInvalid, PushRefused
from gateway.push.envelope import Notification
from gateway.push.es256 import private_pem
from gateway.push.fcm import Braked, Delivered, Failed, Gone, Mismatched, Transient, Unauthenticated, Verdict
from gateway.push.turns import Delivery
from gateway.serve.clock import SystemClock
from gateway.serve.delivery.apns import LANE
from gateway.serve.delivery.apns import APNs as Way
from gateway.serve.fakes.apns import FakeAPNs, serve_fake_apns, token
from gateway.serve.fakes.certificate import write_certificate

KEY = ec.generate_private_key(ec.SECP256R1())
APP = "com.example.app"
NOTE = Notification("n1", "like", "m", "bob", "post", "p1", None)


@dataclass
class World:
    way: Way
    fake: FakeAPNs

    async def send(self, target: str, *, dry_run: bool = False) -> Verdict:
        delivery = Delivery(1, 0, "t", LANE + APP, target, "apns", 0, 1_900_000_000_000, 0)
        with trio.fail_after(30):
            return await self.way.send(delivery, NOTE, dry_run=dry_run)


def config(tmp_path: Path, url: str = "https://localhost:1", ca: str = "", **changes: str) -> Config:
    key = tmp_path / "AuthKey.p8"
    key.write_text(private_pem(KEY))
    app = APNsApp(**({"key_file": str(key), "key_id": "ABC1234567", "team_id": "DEF7654321"} | changes))
    return Config(apns=APNs(base_url=url, ca_file=ca, apps={APP: app}))


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    cert, cert_key = write_certificate(tmp_path, "fake")
    fake = FakeAPNs(KEY.public_key(), now_s=SystemClock().now_ms() // 1000 + 1_800)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve_fake_apns, fake, cert, cert_key)
        async with Way(config(tmp_path, url, str(cert)), SystemClock()) as way:
            yield World(way, fake)
        nursery.cancel_scope.cancel()


async def test_every_answer_becomes_its_verdict_over_one_http2_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        wanted: dict[str, Verdict] = {
            "fine": Delivered(),
            "gone": Gone("unregistered"),
            "bad-device": Mismatched(),
            "topic": Failed("TopicDisallowed", alarm=True),
            "too-many": Braked("device", ""),
            "busy": Transient("ServiceUnavailable", ""),
        }
        for name, verdict in wanted.items():
            assert await it.send(token(name)) == verdict
        sent = it.fake.sent[0]
    assert sent["payload"]["aps"]["alert"] == {"title": "通知", "body": "m"}
    assert sent["headers"]["apns-topic"] == APP
    assert sent["headers"]["apns-expiration"] == "1900000000"
    assert len({one["headers"]["authorization"] for one in it.fake.sent}) == 1


async def test_a_stale_provider_token_is_made_anew_once(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.fake.stale = 1
        assert await it.send(token("x")) == Delivered()
        it.fake.stale = 2
        assert await it.send(token("x")) == Unauthenticated()
        assert await it.send(token("x")) == Delivered()


async def test_many_at_once_arrive_each_once(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(it.send, token("ok", number))
        assert sorted(sent["target"] for sent in it.fake.sent) == sorted(token("ok", n) for n in range(40))


async def test_a_dry_run_sends_nothing_and_a_server_that_is_away_is_transient(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        assert await it.send(token("x"), dry_run=True) == Delivered(asked=False)
        assert not it.fake.sent
    async with Way(config(tmp_path), SystemClock()) as way:
        assert await World(way, it.fake).send(token("x")) == Transient("unreachable")


def test_only_configured_apps_are_known(tmp_path: Path) -> None:
    way = Way(config(tmp_path), SystemClock())
    way.judge(APP)
    assert way.knows(LANE + APP)
    assert not way.knows(LANE + "other")
    with pytest.raises(PushRefused):
        way.judge("other")


@pytest.mark.parametrize("changes", [{"key_id": ""}, {"team_id": ""}, {"key_file": "/nowhere.p8"}])
def test_an_app_without_a_usable_key_stops_the_start(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid, match=APP):
        Way(config(tmp_path, **changes), SystemClock())
