"""The log together with the views that follow it: where every decision is recorded.

`record` answers once the drafts are durable and every view has taken them in, so that whatever a client asks next is
already true. One task (`run`) folds; it reads the log through the same cursor as everybody else.
This module must not know what any fact means.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import trio

from eventlog.disk.log import Log
from eventlog.record import Draft
from eventlog.view import TableView


class Ledger:
    """Append facts, and wait until the views show them. The views are read directly, never written, by others."""

    def __init__(self, log: Log, views: Mapping[str, TableView]) -> None:
        self.log = log
        self.views = views
        self._applied = min((view.position for view in views.values()), default=log.durable_size)
        self._waiters: deque[tuple[int, trio.Event]] = deque()  # in order of seq: submits are

    async def record(self, drafts: Sequence[Draft]) -> int:
        """Append; return the first seq once all are durable and applied. Cancelled: it may still commit."""
        await self.log.room()
        first, applied = self.submit(drafts)
        await applied.wait()
        return first

    def submit(self, drafts: Sequence[Draft]) -> tuple[int, trio.Event]:
        """Enqueue without waiting (await ``log.room()`` first): (first seq, event set once durable and applied).

        Raises LogFailed once the log has failed closed; an event that never comes is released by the app's shutdown.
        """
        first = self.log.submit(drafts)
        applied = trio.Event()
        self._waiters.append((first + len(drafts), applied))
        return first, applied

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fold the log's news into the views, for ever; wake whoever waited for it."""
        task_status.started()
        async for records in self.log.follow(self._applied):
            position = records[-1].seq + 1
            for view in self.views.values():
                view.apply(records, position)
                view.commit(self.log.origin, self.log.root)
            self._applied = position
            while self._waiters and self._waiters[0][0] <= position:
                self._waiters.popleft()[1].set()
