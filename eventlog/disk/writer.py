"""The one task that writes: group commit by natural batching.

`submit` encodes in the caller and joins the open batch; the writer takes what has gathered while the last sync ran,
frames it, and hands it to a thread for one write and one fdatasync. There is no linger: waiting for company measured
slower (23k against 58k records/s). Each batch owns its one event, bound when a record joins it; an event shared by
batches and replaced loses wake-ups.
Fail closed: after the first failed write or sync this writer acknowledges nothing and tries nothing again; every waiter
and every later submit gets LogFailed. A writer never comes back: a log that was reopened has a new one, so that nobody
who was told of a failure, or has yet to hear of it, can take another's record for his own.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from eventlog import frame as frames
from eventlog.disk.ownthread import OwnThread
from eventlog.disk.store import Store
from eventlog.errors import LogClosed, LogFailed, LogFull
from eventlog.limits import CHECKPOINT_S, FRAME_BYTES_MAX, FRAME_RECORDS_MAX
from eventlog.record import Draft, Encoded, Record, encode


class Hop(Protocol):
    """Run a blocking call elsewhere and await its outcome."""

    async def __call__(self, call: Callable[[], None]) -> None: ...


async def in_thread(call: Callable[[], None]) -> None:
    """Run a blocking call in a thread. Cancelled: the call goes on, its outcome is lost; the caller must be done."""
    await trio.to_thread.run_sync(call, abandon_on_cancel=True)


class Batch:
    """Records that are committed together: one frame, one sync, one event."""

    __slots__ = ("_records", "bytes", "commitments", "done", "drafts", "first_seq", "leaves", "root", "stored")

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.drafts: list[Draft] = []
        self.stored: list[bytes] = []
        self.leaves: list[bytes] = []
        self.commitments: list[bytes] = []
        self.bytes = 0
        self.done = trio.Event()
        self.root = b""
        self._records: list[Record] | None = None

    @property
    def end_seq(self) -> int:
        """The seq after the last record."""
        return self.first_seq + len(self.drafts)

    def fits(self, count: int, size: int) -> bool:
        """Whether so many records of so many bytes may join."""
        return _fits(len(self.drafts) + count, self.bytes + size)

    def join(self, drafts: Sequence[Draft], encoded: Encoded, size: int) -> None:
        """Take in encoded drafts of ``size`` bytes."""
        self.drafts += drafts
        self.stored += encoded.stored
        self.leaves += encoded.leaves
        self.commitments += encoded.commitments
        self.bytes += size

    def records(self) -> list[Record]:
        """Give the batch as records; made once, when the first live follower asks."""
        if self._records is None:
            self._records = [
                Record(seq, draft.schema, draft.ts_ns, draft.kind, draft.subject, commitment, draft.payload)
                for seq, (draft, commitment) in enumerate(
                    zip(self.drafts, self.commitments, strict=True), self.first_seq
                )
            ]
        return self._records


class Writer:
    """Batches in order of seq: the open one that submits join, those that wait, and the one being committed."""

    def __init__(
        self,
        store: Store,
        now_ns: Callable[[], int],
        publish: Callable[[Batch], None],
        *,
        records_max: int,
        bytes_max: int,
        hop: Hop | None = None,
    ) -> None:
        self.store = store
        self.next_seq = self.durable_size = store.tree.size
        self.failure: LogFailed | None = None
        self._now_ns, self._publish, self._hop = now_ns, publish, hop or OwnThread()
        self._records_max, self._bytes_max = records_max, bytes_max
        self._waiting: deque[Batch] = deque()  # taken from the left; the last one is open for joining
        self._taken: Batch | None = None
        self._bytes = 0
        self._room = trio.lowlevel.ParkingLot()
        self._wake = trio.Event()
        self._closing = False

    @property
    def queued_records(self) -> int:
        """How many records are submitted and not yet taken by a commit."""
        return self.next_seq - self._waiting[0].first_seq if self._waiting else 0

    @property
    def queued_bytes(self) -> int:
        """How many bytes they are."""
        return self._bytes

    def _over(self, times: int) -> bool:
        return self.queued_records >= times * self._records_max or self._bytes >= times * self._bytes_max

    async def room(self) -> None:
        """Wait until the queue is below its limits; raises LogFailed. A checkpoint only where it has to wait."""
        while self.failure is None and self._over(1):
            await self._room.park()
        if self.failure is not None:
            raise self.failure_for_one()

    def failure_for_one(self) -> LogFailed:
        """Make the failure anew for one waiter: a shared exception would gather all their tracebacks."""
        assert self.failure is not None
        return type(self.failure)(*self.failure.args)

    def submit(self, drafts: Sequence[Draft]) -> int:
        """Encode, join or open batches, give the first seq. Up to a frame's worth is all in one frame."""
        if self.failure is not None:
            raise self.failure_for_one()
        if self._over(2):
            raise LogFull(f"{self.queued_records} records wait for the writer: await room() first")
        encoded = encode(drafts)
        first_seq = self.next_seq
        size = sum(map(len, encoded.stored))
        if _fits(len(drafts), size):
            self._enqueue(drafts, encoded, size)
        else:
            self._enqueue_framefuls(drafts, encoded)
        self._wake.set()
        return first_seq

    def _enqueue(self, drafts: Sequence[Draft], encoded: Encoded, size: int) -> None:
        if not drafts:
            return
        if not self._waiting or not self._waiting[-1].fits(len(drafts), size):
            self._waiting.append(Batch(self.next_seq))
        self._waiting[-1].join(drafts, encoded, size)
        self.next_seq += len(drafts)
        self._bytes += size

    def _enqueue_framefuls(self, drafts: Sequence[Draft], encoded: Encoded) -> None:
        start = 0
        while start < len(drafts):
            end, size = start, 0
            while end < len(drafts) and _fits(end + 1 - start, size + len(encoded.stored[end])):
                size += len(encoded.stored[end])
                end += 1
            part = Encoded(encoded.stored[start:end], encoded.leaves[start:end], encoded.commitments[start:end])
            self._enqueue(drafts[start:end], part, size)
            start = end

    def batch_of(self, seq: int) -> Batch | None:
        """Find the batch that holds ``seq`` among those not yet durable."""
        if self._taken is not None and seq < self._taken.end_seq:
            return self._taken
        # From the right: whoever waits has just submitted.
        return next((batch for batch in reversed(self._waiting) if batch.first_seq <= seq), None)

    def close(self) -> None:
        """Take no more once what is queued is written; `write` then ends."""
        self._closing = True
        self._wake.set()

    async def write(self) -> LogFailed:
        """Write until `close`, and what is queued then, or until the disk fails; give what to `fail` with."""
        try:
            await self._write_all()
        except OSError as error:
            return LogFailed(f"the log's disk failed and nothing more is taken: {error}")
        return LogClosed("the log was closed")

    async def _write_all(self) -> None:
        next_sign = trio.current_time()
        while self._waiting or not self._closing:
            unsigned = self._committed != self.store.signed.size
            if unsigned and trio.current_time() >= next_sign:
                next_sign = trio.current_time() + CHECKPOINT_S
                await self._sign()
            elif self._waiting:
                await self._commit(self._waiting.popleft())
            else:
                await self._idle(next_sign if unsigned else float("inf"))
        if self._committed != self.store.signed.size:
            await self._sign()
        if self.store.tiles.settled != self._committed:
            await self._hop(self.store.tiles.settle)

    @property
    def _committed(self) -> int:
        return self.next_seq - self.queued_records

    async def _idle(self, until: float) -> None:
        # No await between the check that nothing waits and this wait, so no wake-up is lost.
        with trio.move_on_at(until):
            await self._wake.wait()
        self._wake = trio.Event()

    async def _sign(self) -> None:
        size, root = self._committed, self.store.tree.root()
        self.store.tiles.publish()
        await self._hop(lambda: self.store.sign(size, root))
        self.store.tiles.tidy()

    async def _commit(self, batch: Batch) -> None:
        tree, time_ns = self.store.tree, self._now_ns()
        frontier = tree.frontier()
        nodes = tree.extend(batch.leaves)
        batch.root = tree.root()
        first_seq, count = batch.first_seq, len(batch.drafts)
        frame = frames.encode(
            batch.stored,
            first_seq=first_seq,
            time_ns=time_ns,
            epoch=self.store.epoch,
            root=batch.root,
            salt=self.store.origin.salt,
        )
        batch.stored, batch.leaves = [], []
        self._taken = batch
        self._bytes -= batch.bytes
        self._room.unpark_all()
        await self._hop(
            lambda: self.store.commit(frame, first_seq=first_seq, count=count, time_ns=time_ns, frontier=frontier)
        )
        self._taken = None
        self.durable_size = batch.end_seq
        self._publish(batch)
        batch.done.set()
        # Here, not in the thread: 35 µs a tile, where each of its calls in a thread would wait for the interpreter.
        self.store.tiles.add(nodes)

    def fail(self, failure: LogFailed) -> None:
        """Take nothing more, and tell whoever waits."""
        self.failure = failure
        self._room.unpark_all()
        lost = [self._taken, *self._waiting] if self._taken else list(self._waiting)
        self._waiting.clear()
        for batch in lost:
            batch.done.set()


def _fits(count: int, size: int) -> bool:
    """Whether one frame holds so many records of so many bytes."""
    return count <= FRAME_RECORDS_MAX and frames.overhead(count) + size <= FRAME_BYTES_MAX
