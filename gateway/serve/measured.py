"""The log's disk with a stopwatch: how long each sync took and how many bytes went out, into the metrics.

Invariant: it does exactly what the real disk does, errors included. It runs in the writer's thread; the figures are
safe to change from there.
"""

from eventlog.disk.durable import RealDisk
from gateway.serve.metrics import Metrics


class MeasuredDisk(RealDisk):
    """`RealDisk`, measured."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write as the real disk does, and count what it took."""
        written = super().write(fd, data, offset)
        self._metrics.log_bytes.inc(written)
        return written

    def datasync(self, fd: int) -> None:
        """Sync as the real disk does, and note how long it took, failed or not."""
        with self._metrics.log_fsync_seconds.time():
            super().datasync(fd)
