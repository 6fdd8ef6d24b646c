"""Keys under decision: two requests that touch the same key are decided one after the other.

A decision reads the views, records its facts, and is done when the views show them; while it runs it holds its keys
(a nonce, a notification id, a push target), so the next one sees its outcome. Keys are taken in sorted order, so two
holders never wait for each other. At most as many keys are held as there are requests in flight: the door's limit.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio


class Inflight:
    """Locks by key, made when first wanted and forgotten when nobody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, trio.Lock] = {}

    @asynccontextmanager
    async def hold(self, *keys: tuple[str, ...]) -> AsyncIterator[None]:
        """Hold every key until the block ends."""
        taken: list[tuple[tuple[str, ...], trio.Lock]] = []
        try:
            for key in sorted(set(keys)):
                lock = self._locks.setdefault(key, trio.Lock())
                try:
                    lock.acquire_nowait()  # nearly always; `acquire` would let everybody else run first
                except trio.WouldBlock:
                    await lock.acquire()
                taken.append((key, lock))
            yield
        finally:
            for key, lock in reversed(taken):
                lock.release()
                if not lock.locked() and not lock.statistics().tasks_waiting:
                    self._locks.pop(key, None)
