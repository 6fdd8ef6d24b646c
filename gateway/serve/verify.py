"""Signatures, verified off the loop: one bounded queue for all connections, several threads for each core.

Invariant: every claim is verified exactly once, in the order of its caller's list; at most `VERIFY_QUEUE_EVENTS_MAX`
wait. A verifying thread needs the interpreter back after every signature; beside a loop that never rests it gets it
once in 5 ms (a lock convoy). So callers wait for their verdicts before they read on, and the loop rests in epoll; and
there are more threads than cores, because each takes one signature along into a stretch of the loop's own work.
This module must not know events, sockets or the log.
"""

import os
from collections import deque
from collections.abc import Sequence
from functools import partial

import trio

from gateway.limits.nostr import (
    VERIFY_HOP_EVENTS_MAX,
    VERIFY_HOP_EVENTS_MIN,
    VERIFY_INLINE_MAX,
    VERIFY_QUEUE_EVENTS_MAX,
    VERIFY_THREADS_A_CORE,
)
from gateway.nostr.signature import Claim, all_hold


class Job:
    """One caller's claims, and their verdicts as they come."""

    __slots__ = ("claims", "done", "left", "taken", "verdicts")

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.claims = claims
        self.verdicts = [False] * len(claims)
        self.taken = 0
        self.left = len(claims)
        self.done = trio.Event()


class Verifier:
    """Verifies for everybody while `run` runs."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or core_count() * VERIFY_THREADS_A_CORE
        self.waiting = 0  # claims that no thread has taken yet
        self._jobs: deque[Job] = deque()
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def verify(self, claims: Sequence[Claim]) -> list[bool]:
        """Give a verdict for each claim. Cancelled: those not yet begun are never verified."""
        if self.waiting + len(claims) <= VERIFY_INLINE_MAX:
            await trio.lowlevel.checkpoint()
            return all_hold(claims)
        while self.waiting and self.waiting + len(claims) > VERIFY_QUEUE_EVENTS_MAX:
            await self._room.park()
        job = Job(claims)
        self._jobs.append(job)
        self.waiting += len(claims)
        self._work.unpark(count=-(-self.waiting // VERIFY_HOP_EVENTS_MIN))
        try:
            await job.done.wait()
        except trio.Cancelled:
            self._forget(job)
            raise
        return job.verdicts

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Verify what comes, for ever."""
        limiter = trio.CapacityLimiter(self.threads)
        async with trio.open_nursery() as nursery:
            for _ in range(self.threads):
                nursery.start_soon(self._work_on, limiter)
            task_status.started()

    async def _work_on(self, limiter: trio.CapacityLimiter) -> None:
        while True:
            while not self._jobs:
                await self._work.park()
            pieces = self._take()
            claims = [claim for job, start, stop in pieces for claim in job.claims[start:stop]]
            verdicts = await trio.to_thread.run_sync(partial(all_hold, claims), limiter=limiter)
            self._hand_out(pieces, verdicts)

    def _take(self) -> list[tuple[Job, int, int]]:
        """Take this thread's share of what waits, from the oldest on: (job, start, stop)."""
        share = min(VERIFY_HOP_EVENTS_MAX, max(VERIFY_HOP_EVENTS_MIN, -(-self.waiting // self.threads)))
        pieces: list[tuple[Job, int, int]] = []
        while share and self._jobs:
            job = self._jobs[0]
            stop = min(len(job.claims), job.taken + share)
            pieces.append((job, job.taken, stop))
            share -= stop - job.taken
            self.waiting -= stop - job.taken
            job.taken = stop
            if stop == len(job.claims):
                self._jobs.popleft()
        self._room.unpark_all()
        return pieces

    def _hand_out(self, pieces: list[tuple[Job, int, int]], verdicts: list[bool]) -> None:
        at = 0
        for job, start, stop in pieces:
            job.verdicts[start:stop] = verdicts[at : at + stop - start]
            at += stop - start
            job.left -= stop - start
            if not job.left:
                job.done.set()

    def _forget(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self.waiting -= len(job.claims) - job.taken
            self._room.unpark_all()


def core_count() -> int:
    """Count the cores that this process may use; all of them where the system cannot say (macOS)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
