"""The log as everyone sees it: append, wait, read, follow.

Only the writer task changes it; only durable records are ever given out. Open it with `open_log`, run `Log.run` in a
nursery, close it when that nursery is done.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self

import trio

from eventlog import chronicle
from eventlog.disk.cursor import Cursor, Tail
from eventlog.disk.durable import Disk, RealDisk
from eventlog.disk.recovery import TornTail
from eventlog.disk.store import Birth, Store, open_store
from eventlog.disk.writer import Batch, Hop, Writer, in_thread
from eventlog.errors import Absent, LogFailed
from eventlog.limits import QUEUE_BYTES_MAX, QUEUE_RECORDS_MAX, SEGMENT_BYTES_MAX
from eventlog.record import Draft, Record


class Clock(Protocol):
    """Wall time in ns since 1970, and fresh random bytes for keys and names."""

    def now_ns(self) -> int: ...

    def random_bytes(self, count: int) -> bytes: ...


class Follower(Protocol):
    """An async iterator over pieces of a log, that knows its place."""

    position: int

    def __aiter__(self) -> "Follower": ...

    async def __anext__(self) -> list[Record]: ...


class Readable(Protocol):
    """What views and cursors need: the durable records. The fake in the tests offers the same."""

    origin: str

    @property
    def durable_size(self) -> int: ...

    @property
    def root(self) -> bytes: ...

    def root_at(self, size: int) -> bytes: ...

    def read(self, start: int, stop: int | None = None) -> Iterator[list[Record]]: ...

    def record(self, seq: int) -> Record: ...

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]: ...


class Appendable(Readable, Protocol):
    """The whole interface of a log, for whoever may be handed the fake in its place."""

    @property
    def next_seq(self) -> int: ...

    @property
    def failure(self) -> LogFailed | None: ...

    async def room(self) -> None: ...

    def submit(self, drafts: Sequence[Draft]) -> int: ...

    async def append_many(self, drafts: Sequence[Draft]) -> int: ...

    async def durable(self, seq_end: int) -> None: ...

    def follow(self, start: int) -> Follower: ...

    async def failed(self) -> LogFailed: ...

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None: ...


class Log:
    """An open log. Everything but the writer's syncs happens in the trio thread."""

    def __init__(
        self,
        store: Store,
        now_ns: Callable[[], int],
        *,
        queue_records_max: int = QUEUE_RECORDS_MAX,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        hop: Hop = in_thread,
    ) -> None:
        self.origin = store.origin.name
        self.public_key = store.origin.public_key
        self.tail = Tail()
        self.news = trio.lowlevel.ParkingLot()
        self.store = store
        self.torn: TornTail | None = store.torn
        self._durable_size, self._root = store.tree.size, store.tree.root()
        self._hop = hop
        self._writer = Writer(
            store, now_ns, self._publish, records_max=queue_records_max, bytes_max=queue_bytes_max, hop=hop
        )
        if store.torn is not None:
            self.submit([_recovered(store.torn, now_ns())])

    @property
    def durable_size(self) -> int:
        """How many records are durable: the seq after the last of them."""
        return self._durable_size

    @property
    def next_seq(self) -> int:
        """The seq that the next record submitted will get."""
        return self._writer.next_seq

    @property
    def root(self) -> bytes:
        """The Merkle tree's root over the durable records (RFC 6962)."""
        return self._root

    @property
    def failure(self) -> LogFailed | None:
        """Why the log takes no more records, or None while it does."""
        return self._writer.failure

    @property
    def queued(self) -> tuple[int, int]:
        """What waits for the writer: (records, bytes)."""
        return self._writer.queued_records, self._writer.queued_bytes

    async def room(self) -> None:
        """Wait until the queue has room. Raises LogFailed or LogClosed. A checkpoint only where it has to wait."""
        await self._writer.room()

    def submit(self, drafts: Sequence[Draft]) -> int:
        """Enqueue records and give the first one's seq, at once; they will commit, whoever is cancelled.

        Up to 4,096 records and 4 MiB go into one frame: all or none survive a crash; more are split. Await `room`
        first. Raises LogFailed, LogFull, or ValueError for a draft out of bounds.
        """
        return self._writer.submit(drafts)

    async def append_many(self, drafts: Sequence[Draft]) -> int:
        """Append records; return the first one's seq once all are durable.

        Cancelled while it waits for room: nothing was appended. Cancelled later: the records will commit, unless the
        log fails; the caller does not learn which.
        """
        await self._writer.room()
        first = self._writer.submit(drafts)
        await self.durable(first + len(drafts))
        return first

    async def durable(self, seq_end: int) -> None:
        """Wait until every record before ``seq_end`` is durable; raises LogFailed if they never will be."""
        while self._durable_size < seq_end:
            batch = self._writer.batch_of(seq_end - 1)
            if self.failure is not None:
                raise self._writer.failure_for_one()
            assert batch is not None, f"nobody submitted record {seq_end - 1}"
            await batch.done.wait()

    def _publish(self, batch: Batch) -> None:
        self._durable_size, self._root = batch.end_seq, batch.root
        self.tail.add(batch)
        self.news.unpark_all()

    def root_at(self, size: int) -> bytes:
        """Give the root over the first ``size`` records; a frame must end there, as at every follower's place."""
        root = self._root if size == self._durable_size else self.tail.root_at(size)
        root = root or self.store.segments.root_at(size)
        if root is None:
            raise Absent(f"no frame ends before seq {size}")
        return root

    def read(self, start: int, stop: int | None = None) -> Iterator[list[Record]]:
        """Read durable records from disk, some at a time, every frame's CRC checked. Blocks: for starts and audits."""
        stop = self._durable_size if stop is None else min(stop, self._durable_size)
        return self.store.segments.pieces(start, stop)

    def record(self, seq: int) -> Record:
        """Read one durable record from disk (µs, page cache warm); Absent, or Corrupt."""
        self._demand(seq)
        return self.store.segments.record(seq)

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        """Read the payloads of some durable records, in the order asked for; None where erased."""
        for seq in seqs:
            self._demand(seq)
        return self.store.segments.payloads(seqs)

    def _demand(self, seq: int) -> None:
        if not 0 <= seq < self._durable_size:
            raise Absent(f"there is no record {seq}")

    def follow(self, start: int) -> Cursor:
        """Follow the log: ``async for records in log.follow(position)`` gives every durable record from there, once."""
        return Cursor(self, start)

    async def piece(self, start: int) -> list[Record]:
        """Read the next piece from disk, in a thread."""
        found: list[Record] = []
        stop = self._durable_size

        def read() -> None:
            found.extend(self.store.segments.piece(start, stop))

        await self._hop(read)
        return found

    async def failed(self) -> LogFailed:
        """Wait until the log takes no more records, and give the reason (LogClosed after an orderly end)."""
        await self._writer.failed.wait()
        assert self.failure is not None
        return self.failure

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; what is queued is still written, within a deadline. A failed log stays readable."""
        await self._writer.run(task_status)

    def close(self) -> None:
        """Give the files and the lock back. Call it when `run` has ended."""
        if not self._writer.abandoned:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _recovered(torn: TornTail, now_ns: int) -> Draft:
    return chronicle.draft(chronicle.Recovered(torn.file, torn.offset, torn.size, torn.kept_as), now_ns)


def open_log(
    directory: str | os.PathLike[str],
    clock: Clock,
    *,
    origin: str = "",
    segment_bytes_max: int = SEGMENT_BYTES_MAX,
    queue_records_max: int = QUEUE_RECORDS_MAX,
    queue_bytes_max: int = QUEUE_BYTES_MAX,
    disk: Disk | None = None,
    hop: Hop = in_thread,
) -> Log:
    """Open the log under a data directory, making or recovering it first; blocks while it scans the last segment.

    ``origin`` names a log that is made now (empty: a random name); an old one keeps its own.

    Raises Locked (another process has it), Corrupt (damage: file, byte, and a way on are in the text) or OSError.
    """
    birth = Birth(origin, clock.now_ns(), clock.random_bytes(44))
    store = open_store(disk or RealDisk(), os.fspath(directory), birth, segment_bytes_max=segment_bytes_max)
    return Log(store, clock.now_ns, queue_records_max=queue_records_max, queue_bytes_max=queue_bytes_max, hop=hop)
