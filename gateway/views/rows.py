"""Where the replication rows are: an index that points into the log by seq; bodies stay in the log.

Invariant: a namespace is (relay, relayID, open or tokened); within one, an id has at most `BODIES_PER_ROW_MAX`
differing bodies, each by another subject. A relay that is taken away takes its rows out of the index.
This module must not know sessions; it answers filters with seqs.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from cachetools import LRUCache

from eventlog.chronicle import Retained
from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import RelayUnregistered, RowStored, fact_of, stored_row
from gateway.limits.mirror import SPACES_KEPT_MAX
from gateway.replication.filter import Filter


@dataclass(frozen=True, slots=True)
class Kept:
    """One of the bodies kept under an id."""

    writer: str
    body_hash: bytes
    seq: int = field(default=-1, compare=False)


class RowsView(TableView):
    """Rows by namespace: by time for REQs, by id for duplicates, by seq for catching up."""

    name: ClassVar[str] = "rows"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset({RowStored.kind, RelayUnregistered.kind})
    tables: ClassVar[tuple[str, ...]] = ("spaces", "rows", "floors")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS spaces (
            space INTEGER PRIMARY KEY, relay_key TEXT, relay_id BLOB, is_open INTEGER, count INTEGER,
            UNIQUE (relay_key, relay_id, is_open));
        CREATE TABLE IF NOT EXISTS rows (
            space INTEGER, seq INTEGER, row_id BLOB, row_kind INTEGER, created_at INTEGER, writer TEXT, body_hash BLOB,
            PRIMARY KEY (space, seq)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS floors (relay_key TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS rows_by_id ON rows (space, row_id);
        CREATE INDEX IF NOT EXISTS rows_by_time ON rows (space, created_at DESC, row_id, seq, row_kind);
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._fresh: list[tuple[object, ...]] = []  # rows of the batch that is being applied
        self._numbers: LRUCache[tuple[str, bytes, bool], int] = LRUCache(SPACES_KEPT_MAX)

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold the records of interest among ``records``; ``position`` is the seq after the last of them."""
        super().apply(records, position)
        if self._fresh:
            self._insert()

    def fold(self, record: Record) -> None:
        """Take in a row, or forget a relay's. What `apply` has not ended is not yet found by the questions below."""
        fact = stored_row(record) if record.kind == RowStored.kind else fact_of(record)
        if isinstance(fact, RowStored):
            self._store(fact, record.seq)
        elif isinstance(fact, RelayUnregistered):
            self._forget(fact.relay_key, record.seq)

    def kept(self, relay_key: str, relay_id: bytes, row_id: bytes, *, is_open: bool) -> list[Kept]:
        """List the bodies under an id, in the order in which they came."""
        found = self.db.execute(
            "SELECT writer, body_hash, seq FROM rows INDEXED BY rows_by_id WHERE row_id = ? AND space = "
            "(SELECT space FROM spaces WHERE relay_key = ? AND relay_id = ? AND is_open = ?) ORDER BY seq",
            (row_id, relay_key, relay_id, is_open),
        )
        return [Kept(writer, body_hash, seq) for writer, body_hash, seq in found]

    def kept_many(
        self, relay_key: str, relay_id: bytes, row_ids: Sequence[bytes], *, is_open: bool
    ) -> dict[bytes, list[Kept]]:
        """Answer as `kept` for many ids, those alone that have bodies: a few questions in place of thousands."""
        found: dict[bytes, list[Kept]] = {}
        row_ids = list(dict.fromkeys(row_ids))
        for space in self._spaces(relay_key, [relay_id], [is_open]):
            for at in range(0, len(row_ids), KEPT_AT_ONCE):
                part = row_ids[at : at + KEPT_AT_ONCE]
                wanted = [*part, *[part[-1]] * (KEPT_AT_ONCE - len(part))]  # one length: the statement is parsed once
                for row_id, *kept in self.db.execute(KEPT_QUERY, (space, *wanted)):
                    found.setdefault(row_id, []).append(Kept(*kept))
        return found

    def newest(self, relay_key: str, filters: Iterable[Filter], visible: Collection[bool]) -> list[int]:
        """Give the seqs that filters ask for: each filter's newest ``limit``, together newest first, each once."""
        found: set[tuple[int, bytes, int]] = set()
        for each in filters:
            found.update(self._newest(relay_key, each, visible))
        return [seq for _, _, seq in sorted(found)]

    def since(self, relay_key: str, filters: Iterable[Filter], visible: Collection[bool], seq: int) -> list[int]:
        """Give the seqs from ``seq`` on that filters ask for, ``limit`` aside, in the order of the log."""
        found: set[int] = set()
        for each in filters:
            where, values = self._where(relay_key, each, visible)
            query = f"SELECT seq FROM rows {where} AND seq >= ?"  # noqa: S608 - terms are constants, values are bound
            found.update(row[0] for row in self.db.execute(query, (*values, seq)))
        return sorted(found)

    def identities(
        self, relay_key: str, each: Filter, visible: Collection[bool], count: int
    ) -> Iterator[list[tuple[int, bytes]]]:
        """Give (created_at, id) of every row that a filter asks for, ``limit`` aside, in pages, newest first.

        Each page is a search of its own that begins behind the last: rows may be folded in between two.
        """
        if each.nothing:
            return
        for space in self._spaces(relay_key, each.relay_ids, visible):
            behind: tuple[int, bytes, int] | None = None
            while page := self._page(space, each, behind, count):
                yield [(created_at, row_id) for created_at, row_id, _ in page]
                behind = page[-1]

    def _page(
        self, space: int, each: Filter, behind: tuple[int, bytes, int] | None, count: int
    ) -> list[tuple[int, bytes, int]]:
        terms, values = _narrowed(each)
        if behind is None:
            return self._timed(space, terms, values, count)
        created_at, row_id, seq = behind
        # What shares the last one's time, then what is older: together they would be no range of the index.
        same = self._timed(
            space, [*terms, "created_at = ?", "(row_id, seq) > (?, ?)"], [*values, created_at, row_id, seq], count
        )
        left = count - len(same)
        return same + (self._timed(space, [*terms, "created_at < ?"], [*values, created_at], left) if left else [])

    def _timed(
        self, space: int, terms: Sequence[str], values: Sequence[object], count: int
    ) -> list[tuple[int, bytes, int]]:
        where = " AND ".join(["space = ?", *terms])
        query = f"SELECT created_at, row_id, seq FROM rows INDEXED BY rows_by_time WHERE {where}"  # noqa: S608 - constants
        return self.db.execute(
            f"{query} ORDER BY created_at DESC, row_id, seq LIMIT ?", (space, *values, count)
        ).fetchall()

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

    def _newest(self, relay_key: str, each: Filter, visible: Collection[bool]) -> Iterable[tuple[int, bytes, int]]:
        where, values = self._where(relay_key, each, visible)
        # The index is named: left to itself, SQLite reads a whole namespace by time to find one id.
        index = "rows_by_time" if each.ids is None else "rows_by_id"
        wanted = f"SELECT -created_at, row_id, seq FROM rows INDEXED BY {index}"  # noqa: S608 - one of two constants
        query = f"{wanted} {where} ORDER BY created_at DESC, row_id, seq LIMIT ?"
        return self.db.execute(query, (*values, each.limit))

    def _where(self, relay_key: str, each: Filter, visible: Collection[bool]) -> tuple[str, tuple[object, ...]]:
        """Write a filter as SQL; what was not given makes no condition, so that the planner picks the right index."""
        spaces = self._spaces(relay_key, each.relay_ids, visible)
        if each.nothing or not spaces:
            return "WHERE space = -1", ()
        terms, values = _narrowed(each)
        return f"WHERE {' AND '.join([f'space IN ({_marks(spaces)})', *terms])}", (*spaces, *values)

    def _spaces(self, relay_key: str, relay_ids: Iterable[bytes], visible: Collection[bool]) -> list[int]:
        query = "SELECT space FROM spaces WHERE relay_key = ? AND relay_id = ? AND is_open = ?"
        keys = [(relay_key, relay_id, is_open) for relay_id in sorted(relay_ids) for is_open in sorted(visible)]
        return [row[0] for key in keys for row in self.db.execute(query, key)]

    def _store(self, fact: RowStored, seq: int) -> None:
        space = self._space(fact.relay_key, fact.relay_id, is_open=fact.is_open)
        self._fresh.append((space, seq, fact.row_id, fact.row_kind, fact.created_at, fact.writer, fact.body_hash))

    def _space(self, relay_key: str, relay_id: bytes, *, is_open: bool) -> int:
        """Give a namespace's number; a new one is made in the order of the log."""
        key = (relay_key, relay_id, is_open)
        found = self._numbers.get(key)
        if found is None:
            self.db.execute(
                "INSERT OR IGNORE INTO spaces (relay_key, relay_id, is_open, count) VALUES (?, ?, ?, 0)", key
            )
            found = self._numbers[key] = self._spaces(relay_key, [relay_id], [is_open])[0]
        return found

    def _insert(self) -> None:
        """Write the rows of a batch together: half the cost of one statement for each."""
        self.db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", self._fresh)
        counts = Counter(row[0] for row in self._fresh)
        self.db.executemany(
            "UPDATE spaces SET count = count + ? WHERE space = ?", [(n, at) for at, n in counts.items()]
        )
        self._fresh.clear()

    def retained(self, entry: Retained) -> None:
        """Drop the rows whose records are gone, one namespace after the other: its rows lie in the order of the log."""
        self._insert()
        floor = entry.floor(RowStored.kind)
        self._raise_floor("", floor)
        for (space,) in self.db.execute("SELECT space FROM spaces WHERE count > 0").fetchall():
            dropped = self.db.execute("DELETE FROM rows WHERE space = ? AND seq < ?", (space, floor)).rowcount
            if dropped:
                self.db.execute("UPDATE spaces SET count = count - ? WHERE space = ?", (dropped, space))

    def _forget(self, relay_key: str, seq: int) -> None:
        self._insert()
        self._raise_floor(relay_key, seq)
        self.db.execute("DELETE FROM rows WHERE space IN (SELECT space FROM spaces WHERE relay_key = ?)", (relay_key,))
        # The namespaces stay, empty: their numbers are never given twice, whatever the order of a replay's batches.
        self.db.execute("UPDATE spaces SET count = 0 WHERE relay_key = ?", (relay_key,))

    def _raise_floor(self, relay_key: str, seq: int) -> None:
        raised = "ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"
        self.db.execute(f"INSERT INTO floors VALUES (?, ?) {raised}", (relay_key, seq))  # noqa: S608 - a constant


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


KEPT_AT_ONCE = 256
KEPT_QUERY = (
    "SELECT row_id, writer, body_hash, seq FROM rows INDEXED BY rows_by_id "  # noqa: S608 - marks alone
    f"WHERE space = ? AND row_id IN ({_marks(range(KEPT_AT_ONCE))}) ORDER BY seq"
)


def _narrowed(each: Filter) -> tuple[list[str], list[object]]:
    """Write what a filter asks for beside its relayIDs as terms of SQL, with their values."""
    terms: list[str] = []
    values: list[object] = []
    for column, wanted in (("row_id", each.ids), ("row_kind", each.kinds)):
        if wanted is not None:
            terms.append(f"{column} IN ({_marks(wanted)})")
            values += sorted(wanted)
    for comparison, bound in ((">=", each.since), ("<=", each.until)):
        if bound is not None:
            terms.append(f"created_at {comparison} ?")
            values.append(bound)
    return terms, values
