"""What every HTTP request passes before Quart sees it: one path form, a whole body within limits, the true client.

Invariants: a handler never waits for a body, nor sees one over its limit; all bodies in flight together are bounded; a
request that is refused here costs no routing. Sends are shielded: quart-trio cancels the sending task in the last
send, and hypercorn would then never restart its idle timer (the connection would stay for ever).
This module must not know what any path means, save which error form it has.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import trio

from gateway.limits.serve import (
    API_BODY_BYTES_MAX,
    BODIES_BYTES_MAX,
    BODY_S_MAX,
    DRAIN_BYTES_MAX,
    PATH_CHARS_TOLD,
    PUSH_BODY_BYTES_MAX,
)
from gateway.serve.metrics import Metrics
from gateway.serve.port.head import Network, client_address, is_trusted, plain_address
from gateway.serve.refusals import Refusals

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
Lookup = Callable[[str], str]  # a header's value by its name, "" without one

PUSH_PATHS = ("/push/", "/internal/push/", "/public/")
MATRIX_PATH = "/_matrix/"
MATRIX_CODES = {  # Matrix' common error codes, by ours
    "malformed-json": "M_NOT_JSON",
    "malformed-request": "M_BAD_JSON",
    "missing-field": "M_MISSING_PARAM",
    "invalid-field": "M_BAD_JSON",
    "token-missing": "M_MISSING_TOKEN",
    "token-unknown": "M_UNKNOWN_TOKEN",
    "rate-limited": "M_LIMIT_EXCEEDED",
    "too-large": "M_TOO_LARGE",
    "unsupported-media-type": "M_NOT_JSON",
    "not-found": "M_UNRECOGNIZED",
    "method-not-allowed": "M_UNRECOGNIZED",
}
SLASHES = re.compile("/{2,}")
JSON_TYPE = re.compile(r"(application|text)/([\w.-]+\+)?json(\+rpc)?", re.IGNORECASE)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

SENTENCES = {
    400: ("malformed-request", "The request is malformed."),
    404: ("not-found", "There is nothing at this address."),
    405: ("method-not-allowed", "This address does not take that method."),
    408: ("request-timeout", "The body did not come in time."),
    413: ("too-large", "The body is larger than this address takes."),
    415: ("unsupported-media-type", "The body must be JSON, in UTF-8, not compressed."),
    421: ("misdirected", "Ask for a WebSocket on a connection of its own."),
    426: ("upgrade-required", "This address speaks WebSocket."),
    500: ("internal-error", "The gateway made a mistake; it is in its log."),
    503: ("unavailable", "The gateway is busy; try again."),
}


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A JSON answer, however it is carried."""

    status: int
    body: bytes
    retry_after_s: int | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What describes it, in the order in which every answer has it."""
        described = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        return described if self.retry_after_s is None else [*described, (b"retry-after", b"%d" % self.retry_after_s)]


# What answers a whole POST without Quart: path, headers, body, the client's address.
Direct = Callable[[str, Lookup, bytes, str], Awaitable[Reply]]


class HTTPRefused(Exception):
    """A request that is answered before Quart, or for want of a route; ``status`` is one of `SENTENCES`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def is_push(path: str) -> bool:
    """Whether errors at this path have the push API's form (push §6) rather than the relay API's."""
    return path.startswith(PUSH_PATHS)


def error_body(path: str, code: str, sentence: str) -> bytes:
    """The JSON of an error, in the form of the API that the path belongs to."""
    if path.startswith(MATRIX_PATH):
        return msgspec.json.encode({"errcode": MATRIX_CODES.get(code, "M_UNKNOWN"), "error": sentence})
    if is_push(path):
        return msgspec.json.encode({"ok": False, "error": sentence, "code": code})
    return msgspec.json.encode({"error": sentence})


def body_bytes_max(path: str) -> int:
    """The largest body that a path takes."""
    return PUSH_BODY_BYTES_MAX if is_push(path) else API_BODY_BYTES_MAX


def header(scope: Scope, name: bytes) -> str:
    """A header's value, several joined by commas; empty without one."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def lookup(scope: Scope, name: str) -> str:
    """A header's value by its name, in any case."""
    return header(scope, name.lower().encode())


async def tell(send: Send, reply: Reply) -> None:
    """Send an answer as ASGI has it."""
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    await send({"type": "http.response.body", "body": reply.body, "more_body": False})


class Bodies:
    """The bytes of all bodies in memory now: being read, or with a handler. Slow bodies count as far as they came."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Give a function that counts bytes of one body; HTTPRefused 503 from it where all together are too many."""
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            if self.bytes + count > BODIES_BYTES_MAX:
                raise HTTPRefused(503)
            mine += count
            self.bytes += count

        try:
            yield take
        finally:
            self.bytes -= mine


