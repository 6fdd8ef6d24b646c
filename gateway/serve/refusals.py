"""Log lines for refusals: one each, until a source has had its share of the minute; then they are only counted.

Invariant: no source, and no number of sources, fills the log or the memory. A line never holds a token or a secret:
callers pass a path without its query, and our own words. This module must not know why anything was refused.
"""

from collections.abc import Callable

import structlog
import trio
from cachetools import LRUCache

from gateway.limits.serve import REFUSAL_LINES_PER_MINUTE, REFUSAL_SOURCES_MAX


class Refusals:
    """Counts lines per source; ``line`` writes one (default: structlog's info)."""

    def __init__(self, line: Callable[..., object] | None = None) -> None:
        self._line = structlog.get_logger().info if line is None else line
        self._said: LRUCache[str, tuple[float, int]] = LRUCache(
            REFUSAL_SOURCES_MAX
        )  # (minute's begin, lines asked for)

    def tell(self, source: str, **fields: object) -> None:
        """Write a line about a refusal of ``source``, unless it had `REFUSAL_LINES_PER_MINUTE` this minute."""
        now = trio.current_time()
        begin, asked = self._said.get(source, (now, 0))
        untold = 0
        if now - begin >= 60:
            begin, untold, asked = now, max(0, asked - REFUSAL_LINES_PER_MINUTE), 0
        self._said[source] = (begin, asked + 1)
        if asked < REFUSAL_LINES_PER_MINUTE:
            more = {"untold": untold} if untold else {}
            self._line("refused", source=source, **fields, **more)
