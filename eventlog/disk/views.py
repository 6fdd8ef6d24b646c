"""View files: opened, checked against the log, caught up; or thrown away and rebuilt from it.

Invariant: a view file holds nothing that the log does not say, so whenever it is in doubt (another log, another
version, a position or a root that the log does not have, a file that SQLite cannot read) it is deleted and made anew:
from the newest snapshot that the log vouches for, else from the log's beginning. Where retention took what a view needs
from there, only a snapshot will do; without one it is Corrupt, and nothing was changed.
"""

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from os.path import join

from eventlog.disk.durable import RealDisk
from eventlog.disk.log import Readable
from eventlog.disk.recovery import read_state
from eventlog.disk.snapshots import put_back
from eventlog.errors import Absent, Corrupt
from eventlog.limits import VIEW_CHECK_BYTES_MAX
from eventlog.record import Record
from eventlog.retention import State
from eventlog.snapshot import Name
from eventlog.view import TableView, bookmark_of, disk_refused

Judge = Callable[[Sequence[Record]], None]


def open_views(
    log: Readable,
    directory: str | os.PathLike[str],
    classes: Sequence[type[TableView]],
    judge: Judge = lambda _records: None,
    *,
    log_directory: str | os.PathLike[str] | None = None,
) -> dict[str, TableView]:
    """Open a view of each class under ``directory`` (``data/views``), as of the log's last durable record; blocks.

    ``judge`` sees every record that is folded, first, and may raise to stop. ``log_directory`` (``data/log``) is where
    snapshots and the state of retention stand. Raises what ``judge`` raises, whatever a view's `fold` raises on a
    record that it does not know, and Corrupt for a damaged log.
    """
    os.makedirs(directory, exist_ok=True)
    beside = None if log_directory is None else os.fspath(log_directory)
    state = State() if beside is None else read_state(RealDisk(), beside)
    views = {
        view.name: _open(log, join(directory, f"{view.name}.db"), view, beside, state.floor(view.kinds))
        for view in classes
    }
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


def _open(log: Readable, path: str, view: type[TableView], beside: str | None, floor: int) -> TableView:
    """Open a view's file if it is good, else the newest snapshot that is, else a new one to fold from the beginning."""
    passed: list[Name] = []
    while (found := _opened(log, path, view, floor)) is None:
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(name)
        snapshot = None
        if beside is not None:
            snapshot = put_back(beside, view.name, path, floor=floor, size=log.durable_size, passed=passed)
        if snapshot is None and floor > 0:
            what = f"retention took records before {floor} that the view needs, and no snapshot of it is whole"
            raise Corrupt(f"{what}; restore data/log/snap from a backup", path, 0)
        if snapshot is None:
            return view(connect(path))
        passed.append(snapshot)
    return found


def _opened(log: Readable, path: str, view: type[TableView], floor: int) -> TableView | None:
    """Open the file at ``path``; None where there is none, or it is not this view of this log, or it ends too early."""
    if not os.path.exists(path):
        return None
    try:
        db = connect(path)
        try:
            found = bookmark_of(db)
            if found is not None and found[2] >= floor and _whole(db, path) and belongs(db, log, view):
                return view(db)
        except BaseException:
            db.close()
            raise
        db.close()
    except sqlite3.DatabaseError as error:
        if disk_refused(error):
            raise  # there is no room to make it anew in either
        # Not a database, or a damaged one: derived data, made anew.
    return None


def connect(path: str) -> sqlite3.Connection:
    """Open a view's file as all of them are opened, or make it."""
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
    """Whether a view's database stands at a point in this log's past."""
    found = bookmark_of(db)
    if found is None:
        return False  # rows without a bookmark are no view's
    version, origin, position, root = found
    if (version, origin) != (view.version, log.origin) or not 0 <= position <= log.durable_size:
        return False
    try:
        return log.root_at(position) == root
    except Absent:
        return False
