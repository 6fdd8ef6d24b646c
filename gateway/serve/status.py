"""What the gateway says about itself: whether it is ready, and the document at /status.

Invariant: reading the status changes nothing and needs no log write; it works when the log has failed closed.
This module must not know HTTP.
"""

from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import trio

from eventlog.errors import LogFailed
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics


def our_version() -> str:
    """The installed version; ``0`` when run from a tree that was never installed."""
    try:
        return version("heliograph")
    except PackageNotFoundError:
        return "0"


class Status:
    """The state of the whole, read from those who know it; the app tells it what only the app sees."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self.sessions: Counter[str] = Counter({"relay": 0, "mirror": 0})
        self.failure: LogFailed | None = None
        self.stopping = False
        self.public_relays: Callable[[], list[dict[str, object]]] = list
        self._ledger, self._metrics = ledger, metrics
        self._counted = ledger.log.durable_size  # what was there before is not ours to count
        self._reopenings = (0, 0)
        self._version, self._started = our_version(), trio.current_time()

    def unready(self) -> str:
        """Why new work should go elsewhere now; empty when it should come."""
        if self.failure is not None:
            return "the log takes no records"
        return "shutting down" if self.stopping else ""

    def document(self) -> dict[str, object]:
        """The body of /status (relay-and-mirror §1); ``durableSeq`` is the last record's, -1 in an empty log."""
        log = self._ledger.log
        return {
            "origin": log.origin,
            "version": self._version,
            "uptimeSeconds": int(trio.current_time() - self._started),
            "sessions": dict(self.sessions),
            "log": {"size": log.durable_size, "root": log.root.hex(), "durableSeq": log.durable_size - 1},
            "views": {
                name: {"position": view.position, "lag": log.durable_size - view.position}
                for name, view in self._ledger.views.items()
            },
            "relays": self.public_relays(),
        }

    def refresh(self) -> None:
        """Bring the figures up to date that are read, not counted."""
        log = self._ledger.log
        self._metrics.log_size.set(log.durable_size)
        self._metrics.log_appends.inc(log.durable_size - self._counted)
        self._counted = log.durable_size
        self._metrics.log_failed.set(self.failure is not None)
        before, self._reopenings = self._reopenings, (log.term, log.reopenings_failed)
        self._metrics.log_reopenings.labels("ok").inc(log.term - before[0])
        self._metrics.log_reopenings.labels("failed").inc(log.reopenings_failed - before[1])
        for name, view in self._ledger.views.items():
            self._metrics.log_view_lag.labels(name).set(log.durable_size - view.position)
