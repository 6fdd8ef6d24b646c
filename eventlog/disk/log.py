"""The log as everyone sees it: append, wait, read, follow.

Only the writer task changes it; only durable records are ever given out. Open it with `open_log`, run `Log.run` in a
nursery, close it when that nursery is done.

A disk that fails (full, or broken) closes the log for writing at once, and never for reading. From then on it is
reopened, under the lock that it holds all along, by the recovery of every start, again and again until one succeeds:
see `run`. A reopening is a new term. Seqs that were handed out and did not become durable are handed out again, so
nothing that was submitted in one term may be asked for in the next; who waits for it is told `LogFailed`. What became
of it (lost, or durable after all) shows in the log, to followers as to everyone.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, Self

import trio

from eventlog import chronicle
from eventlog.checkpoint import Checkpoint
from eventlog.disk import erase
from eventlog.disk.cursor import Cursor, Tail
from eventlog.disk.durable import Disk, RealDisk
from eventlog.disk.recovery import TornTail
from eventlog.disk.store import Birth, Store, open_store
from eventlog.disk.tiles import read_tile
from eventlog.disk.writer import Batch, Hop, Writer, in_thread
from eventlog.errors import Absent, Corrupt, LogFailed
from eventlog.limits import (
    DRAIN_S_MAX,
    QUEUE_BYTES_MAX,
    QUEUE_RECORDS_MAX,
    REOPEN_S_MAX,
    REOPEN_S_MIN,
    SEGMENT_BYTES_MAX,
)
from eventlog.record import Draft, Record
from eventlog.tile import Tile, covers


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

    term: int
    reopenings_failed: int

    @property
    def next_seq(self) -> int: ...

    public_key: bytes

    @property
    def failure(self) -> LogFailed | None: ...

    @property
    def note(self) -> bytes: ...

    @property
    def cosigned(self) -> bytes | None: ...

    async def keep_cosigned(self, note: bytes) -> None: ...

    def tile(self, tile: Tile) -> bytes | None: ...

    async def room(self) -> None: ...

    def submit(self, drafts: Sequence[Draft]) -> int: ...

    async def append_many(self, drafts: Sequence[Draft]) -> int: ...

    async def durable(self, seq_end: int, term: int | None = None) -> None: ...

    def follow(self, start: int) -> Follower: ...

    async def failed(self) -> LogFailed: ...

    async def reopened(self) -> None: ...

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
        hop: Hop | None = None,
    ) -> None:
        self.origin = store.origin.name
        self.public_key = store.origin.public_key
        self.tail = Tail()
        self.news = trio.lowlevel.ParkingLot()
        self.rewriting = trio.Lock()  # held by whoever changes sealed segments: erasures, retention, compaction
        self.store = store
        self.torn: TornTail | None = store.torn
        self._durable_size, self._root = store.tree.size, store.tree.root()
        self._hop, self._writers_hop, self._now_ns = hop or in_thread, hop, now_ns
        self._records_max, self._bytes_max = queue_records_max, queue_bytes_max
        self.term = 0  # how often it was reopened
        self.reopenings_failed = 0  # tries that came to nothing, ever; `failure` tells of the last
        self._writer = self._new_writer()
        self._down, self._up, self._closing = trio.Event(), trio.Event(), trio.Event()
        self._up.set()
        self._abandoned = False  # a thread still runs and holds the store's files
        self._tell_torn()

    def _new_writer(self) -> Writer:
        return Writer(
            self.store,
            self._now_ns,
            self._publish,
            records_max=self._records_max,
            bytes_max=self._bytes_max,
            hop=self._writers_hop,
        )

    def _tell_torn(self) -> None:
        if self.store.torn is not None:
            self.submit([_recovered(self.store.torn, self._now_ns())])

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
        """Why the log takes no records now, or None while it does."""
        return self._writer.failure

    @property
    def note(self) -> bytes:
        """The newest checkpoint, a signed note (C2SP tlog-checkpoint); its tree's tiles are all there."""
        return self.store.note

    @property
    def cosigned(self) -> bytes | None:
        """The checkpoint that `keep_cosigned` kept last, read from disk."""
        return self.store.cosigned()

    async def keep_cosigned(self, note: bytes) -> None:
        """Keep a checkpoint with cosignatures, durable when it returns. Raises OSError. Cancelled: it may be kept."""
        await self._hop(lambda: self.store.keep_cosigned(note))

    def tile(self, tile: Tile) -> bytes | None:
        """Read a tile of the tree that was signed last, or of an earlier one; None where there is none."""
        if not covers(self.store.signed.size, tile):
            return None
        return read_tile(self.store.disk, self.store.segments.directory, tile)

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
        writer = self._writer
        await writer.room()
        first = writer.submit(drafts)
        await self._durable(writer, first + len(drafts))
        return first

    async def durable(self, seq_end: int, term: int | None = None) -> None:
        """Wait until every record before ``seq_end`` is durable; raises LogFailed if they may never be.

        Call it before anything else is awaited, or with the `term` that the records were submitted in: after a
        reopening the same seqs are other records.
        """
        if term is not None and term != self.term:
            raise LogFailed("the log failed and was reopened since: whether the records are in it, it shows itself")
        await self._durable(self._writer, seq_end)

    async def _durable(self, writer: Writer, seq_end: int) -> None:
        while writer.durable_size < seq_end:
            batch = writer.batch_of(seq_end - 1)
            if writer.failure is not None:
                raise writer.failure_for_one()
            assert batch is not None, f"nobody submitted record {seq_end - 1}"
            await batch.done.wait()

    def _publish(self, batch: Batch) -> None:
        self._durable_size, self._root = batch.end_seq, batch.root
        self.tail.add(batch)
        self.news.unpark_all()

    def forget_tail(self) -> None:
        """Let go of the records kept for followers: some were erased, and are read from the disk from now on."""
        self.tail.clear()

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
        """Wait until the log takes no records, and give the reason (LogClosed after an orderly end)."""
        while self._writer.failure is None:
            await self._down.wait()
        return self._writer.failure_for_one()

    async def reopened(self) -> None:
        """Wait until the log takes records (again). After an orderly end that never comes."""
        while self._writer.failure is not None:
            await self._up.wait()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled, reopening whenever the disk has failed; reading goes on all the while.

        Cancelled: it takes no more, what is queued is written for at most DRAIN_S_MAX, and the log is signed off.
        A log that is failed then stays so, for the next start to recover.
        """
        async with trio.open_nursery() as nursery:
            shield = trio.CancelScope(shield=True)
            nursery.start_soon(self._supervise, shield)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                # The shield gets its deadline when the cancellation comes, so that a commit in flight has all of it.
                shield.deadline = trio.current_time() + DRAIN_S_MAX
                self._closing.set()
                self._writer.close()

    async def _supervise(self, shield: trio.CancelScope) -> None:
        failure = LogFailed("the writer ended by a bug")
        try:
            with shield:
                failure = await self._write_on()
            if shield.cancelled_caught:
                self._abandoned = True
                failure = LogFailed(f"the disk took longer than {DRAIN_S_MAX} s at shutdown")
        finally:
            self._fail(failure)

    async def _write_on(self) -> LogFailed:
        """Write, reopen, write on; give the reason for the end."""
        while True:
            failure = await self._writer.write()
            if self._closing.is_set():
                return failure
            self._fail(failure)
            await self._reopen()
            if self._closing.is_set():
                return failure

    def _fail(self, failure: LogFailed) -> None:
        self._writer.fail(failure)
        self._up = trio.Event()
        self._down.set()

    async def _reopen(self) -> None:
        """Try until it succeeds or the log is closed, first after REOPEN_S_MIN, then ever less often."""
        pause_s = REOPEN_S_MIN
        while not self._closing.is_set():
            # Never at once: whoever waits for what failed is to hear of it before a new term begins.
            with trio.move_on_after(pause_s):
                await self._closing.wait()
                return
            try:
                await self._reopen_once()
            except (OSError, Corrupt) as error:
                self.reopenings_failed += 1
                self._writer.failure = LogFailed(f"the log's disk failed and it cannot be reopened yet: {error}")
                pause_s = min(2 * pause_s, REOPEN_S_MAX)
            else:
                return

    async def _reopen_once(self) -> None:
        known = Checkpoint(self.origin, self._durable_size, self._root)
        found: list[Store] = []
        async with self.rewriting:  # half-made files are swept away: nobody else may be making one
            await self._hop(lambda: found.append(self.store.reopened(known)))
        failed, self.store = self.store, found[0]
        failed.retire()
        self.torn = self.store.torn
        self._durable_size, self._root = self.store.tree.size, self.store.tree.root()
        self.term += 1
        self._writer = self._new_writer()
        self._tell_torn()
        self._down = trio.Event()
        self._up.set()
        self.news.unpark_all()  # what the failed term left behind may be durable now

    def close(self) -> None:
        """Give the files and the lock back. Call it when `run` has ended."""
        if not self._abandoned:
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
    hop: Hop | None = None,
) -> Log:
    """Open the log under a data directory, making or recovering it first; blocks while it scans the last segment.

    ``origin`` names a log that is made now (empty: a random name); an old one keeps its own.

    Raises Locked (another process has it), Corrupt (damage: file, byte, and a way on are in the text) or OSError.
    """
    birth = Birth(origin, clock.now_ns(), clock.random_bytes(44))
    disk = disk or RealDisk()
    store = open_store(disk, os.fspath(directory), birth, segment_bytes_max=segment_bytes_max)
    try:
        finished = erase.finish(disk, os.fspath(directory), store, clock.now_ns())
    except BaseException:
        store.close()
        raise
    if finished is not None:  # what it appended is recovered as everything is; a tail that was cut is still to be told
        store.close()
        torn = store.torn
        store = open_store(disk, os.fspath(directory), birth, segment_bytes_max=segment_bytes_max)
        store.torn = torn or store.torn
    return Log(store, clock.now_ns, queue_records_max=queue_records_max, queue_bytes_max=queue_bytes_max, hop=hop)
