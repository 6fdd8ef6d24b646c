"""Answers a POST without Quart: for the one endpoint that takes thousands of requests a second.

Quart under trio costs 0.5 ms of CPU a request (a nursery, two tasks, context variables, routing): a third of all that
a webhook costs. So `gateway.serve.push.express` and the front call these handlers themselves, after the same checks as
for every other request; the same paths stay routed in Quart, for other methods and for whoever runs the application
alone. Invariant: the answers are byte for byte those of `gateway.serve.port.http`. Must not know what a handler does.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from eventlog.errors import LogFailed
from gateway.errors import PushRefused, Unavailable
from gateway.limits.serve import RETRY_LOG_S
from gateway.serve.bugs import tell_bug
from gateway.serve.metrics import Metrics
from gateway.serve.port.asgi import SENTENCES, Direct, Lookup, Reply, error_body
from gateway.serve.port.http import LOG_UNAVAILABLE
from gateway.serve.refusals import Refusals

Handler = Callable[[bytes, Lookup, str], Awaitable[Mapping[str, Any]]]  # body, header by name, address


def direct(handler: Handler, metrics: Metrics) -> Direct:
    """Make what the front calls of a handler, which returns the JSON to answer 200 with or raises."""
    refusals = Refusals()

    async def serve(path: str, header: Lookup, body: bytes, source: str) -> Reply:
        try:
            return Reply(200, msgspec.json.encode(await handler(body, header, source)))
        except PushRefused as refused:
            refusals.tell(source, what="push", path=path, status=refused.status, code=refused.code)
            told = error_body(path, refused.code, refused.sentence)
            return Reply(refused.status, told, refused.retry_after_s)
        except LogFailed:
            return Reply(503, error_body(path, LOG_UNAVAILABLE, "the log takes no records now"), RETRY_LOG_S)
        except Unavailable as why:
            return Reply(503, error_body(path, "unavailable", str(why)), why.retry_after_s)
        except Exception as bug:  # noqa: BLE001 - one request's bug must not end the others; it is told
            tell_bug(metrics, bug, where="http", method="POST", path=path)
            return Reply(500, error_body(path, *SENTENCES[500]))

    return serve
