"""Views held against the log: each folded anew beside a copy of its file, and their digests compared.

A flipped bit in a row of a view is found by nothing else: rows have no checksums, and a view that fits its bookmark is
believed. So this is asked for, not done at a start: it takes as long as a first start does, and room for each view
twice. A copy is what the file held when its rows were sealed last, also beside a running server.
Invariant: nothing is written outside the room that is handed in. This module must not know what is in a view.
"""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from os.path import join
from urllib.parse import quote

import msgspec

from eventlog.disk.durable import RealDisk
from eventlog.disk.passage import Finding, Identity, identity
from eventlog.disk.recovery import read_state
from eventlog.disk.refold import path_of
from eventlog.disk.segments import Segments
from eventlog.disk.snapshots import directory_of, names
from eventlog.disk.views import Judge, no_collections
from eventlog.errors import Absent
from eventlog.snapshot import candidates
from eventlog.view import TableView, bookmark_of


class Checked(msgspec.Struct, frozen=True):
    """Views that are what the log says, by name; what is wrong with others; why some could not be held against it."""

    whole: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


class _Pair(msgspec.Struct):
    path: str
    kept: TableView
    fresh: TableView
    stop: int


class _Unlike(Exception):
    """A view's file is none of this log's views as they are now; ``is_flaw`` where that is damage."""

    def __init__(self, what: str, *, is_flaw: bool) -> None:
        super().__init__(what)
        self.is_flaw = is_flaw


def check_views(
    segments: Segments, view_directory: str, classes: Sequence[type[TableView]], *, origin: str, judge: Judge, room: str
) -> Checked:
    """Fold a view of each class anew, up to where its file stands, and compare; blocks. ``room`` is a directory.

    Raises Absent where an erasure or retention rewrote segments meanwhile (start again), Corrupt for a damaged log,
    and whatever ``judge`` or a view's `fold` raises.
    """
    before = _identities(segments)
    pairs: list[_Pair] = []
    findings: list[Finding] = []
    notes: list[Finding] = []
    with ExitStack() as stack:
        for view in classes:
            path = path_of(view_directory, view.name)
            try:
                pairs.append(_pair(stack, segments, path, view, origin=origin, room=room))
            except _Unlike as why:
                (findings if why.is_flaw else notes).append(Finding(path, 0, str(why)))
        _fold(segments, pairs, origin, judge)
        whole = [one.kept.name for one in pairs if _digest(one.kept) == _digest(one.fresh)]
        findings += [Finding(one.path, 0, _what(one)) for one in pairs if one.kept.name not in whole]
    if findings and _identities(segments) != before:
        raise Absent("segments were rewritten while the views were folded: start again")
    return Checked(tuple(whole), tuple(findings), tuple(notes))


def _what(pair: _Pair) -> str:
    what = f"the view's rows are not what the first {pair.stop} records add up to"
    return f"{what}; with the server stopped, delete the file: it is made anew from the log"


def _identities(segments: Segments) -> list[int | None]:
    """Tell which files the segments are; the last one grows in its place."""
    found: list[Identity | None] = [identity(file.path) for file in segments]
    return [None if one is None else one.inode for one in found]


def _digest(view: TableView) -> bytes:
    try:
        return view.digest()
    except sqlite3.Error:  # a page that is none any more
        return b""


def _pair(stack: ExitStack, segments: Segments, path: str, view: type[TableView], *, origin: str, room: str) -> _Pair:
    """Copy a view's file, and begin its fold; `_Unlike` where there is nothing to compare."""
    if not os.path.exists(path):
        raise _Unlike("not there; a start makes it anew", is_flaw=False)
    try:
        db = stack.enter_context(closing(_copied(path, join(room, f"{view.name}.kept"))))
        found = bookmark_of(db)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _Unlike(f"the view cannot be read ({error}); a start makes it anew", is_flaw=True) from error
    if found is None or found[0] != view.version:
        raise _Unlike("of another release, or never sealed; a start makes it anew", is_flaw=False)
    if found[1] != origin or not 0 <= found[2] <= segments.end_seq or segments.root_at(found[2]) != found[3]:
        raise _Unlike("the view does not stand at a point of this log; a start makes it anew", is_flaw=True)
    fresh = begun(stack, view, segments, origin=origin, stop=found[2], path=join(room, f"{view.name}.fresh"))
    if fresh is None:
        raise _Unlike("retention took what it was folded from, and no snapshot is at hand", is_flaw=False)
    return _Pair(path, view(db), fresh, found[2])


def _copied(path: str, to: str) -> sqlite3.Connection:
    """Copy a database as it was last sealed, making no file beside it."""
    has_wal, has_users = (os.path.exists(path + end) for end in ("-wal", "-shm"))
    if has_wal and not has_users:  # what a power loss left: whoever opens it has to write, so it is opened elsewhere
        shutil.copyfile(path, to)
        shutil.copyfile(f"{path}-wal", f"{to}-wal")
        return _scratch(to)
    made = _scratch(to)
    options = "mode=ro" if has_wal else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"file:{quote(path)}?{options}", uri=True)) as source:
        source.backup(made)
    return made


def _scratch(path: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")
    return db


def begun(
    stack: ExitStack, view: type[TableView], segments: Segments, *, origin: str, stop: int, path: str
) -> TableView | None:
    """Make a view that can be folded up to ``stop``, in a new database at ``path`` (which may be ``:memory:``).

    A new one, or from a snapshot where retention took its records; None where neither will do.
    """
    floor = read_state(RealDisk(), segments.directory).floor(view.kinds)
    db = stack.enter_context(closing(_scratch(path)))
    if floor == 0:
        return view(db)
    for name in candidates(names(segments.directory), view.name, floor=floor, size=stop):
        source = f"file:{quote(join(directory_of(segments.directory), str(name)))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(source, uri=True)) as stored:
            stored.backup(db)
        root = segments.root_at(name.position)
        if root is not None and bookmark_of(db) == (view.version, origin, name.position, root):
            return view(db)
    return None


def _fold(segments: Segments, pairs: Sequence[_Pair], origin: str, judge: Judge) -> None:
    """Fold each up to where its file stands, in one pass over the log."""
    start = min((one.fresh.position for one in pairs), default=0)
    with no_collections():
        for records in segments.pieces(start, max((one.stop for one in pairs), default=0)):
            judge(records)
            end = records[-1].seq + 1
            for one in pairs:
                view, stop = one.fresh, min(end, one.stop)
                if view.position < stop:
                    view.apply([record for record in records if view.position <= record.seq < stop], stop)
                    if view.due:
                        view.commit(origin, b"")  # no root: nobody opens it again
    for one in pairs:
        one.fresh.commit(origin, b"")
