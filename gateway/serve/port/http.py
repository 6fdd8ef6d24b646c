"""The QuartTrio application: the gateway's own pages, and every failure as JSON in its API's form.

Invariants: no answer is HTML save the console; no answer tells of our insides; a failure that nobody foresaw is logged
once with its traceback, counted, and answered 500. The services add their routes themselves.
This module must not know hypercorn, the log or what a service does.
"""

from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Protocol

import msgspec
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from eventlog.errors import LogFailed
from gateway.config import Config
from gateway.errors import ApiRefused, PushRefused, Unavailable
from gateway.serve.bugs import tell_bug
from gateway.serve.metrics import Metrics
from gateway.serve.port.asgi import MATRIX_PATH, PUSH_PATHS, SENTENCES, error_body
from gateway.serve.refusals import Refusals
from gateway.serve.status import Status

NOSTR_JSON = "application/nostr+json"
EVERY_ORIGIN = {"Access-Control-Allow-Origin": "*"}  # pages elsewhere may read it: it is public anyway
NOSTR_CORS = {  # NIP-11 asks for all three
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*, Authorization",  # which no star stands for (Fetch): NIP-86 sends it
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
}
CONSOLE_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
CONSOLE_HEADERS = {  # the page is one file with its script and style inside, and asks only its own server
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
CLIENT_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
LOG_UNAVAILABLE = "log-unavailable"


class Routed(Protocol):
    """A service with HTTP routes of its own."""

    def routes(self, app: QuartTrio) -> None: ...


def make_app(
    config: Config,
    status: Status,
    metrics: Metrics,
    services: Iterable[Routed],
    describe: Callable[[str], bytes | None],
) -> QuartTrio:
    """Put the application together; ``describe`` gives the NIP-11 document for a socket path, None for another."""
    app = QuartTrio("gateway", static_folder=None)
    app.url_map.strict_slashes = False
    app.config["RESPONSE_TIMEOUT"] = None  # the stream below has the deadline
    app.config["BODY_TIMEOUT"] = None  # bodies come whole (asgi)
    own_pages(app, config, status, metrics)
    console_pages(app, files("gateway") / "console")
    client_modules(app, files("gateway") / "client")
    failures(app, metrics)
    for service in services:
        service.routes(app)
    relay_documents(app, describe)
    return app


def json(body: object, code: int = 200) -> Response:
    """A JSON answer, as the gateway's own pages give it."""
    return Response(msgspec.json.encode(body), code, content_type="application/json")


def own_pages(app: QuartTrio, config: Config, status: Status, metrics: Metrics) -> None:
    """/health, /ready, /status and the metrics."""

    @app.get("/health")
    async def health() -> Response:
        return json({"status": "ok"})

    @app.get("/ready")
    async def ready() -> Response:
        why = status.unready()
        return json({"status": "unavailable", "error": why}, 503) if why else json({"status": "ready"})

    @app.get("/status")
    async def whole() -> Response:
        answer = json(status.document())
        answer.headers.extend(EVERY_ORIGIN)
        return answer

    if config.metrics.enabled:

        @app.get(config.metrics.path)
        async def figures() -> Response:
            status.refresh()
            return Response(metrics.text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def console_pages(app: QuartTrio, directory: Traversable) -> None:
    """The console at ``/``, its other files beside it; read once, so that no path from outside ever reaches a disk."""
    if not directory.is_dir():
        return
    pages = {entry.name: entry.read_bytes() for entry in directory.iterdir() if entry.is_file()}
    kinds = {name: CONSOLE_TYPES[f".{name.rpartition('.')[2]}"] for name in pages if is_page(name)}

    for name, kind in kinds.items():
        where = "/" if name == "index.html" else f"/console/{name}"
        app.add_url_rule(where, f"console {name}", page_view(pages[name], kind))


def client_modules(app: QuartTrio, directory: Traversable) -> None:
    """The client for web pages (relay-and-mirror §7) at ``/client/replica.js``: pages of any origin may import it."""
    for name in ("replica.js", "behaviour.js"):
        body = (directory / name).read_bytes()
        app.add_url_rule(f"/client/{name}", f"client {name}", page_view(body, CONSOLE_TYPES[".js"], CLIENT_HEADERS))


def is_page(name: str) -> bool:
    """Whether a file of the console's directory is for browsers."""
    return f".{name.rpartition('.')[2]}" in CONSOLE_TYPES


def page_view(body: bytes, kind: str, headers: dict[str, str] = CONSOLE_HEADERS) -> Callable[[], Awaitable[Response]]:
    """An async view that gives one page (a plain function would cost a thread)."""

    async def view() -> Response:
        return Response(body, content_type=kind, headers=headers)

    return view


def relay_documents(app: QuartTrio, describe: Callable[[str], bytes | None]) -> None:
    """NIP-11: GET on a relay's socket path, with the Accept header that asks for its document; else 426 there."""

    @app.before_request
    async def document() -> Response | None:
        if request.method not in {"GET", "HEAD", "OPTIONS"}:
            return None
        # A mirror has none: neither these NIPs nor these limits are its own.
        is_mirror = request.path.lstrip("/").startswith("mirror/")
        wanted = not is_mirror and NOSTR_JSON in request.headers.get("Accept", "").lower()
        asked = wanted or request.headers.get("Access-Control-Request-Method") is not None
        found = describe(request.path) if asked or request.url_rule is None else None
        if found is None:
            return None
        if request.method == "OPTIONS":
            return Response(b"", 204, headers=NOSTR_CORS)
        if wanted:
            return Response(found, content_type=NOSTR_JSON, headers=NOSTR_CORS)
        upgrade = {**NOSTR_CORS, "Upgrade": "websocket"}
        return Response(error_body("", *SENTENCES[426]), 426, content_type="application/json", headers=upgrade)


def failures(app: QuartTrio, metrics: Metrics) -> None:
    """One answer for each kind of failure (gateway.errors); the push API's refusals are told here."""
    refusals = Refusals()

    @app.errorhandler(PushRefused)
    async def push_refused(error: PushRefused) -> Response:
        refusals.tell(request.remote_addr or "", what="push", path=request.path, status=error.status, code=error.code)
        return failure(error.status, error.code, error.sentence, error.retry_after_s)

    @app.errorhandler(ApiRefused)
    async def api_refused(error: ApiRefused) -> Response:
        return failure(error.status, "refused", error.text, error.retry_after_s)

    @app.errorhandler(Unavailable)
    async def unavailable(error: Unavailable) -> Response:
        return failure(503, "unavailable", str(error), error.retry_after_s)

    @app.errorhandler(LogFailed)
    async def log_failed(error: LogFailed) -> Response:
        del error  # its text names paths
        prefix = "" if request.path.startswith((*PUSH_PATHS, MATRIX_PATH)) else "append-error: "
        return failure(503, LOG_UNAVAILABLE, f"{prefix}the log takes no records now", 5)

    @app.errorhandler(HTTPException)
    async def http_failure(error: HTTPException) -> Response:
        code = error.code or 500
        answer = failure(code, *SENTENCES.get(code, SENTENCES[400]), None)
        answer.headers.extend([pair for pair in error.get_headers() if pair[0] in {"Allow", "Location"}])
        return answer

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        tell_bug(metrics, error, where="http", method=request.method, path=request.path)
        return failure(500, *SENTENCES[500], None)


def failure(status: int, code: str, sentence: str, retry_after_s: int | None) -> Response:
    """An error answer in the form of the API that the request's path belongs to."""
    answer = Response(error_body(request.path, code, sentence), status, content_type="application/json")
    if retry_after_s is not None:
        answer.headers["Retry-After"] = str(retry_after_s)
    return answer
