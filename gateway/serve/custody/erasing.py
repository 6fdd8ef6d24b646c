"""Erasures in a running process: whose records, the log's files, the views, and what is kept in memory.

    find (a thread reads the log) ─▶ bars ─▶ job, record, segments (`eventlog.disk.erase`) ─▶ views anew ─▶ job ended
                ▲                                                                                     │
                └──────────────── what came in meanwhile: until a look finds nothing more ────────────┘
Invariant: one erasure or other rewriting at a time; when `erase` returns, no file under the data directory and no view
or cache of this process holds what was erased. Whoever is told nothing, because the process died or the disk failed,
finds it ended by the next start, or by the next call, if its record was durable, else not begun.
This module must not know who asks, or by which door.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from os.path import join, relpath
from pathlib import Path
from typing import Any

import msgspec
import structlog
import trio

from eventlog.chronicle import ranges_of
from eventlog.disk import durable, refold, snapshots
from eventlog.disk import erase as erasures
from eventlog.disk.erase import Job
from eventlog.disk.log import Log
from eventlog.disk.recovery import read_state
from eventlog.disk.store import LOG_DIRECTORY, VIEW_DIRECTORY
from eventlog.disk.views import Judge
from eventlog.disk.writer import Hop
from eventlog.limits import ERASURE_JOB_RANGES_MAX
from eventlog.record import Record
from eventlog.retention import State
from eventlog.snapshot import name_of
from eventlog.view import TableView
from gateway.errors import Unavailable
from gateway.facts import Moderated
from gateway.limits.keeping import ERASING_LAG_RECORDS, ERASING_ROUNDS_MAX
from gateway.serve.clock import Clock
from gateway.serve.custody.barring import Barring
from gateway.serve.custody.control import WRONG, ControlRefused
from gateway.serve.ledger import Ledger
from gateway.views.scrub import scrub
from gateway.views.subjects import Finder, NostrKey, OfKey, Subject, SubjectUnclear, finder, subject_of, what


class Asked(msgspec.Struct, frozen=True):
    """Who asks for an erasure, and why; both stand in the log for ever. ``dry_run``: only count."""

    by: str
    reason: str
    dry_run: bool = False


class Done(msgspec.Struct, frozen=True):
    """What an erasure did: records by kind, segments and views that were changed, torn tails that were removed."""

    records: int
    kinds: dict[str, int]
    views: list[str]
    torn: list[str]


async def patiently(call: Callable[[], None]) -> None:
    """Run a blocking call in a thread. Cancelled: it is waited for, since it changes files; it asks often whether."""
    await trio.to_thread.run_sync(call)


class Erasing:
    """Erasures over an open log and its views.

    ``forget`` lets go of what services keep in memory; ``restate`` has them publish anew what named the subject.
    """

    def __init__(
        self,
        log: Log,
        ledger: Ledger,
        clock: Clock,
        data: Path,
        *,
        judge: Judge,
        forget: Callable[[], None] = lambda: None,
        restate: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        hop: Hop = patiently,
        alive: Callable[[], None] = trio.from_thread.check_cancelled,
    ) -> None:
        self._log, self._ledger, self._clock = log, ledger, clock
        self._data, self._views = str(data), str(data / VIEW_DIRECTORY)
        self._log_directory = str(data / LOG_DIRECTORY)
        self._forget, self._restate, self._hop, self.alive = forget, restate, hop, alive

        def watched(records: Sequence[Record]) -> None:
            alive()
            judge(records)

        self._judge: Judge = watched

    async def erase(self, subject: Subject, asked: Asked) -> Done:
        """Erase a subject's records. Raises LogFailed, Unavailable (the disk), Corrupt; see above for what then is."""
        async with self._log.rewriting:
            try:
                done = await self._erase(subject, asked)
            except OSError as error:
                what_now = "ask again, or start the server anew: an erasure that has begun is then ended"
                raise Unavailable(f"the disk failed during the erasure ({error}); {what_now}") from error
        if done.records and not asked.dry_run:
            await self._restate()
        return done

    async def _erase(self, subject: Subject, asked: Asked) -> Done:
        kinds: Counter[str] = Counter()
        changed: set[str] = set()
        torn: list[str] = []
        if not asked.dry_run:
            torn += await self._end_pending()
        start = 0
        for _ in range(ERASING_ROUNDS_MAX):
            await self._log.durable(self._log.next_seq)  # what was let in before a bar, or a request, is looked at
            stop = self._log.durable_size
            search = await self._searched(subject, start, stop)
            found = search.found
            kinds.update(found.values())
            if asked.dry_run or not found:
                break
            if isinstance(subject, NostrKey) and isinstance(search, OfKey):
                barring = Barring(self._clock, self._ledger, Path(self._data))
                await self._ledger.record(barring.drafts(subject.pubkey, search))
            affected = self._affected(found.values())
            changed.update(view.name for view in affected)
            affected = await self._scrubbed(affected, subject, found)
            for job in self._jobs(subject, asked, found, affected):
                torn += await self._carry_out(job, affected, begun=False)
            start = stop
        return Done(kinds.total(), dict(kinds), sorted(changed), torn)

    async def _searched(self, subject: Subject, start: int, stop: int) -> Finder:
        """Find the subject's records that still have a payload, from ``start`` on."""
        first_seq, search = self.first_seq, finder(subject)
        await self._hop(partial(self._search, search, max(start, first_seq), stop))
        if start > first_seq and Moderated.kind in search.found.values():
            return await self._searched(subject, first_seq, stop)  # lists follow from all that was said of them
        return search

    def _search(self, search: Finder, start: int, stop: int) -> None:
        """Show a finder the log as often as it needs; blocks."""
        turn = 0
        while turn < search.passes:
            for records in self._log.read(start, stop) if start < stop else ():
                self.alive()
                for record in records:
                    if record.payload is not None:
                        search.take(record, turn)
            turn += 1

    @property
    def first_seq(self) -> int:
        """Where the log begins: retention took what was before."""
        return self._state().first_seq

    def _state(self) -> State:
        return read_state(self._log.store.disk, self._log_directory)

    def _affected(self, kinds: Iterable[str]) -> list[TableView]:
        wanted = set(kinds)
        return [view for view in self._ledger.views.values() if not wanted.isdisjoint(view.kinds)]

    def _jobs(
        self, subject: Subject, asked: Asked, found: Iterable[int], affected: Sequence[TableView]
    ) -> Iterator[Job]:
        """Put the seqs into as few jobs as hold their ranges."""
        files = [name for view in affected for name in refold.files_of(self._views, view.name)]
        files += self._snapshots(affected)
        drop = tuple(relpath(name, self._data) for name in files)
        ranges = ranges_of(found)
        for at in range(0, len(ranges), ERASURE_JOB_RANGES_MAX):
            part, after = ranges[at : at + ERASURE_JOB_RANGES_MAX], self._log.durable_size
            yield Job(erasures.VERSION, after, asked.by, asked.reason, what(subject), part, drop)

    def _snapshots(self, affected: Sequence[TableView]) -> list[str]:
        """Name the snapshots of these views."""
        names = {view.name for view in affected}
        directory = snapshots.directory_of(self._log_directory)
        return [
            join(directory, one)
            for one in snapshots.names(self._log_directory)
            if (name := name_of(one)) is not None and name.view in names
        ]

    async def _scrubbed(
        self, affected: Sequence[TableView], subject: Subject, seqs: Collection[int]
    ) -> list[TableView]:
        """Scrub the views that cannot be folded anew, since retention took what they came from; give the others.

        Before anything else: a start that finishes the erasure must not remove these. Cut off here, the erasure has
        not begun, though these views have forgotten already; asking again ends it.
        """
        state = self._state()
        held = [view for view in affected if state.floor(view.kinds) > 0]
        for view in held:
            view.commit(self._log.origin, self._log.root_at(view.position))
            scrub(view, subject, seqs)
        if held:
            await self._hop(partial(self._snap_anew, held))
        return [view for view in affected if view not in held]

    def _snap_anew(self, views: Sequence[TableView]) -> None:
        """Put new snapshots in the place of those that stand; blocks. None stand for long between the two."""
        names = [view.name for view in views]
        for name in self._snapshots(views):
            durable.remove(self._log.store.disk, name)
        snapshots.take(self._log_directory, self._views, names, origin=self._log.origin)

    async def _end_pending(self) -> list[str]:
        """End what an earlier call could not: its job is still there."""
        job = erasures.pending(self._log.store.disk, self._data)
        if job is None:
            return []
        state = self._state()
        unheld = [view for view in self._ledger.views.values() if state.floor(view.kinds) == 0]
        return await self._carry_out(job, unheld, begun=True)

    async def _carry_out(self, job: Job, affected: Sequence[TableView], *, begun: bool) -> list[str]:
        await erasures.erase(
            self._log, self._data, job, self._clock.now_ns(), self._hop, begun=begun, progress=lambda _: self.alive()
        )
        self._forget()
        had_snapshots = bool(self._snapshots(affected))
        for view in affected:
            await self._remade(view)
        self._forget()
        torn: list[str] = []

        def end() -> None:
            if had_snapshots:
                self._snap_anew(affected)
            torn.extend(erasures.end(self._log.store.disk, self._data))

        await self._hop(end)
        return torn

    async def _remade(self, view: TableView) -> None:
        """Fold a view anew in a thread, until it is nearly where the others are; then put it in its place."""
        stop = self._ledger.applied
        await self._hop(partial(refold.refold, self._log, self._views, type(view), stop, self._judge))
        while self._ledger.applied - stop > ERASING_LAG_RECORDS:
            stop = self._ledger.applied
            await self._hop(partial(refold.carry_on, self._log, self._views, type(view), stop, self._judge))
        refold.swap(self._log, self._views, view, self._ledger.applied)

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Serve the operator's door: the verb ``erase``."""
        try:
            asked = msgspec.convert(
                {
                    name: request.get(name, default)
                    for name, default in (("by", ""), ("reason", ""), ("dry_run", False))
                },
                Asked,
            )
            subject = subject_of(str(request.get("subject")), only_deleted=request.get("only_deleted") is True)
        except (msgspec.ValidationError, SubjectUnclear) as error:
            raise ControlRefused(str(error), WRONG) from error
        done = await self.erase(subject, asked)
        structlog.get_logger().warning("erased", what=what(subject), records=done.records, dry_run=asked.dry_run)
        return msgspec.structs.asdict(done)
