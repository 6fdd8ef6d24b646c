"""Snapshots of views: how they are named, which of them a view may start from, and which may go.

A snapshot is a view's sealed database, written anew (free pages, and what was deleted in them, are not in it); its
bookmark binds it to the log: the origin, a position and the tree's root there. Where retention took records that a view
was folded from, its snapshot is what carries them.
This module must not know files or SQLite: names and numbers come in, names go out.
"""

import re
from collections.abc import Iterable

import msgspec

DIRECTORY = "snap"
KEPT = 2  # the newest two of each view: one may be damaged, or be ahead of a log that was rolled back
_NAME = re.compile(r"([a-z_]{1,64})-(\d{20})\.db")


class Name(msgspec.Struct, frozen=True, order=True):
    """A snapshot's file name, read: which view, and how many records it has taken in."""

    view: str
    position: int

    def __str__(self) -> str:
        return f"{self.view}-{self.position:020d}.db"


def name_of(text: str) -> Name | None:
    """Read a file's name; None if it is no snapshot's."""
    found = _NAME.fullmatch(text)
    return Name(found[1], int(found[2])) if found else None


def candidates(names: Iterable[str], view: str, *, floor: int, size: int) -> list[Name]:
    """List a view's snapshots that a fold may start from, newest first: not above the log's ``size``, not below
    ``floor``, the seq from which the log still has all that the view needs."""
    found = [name for name in map(name_of, names) if name is not None and name.view == view]
    return sorted((name for name in found if floor <= name.position <= size), reverse=True)


def superfluous(names: Iterable[str]) -> list[Name]:
    """List the snapshots that may go: all but the newest KEPT of each view."""
    found = sorted((name for name in map(name_of, names) if name is not None), reverse=True)
    seen: dict[str, int] = {}
    gone = []
    for name in found:
        seen[name.view] = seen.get(name.view, 0) + 1
        if seen[name.view] > KEPT:
            gone.append(name)
    return gone


def cap(names: Iterable[str], views: Iterable[str]) -> int:
    """Give the seq up to which every one of these views has a snapshot: retention may take what lies below it."""
    newest: dict[str, int] = dict.fromkeys(views, 0)
    for name in map(name_of, names):
        if name is not None and name.view in newest:
            newest[name.view] = max(newest[name.view], name.position)
    return min(newest.values(), default=0)
