"""What happens when something fails that nobody foresaw: one loud line with the traceback, and a count.

Invariant: the peer never sees more than that there was a mistake. This module must not know protocols.
"""

import traceback

import structlog

from gateway.serve.metrics import Metrics


def tell_bug(metrics: Metrics, error: BaseException, *, where: str, **fields: object) -> None:
    """Log ``error`` with its traceback and count it under ``where`` (``http``, ``socket``)."""
    metrics.bugs.labels(where).inc()
    text = "".join(traceback.format_exception(error))
    structlog.get_logger().error("bug", where=where, **fields, traceback=text)
