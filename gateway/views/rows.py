"""Where the replication rows are: an index that points into the log by seq; bodies stay in the log.

Two sets of sorted runs hold a key a row: `times` for REQs and comparisons, `ids` for duplicates and REQs by id. A row
costs the same however many there are, where B-trees took three times as much for the millionth.
Invariant: a namespace is (relay, relayID, open or tokened); within one, an id has at most `BODIES_PER_ROW_MAX`
differing bodies, each by another subject. A relay that is taken away takes its rows out of the index: what stands below
its floor means nothing, here and in the sets. This module must not know sessions; it answers filters with seqs.
"""

import hashlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from struct import Struct
from typing import ClassVar, NamedTuple

import msgspec

from eventlog.chronicle import Retained
from eventlog.record import Record
from eventlog.runs import Shape
from eventlog.sortedruns import SortedRuns
from eventlog.view import TableView
from gateway.errors import Unavailable
from gateway.facts import RelayUnregistered, RowStored, fact_of, stored_row
from gateway.limits.mirror import ROWS_PER_SLICE, SPACES_KEPT_MAX, WRITERS_KEPT_MAX
from gateway.replication.filter import Filter

MARK_BYTES = 16
"""Of hashes that the index keeps: enough that nobody finds two of a kind."""
_SPACE = Struct(">I")
_TIMES = Struct(">IQ32sQ")  # space, time from the newest, id, kind and seq
_ORDER = Struct(">Q32sQ")  # the same without its space
_IDS = Struct(f">{MARK_BYTES}sQ{MARK_BYTES}s{MARK_BYTES}sQ")  # space and id hashed, time, writer, body, kind and seq
_SEQ = Struct(">H")
_LATEST = 2**64 - 1
_SEQ_BITS = 48
_SEQ_MASK = 2**_SEQ_BITS - 1
_STRETCH_BITS = 10  # of a seq: one row of `stretches` tells 1,024 records' rows


class Kept(msgspec.Struct, frozen=True, gc=False):
    """One of the bodies kept under an id: the mark of who wrote it, and the head of the hash of what it says."""

    writer: bytes
    body_hash: bytes
    seq: int


class Entry(NamedTuple):
    """What the index knows of a row; ``age`` is its time, the newest lowest."""

    age: int
    row_id: bytes
    kind: int
    seq: int


@lru_cache(WRITERS_KEPT_MAX)
def writer_mark(writer: str) -> bytes:
    """Give what the index keeps of a writer."""
    return hashlib.sha256(writer.encode()).digest()[:MARK_BYTES]


