"""Which way a target takes, and that what is not configured is refused."""

from pathlib import Path

import pytest

from gateway.config import FCM, Config, Project, WebPush
from gateway.errors import PushRefused
from gateway.serve.clock import SystemClock
from gateway.serve.delivery.ways import Ways
from gateway.serve.fakes.webpush import Subscriber
from tests.gateway.serve.delivery.test_apns import APP
from tests.gateway.serve.delivery.test_apns import config as with_apns

URL = "https://push.example.net/x"


def test_each_kind_has_its_way_and_its_lane(tmp_path: Path) -> None:
    base = with_apns(tmp_path)
    projects = {"default": Project(), "other": Project(app_ids=("web",))}
    config = Config(data=str(tmp_path), apns=base.apns, fcm=FCM(projects=projects))
    ways = Ways(config, SystemClock())
    assert set(ways.by_kind()) == {"webpush", "unifiedpush", "apns"}
    lanes = {kind: ways.lane(kind, "web") for kind in ("token", "fid", "webpush", "unifiedpush", "apns")}
    assert lanes == {
        "token": "other",
        "fid": "other",
        "webpush": "@webpush",
        "unifiedpush": "@webpush",
        "apns": "@apns:web",
    }
    for kind, way in ways.by_kind().items():
        assert way.knows(ways.lane(kind, APP))
    ways.judge("token", "anything", "")
    ways.judge("webpush", Subscriber(URL).json, "")
    ways.judge("apns", "ab" * 32, APP)


def test_what_is_not_configured_is_refused(tmp_path: Path) -> None:
    ways = Ways(Config(data=str(tmp_path), webpush=WebPush(enabled=False)), SystemClock())
    assert ways.by_kind() == {}
    for kind, target in (("webpush", Subscriber(URL).json), ("unifiedpush", URL), ("apns", "ab" * 32)):
        with pytest.raises(PushRefused) as refused:
            ways.judge(kind, target, APP)
        assert refused.value.status == 400
