"""A set in many runs is held against a plain sorted list: whatever was added, merged, forgotten and taken up again."""

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventlog.runs import STAMP_BYTES, Shape
from eventlog.sortedruns import Sizes, SortedRuns

WALKED = Shape(width=1 + 2 + STAMP_BYTES, prefix=1)
HASHED = Shape(width=9 + STAMP_BYTES, prefix=9, hashed=True)
TINY = Sizes(list_keys=4, lists=3, fan=3, memory_keys=12, rate=9, page_bytes=4 * 15, dead_share=8)


def walked_keys(stamp: int, orders: list[tuple[int, int]]) -> list[bytes]:
    return sorted(
        {bytes([stream]) + order.to_bytes(2, "big") + stamp.to_bytes(STAMP_BYTES, "big") for stream, order in orders}
    )


def hashed_key(stamp: int) -> bytes:
    return sha256(b"%d" % (stamp // 2)).digest()[:8] + bytes([stamp % 2]) + stamp.to_bytes(STAMP_BYTES, "big")


def walked(runs: SortedRuns, prefixes: list[bytes], after: bytes = b"", until: bytes | None = None) -> list[bytes]:
    return [order for order in runs.walk(prefixes, after, until) if order is not None]


class Pair(RuleBasedStateMachine):
    """Two sets in one file, and the sorted list that they stand for."""

    def __init__(self) -> None:
        super().__init__()
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.keys: set[bytes] = set()
        self.ids: set[bytes] = set()
        self.gone: set[int] = set()
        self.stamp = self.floor = 0
        self.open()

    @initialize()
    def begin(self) -> None:
        self.db.execute("BEGIN")
        self.sealed = (set(self.keys), set(self.ids), set(self.gone), self.stamp, self.floor)

    def open(self) -> None:
        self.order = SortedRuns(self.db, "order", WALKED, TINY)
        self.id = SortedRuns(self.db, "id", HASHED, TINY)
        self.looked = (self.id.look(), self.stamp)

    @rule(
        batch=st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=3), max_size=9)
    )
    def add(self, batch: list[list[tuple[int, int]]]) -> None:
        keys = [key for n, orders in enumerate(batch, self.stamp) for key in walked_keys(n, orders)]
        ids = [hashed_key(self.stamp + n) for n in range(len(batch))]
        self.order.add(keys)
        self.id.add(ids)
        self.keys |= set(keys)
        self.ids |= set(ids)
        self.stamp += len(batch)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        stamps = set(data.draw(st.lists(st.integers(0, max(0, self.stamp - 1)), max_size=9))) if self.stamp else set()
        stamps -= self.gone
        for runs in (self.order, self.id):
            runs.forget(stamps)
        self.gone |= stamps

    @rule(share=st.floats(0, 1))
    def forget_below(self, share: float) -> None:
        self.floor = max(self.floor, int(self.stamp * share))
        for runs in (self.order, self.id):
            runs.forget_below(self.floor)

    @rule()
    def commit(self) -> None:
        self.db.execute("COMMIT")
        self.begin()

    @rule()
    def crash(self) -> None:
        """Whatever was under way is gone; what was committed is taken up again."""
        self.db.execute("ROLLBACK")
        keys, ids, gone, self.stamp, self.floor = self.sealed
        self.keys, self.ids, self.gone = set(keys), set(ids), set(gone)
        self.open()
        self.begin()

    @rule()
    def purge(self) -> None:
        for runs in (self.order, self.id):
            runs.purge()
        held = [*self.order.under(b"", b"\xff"), *self.id.under(b"", b"\xff")]
        assert self.alive(held) == held, "a forgotten key is left"
        assert self.db.execute("SELECT count(*) FROM run_gone").fetchone() == (0,)

    def alive(self, keys: list[bytes]) -> list[bytes]:
        stamps = ((key, int.from_bytes(key[-STAMP_BYTES:], "big")) for key in keys)
        return [key for key, stamp in stamps if stamp not in self.gone and stamp >= self.floor]

    @invariant()
    def every_stream_is_what_the_list_says(self) -> None:
        for stream in range(4):
            prefix = bytes([stream])
            wanted = self.alive(sorted(key[1:] for key in self.keys if key[:1] == prefix))
            assert self.alive(walked(self.order, [prefix])) == wanted
        everything = sorted({key[1:] for key in self.keys if key[0] < 3})
        assert self.alive(walked(self.order, [b"\0", b"\1", b"\2"])) == self.alive(everything)
        middle = b"\0\x0a"
        assert self.alive(walked(self.order, [b"\0", b"\1", b"\2"], middle, b"\0\x0f" + b"\xff" * 6)) == [
            order for order in self.alive(everything) if middle < order <= b"\0\x0f" + b"\xff" * 6
        ]

    @invariant()
    def every_id_is_found_once_and_no_other(self) -> None:
        prefixes = [hashed_key(stamp)[:9] for stamp in range(self.stamp + 4)]
        assert sorted(self.alive(self.id.found(prefixes))) == sorted(self.alive(list(self.ids)))

    @rule()
    def look(self) -> None:
        self.looked = (self.id.look(), self.stamp)

    @invariant()
    def what_was_not_there_at_a_look_is_found_without_looking_back(self) -> None:
        look, stamp = self.looked
        prefixes = [hashed_key(later)[:9] for later in range(stamp, self.stamp + 4)]
        wanted = self.alive([key for key in self.ids if int.from_bytes(key[-STAMP_BYTES:], "big") >= stamp])
        assert sorted(self.alive(self.id.found(prefixes, [look]))) == sorted(wanted)
        assert sorted(self.alive(self.id.found(prefixes, [look, None]))) == sorted(wanted)

    @invariant()
    def what_lies_under_a_beginning_is_all_there(self) -> None:
        wanted = sorted(key for key in self.keys if key[:2] == b"\1\0")
        assert sorted(self.alive(list(self.order.under(b"\1\0", b"\1\0")))) == self.alive(wanted)


