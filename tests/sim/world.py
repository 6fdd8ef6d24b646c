"""One seed's world: several lives of a log, each ended by a crash, a fault or in good order, and judged after.

The writer, store, recovery, cursors, views and ledger are the real ones; the disk, the clock and the thread hop are
simulated, and trio's scheduler is seeded. What must hold after every life:

- whatever was acknowledged, or shown to a follower, is found, under its seq, as it was;
- what was submitted together is there as a whole or not at all, once, and nothing else is there;
- what one opening found, every later one finds;
- a view, resumed from where it was last sealed, and one folded anew, both equal a slow oracle's;
- a crash alone never makes the log refuse to open; a fault alone never keeps it from being reopened in the process;
- the checkpoint's tree is there in tiles, whole and right: after every opening, and where the power stayed, before it.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from hashlib import sha256

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

from eventlog.checkpoint import verifier_key
from eventlog.chronicle import Recovered
from eventlog.disk import recovery
from eventlog.disk.durable import read_whole
from eventlog.disk.log import Log, open_log
from eventlog.disk.store import read_origin
from eventlog.disk.views import belongs, catch_up
from eventlog.errors import LogClosed, LogFailed
from eventlog.record import Draft, Record
from eventlog.view import bookmark_of
from gateway.serve.ledger import Ledger
from tests.conformance import tlog
from tests.eventlog.words import WordsView, oracle
from tests.fakes import FakeClock
from tests.sim.disk import FAIL, FAIL_PERSISTED, SHORT, PowerLost, SimDisk

PLANTS = ("skip-fsync", "ack-before-sync", "trust-failed-sync")
LIVES = 4
CLIENTS = 4
VIEW_SEALED_EVERY = 20  # records: often, so that crashes fall between seals


class Wrong(AssertionError):
    """A promise was broken."""


class SimView(WordsView):
    """A view whose file outlives the process: every seal is one state that a crash may leave."""

    def __init__(self, db: sqlite3.Connection, sealed: list[bytes]) -> None:
        super().__init__(db)
        self.sealed = sealed

    @property
    def due(self) -> bool:
        return self._position - self._sealed >= VIEW_SEALED_EVERY

    def commit(self, origin: str, root: bytes) -> None:
        super().commit(origin, root)
        self.sealed.append(self.db.serialize())

    def restart(self) -> None:
        """As any view; only that the world keeps what was sealed."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.__init__(self.db, self.sealed)  # type: ignore[misc]


