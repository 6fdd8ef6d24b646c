"""What the log's tests share: drafts, a log on a simulated disk, and one that runs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from eventlog.disk.log import Log, open_log
from eventlog.record import Draft
from tests.fakes import FakeClock
from tests.sim.disk import SimDisk

NOW_NS = 1_763_126_872_000_000_000


def draft(number: int, size: int = 20, kind: str = "thing.happened") -> Draft:
    return Draft(kind, str(number).encode().rjust(size, b"."), NOW_NS + number)


async def at_once(call: Callable[[], None]) -> None:
    """In the place of a thread: the call is made here, between two checkpoints."""
    await trio.lowlevel.checkpoint()
    call()
    await trio.lowlevel.checkpoint()


def open_sim(disk: SimDisk, **options: Any) -> Log:
    return open_log("/data", FakeClock(), disk=disk, hop=at_once, **options)


def opened_at(data: Path, origin: str = "log.example") -> Log:
    """Open a log on the real disk."""
    return open_log(data, FakeClock(), origin=origin)


async def append_frames(log: Log, count: int) -> None:
    """Append records in frames of ten and segments of fifty."""
    for first in range(log.next_seq, log.next_seq + count, 10):
        if first and first % 50 == 0:
            log.store.roll()
        await log.append_many([draft(n) for n in range(first, first + 10)])


@asynccontextmanager
async def running(log: Log) -> AsyncIterator[Log]:
    """Run a log, and stop it in good order."""
    with log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            yield log
            nursery.cancel_scope.cancel()


async def filled(disk: SimDisk, count: int, batch: int = 10, **options: Any) -> None:
    """Leave a log of so many records, closed in good order, in frames of ``batch``."""
    async with running(open_sim(disk, **options)) as log:
        for first in range(log.next_seq, log.next_seq + count, batch):
            await log.append_many([draft(n) for n in range(first, first + batch)])


def payloads(log: Log) -> list[bytes]:
    return [record.payload or b"" for records in log.read(0) for record in records]
