"""Keeping the log small in a running process: snapshots of the views, retention by the operator's rules, compaction.

Invariant: nothing that retention takes lies above a snapshot of any view, a signed checkpoint, the tiles' last sync or
a notification that is still to be sent; so a start from any point of it finds what it needs. What a crash or a full
disk cut off is carried out by the next turn. It works in threads, one segment at a time, under the log's one lock for
rewriting, and reads nothing that it has counted before.
This module must not know what records mean; which views there are, it is told.
"""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import trio

from eventlog import retention
from eventlog.disk import compact, snapshots
from eventlog.disk.erase import pending
from eventlog.disk.log import Log
from eventlog.disk.recovery import read_state
from eventlog.disk.segments import SegmentFile
from eventlog.disk.store import LOG_DIRECTORY, VIEW_DIRECTORY
from eventlog.disk.writer import Hop
from eventlog.errors import Corrupt, LogFailed
from eventlog.retention import DAY_NS, EVERY_KIND, Census, Rule, Rules
from eventlog.snapshot import Name
from gateway import config as configuration
from gateway.errors import ConfigInvalid, Unavailable
from gateway.facts import FACTS
from gateway.limits.keeping import MERGED_FILES_MIN, SEGMENT_AGE_DAYS
from gateway.serve.clock import Clock
from gateway.serve.custody.erasing import patiently
from gateway.serve.ledger import Ledger
from gateway.views.outbox import OutboxView


def rules_of(log: configuration.Log) -> Rules:
    """Read the operator's rules. Raises ConfigInvalid for a kind or family that no record has."""
    for name in log.retention:
        family = name.endswith(".") and any(kind.startswith(name) for kind in FACTS)
        if name not in FACTS and name != EVERY_KIND and not family:
            known = ", ".join(sorted({f"{kind.partition('.')[0]}." for kind in FACTS} | FACTS.keys()))
            raise ConfigInvalid(f'log.retention."{name}": no record is of this kind; known: "*", {known}')
    kinds = {
        name: Rule(one.days * DAY_NS if one.days else None, one.bytes_max or None)
        for name, one in log.retention.items()
    }
    return Rules(kinds, log.total_bytes_max or None)


