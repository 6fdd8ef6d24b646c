"""Stand-ins for the world: a log in memory with the real one's interface, and a ledger running over it."""

import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventlog.checkpoint import Checkpoint, sign
from eventlog.errors import Absent, LogClosed, LogFailed
from eventlog.merkle import Tree, leaf_hash
from eventlog.prooftext import leaf
from eventlog.record import Draft, Record, encode
from eventlog.tile import Edge, Tile, regrown
from eventlog.view import TableView
from gateway.serve.ledger import Ledger

LOG_KEY = Ed25519PrivateKey.from_private_bytes(b"L" * 32)


class FakeClock:
    """A clock that stands still until told, and dice that are the same each time."""

    def __init__(self, now_ms: int = 1_763_126_872_000) -> None:
        self.now = now_ms * 1_000_000
        self.drawn = 0

    def now_ns(self) -> int:
        return self.now

    def now_ms(self) -> int:
        return self.now // 1_000_000

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    def random_bytes(self, count: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(8, "big").rjust(count, b"\x5a")[-count:]

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


class MemoryCursor:
    """Every record from ``position`` on, each once, as it becomes durable."""

    def __init__(self, log: "MemoryLog", position: int) -> None:
        self.log, self.position = log, position

    def __aiter__(self) -> "MemoryCursor":
        return self

    async def __anext__(self) -> list[Record]:
        await trio.lowlevel.checkpoint()
        while self.position >= self.log.durable_size:
            await self.log.news.park()
        records = self.log.records[self.position : self.log.durable_size]
        self.position = self.log.durable_size
        return records


class MemoryLog:
    """A list with the log's interface. ``run`` makes submits durable; `break_down` fails it closed."""

    def __init__(self, records: Sequence[Record] = (), origin: str = "memory.example") -> None:
        self.origin = origin
        self.records = list(records)
        self.durable_size = len(self.records)
        self.failure: LogFailed | None = None
        self.term = self.reopenings_failed = 0
        self.public_key = LOG_KEY.public_key().public_bytes_raw()
        self.cosigned: bytes | None = None
        self.news = trio.lowlevel.ParkingLot()
        self._failed, self._restored = trio.Event(), trio.Event()
        self._queued = trio.Event()

    @property
    def next_seq(self) -> int:
        return len(self.records)

    @property
    def root(self) -> bytes:
        return self.root_at(self.durable_size)

    @property
    def note(self) -> bytes:
        tree = Tree()
        tree.extend(self._leaf_hashes())
        return sign(Checkpoint(self.origin, tree.size, tree.root()), LOG_KEY)

    async def keep_cosigned(self, note: bytes) -> None:
        self.cosigned = note

    def tile(self, tile: Tile) -> bytes | None:
        edge = Edge()
        tiles = dict(regrown(edge, self._leaf_hashes()))
        tiles.update(edge.partials())
        whole = Tile(tile.level, tile.index)
        found = tiles.get(tile) or next(
            (data for one, data in tiles.items() if (one.level, one.index) == (whole.level, whole.index)), b""
        )
        return found[: 32 * tile.width] if len(found) >= 32 * tile.width else None

    def _leaf_hashes(self) -> list[bytes]:
        return [leaf_hash(leaf(record)) for record in self.records[: self.durable_size]]

    def root_at(self, size: int) -> bytes:
        return size.to_bytes(32, "big")

    async def room(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure:
            raise self.failure

    def submit(self, drafts: Sequence[Draft]) -> int:
        if self.failure:
            raise self.failure
        first = len(self.records)
        commitments = encode(drafts).commitments  # refuses what the real log would refuse
        for seq, (draft, commitment) in enumerate(zip(drafts, commitments, strict=True), first):
            self.records.append(
                Record(seq, draft.schema, draft.ts_ns, draft.kind, draft.subject, commitment, draft.payload)
            )
        self._queued.set()
        return first

    async def append_many(self, drafts: Sequence[Draft]) -> int:
        await self.room()
        first = self.submit(drafts)
        await self.durable(first + len(drafts))
        return first

    async def durable(self, seq_end: int, term: int | None = None) -> None:
        while self.durable_size < seq_end:
            if self.failure:
                raise self.failure
            await self.news.park()

    def read(self, start: int, stop: int | None = None) -> Iterator[list[Record]]:
        stop = self.durable_size if stop is None else min(stop, self.durable_size)
        if start < stop:
            yield self.records[start:stop]

    def record(self, seq: int) -> Record:
        if not 0 <= seq < self.durable_size:
            raise Absent(f"there is no record {seq}")
        return self.records[seq]

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        return [self.record(seq).payload for seq in seqs]

    def follow(self, start: int) -> MemoryCursor:
        return MemoryCursor(self, start)

    async def failed(self) -> LogFailed:
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    async def reopened(self) -> None:
        while self.failure is not None:
            await self._restored.wait()

    def restore(self, lost: bool = True) -> None:
        """Be reopened: what was not durable is lost, or turns out to be durable after all."""
        if lost:
            del self.records[self.durable_size :]
        self.durable_size = len(self.records)
        self.term += 1
        self.failure = None
        self._failed = trio.Event()
        self._restored.set()
        self.news.unpark_all()

    def break_down(self, failure: LogFailed | None = None) -> None:
        """Fail closed: what is not durable never will be, and everyone hears of it."""
        self.failure = self.failure or failure or LogFailed("the disk said no")
        self._restored = trio.Event()
        self._failed.set()
        self.news.unpark_all()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            while True:
                await self._queued.wait()
                self._queued = trio.Event()
                if self.failure is None:
                    self.durable_size = len(self.records)
                    self.news.unpark_all()
        finally:
            self.break_down(LogClosed("the log was closed"))


@asynccontextmanager
async def memory_ledger(*view_classes: type[TableView], log: MemoryLog | None = None) -> AsyncIterator[Ledger]:
    """A running ledger over a log in memory; hand in the ``log`` of an earlier one to see a restart."""
    log = MemoryLog(log.records[: log.durable_size], log.origin) if log else MemoryLog()
    views = {view.name: view(sqlite3.connect(":memory:")) for view in view_classes}
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        ledger = Ledger(log, views)
        for records in log.read(ledger.applied):
            for view in views.values():
                view.apply(records, records[-1].seq + 1)
            ledger.applied = records[-1].seq + 1
        await nursery.start(ledger.run)
        yield ledger
        nursery.cancel_scope.cancel()
    for view in views.values():
        view.db.close()
