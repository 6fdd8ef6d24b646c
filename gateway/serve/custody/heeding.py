"""Requests to vanish (NIP-62) and to delete (NIP-09) heeded in the log's files, by rounds: nobody need ask an operator.

The fold hides and bars at once; a round then erases what was hidden. Why rounds? An erasure rewrites segments and folds
views anew, which costs the same for one request as for a thousand.
Invariant: a round heeds every request between the last one's end and its own beginning, and whatever was let in beside
them; it is recorded (`nostr.heeded`) after the erasure, so what was cut off at any point is done by the next, also
after a restart. The requests themselves stay, and the erasure's record names them by their seqs.
"""

import sqlite3

import structlog
import trio

from eventlog.disk.log import Log
from eventlog.disk.writer import Hop
from eventlog.errors import Corrupt, LogFailed
from gateway.errors import Unavailable
from gateway.facts import Heeded, draft
from gateway.limits.keeping import (
    GONE_TARGETS_MAX,
    HEEDED_RECORDS,
    HEEDING_FIRST_S_MAX,
    HEEDING_PIECE_RECORDS,
    HEEDING_REST,
    HEEDING_SEQS_TOLD_MAX,
)
from gateway.serve.clock import Clock
from gateway.serve.custody.erasing import Asked, Done, Erasing, patiently
from gateway.serve.ledger import Ledger
from gateway.views.gone import Requests
from gateway.views.heeding import HeedingView
from gateway.views.subjects import Gone

BY = "the authors, by requests of their own"


class Heeding:
    """Rounds over an open log: `run` them; a request waits ``within_s`` seconds at most, 0: for an operator."""

    def __init__(
        self, within_s: float, clock: Clock, log: Log, ledger: Ledger, erasing: Erasing, *, hop: Hop = patiently
    ) -> None:
        self._within_s, self._clock, self._log, self._ledger = within_s, clock, log, ledger
        self._erasing, self._view, self._hop = erasing, ledger.view(HeedingView), hop
        self._looked = 0  # no request stands between the view's position and this
        self._erased_s = 0.0  # what the last round's erasure took

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Make a round every half of the time that a request may wait, for ever; what cuts one off is told."""
        task_status.started()
        if not self._within_s:
            return
        await trio.sleep(min(self._within_s / 2, HEEDING_FIRST_S_MAX))
        while True:
            try:
                await self.round()
            except (OSError, sqlite3.Error, LogFailed, Corrupt, Unavailable) as failure:
                structlog.get_logger().error("heeding", error=str(failure))
            await trio.sleep(max(self._within_s / 2, self._erased_s * HEEDING_REST))

    async def round(self) -> Done | None:
        """Heed what was asked since the last round; None: nothing was. Cancelled: the next round goes on."""
        self._erased_s, requests = 0.0, Requests()
        stop = await self._gather(requests, max(self._view.before_seq, self._looked), self._ledger.applied)
        if not requests.seqs:
            self._looked = stop
            if stop - self._view.before_seq >= HEEDED_RECORDS:
                await self._record(Heeded(stop, 0, 0))
            return None
        done = await self._erase(requests)
        await self._record(Heeded(stop, len(requests.seqs), done.records))
        structlog.get_logger().info("heeded", requests=len(requests.seqs), records=done.records)
        return done

    async def _gather(self, requests: Requests, start: int, stop: int) -> int:
        """Read the requests of a stretch of the log, as many as one round takes; give where it ended.

        Piece by piece, each with its rest: a million records read at once would be two seconds in which this thread
        takes every second turn at the interpreter, and all answers take twice as long.
        """
        at = max(start, self._erasing.first_seq)

        def read_on() -> None:
            nonlocal at
            at = self._read(requests, at, min(at + HEEDING_PIECE_RECORDS, stop))

        while at < stop and requests.targets < GONE_TARGETS_MAX:
            began = trio.current_time()
            await self._hop(read_on)
            await trio.sleep((trio.current_time() - began) * HEEDING_REST)
        return at

    def _read(self, requests: Requests, start: int, stop: int) -> int:
        for records in self._log.read(start, stop):
            self._erasing.alive()
            for record in records:
                requests.take(record)
                if requests.targets >= GONE_TARGETS_MAX:
                    return record.seq + 1
        return stop

    async def _erase(self, requests: Requests) -> Done:
        began = trio.current_time()
        try:
            return await self._erasing.erase(Gone(requests), Asked(BY, told(requests)))
        finally:
            self._erased_s = trio.current_time() - began

    async def _record(self, fact: Heeded) -> None:
        await self._ledger.record([draft(fact, ts_ns=self._clock.now_ns())])


def told(requests: Requests) -> str:
    """Say who asked: for the erasure's record, by the seqs of their requests."""
    deletions = len(requests.seqs) - requests.vanishes
    seqs = ", ".join(map(str, requests.seqs[:HEEDING_SEQS_TOLD_MAX]))
    more = len(requests.seqs) - HEEDING_SEQS_TOLD_MAX
    tail = f" and {more} more" if more > 0 else ""
    return f"{requests.vanishes} to vanish (NIP-62), {deletions} to delete (NIP-09): records {seqs}{tail}"
