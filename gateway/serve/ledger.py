"""The log together with the views that follow it: where every decision is recorded.

`record` answers once the drafts are durable and every view has taken them in, so that whatever a client asks next is
already true. One task (`run`) folds; it reads the log through the same cursor as everybody else. When the log fails
closed, whoever waits for a record that will never be durable is told so, with LogFailed.
This module must not know what any fact means.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import trio

from eventlog.disk.log import Appendable
from eventlog.errors import LogClosed, LogFailed
from eventlog.record import Draft, Record
from eventlog.view import TableView


class Ticket:
    """What a submit may wait for: records durable and applied, or the log's failure."""

    __slots__ = ("_done", "_failure", "seq_end")

    def __init__(self, seq_end: int) -> None:
        self.seq_end = seq_end
        self._done = trio.Event()
        self._failure: LogFailed | None = None

    async def wait(self) -> None:
        """Wait until the records are durable and every view shows them; raises LogFailed if they never will be."""
        await self._done.wait()
        if self._failure is not None:
            # A fresh one for each waiter: a shared exception would gather all their tracebacks.
            raise type(self._failure)(*self._failure.args) from self._failure

    def settle(self, failure: LogFailed | None = None) -> None:
        """Wake whoever waits."""
        self._failure = failure
        self._done.set()


class Ledger:
    """Append facts, and wait until the views show them. The views are read directly, never written, by others."""

    def __init__(self, log: Appendable, views: Mapping[str, TableView]) -> None:
        self.log = log
        self.views = views
        self.applied = min((view.position for view in views.values()), default=log.durable_size)
        self._waiters: deque[Ticket] = deque()  # in order of seq: submits are
        self._folded = trio.lowlevel.ParkingLot()
        self.watchers: list[Callable[[Sequence[Record]], None]] = []  # told what was just applied; must not wait

    async def record(self, drafts: Sequence[Draft]) -> int:
        """Append; return the first seq once all are durable and applied. Cancelled: it may still commit."""
        await self.log.room()
        first, ticket = self.submit(drafts)
        await ticket.wait()
        return first

    def submit(self, drafts: Sequence[Draft]) -> tuple[int, Ticket]:
        """Enqueue without waiting (await ``log.room()`` first): (first seq, ticket to wait on).

        Raises LogFailed once the log has failed closed.
        """
        first = self.log.submit(drafts)
        ticket = Ticket(first + len(drafts))
        self._waiters.append(ticket)
        return first, ticket

    async def caught_up(self, seq_end: int) -> None:
        """Wait until every view shows the durable records below ``seq_end``: for followers that must not run ahead."""
        while self.applied < seq_end:
            await self._folded.park()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fold the log's news into the views, for ever; wake whoever waited for it. Cancelled: the views are sealed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._release_on_failure)
                task_status.started()
                async for records in self.log.follow(self.applied):
                    self._fold(records)
        finally:
            self._release(LogClosed("the ledger was closed"))
            for view in self.views.values():
                view.commit(self.log.origin, self.log.root_at(view.position))

    def _fold(self, records: Sequence[Record]) -> None:
        position = records[-1].seq + 1
        for view in self.views.values():
            view.apply(records, position)
            if view.due:
                view.commit(self.log.origin, self.log.root_at(position))
        self.applied = position
        self._folded.unpark_all()
        for watch in self.watchers:
            watch(records)
        while self._waiters and self._waiters[0].seq_end <= position:
            self._waiters.popleft().settle()

    async def _release_on_failure(self) -> None:
        failure = await self.log.failed()
        # What is durable is still folded and settled; what is behind it never will be.
        while self._waiters and self._waiters[-1].seq_end > self.log.durable_size:
            self._waiters.pop().settle(failure)

    def _release(self, failure: LogFailed) -> None:
        while self._waiters:
            self._waiters.popleft().settle(failure)
