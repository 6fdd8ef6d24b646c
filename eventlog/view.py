"""Views: what the records add up to, folded one record after another.

Invariant: same log, same digest, whatever the batch size, the machine or the starting snapshot; `apply` has no side
effect outside the view's own state. A view must not know clocks, dice, sockets or files: it is handed a connection.
"""

import hashlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, Self

import cbor2

from eventlog.chronicle import Retained, entry_of
from eventlog.limits import VIEW_LAG_RECORDS
from eventlog.record import Record

READ_FAILURES = frozenset({sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ})


def disk_refused(error: sqlite3.Error) -> bool:
    """Whether SQLite could not write (a full or failing disk), which passes: neither our bug nor a damaged file."""
    # An error without a code is `TableView`'s own: SQLite gave a transaction up behind its back.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_FULL)
    refusals = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
    return code & 0xFF in refusals and code not in READ_FAILURES


class TableView(ABC):
    """A view, kept in SQLite tables; a subclass names its kinds, tables and SQL, and folds single records.

    The connection is the caller's (a file or ``:memory:``); it is used from one thread. `apply` changes rows inside an
    open transaction, `commit` seals them together with the bookmark, so that rows and position never part. Whoever
    reads through the same connection sees what was applied at once; sealing is only for the next start, so it is done
    when `due` says so, not with every batch.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kinds: ClassVar[frozenset[str]]
    tables: ClassVar[tuple[str, ...]]
    schema: ClassVar[str]

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        db.isolation_level = None
        db.executescript(self.schema)
        db.execute(
            "CREATE TABLE IF NOT EXISTS bookmark "
            "(one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER, origin TEXT, position INTEGER, root BLOB)"
        )
        found = self.bookmark()
        self._position = self._sealed = found[2] if found else 0
        self._changing = False  # whether a transaction of ours is open

    @property
    def position(self) -> int:
        """The number of records taken in."""
        return self._position

    def bookmark(self) -> tuple[int, str, int, bytes] | None:
        """(version, origin, position, root) as of the last commit, or None for a new view."""
        return bookmark_of(self.db)

    @property
    def due(self) -> bool:
        """Whether a crash now would make the next start fold more than VIEW_LAG_RECORDS again."""
        return self._position - self._sealed >= VIEW_LAG_RECORDS

    @abstractmethod
    def fold(self, record: Record) -> None:
        """Take in one record of a kind in `kinds`."""

    def retained(self, entry: Retained) -> None:  # noqa: B027 - most views have nothing to do
        """Let go of rows that point to records which retention took. Rows that hold what they need stay."""

    def ignores(self, kinds: AbstractSet[str]) -> bool:
        """Whether `apply` would find nothing among records of these kinds."""
        return self.kinds.isdisjoint(kinds) and Retained.kind not in kinds

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold the records of interest among ``records``; ``position`` is the seq after the last of them."""
        wanted = self.kinds | {Retained.kind}
        mine = [record for record in records if record.kind in wanted]
        if mine:
            self._begin()
            self.fold_all(mine)
        self._position = position

    def fold_all(self, records: Sequence[Record]) -> None:
        """Take in records of kinds in `kinds`, and what tells of retention, in order."""
        for record in records:
            if record.kind == Retained.kind:
                entry = entry_of(record)
                assert isinstance(entry, Retained)
                self.retained(entry)
            else:
                self.fold(record)

    def commit(self, origin: str, root: bytes) -> None:
        """Seal rows and bookmark in one transaction; ``root`` is the log's at `position`. Nothing new: no write."""
        if self._position == self._sealed and not self._changing:
            return
        self._begin()
        self.db.execute(
            "INSERT OR REPLACE INTO bookmark VALUES (1, ?, ?, ?, ?)", (self.version, origin, self._position, root)
        )
        self.db.execute("COMMIT")
        self._sealed, self._changing = self._position, False

    def seal_anew(self, origin: str, root: bytes) -> None:
        """Seal also where nothing is new, as where the bookmark that stands was made without knowing the root."""
        self._begin()
        self.commit(origin, root)

    def _begin(self) -> None:
        """Have a transaction open; sqlite3.OperationalError where SQLite has given ours up, and with it rows."""
        if self.is_given_up:
            raise sqlite3.OperationalError("a full or failing disk made SQLite give a transaction up")
        if not self._changing:
            self.db.execute("BEGIN")
            self._changing = True

    @property
    def is_given_up(self) -> bool:
        """Whether rows that were folded are gone again, with a transaction that SQLite gave up."""
        return self._changing and not self.db.in_transaction

    def restart(self) -> None:
        """Go back to what was sealed last: the way on after SQLite could not write. Then fold again from `position`."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        type(self).__init__(self, self.db)

    def may_spill(self, allowed: bool) -> None:
        """Say whether a transaction that outgrows the cache may go to the disk before its end, as it usually may.

        Where the disk is full, even a question that needs room in the cache would make SQLite give up the transaction.
        """
        self.db.execute(f"PRAGMA cache_spill = {'ON' if allowed else 'OFF'}")

    def become(self, other: Self) -> None:
        """Go on as ``other``, which was made anew from the same log: whoever holds this view sees its rows from now on.

        All of its state, caches included: numbers that one folding gave out mean something else in another.
        """
        self.__dict__.clear()
        self.__dict__.update(other.__dict__)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Every row of every table, in an order that depends on the rows alone."""
        for table in self.tables:
            yield (table,)
            width = len(self.db.execute(f"SELECT * FROM {table} LIMIT 0").description)
            yield from self.db.execute(f"SELECT * FROM {table} ORDER BY {', '.join(map(str, range(1, width + 1)))}")

    def digest(self) -> bytes:
        """SHA-256 over the rows: equal for equal logs."""
        digest = hashlib.sha256()
        for row in self.rows():
            digest.update(cbor2.dumps(row))
        return digest.digest()


def bookmark_of(db: sqlite3.Connection) -> tuple[int, str, int, bytes] | None:
    """Read (version, origin, position, root) from a view's database, or None if nothing was ever sealed in it."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bookmark'").fetchone():
        return None
    row = db.execute("SELECT version, origin, position, root FROM bookmark").fetchone()
    return (row[0], row[1], row[2], bytes(row[3])) if row else None
