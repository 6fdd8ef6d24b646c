"""The direct path answers as Quart's does, for every kind of outcome."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from quart import Response, request
from quart_trio import QuartTrio

from eventlog.errors import LogFailed
from gateway.errors import PushRefused, Unavailable
from gateway.serve.metrics import Metrics
from gateway.serve.port.direct import direct
from gateway.serve.port.http import failures

PATH = "/internal/push/events"
OUTCOMES: list[Mapping[str, Any] | Exception] = [
    {"ok": True, "text": "さん"},
    PushRefused(401, "signature-missing", "The request is not signed."),
    PushRefused(429, "rate-limited", "Later.", 7),
    LogFailed("the disk said no at /secret/path"),
    Unavailable("busy", 3),
    RuntimeError("a bug"),
]


async def directly(outcome: Mapping[str, Any] | Exception, metrics: Metrics) -> tuple[int, dict[str, str], bytes]:
    async def handler(body: bytes, header: Callable[[str], str], source: str) -> Mapping[str, Any]:
        assert (body, header("X-Push-Signature"), header("X-Other"), source) == (b"{}", "s", "", "192.0.2.1")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    lookup = {"X-Push-Signature": "s"}
    reply = await direct(handler, metrics)(PATH, lambda name: lookup.get(name, ""), b"{}", "192.0.2.1")
    return reply.status, {name.decode(): value.decode() for name, value in reply.headers}, reply.body


async def through_quart(outcome: Mapping[str, Any] | Exception) -> tuple[int, dict[str, str], bytes]:
    app = QuartTrio("test")
    failures(app, Metrics())

    @app.post(PATH)
    async def view() -> Response:
        await request.get_data()
        if isinstance(outcome, Exception):
            raise outcome
        raw = json.dumps(outcome, ensure_ascii=False, separators=(",", ":")).encode()
        return Response(raw, content_type="application/json")

    answer = await app.test_client().post(PATH, data=b"{}")
    return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, await answer.get_data()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
async def test_both_ways_answer_alike(outcome: Mapping[str, Any] | Exception) -> None:
    metrics = Metrics()
    assert await directly(outcome, metrics) == await through_quart(outcome)
    assert (b'gateway_bugs_total{where="http"} 1.0' in metrics.text()) == isinstance(outcome, RuntimeError)