TestPair = Pair.TestCase
TestPair.settings = how(max_examples=60, stateful_step_count=40)


@pytest.fixture
def db() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None)


def grown(db: sqlite3.Connection, count: int, sizes: Sizes = TINY, batch: int = 1) -> SortedRuns:
    """A set to which stamps were added in the order of time, two streams in turn."""
    runs = SortedRuns(db, "order", WALKED, sizes)
    for at in range(0, count, batch):
        runs.add([time_key(stamp) for stamp in range(at, at + batch)])
    return runs


def time_key(stamp: int) -> bytes:
    """Newest first: what comes later is lower."""
    return bytes([stamp % 2]) + (0xFFFF - stamp).to_bytes(2, "big") + stamp.to_bytes(STAMP_BYTES, "big")


def levels(db: sqlite3.Connection) -> list[int]:
    return [level for (level,) in db.execute("SELECT level FROM run")]


def test_runs_of_many_levels_arise_and_no_level_has_more_than_it_may(db: sqlite3.Connection) -> None:
    grown(db, 3000)
    assert max(levels(db)) >= 3
    for level in set(levels(db)):
        assert levels(db).count(level) <= 3 * TINY.fan


def test_a_walk_goes_on_in_order_whatever_is_merged_beneath_it(db: sqlite3.Connection) -> None:
    runs = grown(db, 500)
    walk = runs.walk([b"\0", b"\1"])
    found: list[bytes | None] = []
    stamp = 500
    while some := list(islice(walk, 7)):
        found += some
        for _ in range(9):
            runs.add([time_key(stamp)])
            stamp += 1
    old = [order for order in found if order and int.from_bytes(order[-STAMP_BYTES:], "big") < 500]
    assert old == [time_key(stamp)[1:] for stamp in reversed(range(500))]


def test_a_page_costs_as_much_at_every_depth_and_a_new_one_reads_no_old_run(db: sqlite3.Connection) -> None:
    grown(db, 4000)
    costs = []
    for depth in (0, 1000, 2000, 3900):
        fresh = SortedRuns(db, "order", WALKED, TINY)  # with nothing read
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        page = list(islice((order for order in fresh.walk([b"\0"], time_key(4000 - depth)[1:]) if order), 8))
        db.set_trace_callback(None)
        assert [int.from_bytes(order[-STAMP_BYTES:], "big") for order in page] == list(
            range(4000 - depth - 2, 4000 - depth - 18, -2)
        )
        costs.append(len(statements))
    assert max(costs) <= 16, costs


