"""What stands beside the segments, held against the log: snapshots, retention's file, the cosigned checkpoint.

`look` comes before an audit's walk and says at which sizes it needs the tree's root; `disagreements` and `unlike_told`
come after it. A snapshot is bound by its bookmark alone: whether its rows are what the records add up to, only folding
them would say. A witness's line is checked by who has the witness's key.
Nothing here writes, and what a running server replaces meanwhile is no damage.
This module must not know frames or how a tree is walked: roots come in by size.
"""

import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from os.path import join
from urllib.parse import quote

import msgspec

from eventlog import checkpoint as checkpoints
from eventlog import retention
from eventlog.chronicle import Retained, entry_of
from eventlog.disk.durable import Disk, read_whole
from eventlog.disk.passage import Finding
from eventlog.disk.snapshots import directory_of, names
from eventlog.disk.store import COSIGNED_FILE
from eventlog.errors import Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX, VIEW_CHECK_BYTES_MAX
from eventlog.origin import Origin
from eventlog.record import Record
from eventlog.retention import State
from eventlog.snapshot import Name, name_of
from eventlog.view import bookmark_of


class Claim(msgspec.Struct, frozen=True):
    """That the log's first ``size`` records have this root, by whom, and how it is told where they do not.

    ``beyond`` is said where the log is shorter, with its size in the place of ``{}``.
    """

    path: str
    size: int
    root: bytes
    beyond: str
    other: str


class Companions(msgspec.Struct, frozen=True):
    """What was there before the walk: claims, retention's file, and what can be said to be wrong at once."""

    claims: tuple[Claim, ...]
    retention: bytes | None
    findings: tuple[Finding, ...]


def look(disk: Disk, log_directory: str, origin: Origin, *, deep: bool) -> Companions:
    """Read what is beside the segments; ``deep`` also has SQLite check the pages of snapshots up to 64 MiB."""
    claims: list[Claim] = []
    findings: list[Finding] = []
    for name in sorted(filter(None, map(name_of, names(log_directory)))):
        path = join(directory_of(log_directory), str(name))
        try:
            claims += _snapshot(path, name, origin, deep=deep)
        except Corrupt as flaw:
            findings.append(Finding(path, 0, flaw.what))
    try:
        claims += _cosigned(disk, log_directory, origin)
    except Corrupt as flaw:
        findings.append(Finding(join(log_directory, COSIGNED_FILE), 0, flaw.what))
    return Companions(tuple(claims), read_retention(disk, log_directory), tuple(findings))


def _snapshot(path: str, name: Name, origin: Origin, *, deep: bool) -> list[Claim]:
    found = None
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)) as db:
            found = bookmark_of(db)
            if deep and os.path.getsize(path) <= VIEW_CHECK_BYTES_MAX:
                flaw = db.execute("PRAGMA quick_check(1)").fetchone()[0]
                if flaw != "ok":
                    raise Corrupt(f"the snapshot is damaged: {flaw}")
    except (sqlite3.Error, FileNotFoundError, OverflowError, UnicodeDecodeError) as error:
        if not os.path.exists(path):
            return []  # a newer one took its place
        raise Corrupt(f"the snapshot cannot be read: {error}") from error
    if found is None or found[1:3] != (origin.name, name.position):
        raise Corrupt("the snapshot is not of this log, or not of the records that its name says")
    beyond = f"the snapshot holds {name.position} records, {{}} are there"
    other = f"the snapshot was made of other records: after {name.position} of them the log has another root"
    return [Claim(path, name.position, found[3], beyond, other)]


def _cosigned(disk: Disk, log_directory: str, origin: Origin) -> list[Claim]:
    note = read_whole(disk, join(log_directory, COSIGNED_FILE), CHECKPOINT_BYTES_MAX)
    if note is None:
        return []
    found = checkpoints.verify(note, origin.public_key)
    if found.origin != origin.name:
        raise Corrupt(f"the cosigned checkpoint is of another log, {found.origin}")
    beyond = f"the log was rolled back: witnesses cosigned {found.size} records, {{}} are there"
    other = f"the first {found.size} records are not those that witnesses cosigned: the log was forked or rewritten"
    return [Claim(join(log_directory, COSIGNED_FILE), found.size, found.root, beyond, other)]


def disagreements(claims: Iterable[Claim], roots: Mapping[int, bytes], end_seq: int) -> list[Finding]:
    """Name the claims that the log does not bear out; one of a size whose root is not known cannot be judged."""
    found: list[Finding] = []
    for one in claims:
        if one.size > end_seq:
            found.append(Finding(one.path, 0, one.beyond.format(end_seq)))
        elif one.size and one.size in roots and roots[one.size] != one.root:
            found.append(Finding(one.path, 0, one.other))
    return found


# -- retention --------------------------------------------------------------------------------------------------------


def read_retention(disk: Disk, log_directory: str) -> bytes | None:
    """Read retention's file as it is."""
    return read_whole(disk, join(log_directory, retention.FILE), retention.FILE_BYTES_MAX)


def unlike_told(before: bytes | None, after: bytes | None, own: Iterable[Record], log_directory: str) -> list[Finding]:
    """Hold retention's file, as it was before and after the walk, against the `log.retained` records found by it.

    The file comes before its records: while it is not done it may say more than they do. Where it changed meanwhile,
    they may say more than it did.
    """
    path = join(log_directory, retention.FILE)
    told = State()
    for record in own:
        if record.kind == Retained.kind and isinstance(entry := entry_of(record), Retained):
            told = told.joined(entry)
    try:
        state = State() if before is None else retention.decode(before)
    except Corrupt as flaw:
        return [Finding(path, 0, f"{flaw.what}; put it back from a copy")]
    if state.done and _exceeds(state, told):
        return [Finding(path, 0, "it says that more was removed than any record of the log does")]
    if before == after and _exceeds(told, state):
        what = "missing: the log says that records were removed" if before is None else "older than the log's records"
        return [Finding(path, 0, f"what retention removed is {what}; put it back from a copy")]
    return []


def _exceeds(one: State, other: State) -> bool:
    """Whether one says that more was removed; what is said of a kind counts from the log's beginning on."""
    return one.first_seq > other.first_seq or any(
        seq > max(one.first_seq, other.below.get(kind, 0)) for kind, seq in one.below.items()
    )
