"""A set of fixed-width keys in order, whose cost for one more does not grow with how many there are.

New keys stand in memory, and for the next start in a journal, a row a batch. So many of them are written as a run of
packed pages (`eventlog.runs`), and runs of one size are merged to one of the next, a few thousand keys at a time as
others come in. All of it is in the view's own SQLite file, and inside its transactions: what rolls back or is copied
with the file is whole.
Invariant: what the set holds depends on what was added and forgotten alone; where it stands does not matter. A key
stands in one source, and a source that is being merged stays until the step that puts its successor in its place.
This module must not know what the keys mean.
"""

import heapq
import sqlite3
from bisect import insort
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import msgspec

from eventlog import limits
from eventlog.bloom import asks
from eventlog.runs import (
    RUN_BITS,
    SCHEMA,
    STAMP_BYTES,
    About,
    Held,
    Pages,
    Run,
    RunWriter,
    Shape,
    Source,
    Span,
    around,
    merged,
    unpacked,
)

_PACK = -1  # the job that writes what is in memory; others are known by the level of their sources
_SWEEP = -2
_PAUSE_SEEKS = 64
_INSORT_KEYS = 48  # fewer keys than these are put into a list one by one, more by sorting it
_ROWS_A_STEP = 512
Steps = Iterator[int]


class Sizes(msgspec.Struct, frozen=True):
    """When what is merged; only tests have other sizes than these."""

    list_keys: int = limits.RUN_LIST_KEYS
    lists: int = limits.RUN_LISTS
    fan: int = limits.RUN_FAN
    memory_keys: int = limits.RUN_MEMORY_KEYS
    rate: int = limits.RUN_RATE
    page_bytes: int = limits.RUN_PAGE_BYTES
    dead_share: int = limits.RUN_DEAD_SHARE


