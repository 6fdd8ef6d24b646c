"""The Quart application alone: pages, failures, and their forms."""

import json

import msgspec
import pytest
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from werkzeug.exceptions import HTTPException

from eventlog.errors import LogFailed
from gateway.config import Config
from gateway.errors import ApiRefused, PushRefused, Unavailable
from gateway.serve.metrics import Metrics
from gateway.serve.port.http import console_pages, make_app
from gateway.serve.status import Status
from tests.fakes import memory_ledger


class Failing:
    """A service whose routes raise what they are told."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    def routes(self, app: QuartTrio) -> None:
        async def fail() -> str:
            raise self.failure

        for path in ("/push/fail", "/api/fail"):
            app.add_url_rule(path, path, fail, methods=["POST"])


async def answers(failure: BaseException) -> list:
    """(status, body, Retry-After) of the failure in the push API and in the relay API."""
    async with memory_ledger() as ledger:
        metrics = Metrics()
        app = make_app(Config(), Status(ledger, metrics), metrics, [Failing(failure)], lambda path: None)
        client = app.test_client()
        found = [await client.post(path) for path in ("/push/fail", "/api/fail")]
        return [(one.status_code, json.loads(await one.get_data()), one.headers.get("Retry-After")) for one in found]


@pytest.mark.parametrize(
    ("failure", "push", "api"),
    [
        (
            PushRefused(429, "rate-limited", "Too many.", 7),
            (429, {"ok": False, "error": "Too many.", "code": "rate-limited"}, "7"),
            (429, {"error": "Too many."}, "7"),
        ),
        (
            ApiRefused(401, "Invalid signature"),
            (401, {"ok": False, "error": "Invalid signature", "code": "refused"}, None),
            (401, {"error": "Invalid signature"}, None),
        ),
        (
            Unavailable("The instance does not answer.", 3),
            (503, {"ok": False, "error": "The instance does not answer.", "code": "unavailable"}, "3"),
            (503, {"error": "The instance does not answer."}, "3"),
        ),
        (
            LogFailed("/secret/path: no space"),
            (503, {"ok": False, "error": "the log takes no records now", "code": "log-unavailable"}, "5"),
            (503, {"error": "append-error: the log takes no records now"}, "5"),
        ),
    ],
    ids=["push", "api", "world", "log"],
)
async def test_each_kind_of_failure_has_its_answer(failure: Exception, push: tuple, api: tuple) -> None:
    """Alone, and in the group that a nursery makes of it."""
    assert await answers(failure) == [push, api]
    assert await answers(ExceptionGroup("a nursery", [failure])) == [push, api]


async def test_a_bug_is_told_once_and_not_outside() -> None:
    """500 without a word of what it was; one line with the traceback."""
    with capture_logs() as lines:
        (status, body, _), _ = await answers(ZeroDivisionError("secret"))
    assert (status, body["code"]) == (500, "internal-error")
    assert "secret" not in json.dumps(body)
    assert [line["event"] for line in lines] == ["bug", "bug"]  # one for each of the two requests
    assert "ZeroDivisionError: secret" in lines[0]["traceback"]


async def test_unknown_paths_and_methods_are_json() -> None:
    """404 and 405 in the form of the API that the path looks like; what is allowed is said."""
    async with memory_ledger() as ledger:
        metrics = Metrics()
        app = make_app(Config(), Status(ledger, metrics), metrics, [Failing(ValueError())], lambda path: None)
        client = app.test_client()
        lost = await client.get("/push/nothing")
        assert (lost.status_code, json.loads(await lost.get_data())["code"]) == (404, "not-found")
        wrong = await client.get("/push/fail")
        assert (wrong.status_code, json.loads(await wrong.get_data())["code"]) == (405, "method-not-allowed")
        assert "POST" in wrong.headers["Allow"]
        lost = await client.get("/public/nothing")
        assert json.loads(await lost.get_data())["code"] == "not-found"
        lost = await client.get("/api/nothing")
        assert json.loads(await lost.get_data()) == {"error": "There is nothing at this address."}


async def test_only_the_consoles_files_are_served(tmp_path) -> None:
    """Its page at the root, what lies beside it by name; nothing else of the disk, whatever the path."""
    (tmp_path / "index.html").write_text("<p>hello")
    (tmp_path / "sun.svg").write_text("<svg/>")
    (tmp_path / "notes.txt").write_text("not for browsers")
    app = QuartTrio("console", static_folder=None)
    console_pages(app, tmp_path)
    client = app.test_client()

    async def got(path: str) -> tuple[int, str | None]:
        answer = await client.get(path)
        return answer.status_code, answer.headers.get("Content-Type")

    assert await got("/") == (200, "text/html; charset=utf-8")
    assert await got("/console/sun.svg") == (200, "image/svg+xml")
    for path in ("/console/notes.txt", "/console/../notes.txt", "/console/%2e%2e/notes.txt", "/static/index.html"):
        assert (await got(path))[0] == 404


async def test_without_a_console_there_is_no_page(tmp_path) -> None:
    """A gateway without its page still serves."""
    app = QuartTrio("console", static_folder=None)
    console_pages(app, tmp_path / "none")
    assert (await app.test_client().get("/")).status_code == 404


async def test_pages_of_any_origin_may_import_the_client_and_see_nothing_else_of_its_directory() -> None:
    async with memory_ledger() as ledger:
        metrics = Metrics()
        client = make_app(Config(), Status(ledger, metrics), metrics, [], lambda path: None).test_client()
        for name in ("replica.js", "behaviour.js"):
            answer = await client.get(f"/client/{name}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert b"export" in await answer.get_data()
        assert (await client.get("/client/replica.py")).status_code == 404


def test_a_refusal_is_never_an_http_exception() -> None:
    """Quart looks handlers up by class: ours and werkzeug's must not overlap."""
    for kind in (PushRefused, ApiRefused, Unavailable, LogFailed, msgspec.ValidationError):
        assert not issubclass(kind, HTTPException)