class RowsView(TableView):
    """Rows by namespace: by time for REQs, by id for duplicates."""

    name: ClassVar[str] = "rows"
    version: ClassVar[int] = 3
    kinds: ClassVar[frozenset[str]] = frozenset({RowStored.kind, RelayUnregistered.kind})
    tables: ClassVar[tuple[str, ...]] = ("spaces", "floors", "stretches")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS spaces (
            space INTEGER PRIMARY KEY, relay_key TEXT, relay_id BLOB, is_open INTEGER, count INTEGER,
            UNIQUE (relay_key, relay_id, is_open));
        CREATE TABLE IF NOT EXISTS floors (relay_key TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS stretches (
            space INTEGER, stretch INTEGER, seqs BLOB, PRIMARY KEY (space, stretch)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._times = SortedRuns(db, "times", Shape(_TIMES.size, _SPACE.size))
        self._ids = SortedRuns(db, "ids", Shape(_IDS.size, MARK_BYTES, hashed=True))
        self._fresh: list[tuple[int, int, RowStored]] = []  # rows of the batch that is being applied
        self._numbers: dict[tuple[str, bytes, bool], int] = {}  # no LRU: keeping its order would cost every row

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold the records of interest among ``records``; ``position`` is the seq after the last of them."""
        super().apply(records, position)
        if self._fresh:
            self._insert()

    def fold(self, record: Record) -> None:
        """Take in a row, or forget a relay's. What `apply` has not ended is not yet found by the questions below."""
        fact = stored_row(record) if record.kind == RowStored.kind else fact_of(record)
        if isinstance(fact, RowStored):
            space = self._space(fact.relay_key, fact.relay_id, is_open=fact.is_open)
            self._fresh.append((space, record.seq, fact))
        elif isinstance(fact, RelayUnregistered):
            self._forget(fact.relay_key, record.seq)

    # -- questions ----------------------------------------------------------------------------------------------------

    def kept(self, relay_key: str, relay_id: bytes, row_id: bytes, *, is_open: bool) -> list[Kept]:
        """List the bodies under an id, in the order in which they came."""
        return self.kept_many(relay_key, relay_id, [row_id], is_open=is_open).get(row_id, [])

    def kept_many(
        self, relay_key: str, relay_id: bytes, row_ids: Sequence[bytes], *, is_open: bool
    ) -> dict[bytes, list[Kept]]:
        """Answer as `kept` for many ids, those alone that have bodies: one question in place of thousands."""
        space = self._number((relay_key, relay_id, is_open))
        if space is None:
            return {}
        floor = self.floor(relay_key)
        wanted = {_hashed(space, row_id): row_id for row_id in row_ids}
        found: defaultdict[bytes, list[Kept]] = defaultdict(list)
        for key in self._ids.found(wanted):
            prefix, _, writer, body, last = _IDS.unpack(key)
            if last & _SEQ_MASK >= floor:
                found[wanted[prefix]].append(Kept(writer, body, last & _SEQ_MASK))
        for kept in found.values():
            kept.sort(key=_seq_of)
        return dict(found)

    def newest(self, relay_key: str, filters: Iterable[Filter], visible: Collection[bool]) -> list[int]:
        """Give the seqs that filters ask for: each filter's newest ``limit``, together newest first, each once."""
        found: set[Entry] = set()
        for each in filters:
            entries = self._by_ids if each.ids is not None else self._by_time
            found.update(islice(entries(relay_key, each, self._spaces(relay_key, each, visible)), each.limit))
        return [entry.seq for entry in sorted(found)]

    def identities(
        self, relay_key: str, each: Filter, visible: Collection[bool], count: int
    ) -> Iterator[list[tuple[int, bytes]]]:
        """Give (created_at, id) of every row that a filter asks for, ``limit`` aside, in pages, newest first.

        Each page is a walk of its own that begins behind the last: rows may be folded in between two. Where the index
        was made anew meanwhile, a namespace's number may mean another one: Unavailable, no page of somebody else's.
        """
        times = self._times
        for space in self._spaces(relay_key, each, visible):
            behind = b""
            while True:
                if self._times is not times:
                    raise Unavailable("the index was made anew; ask again")
                page, behind = self._page(relay_key, each, space, behind, count)
                if page:
                    yield page
                if not behind:
                    break

    def _page(
        self, relay_key: str, each: Filter, space: int, behind: bytes, count: int
    ) -> tuple[list[tuple[int, bytes]], bytes]:
        """Give what of the next ``count`` rows is asked for, and where to go on (nowhere: these were the last).

        Of a million rows each passes here: unpacked together, they cost half of what `_by_time` takes.
        """
        floor, kinds = self.floor(relay_key), each.kinds
        orders = list(islice(filter(None, self._walk(each, [space], behind)), count))
        found = _ORDER.iter_unpack(b"".join(orders))
        if kinds is None:
            page = [(_LATEST - age, row_id) for age, row_id, last in found if last & _SEQ_MASK >= floor]
        else:
            page = [
                (_LATEST - age, row_id)
                for age, row_id, last in found
                if last & _SEQ_MASK >= floor and last >> _SEQ_BITS in kinds
            ]
        return page, orders[-1] if len(orders) == count else b""

    def _walk(self, each: Filter, spaces: Sequence[int], behind: bytes = b"") -> Iterator[bytes | None]:
        """Walk what lies within a filter's times, the newest first; None where one might pause."""
        lowest = b"" if each.until is None else (_LATEST - each.until).to_bytes(8, "big")
        highest = b"\xff" * 8 if each.since is None else (_LATEST - each.since).to_bytes(8, "big")
        until = highest + b"\xff" * (_ORDER.size - 8)
        return self._times.walk([_SPACE.pack(space) for space in spaces], max(behind, lowest), until)

    def floor(self, relay_key: str) -> int:
        """Give the seq below which a relay has no rows: it was taken away then, or retention took them."""
        query = "SELECT max(seq) FROM floors WHERE relay_key IN (?, '')"
        return int(self.db.execute(query, (relay_key,)).fetchone()[0] or 0)

    @property
    def retained_floor(self) -> int:
        """The seq below which retention took all rows."""
        return self.floor("")

    def count(self, relay_key: str) -> int:
        """Count a relay's rows, open ones included."""
        found = self.db.execute("SELECT total(count) FROM spaces WHERE relay_key = ?", (relay_key,)).fetchone()
        return int(found[0])

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Every row of every table and set, in an order that depends on the rows alone; not how runs lie."""
        yield from super().rows()
        for space, relay_key in self.db.execute("SELECT space, relay_key FROM spaces ORDER BY space").fetchall():
            floor = self.floor(relay_key)
            orders = (order for order in self._times.walk([_SPACE.pack(space)]) if order is not None)
            alive = (order for order in orders if int.from_bytes(order[-6:], "big") >= floor)
            while some := list(islice(alive, ROWS_PER_SLICE)):
                ids = dict.fromkeys(_hashed(space, _ORDER.unpack(order)[1]) for order in some)
                seqs = {order[-6:] for order in some}
                yield (space, some, sorted(key for key in self._ids.found(ids) if key[-6:] in seqs))

    def _by_ids(self, relay_key: str, each: Filter, spaces: Sequence[int]) -> Iterator[Entry]:
        wanted = {_hashed(space, row_id): row_id for space in spaces for row_id in each.ids or ()}
        floor, found = self.floor(relay_key), list[Entry]()
        lowest = 0 if each.until is None else _LATEST - each.until
        highest = _LATEST if each.since is None else _LATEST - each.since
        for key in self._ids.found(wanted):
            prefix, age, _, _, last = _IDS.unpack(key)
            entry = Entry(age, wanted[prefix], last >> _SEQ_BITS, last & _SEQ_MASK)
            if entry.seq >= floor and lowest <= age <= highest and (each.kinds is None or entry.kind in each.kinds):
                found.append(entry)
        return iter(sorted(found))

    def _by_time(self, relay_key: str, each: Filter, spaces: Sequence[int]) -> Iterator[Entry]:
        floor = self.floor(relay_key)
        for order in self._walk(each, spaces):
            if order is None:
                continue
            age, row_id, last = _ORDER.unpack(order)
            entry = Entry(age, row_id, last >> _SEQ_BITS, last & _SEQ_MASK)
            if entry.seq >= floor and (each.kinds is None or entry.kind in each.kinds):
                yield entry

    # -- folding ------------------------------------------------------------------------------------------------------

    def _spaces(self, relay_key: str, each: Filter, visible: Collection[bool]) -> list[int]:
        """Give the namespaces that a filter asks for and that are there."""
        if each.nothing:
            return []
        keys = [(relay_key, relay_id, is_open) for relay_id in sorted(each.relay_ids) for is_open in sorted(visible)]
        return [space for key in keys if (space := self._number(key)) is not None]

    def _number(self, key: tuple[str, bytes, bool]) -> int | None:
        found = self._numbers.get(key)
        if found is None:
            query = "SELECT space FROM spaces WHERE relay_key = ? AND relay_id = ? AND is_open = ?"
            row = self.db.execute(query, key).fetchone()
            if row is not None:
                if len(self._numbers) >= SPACES_KEPT_MAX:
                    self._numbers.clear()
                found = self._numbers[key] = row[0]
        return found

    def _space(self, relay_key: str, relay_id: bytes, *, is_open: bool) -> int:
        """Give a namespace's number; a new one is made in the order of the log."""
        key = (relay_key, relay_id, is_open)
        found = self._number(key)
        if found is None:
            self.db.execute("INSERT INTO spaces (relay_key, relay_id, is_open, count) VALUES (?, ?, ?, 0)", key)
            found = self._number(key)
        assert found is not None, "just made"
        return found

    def _insert(self) -> None:
        """Write the rows of a batch together."""
        times, ids = list[bytes](), list[bytes]()
        stretches: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for space, seq, fact in self._fresh:
            age, last, row_id = _LATEST - fact.created_at, fact.row_kind << _SEQ_BITS | seq, fact.row_id
            times.append(_TIMES.pack(space, age, row_id, last))
            ids.append(_IDS.pack(_hashed(space, row_id), age, writer_mark(fact.writer), fact.body_hash, last))
            stretches[space, seq >> _STRETCH_BITS].append(seq & (1 << _STRETCH_BITS) - 1)
        self._times.add(times)
        self._ids.add(ids)
        longer = "ON CONFLICT DO UPDATE SET seqs = CAST(seqs || excluded.seqs AS BLOB)"
        self.db.executemany(
            f"INSERT INTO stretches VALUES (?, ?, ?) {longer}",  # noqa: S608 - a constant
            [(*at, b"".join(map(_SEQ.pack, seqs))) for at, seqs in stretches.items()],
        )
        self._add_counts(Counter(space for space, _, _ in self._fresh))
        self._fresh.clear()

    def _add_counts(self, counts: Counter[int]) -> None:
        raised = [(count, space) for space, count in counts.items()]
        self.db.executemany("UPDATE spaces SET count = count + ? WHERE space = ?", raised)

    def retained(self, entry: Retained) -> None:
        """Drop the rows whose records are gone: stretch by stretch, and the runs that hold nothing else."""
        self._insert()
        floor = entry.floor(RowStored.kind)
        self._raise_floor("", floor)
        self._drop(lambda seq: seq < floor, "stretch <= ?", floor >> _STRETCH_BITS)
        self._times.forget_below(floor)
        self._ids.forget_below(floor)

    def drop(self, seqs: Collection[int]) -> None:
        """Take some rows out, and every trace of them out of the sets, at once: for an erasure, in a transaction."""
        gone = frozenset(seqs)
        self._drop(gone.__contains__, "?", 1)
        for each in (self._times, self._ids):
            each.forget(gone)
            each.purge()

    def _forget(self, relay_key: str, seq: int) -> None:
        """Drop a relay's rows. The namespaces stay, empty: their numbers are never given twice."""
        self._insert()
        self._raise_floor(relay_key, seq)
        where = "space IN (SELECT space FROM spaces WHERE relay_key = ?)"
        gone = self._drop(lambda _: True, where, relay_key)
        self._times.forget(gone)
        self._ids.forget(gone)

    def _drop(self, is_gone: Callable[[int], bool], where: str, value: object) -> list[int]:
        """Take seqs out of the stretches that a term names, and out of the counts; give them."""
        gone: list[int] = []
        query = f"SELECT space, stretch, seqs FROM stretches WHERE {where}"  # noqa: S608 - one of three constants
        for space, stretch, data in self.db.execute(query, (value,)).fetchall():
            seqs = [(stretch << _STRETCH_BITS) + low for (low,) in _SEQ.iter_unpack(data)]
            left = [seq for seq in seqs if not is_gone(seq)]
            if len(left) == len(seqs):
                continue
            gone += [seq for seq in seqs if is_gone(seq)]
            self._add_counts(Counter({space: len(left) - len(seqs)}))
            if left:
                kept = b"".join(_SEQ.pack(seq & (1 << _STRETCH_BITS) - 1) for seq in left)
                self.db.execute("UPDATE stretches SET seqs = ? WHERE (space, stretch) = (?, ?)", (kept, space, stretch))
            else:
                self.db.execute("DELETE FROM stretches WHERE (space, stretch) = (?, ?)", (space, stretch))
        return gone

    def _raise_floor(self, relay_key: str, seq: int) -> None:
        raised = "ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
        self.db.execute(f"INSERT INTO floors VALUES (?, ?) {raised}", (relay_key, seq))  # noqa: S608 - a constant


def _hashed(space: int, row_id: bytes) -> bytes:
    """Give what finds an id in its namespace: ids are whatever their writers say, and a filter needs them spread."""
    return hashlib.sha256(_SPACE.pack(space) + row_id).digest()[:MARK_BYTES]


def _seq_of(kept: Kept) -> int:
    return kept.seq
