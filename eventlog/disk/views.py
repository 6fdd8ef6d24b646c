"""View files: opened, checked against the log, caught up; or thrown away and rebuilt from it.

Invariant: a view file holds nothing that the log does not say, so whenever it is in doubt (another log, another
version, a position or a root that the log does not have, a file that SQLite cannot read) it is deleted and folded anew.
Nothing here ever asks the operator.
"""

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os.path import join

from eventlog.disk.log import Readable
from eventlog.errors import Absent
from eventlog.limits import VIEW_CHECK_BYTES_MAX
from eventlog.record import Record
from eventlog.view import TableView, bookmark_of

Judge = Callable[[Sequence[Record]], None]


def open_views(
    log: Readable,
    directory: str | os.PathLike[str],
    classes: Sequence[type[TableView]],
    judge: Judge = lambda _records: None,
) -> dict[str, TableView]:
    """Open a view of each class under ``directory`` (``data/views``), as of the log's last durable record; blocks.

    ``judge`` sees every record that is folded, first, and may raise to stop. Raises what it raises, whatever a view's
    `fold` raises on a record that it does not know, and Corrupt for a damaged log.
    """
    os.makedirs(directory, exist_ok=True)
    views = {view.name: _open(log, join(directory, f"{view.name}.db"), view) for view in classes}
    catch_up(log, list(views.values()), judge)
    return views


def catch_up(log: Readable, views: Sequence[TableView], judge: Judge = lambda _records: None) -> None:
    """Fold what the views have not taken in yet, in one pass over the log, and seal them."""
    with no_collections():
        for records in log.read(min((view.position for view in views), default=log.durable_size)):
            judge(records)
            end = records[-1].seq + 1
            for view in views:
                if view.position < end:
                    view.apply([record for record in records if record.seq >= view.position], end)
                    if view.due:
                        view.commit(log.origin, log.root_at(end))
    for view in views:
        view.commit(log.origin, log.root_at(view.position))


@contextmanager
def no_collections() -> Iterator[None]:
    """Stop looking for cycles: records hold none, and a replay makes millions; it costs up to a third of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _open(log: Readable, path: str, view: type[TableView]) -> TableView:
    try:
        db = _connect(path)
        try:
            if _whole(db, path) and belongs(db, log, view):
                return view(db)
        except BaseException:
            db.close()
            raise
        db.close()
    except sqlite3.DatabaseError:
        pass  # not a database, or a damaged one: derived data, made anew below
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)
    return view(_connect(path))


def _connect(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # Derived data need not be durable, but must not rot on power loss: NORMAL syncs at WAL checkpoints.
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _whole(db: sqlite3.Connection, path: str) -> bool:
    return os.path.getsize(path) > VIEW_CHECK_BYTES_MAX or db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)


def belongs(db: sqlite3.Connection, log: Readable, view: type[TableView]) -> bool:
    """Whether a view's database is new, or stands at a point in this log's past."""
    found = bookmark_of(db)
    if found is None:
        return not db.execute("SELECT 1 FROM sqlite_master").fetchone()  # rows without a bookmark are no view's
    version, origin, position, root = found
    if (version, origin) != (view.version, log.origin) or not 0 <= position <= log.durable_size:
        return False
    try:
        return log.root_at(position) == root
    except Absent:
        return False