class Keeping:
    """The housekeeping of one open log: `run` it in a server, or call `compact` and `snapshot` for a command."""

    def __init__(
        self, config: configuration.Config, clock: Clock, log: Log, ledger: Ledger, *, hop: Hop = patiently
    ) -> None:
        self._config, self._clock, self._log, self._ledger, self._hop = config.log, clock, log, ledger, hop
        self.rules = rules_of(config.log)
        self._log_directory = str(Path(config.data) / LOG_DIRECTORY)
        self._view_directory = str(Path(config.data) / VIEW_DIRECTORY)
        self._censuses: dict[int, Census] = {}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take a turn now and every ``keeping_s`` seconds, for ever; a turn that the disk cuts off is told."""
        task_status.started()
        while True:
            try:
                await self._turn()
            except (OSError, sqlite3.Error, LogFailed, Corrupt) as failure:
                structlog.get_logger().error("keeping", error=str(failure))
            await trio.sleep(self._config.keeping_s)

    async def _turn(self) -> None:
        """Take snapshots where they are due, carry out what retention says, and put one row of short segments together.

        Whatever was cut off comes first. Where an erasure was cut off, its files stay as they are until it has ended.
        """
        async with self._log.rewriting:
            await self._roll_if_old()
            every = self._config.snapshot_records
            if every and self._log.durable_size - self._reach() >= every:
                taken = await self._snapshot()
                structlog.get_logger().info("snapshots taken", names=[str(name) for name in taken])
            if changed := await self._retain():
                structlog.get_logger().info("retention", segments=len(changed), first_seq=self._first_seq)
            if not self._is_erasing() and (merged := await self._merge(MERGED_FILES_MIN, 1)):
                structlog.get_logger().info("short segments put together", segments=merged)

    async def snapshot(self, _request: object = None) -> dict[str, Any]:
        """Take a snapshot of every view that has news. Raises Unavailable."""
        try:
            async with self._log.rewriting:
                return {"taken": [str(name) for name in await self._snapshot()]}
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"the snapshot was not taken: {error}; those that were there still are") from error

    async def compact(self, _request: object = None) -> dict[str, Any]:
        """Carry out retention, then put short segments together; give what was done. Raises Unavailable, LogFailed."""
        try:
            async with self._log.rewriting:
                before = self._size()
                changed = await self._retain()
                merged = await self._merge()
        except (OSError, sqlite3.Error) as error:
            raise Unavailable(f"not done: {error}; the log is as whole as before, ask again") from error
        segments, size = self._size()
        return {
            "segments": [before[0], segments],
            "bytes": [before[1], size],
            "merged": merged,
            "retained": len(changed),
            "first_seq": self._first_seq,
        }

    @property
    def _first_seq(self) -> int:
        return self._log.store.segments.first_seq

    def _size(self) -> tuple[int, int]:
        files = list(self._log.store.segments)
        return len(files), sum(file.file_bytes() for file in files)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def _reach(self) -> int:
        return snapshots.reach(self._log_directory, self._ledger.views)

    async def _snapshot(self) -> list[Name]:
        """Seal the views as they are now, and copy them as of then, in a thread."""
        for view in self._ledger.views.values():
            view.commit(self._log.origin, self._log.root_at(view.position))
        taken: list[Name] = []
        take = partial(
            snapshots.take, self._log_directory, self._view_directory, list(self._ledger.views), origin=self._log.origin
        )
        await self._hop(lambda: taken.extend(take()))
        return taken

    # -- retention ----------------------------------------------------------------------------------------------------

    async def _roll_if_old(self) -> None:
        """End the open segment where rules name an age: what it holds expires only once it grows no more."""
        age_ns = self._clock.now_ns() - self._log.store.segments[-1].head().time_ns
        if self.rules.age_ns_min is not None and age_ns > SEGMENT_AGE_DAYS * DAY_NS:
            self._log.store.roll()

    async def _retain(self) -> list[int]:
        """Plan by the rules, make the snapshots that the plan needs, and carry it out."""
        log = self._log
        state = read_state(log.store.disk, self._log_directory)
        if not self.rules and state.done:
            return []
        sealed = await self._count()
        changed: list[int] = []
        if not state.done:
            changed += await self._carry_out(retention.State(), state)
        open_bytes = log.store.segments[-1].file_bytes()
        plan = partial(
            retention.plan, sealed, self.rules, retention.State(state.first_seq, state.below), open_bytes=open_bytes
        )
        now_ns, cap = self._clock.now_ns(), min(compact.reach(log.store), self._unsent())
        if plan(now_ns=now_ns, cap=cap).done:
            return changed
        if self._reach() < cap:
            await self._snapshot()
        planned = plan(now_ns=now_ns, cap=min(cap, self._reach()))
        if planned.done:
            return changed
        return changed + await self._carry_out(retention.State(state.first_seq, state.below), planned)

    async def _carry_out(self, before: retention.State, planned: retention.State) -> list[int]:
        now_ns = self._clock.now_ns()
        changed = await compact.retain(self._log, before, planned, self._censuses, now_ns=now_ns, hop=self._hop)
        for first_seq in changed:
            self._censuses.pop(first_seq, None)
        self._log.forget_tail()
        return changed

    async def _count(self) -> list[Census]:
        """Count the segments that grow no more and were not counted yet, one at a time; what ends meanwhile is left."""
        files = list(self._log.store.segments)[:-1]
        self._censuses = {seq: self._censuses[seq] for file in files if (seq := file.first_seq) in self._censuses}
        for file in files:
            census = self._censuses.get(file.first_seq)
            if census is None or census.file_bytes != file.file_bytes():
                await self._hop(partial(self._count_one, file))
        return [self._censuses[file.first_seq] for file in files]

    def _count_one(self, file: SegmentFile) -> None:
        self._censuses[file.first_seq] = compact.take_census(file)

    def _unsent(self) -> int:
        """Give the seq of the first notification that is still to be sent: its text is read from the log."""
        outbox = self._ledger.views.get("outbox")
        oldest = outbox.oldest_pending() if isinstance(outbox, OutboxView) else None
        return self._ledger.applied if oldest is None else oldest

    # -- compaction ---------------------------------------------------------------------------------------------------

    def _is_erasing(self) -> bool:
        """Whether an erasure has begun and not ended: the disk failed under it, and it waits to be asked again."""
        return pending(self._log.store.disk, str(Path(self._log_directory).parent)) is not None

    async def _merge(self, files_min: int = 2, groups_max: int | None = None) -> int:
        """Put short neighbours together, no more than a week's where something expires by age; how many they were."""
        merged = 0
        age_ns_max = None if self.rules.age_ns_min is None else 7 * SEGMENT_AGE_DAYS * DAY_NS
        groups = compact.plan_merges(self._log.store.segments, self._config.segment_bytes_max, age_ns_max)
        for group in [one for one in groups if len(one) >= files_min][:groups_max]:
            await compact.merge(self._log, group, self._hop)
            merged += len(group)
        return merged
