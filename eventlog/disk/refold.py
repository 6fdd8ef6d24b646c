"""A view made anew beside the one in use, and put in its place: what an erasure takes out of the log leaves no trace.

Deleting rows would do only where a view's state is one row a record; where it is a maximum, a count or a number given
in order, only folding what is left gives what every later replay will give. The old file is removed whole, free pages
and WAL with it.
Invariant: until `swap` the view in use is untouched; afterwards it stands exactly where the others stand.
"""

import os
from contextlib import closing, suppress
from os.path import join

from eventlog.disk.log import Readable
from eventlog.disk.views import Judge, connect, no_collections
from eventlog.view import TableView

FRESH = ".fresh"


def path_of(directory: str, view: str) -> str:
    """Name a view's file."""
    return join(directory, f"{view}.db")


def files_of(directory: str, view: str) -> list[str]:
    """Name every file that may hold something of a view: its own, the fresh one, and SQLite's beside them."""
    path = path_of(directory, view)
    return [f"{one}{end}" for one in (path, f"{path}{FRESH}") for end in ("", "-wal", "-shm")]


def refold(log: Readable, directory: str, view: type[TableView], stop: int, judge: Judge) -> None:
    """Fold the records before ``stop`` into a fresh file. Blocks: for a thread, beside the view in use."""
    path = path_of(directory, view.name) + FRESH
    _unlink(path)
    carry_on(log, directory, view, stop, judge)


def carry_on(log: Readable, directory: str, view: type[TableView], stop: int, judge: Judge) -> None:
    """Fold into the fresh file what came meanwhile, up to ``stop``. Blocks."""
    with closing(connect(path_of(directory, view.name) + FRESH)) as db, no_collections():
        made = view(db)
        for records in log.read(made.position, stop):
            judge(records)
            made.apply(records, records[-1].seq + 1)
            if made.due:
                made.commit(log.origin, b"")  # no root: a file that was not swapped in is nobody's
        made.commit(log.origin, b"")


def swap(log: Readable, directory: str, view: TableView, applied: int) -> None:
    """Put the fresh file in the place of the one in use, at ``applied``; in the thread that uses the view.

    What others hold of the former connection is closed with it: who reads page by page has to notice (`view.db`).
    """
    path = path_of(directory, view.name)
    with closing(connect(path + FRESH)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    view.db.close()
    _unlink(path)
    os.rename(path + FRESH, path)
    made = type(view)(connect(path))
    for records in log.read(made.position, applied):
        made.apply(records, records[-1].seq + 1)
    assert made.position == applied, (made.position, applied)
    made.seal_anew(log.origin, log.root_at(applied))
    view.become(made)


def _unlink(path: str) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            os.unlink(name)
