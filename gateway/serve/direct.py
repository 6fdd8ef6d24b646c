"""Answers a POST without Quart: for the one endpoint that takes thousands of requests a second.

Quart under trio costs 0.5 ms of CPU a request (a nursery, two tasks, context variables, routing): a third of all that
a webhook costs. So the front calls these handlers itself, after the same checks as for every other request; the same
paths stay routed in Quart, for other methods and for whoever runs the application alone.
Invariant: the answers are byte for byte those of `gateway.serve.http`. Must not know what a handler does.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from eventlog.errors import LogFailed
from gateway.errors import PushRefused, Unavailable
from gateway.serve.asgi import SENTENCES, Direct, Scope, Send, error_body, header
from gateway.serve.bugs import tell_bug
from gateway.serve.http import LOG_UNAVAILABLE
from gateway.serve.metrics import Metrics
from gateway.serve.refusals import Refusals

Handler = Callable[[bytes, Callable[[str], str], str], Awaitable[Mapping[str, Any]]]  # body, header by name, address
RETRY_LOG_S = 5


def direct(handler: Handler, metrics: Metrics) -> Direct:
    """Make what the front calls of a handler, which returns the JSON to answer 200 with or raises."""
    refusals = Refusals()

    async def serve(scope: Scope, body: bytes, send: Send) -> None:
        path, source = scope["path"], scope["client"][0]
        retry_after_s: int | None = None
        try:
            answer = await handler(body, lambda name: header(scope, name.lower().encode()), source)
            status, raw = 200, msgspec.json.encode(answer)
        except PushRefused as refused:
            status, retry_after_s = refused.status, refused.retry_after_s
            raw = error_body(path, refused.code, refused.sentence)
            refusals.tell(source, what="push", path=path, status=status, code=refused.code)
        except LogFailed:
            status, retry_after_s = 503, RETRY_LOG_S
            raw = error_body(path, LOG_UNAVAILABLE, "the log takes no records now")
        except Unavailable as why:
            status, retry_after_s, raw = 503, why.retry_after_s, error_body(path, "unavailable", str(why))
        except Exception as bug:  # noqa: BLE001 - one request's bug must not end the others; it is told
            tell_bug(metrics, bug, where="http", method="POST", path=path)
            status, raw = 500, error_body(path, *SENTENCES[500])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw))]
        if retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % retry_after_s))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": raw, "more_body": False})

    return serve