class World:
    """What lives through the crashes: the disk, the sealed views, and what clients remember."""

    def __init__(self, seed: int, plant: str = "") -> None:
        self.dice = random.Random(seed)
        self.plant = plant
        self.disk = SimDisk(self.dice)
        self.sealed: list[bytes] = []
        self.submitted: dict[bytes, list[bytes]] = {}  # by id of the submit: the words
        self.acknowledged: dict[int, tuple[bytes, int]] = {}  # by seq: id of the submit, place within
        self.shown: dict[int, bytes] = {}  # by seq: commitment, as followers saw it
        self.found: list[Record] = []
        self.notes: list[str] = []

    # -- one life ----------------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Open, work, end; then take stock."""
        ending = self.dice.choice(["power", "power", "kill", "fault", "fault-power", "clean"])
        self.notes.append(ending)
        try:
            log = self.open(faulty=ending.startswith("fault"), cut=ending == "power")
        except (OSError, PowerLost):
            log = None  # the opening itself was cut off
        try:
            if log is not None:
                await self._work(log, ending)
        except* PowerLost:
            pass
        self.disk.fault = _no_fault
        if "power" in ending:
            self.disk.lose_power()
        else:
            self.disk.restart()
            self._check_tiles()
            if self.dice.random() < 0.5:
                self.disk.evict()
        self._take_stock()

    def open(self, *, faulty: bool = False, cut: bool = False) -> Log:
        """Open the log, on a disk that may fail or be cut off at some call."""
        self.disk.fault = self._faults(faulty, cut)
        return open_log(
            "/data",
            FakeClock(),
            disk=self.disk,
            hop=self._hop,
            segment_bytes_max=self.dice.choice([2_000, 6_000, 60_000]),
            queue_records_max=self.dice.choice([20, 1_000]),
        )

    def _faults(self, faulty: bool, cut: bool) -> Callable[[str, str], str]:
        last_call = self.dice.randint(1, 120) if cut and self.dice.random() < 0.7 else -1
        calls = 0

        def fault(call: str, path: str) -> str:
            nonlocal calls
            calls += 1
            if calls == last_call:
                self.disk.turn_off()
            if self.dice.random() < 0.1 and call == "write":
                return SHORT
            if faulty and self.dice.random() < 0.02:
                return self.dice.choice([FAIL, FAIL_PERSISTED])
            return ""

        return fault

    async def _hop(self, call: Callable[[], None]) -> None:
        for _ in range(self.dice.randint(1, 3)):
            await trio.lowlevel.checkpoint()
        call()
        for _ in range(self.dice.randint(0, 2)):
            await trio.lowlevel.checkpoint()

    async def _work(self, log: Log, ending: str) -> None:
        view = self._resumed_view(log)
        ledger = Ledger(log, {"words": view})
        async with trio.open_nursery() as nursery:
            if self.plant == "ack-before-sync":
                log._writer._hop = await nursery.start(_behind, self._hop)
            await nursery.start(log.run)
            await nursery.start(ledger.run)
            for name in range(CLIENTS):
                nursery.start_soon(self._client, ledger, f"{len(self.notes)}.{name}", view)
            nursery.start_soon(self._follower, log)
            if self.dice.random() < 0.5:
                await trio.sleep(self.dice.uniform(0, 5))
            else:
                for _ in range(self.dice.randint(1, 400)):
                    await trio.lowlevel.checkpoint()
            if ending in {"power", "kill", "fault-power"}:
                self.disk.turn_off()  # between two awaits, whatever runs: nothing changes on the disk from here on
            elif ending == "fault":
                await self._mended(ledger, view)
            nursery.cancel_scope.cancel()
        view.db.close()
        log.close()

    async def _mended(self, ledger: Ledger, view: SimView) -> None:
        """The faults are over: the log takes records again, in this process."""
        self.disk.fault = _no_fault
        with trio.move_on_after(60):
            await ledger.restored()
            first = await ledger.record(self._drafts(f"{len(self.notes)}.mended".encode()))
            self.notes.append(f"mended in term {ledger.log.term} at {first}")
            return
        raise Wrong("the log was not reopened within a minute of a disk that works")

    def _resumed_view(self, log: Log) -> SimView:
        db = sqlite3.connect(":memory:", isolation_level=None)
        if self.sealed:
            db.deserialize(self.sealed[-1])
            if bookmark_of(db) is not None and not belongs(db, log, SimView):
                raise Wrong(f"a view was sealed at {SimView(db, []).position}, a place that the log does not have")
        view = SimView(db, self.sealed)
        catch_up(log, [view])
        return view

    # -- those who use it ---------------------------------------------------------------------------------------------

    async def _client(self, ledger: Ledger, name: str, view: SimView) -> None:
        number = 0
        while True:
            number += 1
            drafts = self._drafts(f"{name}.{number}".encode())
            try:
                with trio.move_on_after(self.dice.choice([0.001, 9])):
                    await self._append(ledger, drafts, view)
            except LogClosed:
                return
            except LogFailed:
                self.notes.append(f"refused {name} at {trio.current_time():.3f}")
                if self.dice.random() < 0.5:
                    await ledger.restored()
            await trio.sleep(self.dice.choice([0, 0, 0.01, 0.3]))

    def _drafts(self, submit: bytes) -> list[Draft]:
        words = [self.dice.choice([b"a", b"b", b"c" * 300, b"d" * 900]) for _ in range(self.dice.randint(1, 9))]
        self.submitted[submit] = words
        return [Draft("word.said", word, 1, submit + b"/%d" % at) for at, word in enumerate(words)]

    async def _append(self, ledger: Ledger, drafts: list[Draft], view: SimView) -> None:
        log = ledger.log
        match self.dice.randint(0, 3):
            case 0:
                first = await log.append_many(drafts)
            case 1:
                await log.room()
                term, first = ledger.log.term, ledger.log.submit(drafts)
                await trio.sleep(self.dice.uniform(0, 0.2))
                await log.durable(first + len(drafts), term)
            case _:
                first = await ledger.record(drafts)
                if view.position < first + len(drafts):
                    raise Wrong(f"record {first} was answered before the view showed it")
        self.notes.append(f"ack {first} {len(drafts)} at {trio.current_time():.3f}")
        for at, draft in enumerate(drafts):
            self.acknowledged[first + at] = (draft.subject.rpartition(b"/")[0], at)

    async def _follower(self, log: Log) -> None:
        position = self.dice.randint(0, log.durable_size)
        async for records in log.follow(position):
            for record in records:
                if record.seq != position:
                    raise Wrong(f"a follower was given {record.seq} in the place of {position}")
                position += 1
                self.shown[record.seq] = record.commitment

    # -- the judgement ------------------------------------------------------------------------------------------------

    def _take_stock(self) -> None:
        with self.open() as log:
            records = [record for piece in log.read(0) for record in piece]
            self._check_records(records)
            self._check_tiles()
            resumed = self._resumed_view(log)
            anew = SimView(sqlite3.connect(":memory:", isolation_level=None), [])
            catch_up(log, [anew])
            if not resumed.found() == anew.found() == oracle(records) or resumed.digest() != anew.digest():
                raise Wrong("the views and the oracle disagree")
            resumed.db.close()
            anew.db.close()
            self.notes.append(f"{len(records)} records, root {log.root.hex()}")
        self.disk.restart()
        self.found = records

    def _check_tiles(self) -> None:
        origin = read_origin(self.disk, "/data") if "/data/log" in self.disk.directories else None
        note = None if origin is None else read_whole(self.disk, "/data/log/checkpoint", 4_096)
        if origin is None or note is None:
            return
        head = tlog.read_checkpoint(note, tlog.Key.parse(verifier_key(origin.name, origin.public_key)))
        try:
            tlog.check_whole_tree(lambda path: read_whole(self.disk, f"/data/log/{path}", 8_192), head)
        except tlog.Refused as flaw:
            raise Wrong(f"the checkpoint names {head.size} records, and {flaw}") from flaw

    def _check_records(self, records: list[Record]) -> None:
        if records[: len(self.found)] != self.found:
            raise Wrong("what an earlier opening found is gone or changed")
        for seq, (submit, at) in self.acknowledged.items():
            if seq >= len(records) or records[seq].subject != submit + b"/%d" % at:
                raise Wrong(f"acknowledged record {seq} is lost")
        for seq, commitment in self.shown.items():
            if seq >= len(records) or records[seq].commitment != commitment:
                raise Wrong(f"record {seq}, shown to a follower, is lost")
        whole: dict[bytes, list[bytes]] = {}
        for record in records:
            if record.kind != Recovered.kind:
                submit, _, at = record.subject.rpartition(b"/")
                if int(at) != len(whole.setdefault(submit, [])):
                    raise Wrong(f"record {record.seq} is out of its place")
                whole[submit].append(record.payload or b"")
        for submit, words in whole.items():
            if self.submitted.get(submit) != words:
                raise Wrong(f"submit {submit!r} is half there")