def test_a_stream_that_ended_long_ago_is_found_by_one_look_into_each_run(db: sqlite3.Connection) -> None:
    runs = SortedRuns(db, "order", WALKED, TINY)
    runs.add([b"\7\0\1" + bytes(STAMP_BYTES)])
    for stamp in range(1, 2000):
        runs.add([time_key(stamp)])
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    assert walked(runs, [b"\7"]) == [b"\0\1" + bytes(STAMP_BYTES)]
    db.set_trace_callback(None)
    assert len(statements) <= 2 * len(levels(db))


def test_a_walk_lets_others_run_however_many_streams_it_begins(db: sqlite3.Connection) -> None:
    runs = grown(db, 300)
    gaps, gap = [], 0
    for order in runs.walk([bytes([0, *n.to_bytes(1, "big")])[:1] for n in range(200)]):
        gap = 0 if order is None else gap + 1
        gaps.append(gap)
    assert max(gaps) > 0
    pauses = [order for order in runs.walk([bytes([n % 250]) for n in range(2, 250)]) if order is None]
    assert len(pauses) >= 248 // 64


def test_the_dead_are_left_out_before_they_are_many(db: sqlite3.Connection) -> None:
    runs = SortedRuns(db, "order", WALKED, TINY)
    for stamp in range(3000):  # one thing that is replaced again and again, and a little that stays
        runs.add([time_key(stamp)])
        if stamp and stamp % 10:
            runs.forget([stamp - 1] if (stamp - 1) % 10 else [])
    walk = walked(runs, [b"\0", b"\1"])
    assert len(walk) < 3000 / 2
    assert {int.from_bytes(order[-STAMP_BYTES:], "big") for order in walk} >= set(range(0, 3000, 10))


def test_runs_below_the_floor_go_with_their_pages(db: sqlite3.Connection) -> None:
    runs = grown(db, 2000)
    before = db.execute("SELECT count(*) FROM run_page").fetchone()[0]
    runs.forget_below(1900)
    for stamp in range(2000, 2300):  # it goes as others come in, a little at a time
        runs.add([time_key(stamp)])
    assert db.execute("SELECT count(*) FROM run_page").fetchone()[0] < before / 2
    assert len(walked(runs, [b"\0", b"\1"])) < 700


def test_a_crash_in_the_middle_of_a_merge_leaves_what_was_sealed_and_no_page_too_many(tmp_path: Path) -> None:
    for number, crash_at in enumerate(range(100, 400, 23)):
        path = tmp_path / f"{number}.db"
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        runs = SortedRuns(db, "order", WALKED, TINY)
        for stamp in range(crash_at):
            db.execute("BEGIN")
            runs.add([time_key(stamp)])
            db.execute("COMMIT")
        db.execute("BEGIN")
        runs.add([time_key(crash_at)])
        db.close()  # as a crash does: without a word
        db = sqlite3.connect(path, isolation_level=None)
        again = SortedRuns(db, "order", WALKED, TINY)
        assert walked(again, [b"\0", b"\1"]) == [time_key(stamp)[1:] for stamp in reversed(range(crash_at))]
        again.add([time_key(crash_at)])
        again.purge()
        orphans = "SELECT count(*) FROM run_page WHERE place >> 32 NOT IN (SELECT number FROM run)"
        assert db.execute(orphans).fetchone() == (0,)
        db.close()


def test_no_addition_does_more_than_its_share_of_the_merging(db: sqlite3.Connection) -> None:
    sizes = Sizes(list_keys=8, fan=4, memory_keys=64, rate=3, page_bytes=8 * 9)
    runs = SortedRuns(db, "order", WALKED, sizes)
    most = 0
    for stamp in range(8000):
        statements: list[str] = []
        db.set_trace_callback(statements.append)
        runs.add([time_key(stamp)])
        db.set_trace_callback(None)
        most = max(most, len(statements))
    assert most <= 60  # the largest merge writes and deletes two thousand pages


def pages(runs: SortedRuns) -> Iterator[int]:
    yield from (run.size for run in runs._runs)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40))
def test_where_keys_stand_depends_on_the_batches_and_what_is_there_does_not(sizes: list[int]) -> None:
    parts = SortedRuns(sqlite3.connect(":memory:", isolation_level=None), "order", WALKED, TINY)
    at = 0
    for size in sizes:
        parts.add([time_key(stamp) for stamp in range(at, at + size)])
        at += size
    assert walked(parts, [b"\0", b"\1"]) == [time_key(stamp)[1:] for stamp in reversed(range(at))]
    assert sum(pages(parts)) <= at
