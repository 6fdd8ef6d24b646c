"""Figures do not grow with what strangers make up: instances, users, paths, methods, frames, reasons.

A real server is sent one round of things that nobody configured, and then another with other names. Every series that
the second one leaves was there after the first.
"""

import http.client
import json
import re
import uuid
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import trio

from tests.conformance.fakes import FCM, Reply
from tests.conformance.sockets import line
from tests.conformance.worker import INTERNAL, Worker
from tests.conformance.world import WAIT_S, World, world

ROUND = 12
SERIES = re.compile(r"^(gateway_\w+(?:\{[^}]*\})?) ", re.MULTILINE)


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("cardinality"), push="answer_wait_s = 0.2") as made:
        made.fcm.site.reply = made_up_errors(made.fcm)
        yield made


def made_up_errors(fcm: FCM) -> Callable[[str, dict[str, str], bytes], Reply]:
    """An FCM with an error code of its own for each send, so that no two have the same reason."""

    def reply(path: str, headers: dict[str, str], body: bytes) -> Reply:
        if path == "/token":
            return fcm._reply(path, headers, body)
        detail = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": made_up().upper()}
        return 400, {}, json.dumps({"error": {"details": [detail]}}).encode()

    return reply


def made_up() -> str:
    """A name that nobody used before, of letters alone."""
    return uuid.uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))


def series(w: World) -> set[str]:
    return set(SERIES.findall(w.get("/metrics").text))


def methods(w: World, name: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(w.server.url).netloc, timeout=WAIT_S)
    connection.request(name, f"/{uuid.uuid4().hex}")
    connection.getresponse().read()
    connection.close()


async def strangers(w: World) -> None:
    """One round of what nobody knows."""
    for _ in range(ROUND):
        name = made_up()
        assert w.register(w.demo.signed(f"user-{name}", f"token-{name}", platform=name, appId=name)).status == 200
        assert w.notify(w.demo.event(f"user-{name}", type=name), w.demo).status == 200
        w.demo.domain, kept = f"{name}.invalid", w.demo.domain
        assert w.register(w.demo.signed()).status >= 400
        w.demo.domain = kept
        w.get(f"/{name}")
        methods(w, f"X{name[:8]}".upper())
        assert Worker(w).token(name, {"relayKey": name}).status >= 400
        assert Worker(w).token("issue", {"relayKey": name, "reason": name}).status >= 400
    token = Worker(w).issue(INTERNAL)["token"]
    for path in ("/relay", f"/mirror/relay?token={token}"):
        async with line(f"{w.server.ws_url}{path}") as socket:
            for _ in range(ROUND):
                await socket.say(uuid.uuid4().hex, uuid.uuid4().hex, {uuid.uuid4().hex: [1]})
            await socket.say("REQ", "end", {"ids": ["0" * 64]})
            while (await socket.hear())[1] != "end":
                pass


async def settled(w: World, count: int) -> None:
    """Wait until so many deliveries have failed."""
    failed = re.compile(r'^gateway_push_deliveries_total\{outcome="failed"\} (\S+)', re.MULTILINE)
    with trio.fail_after(WAIT_S):
        while float(failed.findall(w.get("/metrics").text)[0]) < count:  # noqa: ASYNC110 - the server tells nobody
            await trio.sleep(0.05)


async def test_a_second_round_of_strangers_adds_no_series(w: World) -> None:
    await strangers(w)
    await settled(w, ROUND)
    after_one = series(w)
    await strangers(w)
    await settled(w, 2 * ROUND)
    assert series(w) - after_one == set()
    assert len(after_one) > 100