def _no_fault(call: str, path: str) -> str:
    return ""


async def _behind(
    hop: Callable[[Callable[[], None]], object], task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
) -> None:
    """The planted bug: a hop that answers at once and does the work later."""
    send, receive = trio.open_memory_channel[Callable[[], None]](10_000)

    async def at_once(call: Callable[[], None]) -> None:
        await trio.lowlevel.checkpoint()
        send.send_nowait(call)

    task_status.started(at_once)
    async for call in receive:
        with suppress(OSError):  # part of the bug: nobody is there to hear of it
            await hop(call)  # type: ignore[misc]


def _plant_skip_fsync(world: World) -> None:
    """The planted bug: one in eight syncs of a segment is left out, and success reported."""
    real = world.disk.datasync

    def datasync(fd: int) -> None:
        if world.disk._files[fd][0].endswith(".evl") and world.dice.random() < 0.125:
            return
        real(fd)

    world.disk.datasync = datasync  # type: ignore[method-assign]


@contextmanager
def _plant_trust_failed_sync() -> Iterator[None]:
    """The planted bug: what is readable is taken for durable, and not rewritten."""
    prove = recovery._prove
    recovery._prove = lambda disk, segments, scan: None
    try:
        yield
    finally:
        recovery._prove = prove


def run_seed(seed: int, plant: str = "") -> str:
    """Live one seed's lives; give the digest of everything that happened. Raises Wrong (or whatever broke)."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(seed)
    world = World(seed, plant)
    if plant == "skip-fsync":
        _plant_skip_fsync(world)

    async def lives() -> None:
        for _ in range(LIVES):
            await world.live()

    with _plant_trust_failed_sync() if plant == "trust-failed-sync" else nullcontext():
        trio.run(lives, clock=MockClock(autojump_threshold=0))
    trace = sha256()
    for line in (*map(repr, world.disk.trace), *world.notes):
        trace.update(line.encode() + b"\n")
    return trace.hexdigest()
