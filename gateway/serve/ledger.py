"""The log together with the views that follow it: where every decision is recorded.

`record` answers once the drafts are durable and every view has taken them in, so that whatever a client asks next is
already true. One task (`run`) folds; it reads the log through the same cursor as everybody else.
When the disk fails, under the log or under a view, whoever waits is told so with LogFailed, and no facts are taken
until the log was reopened and every view shows all that is durable: a decision over less would let a nonce be used
twice. The views are read all the while; what SQLite gave up is folded again in memory, and sealed later.
This module must not know what any fact means.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import structlog
import trio

from eventlog.disk.log import Appendable
from eventlog.errors import LogClosed, LogFailed
from eventlog.limits import REOPEN_S_MAX
from eventlog.record import Draft, Record
from eventlog.view import TableView, disk_refused

View = TypeVar("View", bound=TableView)


class Unwritable(Exception):
    """A view's file cannot be written now."""


class Ticket:
    """What a submit may wait for: records durable and applied, or the log's failure."""

    __slots__ = ("_done", "_failure", "seq_end")

    def __init__(self, seq_end: int) -> None:
        self.seq_end = seq_end
        self._done = trio.Event()
        self._failure: LogFailed | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nobody need wait any longer: the views show the records, or the log failed."""
        return self._done.is_set()

    @property
    def is_applied(self) -> bool:
        """Whether the records are durable and every view shows them."""
        return self._done.is_set() and self._failure is None

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
        self._behind: LogFailed | None = None  # the log failed, and the views do not show yet what became of it
        self._unsealed: LogFailed | None = None  # a view could not be written
        self._broken: set[str] = set()  # the views that may show a batch by half
        self._changed = trio.lowlevel.ParkingLot()  # one of the two has come or gone
        self.heralds: list[Callable[[Sequence[Record]], None]] = []  # told what is applied next, in the same turn
        self.watchers: list[Callable[[Sequence[Record]], None]] = []  # told what was just applied; must not wait

    def view(self, kind: type[View]) -> View:
        """The one view of a kind, for reading."""
        found = self.views[kind.name]
        assert isinstance(found, kind), kind
        return found

    @property
    def failure(self) -> LogFailed | None:
        """Why no facts are taken now, or None while they are."""
        return self.log.failure or self._behind or self._unsealed

    async def failed(self) -> LogFailed:
        """Wait until no facts are taken; give the reason."""
        while (failure := self.failure) is None:
            await self._changed.park()
        return failure

    async def restored(self) -> None:
        """Wait until facts are taken (again)."""
        while self.failure is not None:
            await self._changed.park()

    async def record(self, drafts: Sequence[Draft]) -> int:
        """Append; return the first seq once all are durable and applied. Cancelled: it may still commit."""
        await self.log.room()
        first, ticket = self.submit(drafts)
        await ticket.wait()
        return first

    def submit(self, drafts: Sequence[Draft]) -> tuple[int, Ticket]:
        """Enqueue without waiting (await ``log.room()`` first): (first seq, ticket to wait on).

        Raises LogFailed while the log, or a view, has failed.
        """
        refusal = self._behind or self._unsealed
        if refusal is not None:
            raise LogFailed(*refusal.args)
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
                nursery.start_soon(self._watch_log)
                task_status.started()
                while True:
                    try:
                        await self._follow()
                    except Unwritable as error:
                        await self._mend(error)
        finally:
            self._release(LogClosed("the ledger was closed"))
            self._seal_at_the_end()

    async def _follow(self) -> None:
        async for records in self.log.follow(self.applied):
            self._fold(records)

    def _fold(self, records: Sequence[Record]) -> None:
        for herald in self.heralds:
            herald(records)
        position = records[-1].seq + 1
        kinds = {record.kind for record in records}  # a dozen views need not each look at every record
        for view in self.views.values():
            # A view that took some of them in before another one failed takes in the rest.
            at = max(0, view.position - records[0].seq)
            if view.ignores(kinds):
                view.apply((), position)  # most views, mostly: nothing of it touches a file
            else:
                with self._touching(view):
                    view.apply(records[at:] if at else records, position)
            if view.due:
                with self._touching(view):
                    view.commit(self.log.origin, self.log.root_at(position))
        self._advance(position)
        for watch in self.watchers:
            watch(records)
        while self._waiters and self._waiters[0].seq_end <= position:
            self._waiters.popleft().settle()

    def _advance(self, position: int) -> None:
        self.applied = position
        self._folded.unpark_all()

    # -- failures -----------------------------------------------------------------------------------------------------

    async def _watch_log(self) -> None:
        """Take no facts from the log's failure until the views show all that it left, lost or not."""
        while True:
            failure = self._behind = await self.log.failed()
            # What is durable is still folded and settled; what is behind it may never be.
            while self._waiters and self._waiters[-1].seq_end > self.log.durable_size:
                self._waiters.pop().settle(failure)
            self._let_views_spill(allowed=False)
            self._changed.unpark_all()
            await self.log.reopened()
            await self.caught_up(self.log.durable_size)
            self._behind = None
            self._let_views_spill(allowed=self._unsealed is None)
            self._changed.unpark_all()

    async def _mend(self, error: Unwritable) -> None:
        """A view could not be written: fold in memory what SQLite gave up, and seal when the disk takes it."""
        self._unsealed = LogFailed(f"a view cannot be written: {error}")
        self._let_views_spill(allowed=False)
        self._release(self._unsealed)
        self._changed.unpark_all()
        self._try(self._fold_again)
        while True:
            await trio.sleep(REOPEN_S_MAX)
            await self.log.reopened()  # it makes sure that there is room
            if self._try(self._fold_again) and self._try(self._seal):
                break
            self._try(self._fold_again)  # a seal that fails takes all with it that was not sealed
        self._unsealed = None
        self._let_views_spill(allowed=self._behind is None)
        self._changed.unpark_all()

    def _try(self, work: Callable[[], None]) -> bool:
        """Do what a full disk may refuse; whether it was done."""
        try:
            work()
        except Unwritable as error:
            self._unsealed = LogFailed(f"a view cannot be written: {error}")
            return False
        return True

    def _fold_again(self) -> None:
        """Bring every view to the log's end, from what it last sealed where its transaction is gone. Blocks."""
        for view in self.views.values():
            if view.is_given_up or view.name in self._broken:
                view.restart()
        self._broken.clear()
        for records in self.log.read(min((view.position for view in self.views.values()), default=self.applied)):
            end = records[-1].seq + 1
            for view in self.views.values():
                if view.position < end:
                    with self._touching(view):
                        view.apply([record for record in records if record.seq >= view.position], end)
            if end > self.applied:
                news = [record for record in records if record.seq >= self.applied]
                self._advance(end)
                for watch in self.watchers:
                    watch(news)

    def _let_views_spill(self, *, allowed: bool) -> None:
        for view in self.views.values():
            view.may_spill(allowed)

    def _seal(self) -> None:
        for view in self.views.values():
            with self._touching(view):
                view.commit(self.log.origin, self.log.root_at(view.position))

    @contextmanager
    def _touching(self, view: TableView) -> Iterator[None]:
        """Tell the disk's refusal to write a view, which passes, from our bugs, which do not."""
        try:
            yield
        except sqlite3.OperationalError as error:
            self._broken.add(view.name)
            if not disk_refused(error):
                raise
            raise Unwritable(f"{view.name}: {error}") from error

    def _seal_at_the_end(self) -> None:
        """Seal what can be; the next start folds again what cannot."""
        try:
            self._seal()
        except Unwritable as error:
            structlog.get_logger().warning("the views end unsealed; the next start folds again", error=str(error))

    def _release(self, failure: LogFailed) -> None:
        while self._waiters:
            self._waiters.popleft().settle(failure)
