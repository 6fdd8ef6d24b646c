"""Keys under decision: two requests that touch the same key are decided one after the other.

A decision reads the views, records its facts, and is done when the views show them; while it runs it holds its keys
(a nonce, a notification id, a push target), so the next one sees its outcome. Keys are taken in sorted order, so two
holders never wait for each other. At most as many keys are held as there are requests in flight: the door's limit.
"""

from collections.abc import Hashable

import trio


class Inflight:
    """Locks by key, made when first wanted and forgotten when nobody holds or awaits them."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, trio.Lock] = {}

    def hold(self, *keys: tuple[str, ...]) -> "Held":
        """Hold every key while in its ``async with`` block."""
        return Held(self._locks, sorted(set(keys)))


class Held:
    """Some keys, held from entering to leaving. Not a generator: that would cost each webhook 5 µs more."""

    def __init__(self, locks: dict[Hashable, trio.Lock], keys: list[tuple[str, ...]]) -> None:
        self._locks, self._keys = locks, keys
        self._taken: list[tuple[tuple[str, ...], trio.Lock]] = []

    async def __aenter__(self) -> None:
        try:
            for key in self._keys:
                lock = self._locks.setdefault(key, trio.Lock())
                try:
                    lock.acquire_nowait()  # nearly always; `acquire` would let everybody else run first
                except trio.WouldBlock:
                    await lock.acquire()
                self._taken.append((key, lock))
        except BaseException:
            self._release()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        for key, lock in reversed(self._taken):
            lock.release()
            if not lock.locked():  # it goes to whoever waits for it
                self._locks.pop(key, None)
