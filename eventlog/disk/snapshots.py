"""View snapshots on disk: taken from sealed views beside whoever uses them, and put back where a view file is no good.

A snapshot is written anew by SQLite (``VACUUM INTO``: no free pages, so nothing that was deleted), from a connection of
its own, which sees the view as it was last sealed; so it can be taken in a thread of a running server. Its bookmark
binds it to the log. It has its name only once it is whole and synced.
Invariant: what is opened from here is held against the log like any view file (`eventlog.disk.views`); taking one twice
changes nothing. This module must not know what is in a view.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from os.path import join
from urllib.parse import quote

from eventlog.disk import durable
from eventlog.disk.durable import TEMPORARY, Disk, RealDisk
from eventlog.snapshot import DIRECTORY, Name, candidates, cap, superfluous
from eventlog.view import bookmark_of


def directory_of(log_directory: str) -> str:
    """Give the directory that the snapshots stand in, under ``data/log``."""
    return join(log_directory, DIRECTORY)


def names(log_directory: str) -> list[str]:
    """List the files in the snapshots' directory."""
    try:
        return os.listdir(directory_of(log_directory))
    except FileNotFoundError:
        return []


def reach(log_directory: str, views: Iterable[str]) -> int:
    """Give the seq up to which each of these views has a snapshot."""
    return cap(names(log_directory), views)


def take(
    log_directory: str, view_directory: str, views: Iterable[str], *, origin: str, disk: Disk | None = None
) -> list[Name]:
    """Take a snapshot of each sealed view of this log that has news; give those that were taken. Blocks.

    Older ones beyond the newest two of each view go. Raises OSError or sqlite3.Error (a full disk): those that stood
    before still stand.
    """
    disk = disk or RealDisk()
    directory = directory_of(log_directory)
    durable.make_directories(disk, directory)
    _sweep(directory)
    taken = [name for view in views if (name := _take(disk, directory, view_directory, view, origin)) is not None]
    for name in superfluous(os.listdir(directory)):
        durable.remove(disk, join(directory, str(name)))
    return taken


def _take(disk: Disk, directory: str, view_directory: str, view: str, origin: str) -> Name | None:
    source = join(view_directory, f"{view}.db")
    if not os.path.exists(source):
        return None
    with closing(sqlite3.connect(f"file:{quote(source)}?mode=ro", uri=True, isolation_level=None)) as db:
        found = bookmark_of(db)
        if found is None or found[1] != origin:
            return None
        if os.path.exists(join(directory, str(Name(view, found[2])))):
            return None
        temporary = join(directory, f"{view}{TEMPORARY}")
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        db.execute("VACUUM INTO ?", (temporary,))
    # The view may have been sealed again since its bookmark was read: the copy says itself where it stands.
    with closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
        found = bookmark_of(copy)
        assert found is not None
    name = Name(view, found[2])
    durable.adopt(disk, temporary, join(directory, str(name)))
    return name


def _sweep(directory: str) -> None:
    """Remove what a crash left half-written."""
    for name in os.listdir(directory):
        if TEMPORARY in name:
            with suppress(FileNotFoundError):
                os.unlink(join(directory, name))


def put_back(log_directory: str, view: str, path: str, *, floor: int, size: int, passed: Sequence[Name]) -> Name | None:
    """Copy the newest snapshot that a fold may start from to ``path``; None where there is none. Blocks.

    ``passed`` are those that were tried and do not fit. Give its name: whoever opens it holds it against the log.
    """
    for name in candidates(names(log_directory), view, floor=floor, size=size):
        if name not in passed:
            shutil.copyfile(join(directory_of(log_directory), str(name)), path)
            return name
    return None