class Front:
    """The ASGI application that hypercorn calls; it calls Quart's."""

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        trusted: Sequence[Network] = (),
        direct: Mapping[str, Direct] | None = None,
        bodies: Bodies | None = None,
    ) -> None:
        self._app, self._metrics, self._trusted, self._direct = app, metrics, trusted, direct or {}
        self._bodies, self._refusals = bodies or Bodies(), Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. A WebSocket that the door could not take over is told to come on a fresh connection."""
        assert scope["type"] == "http", "the door lets nothing else through"
        scope = self._seen(scope)
        send = self._noted(scope, shielded(send))
        try:
            with self._bodies.held() as take:
                await self._serve(scope, receive, send, take)
        except HTTPRefused as refused:
            source, path = scope["client"][0], scope["path"]
            self._refusals.tell(source, what="http", path=path[:PATH_CHARS_TOLD], status=refused.status)
            await refuse(scope, send, refused.status)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, take: Callable[[int], None]) -> None:
        if header(scope, b"upgrade").strip().lower() == "websocket":
            raise HTTPRefused(421)
        body = await whole_body(scope, receive, take)
        if body is not None:
            with self._metrics.http_seconds.time():
                direct = self._direct.get(scope["path"]) if scope["method"] == "POST" else None
                if direct is None:
                    await self._app(scope, replay(body, receive), send)
                else:
                    found = partial(lookup, scope)
                    await tell(send, await direct(scope["path"], found, body, scope["client"][0]))

    def _seen(self, scope: Scope) -> Scope:
        """The scope with doubled slashes made one, and the client behind trusted proxies."""
        path = SLASHES.sub("/", scope["path"])
        peer = plain_address(scope["client"][0]) if scope.get("client") else ""
        if peer and is_trusted(peer, self._trusted):
            peer = client_address(peer, header(scope, b"x-forwarded-for"), self._trusted)
        return {**scope, "path": path if path.startswith("/") else f"/{path}", "client": (peer, 0)}

    def _noted(self, scope: Scope, send: Send) -> Send:
        method = scope["method"] if scope["method"] in METHODS else "other"

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.http_answers.labels(method, str(message["status"])).inc()
            await send(message)

        return noting


async def whole_body(scope: Scope, receive: Receive, take: Callable[[int], None]) -> bytes | None:
    """Read the whole body, counting it with ``take``; None where the client left. Raises HTTPRefused 408, 413, 415.

    A body that is too large is read on to `DRAIN_BYTES_MAX` before it is refused: a client that is still writing
    might else never read the answer. One that calls itself larger would be cut anyway, and is refused at once.
    """
    limit, body, size = body_bytes_max(scope["path"]), bytearray(), 0
    declared = header(scope, b"content-length")
    if declared.isdecimal() and int(declared[:20]) > DRAIN_BYTES_MAX:
        raise HTTPRefused(413)
    with trio.move_on_after(BODY_S_MAX) as scope_of_time:
        more = True
        while more and size <= DRAIN_BYTES_MAX:
            message = await receive()
            if message["type"] != "http.request":
                return None
            size += len(message["body"])
            if size <= limit:
                take(len(message["body"]))
                body += message["body"]
            more = message.get("more_body", False)
    if scope_of_time.cancelled_caught:
        raise HTTPRefused(408)
    if size > limit:
        raise HTTPRefused(413)
    if size and not is_json(scope):
        raise HTTPRefused(415)
    return bytes(body)


def is_json(scope: Scope) -> bool:
    """Whether the body calls itself plain JSON, or does not say what it is."""
    encoding = header(scope, b"content-encoding").strip().lower()
    return is_json_type(header(scope, b"content-type")) and encoding in {"", "identity"}


def is_json_type(content_type: str) -> bool:
    """Whether a Content-Type is JSON's, or empty."""
    kind = content_type.partition(";")[0].strip()
    return not kind or JSON_TYPE.fullmatch(kind) is not None


def replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body at once, then what the connection has to tell (that the client left)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replaying() -> Message:
        return pending.pop() if pending else await receive()

    return replaying


def shielded(send: Send) -> Send:
    """A ``send`` that a cancellation does not interrupt; the stream below has the deadline."""

    async def shielding(message: Message) -> None:
        with trio.CancelScope(shield=True):
            await send(message)

    return shielding


async def refuse(scope: Scope, send: Send, status: int) -> None:
    """Answer an error; where the body was not read whole the connection ends with it."""
    body = error_body(scope["path"], *SENTENCES[status])
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status in {408, 413, 503}:
        headers.append((b"connection", b"close"))
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