class SortedRuns:
    """The set called ``name`` in a view's database; sets of one file are made together, and anew after a rollback."""

    def __init__(self, db: sqlite3.Connection, name: str, shape: Shape, sizes: Sizes | None = None) -> None:
        db.executescript(SCHEMA)
        self._db, self._name, self._shape, self._sizes = db, name, shape, sizes or Sizes()
        self._pages = Pages(db, shape)
        self._jobs: dict[int, _Job] = {}
        self._stale = True  # whether a job may be due that was not
        self._packing = 0  # held lists, from the oldest, that are being written
        self._swaps = 0  # how often pages that a walk may want were given up
        self._state = {"packed": 0, "floor": 0, "mark": 0}
        self._state |= dict(db.execute("SELECT name, value FROM run_state WHERE keys = ?", (name,)))
        query = "SELECT number, level, count, first, last, low, high FROM run WHERE keys = ? ORDER BY low"
        self._runs = [
            Run(self._pages, About(number, level, count, Span(*span)), self._pages.beside(number))
            for number, level, count, *span in db.execute(query, (name,)).fetchall()
        ]
        for run in self._runs:
            self._recount(run)
        self._held: list[Held] = []
        self._heads = [set[bytes]()]  # the prefixes of all hashed keys in memory; those that are being written last
        self._journal = self._state["packed"]
        self._fresh = self._empty()
        self._read_journal()
        end = db.execute("SELECT max(place) FROM run_page").fetchone()[0]
        sweep = self._swept(-1 if end is None else end)  # what comes above it is somebody's
        self._start(_SWEEP, chain(sweep, self._buried(self._below_floor(), None)))

    def _read_journal(self) -> None:
        query = "SELECT number, data FROM run_live WHERE keys = ? AND number > ? ORDER BY number"
        keys, number = list[bytes](), self._journal
        for number, data in self._db.execute(query, (self._name, self._journal)).fetchall():
            keys += unpacked(data, self._shape.width)
            if len(keys) >= self._sizes.list_keys:  # many at once: a batch may have been of one event
                self._take(keys, self._parts(keys), number)
                keys = []
        if keys:
            self._take(keys, self._parts(keys), number)

    # -- adding -------------------------------------------------------------------------------------------------------

    def add(self, keys: Sequence[bytes], parts: Sequence[bytes] | None = None) -> None:
        """Take a batch in, in an open transaction: new keys, in the order of their stamps, and after those before.

        ``parts``: the prefixes of hashed keys, of others what stands behind them, where the caller has that at hand,
        perhaps with fewer repetitions. Merging goes on meanwhile, in proportion to the number of keys.
        """
        if keys:
            number = self._journal + 1
            self._db.execute("INSERT INTO run_live VALUES (?, ?, ?)", (self._name, number, b"".join(keys)))
            self._take(keys, parts or self._parts(keys), number)
            self._work(len(keys))

    def _take(self, keys: Sequence[bytes], parts: Sequence[bytes], journal: int) -> None:
        fresh = self._fresh
        if self._shape.hashed:
            self._heads[0].update(parts)
            parts = (b"",)  # nobody walks hashes
        first, last, low, high = min(parts), max(parts), keys[0][-STAMP_BYTES:], keys[-1][-STAMP_BYTES:]
        if fresh.keys:
            first, last, low = min(first, fresh.span.first), max(last, fresh.span.last), fresh.span.low
        fresh.span = Span(first, last, low, high)
        if len(keys) < _INSORT_KEYS:
            for key in keys:
                insort(fresh.keys, key)
        else:
            fresh.keys += keys
            fresh.keys.sort()
        fresh.journal = self._journal = journal
        if len(fresh.keys) >= self._sizes.list_keys:
            self._freeze()

    def _parts(self, keys: Sequence[bytes]) -> list[bytes]:
        cut = self._shape.prefix
        return [key[:cut] for key in keys] if self._shape.hashed else [key[cut:] for key in keys]

    def _empty(self) -> Held:
        return Held([], Span(b"\xff", b"", b"", b""), self._journal)

    def _freeze(self) -> None:
        """Let the list that grew be one of those that do not; several of a size become one."""
        if not self._fresh.keys:
            return
        self._held.append(self._fresh)
        self._fresh = self._empty()
        some = self._held[self._packing :][-self._sizes.lists :]
        if len(some) == self._sizes.lists and len(some[0].keys) < 2 * self._sizes.list_keys:
            self._held[-len(some) :] = [Held.union(some)]
        self._stale = True

    # -- forgetting ---------------------------------------------------------------------------------------------------

    def forget(self, stamps: Iterable[int]) -> None:
        """Say that keys of these stamps mean nothing: walks may still give them, until a merge leaves them out.

        A run in which too many are dead is written anew, so that no walk has to pass more than a share of them.
        """
        gone = sorted({stamp for stamp in stamps if stamp >= self._state["floor"]})
        rows = [(self._name, stamp, self._state["mark"]) for stamp in gone]
        self._db.executemany("INSERT OR REPLACE INTO run_gone VALUES (?, ?, ?)", rows)
        runs, at = self._runs, 0
        for stamp in gone:
            packed = stamp.to_bytes(STAMP_BYTES, "big")
            while at < len(runs) and runs[at].span.high < packed:
                at += 1
            if at < len(runs) and runs[at].span.low <= packed:
                runs[at].dead += 1
        self._stale = True

    def forget_below(self, stamp: int) -> None:
        """Say that no key with a lower stamp means anything: runs that hold nothing else go at once."""
        self._set("floor", max(stamp, self._state["floor"]))
        self._stale = True

    def purge(self) -> None:
        """Write everything anew that may hold a forgotten key, at once: it blocks, for seconds where there is much."""
        self._freeze()
        self._finish()
        while self._held or any(map(self._is_soiled, self._runs)):
            if self._held:
                self._start(_PACK, self._pack())
            for run in list(filter(self._is_soiled, self._runs)):
                if run.level not in self._jobs:
                    self._start(run.level, self._rewrite([run], run.level))
            self._finish()

    def _is_soiled(self, run: Run) -> bool:
        return run.dead > 0 or self._share_below(run) > 0

    def _finish(self) -> None:
        while self._jobs:
            for level in list(self._jobs):
                for _ in self._jobs[level].steps:
                    pass
                del self._jobs[level]
            self._plan()

    # -- looking ------------------------------------------------------------------------------------------------------

    def walk(
        self, prefixes: Collection[bytes], after: bytes = b"", until: bytes | None = None
    ) -> Iterator[bytes | None]:
        """Give what follows the prefix in the keys of some streams, in order, each once; None where one may pause.

        Above ``after``, up to and with ``until``; both are such remainders of keys, or beginnings of them. A source is
        opened only when it may hold what comes next, so keys that were added in about this order cost few look-ups.
        Keys that are added while it goes on may be given or not.
        """
        while True:
            swaps = self._swaps
            for order in self._walk(prefixes, after, until or b"\xff" * self._shape.width):
                if order == after:
                    continue  # in two streams
                yield order
                after = order or after
                if self._swaps != swaps:
                    break  # the pages that it reads are no more
            else:
                return

    def _walk(self, prefixes: Collection[bytes], after: bytes, until: bytes) -> Iterator[bytes | None]:
        """Give the same, and what is in two streams twice."""
        waiting = [source for source in self._sources() if source.span.last > after and source.span.first <= until]
        waiting.sort(key=lambda source: source.span.first, reverse=True)
        heap: list[tuple[bytes, int, Iterator[bytes]]] = []
        seeks, cut = 0, self._shape.prefix
        while heap or waiting:
            while waiting and (not heap or waiting[-1].span.first <= heap[0][0]):
                source = waiting.pop()
                for prefix in prefixes:
                    seeks += 1
                    keys = source.between(prefix + after, prefix + until)
                    if (key := next(keys, None)) is not None:
                        heapq.heappush(heap, (key[cut:], seeks, keys))
                    if seeks % _PAUSE_SEEKS == 0:
                        yield None
            if not heap:
                return
            order, number, keys = heap[0]
            yield order
            if len(heap) == 1:  # alone until another source may have something: mostly for long, and without a heap
                border = waiting[-1].span.first if waiting else b"\xff" * self._shape.width
                for key in keys:
                    order = key[cut:]
                    if order >= border:
                        heap[0] = order, number, keys
                        break
                    yield order
                else:
                    heap.clear()
            elif (key := next(keys, None)) is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (key[cut:], number, keys))

    def under(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """Give the keys from ``low`` up to and with ``high``, or that begin with it, in any order; read it at once."""
        high += b"\xff" * (self._shape.width - len(high))
        return chain.from_iterable(source.between(low, high) for source in self._sources())

    def look(self) -> "Look":
        """Mark the time of a look into the set, for `found`."""
        return Look(self, self._journal)

    def found(self, prefixes: Collection[bytes], looks: Collection["Look | None"] = ()) -> list[bytes]:
        """Give the keys of a hashed set that begin with one of these prefixes.

        ``looks``: each of the prefixes was not there at one of these; so where all are recent, no run is looked into.
        """
        packed = self._state["packed"]
        is_new = looks and all(look is not None and look.of is self and look.batch >= packed for look in looks)
        names = set(prefixes)
        near = set[bytes]().union(*(heads & names for heads in self._heads))
        keys = [key for prefix in near for held in (self._fresh, *self._held) for key in held.holding(prefix)]
        if is_new or not self._runs:
            return keys
        wanted = asks(names)
        return keys + [key for run in self._runs for key in run.holding(wanted)]

    def _sources(self) -> list[Source]:
        return [self._fresh, *self._held, *self._runs]

    # -- merging ------------------------------------------------------------------------------------------------------

    def _work(self, added: int) -> None:
        if self._stale:
            self._plan()
        for level in list(self._jobs):
            job = self._jobs[level]
            job.credit += added * self._sizes.rate
            while job.credit > 0:
                cost = next(job.steps, None)
                if cost is None:
                    del self._jobs[level]
                    self._stale = True
                    break
                job.credit -= cost

    def _plan(self) -> None:
        """Start what is due: one job a level."""
        self._stale = False
        if _PACK not in self._jobs and sum(len(held.keys) for held in self._held) >= self._sizes.memory_keys:
            self._start(_PACK, self._pack())
        self._drop()
        for level in {run.level for run in self._runs} - self._jobs.keys():
            runs = [run for run in self._runs if run.level == level]
            worst = max(runs, key=self._deadness)
            if len(runs) >= self._sizes.fan:
                self._start(level, self._rewrite(runs[: self._sizes.fan], level + 1))
            elif self._deadness(worst) >= 1:
                self._start(level, self._rewrite([worst], level))

    def _start(self, level: int, steps: Steps) -> None:
        self._jobs[level] = _Job(steps)

    def _deadness(self, run: Run) -> float:
        """How due a run is to be written anew, from one on."""
        return max(run.dead * self._sizes.dead_share / max(1, run.size), 4 * self._share_below(run))

    def _share_below(self, run: Run) -> float:
        """Guess which share of a run lies below the floor."""
        low, high = _reach(run.span)
        return max(0, min(self._state["floor"] - low, high + 1 - low)) / (high + 1 - low) if run.size else 0

    def _drop(self) -> None:
        """Let go of runs that lie below the floor, those aside that are being merged."""
        gone = [run for run in self._runs if self._share_below(run) == 1 and run.level not in self._jobs]
        if gone and _SWEEP not in self._jobs:
            self._replace(gone, None)
            sweeps = [self._pages.sweep(run.number) for run in gone]
            self._start(_SWEEP, chain(*sweeps, self._buried(self._below_floor(), None)))

    def _pack(self) -> Steps:
        sources = list(self._held)
        self._packing = len(sources)
        self._heads.insert(0, set(self._parts(self._fresh.keys)) if self._shape.hashed else set())
        made, dead = yield from self._written(sources, 0)
        self._set("packed", sources[-1].journal)
        self._held, self._packing = self._held[len(sources) :], 0
        self._heads.pop()
        self._replace([], made)
        delete = (
            "DELETE FROM run_live WHERE keys = ? AND number IN "
            "(SELECT number FROM run_live WHERE keys = ? AND number <= ? LIMIT ?)"
        )
        while count := self._db.execute(delete, (self._name, self._name, sources[-1].journal, _ROWS_A_STEP)).rowcount:
            yield count
        yield from self._buried(dead, made)

    def _rewrite(self, runs: list[Run], level: int) -> Steps:
        made, dead = yield from self._written(runs, level)
        self._replace(runs, made)
        for run in runs:
            yield from self._pages.sweep(run.number)
        yield from self._buried(dead, made)

    def _written(self, sources: Sequence[Source], level: int) -> Generator[int, None, tuple[Run, "_Dead"]]:
        """Write sources as one run, without their dead; an empty one still holds their stretch."""
        number = self._next_run()
        span = around(source.span for source in sources)
        dead = yield from self._dead(span)
        floor = self._state["floor"].to_bytes(STAMP_BYTES, "big")
        keep = _keeper(dead.stamps, floor if floor > span.low else b"")
        span = span._replace(low=min(max(floor, span.low), span.high))
        writer = RunWriter(self._pages, number, sum(source.size for source in sources), self._sizes.page_bytes)
        for keys in merged(sources):
            writer.write(keep(keys))
            yield len(keys)
        yield from writer.end()
        row = (number, self._name, level, writer.count, *span)
        self._db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return Run(self._pages, About(number, level, writer.count, span), writer.beside), dead

    def _replace(self, runs: Sequence[Run], made: Run | None) -> None:
        """Put a run in the place of those that it was made of."""
        numbers = {run.number for run in runs}
        self._db.executemany("DELETE FROM run WHERE number = ?", [(number,) for number in numbers])
        left = [run for run in self._runs if run.number not in numbers]
        self._runs = sorted([*left, *([made] if made else [])], key=lambda run: run.span.low)
        self._swaps += bool(runs)
        self._stale = True

    # -- the dead -----------------------------------------------------------------------------------------------------

    def _dead(self, span: Span) -> Generator[int, None, "_Dead"]:
        """Read which stamps to leave out, in steps. Those forgotten from now on are the next merge's."""
        mark = self._state["mark"]
        self._set("mark", mark + 1)
        low, high = _reach(span)
        dead = _Dead(set(), low, low, mark)
        query = (
            "SELECT stamp FROM run_gone WHERE keys = ? AND stamp BETWEEN ? AND ? AND mark <= ? ORDER BY stamp LIMIT ?"
        )
        while len(dead.stamps) < limits.RUN_DEAD_MAX and (
            some := self._db.execute(query, (self._name, dead.end, high, mark, _ROWS_A_STEP)).fetchall()
        ):
            dead.stamps.update(stamp.to_bytes(STAMP_BYTES, "big") for (stamp,) in some)
            dead.end = some[-1][0] + 1
            yield len(some)
        return dead

    def _below_floor(self) -> "_Dead":
        return _Dead(set(), 0, self._state["floor"], self._state["mark"])

    def _buried(self, dead: "_Dead", made: Run | None) -> Steps:
        """Forget the forgotten, in steps: no key has their stamps any more."""
        delete = (
            "DELETE FROM run_gone WHERE keys = ? AND stamp IN (SELECT stamp FROM run_gone"
            " WHERE keys = ? AND stamp >= ? AND stamp < ? AND mark <= ? LIMIT ?)"
        )
        reach = (dead.low, dead.end, dead.mark)
        while count := self._db.execute(delete, (self._name, self._name, *reach, _ROWS_A_STEP)).rowcount:
            yield count
        if made is not None:
            self._recount(made)
            self._stale = True

    def _recount(self, run: Run) -> None:
        count = "SELECT count(*) FROM run_gone WHERE keys = ? AND stamp BETWEEN ? AND ?"
        run.dead = self._db.execute(count, (self._name, *_reach(run.span))).fetchone()[0]

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def _set(self, name: str, value: int) -> None:
        self._state[name] = value
        self._db.execute("INSERT OR REPLACE INTO run_state VALUES (?, ?, ?)", (self._name, name, value))

    def _next_run(self) -> int:
        """Give a number that no run of any set ever had: what was read by it may be kept."""
        raised = "ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value"
        (number,) = self._db.execute(f"INSERT INTO run_state VALUES ('', 'run', 1) {raised}").fetchone()  # noqa: S608
        return int(number)

    def _swept(self, end: int) -> Steps:
        """Delete the pages up to ``end`` of runs that are none: half made or half deleted when a process ended."""
        query = "SELECT place >> 32 FROM run_page WHERE place >= ? AND place <= ? ORDER BY place LIMIT 1"
        after = -1
        while (found := self._db.execute(query, ((after + 1) << RUN_BITS, end)).fetchone()) is not None:
            (after,) = found
            if self._db.execute("SELECT 1 FROM run WHERE number = ?", (after,)).fetchone() is None:
                yield from self._pages.sweep(after)


class Look(NamedTuple):
    """A look into a set: what it held then came with this batch at the latest."""

    of: SortedRuns
    batch: int


@dataclass(slots=True)
class _Job:
    """A merge under way; ``credit``: what it may still cost now, in keys."""

    steps: Steps
    credit: int = 0


@dataclass(slots=True)
class _Dead:
    """What one merge leaves out: the stamps forgotten from ``low`` on and before ``end``, up to a mark."""

    stamps: set[bytes]
    low: int
    end: int
    mark: int


def _reach(span: Span) -> tuple[int, int]:
    return int.from_bytes(span.low, "big"), int.from_bytes(span.high, "big")


def _keeper(dead: Collection[bytes], floor: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Give what leaves out keys of dead stamps, and of those below a floor."""
    if not dead and not floor:
        return lambda keys: keys
    return lambda keys: [key for key in keys if (stamp := key[-STAMP_BYTES:]) not in dead and stamp >= floor]
