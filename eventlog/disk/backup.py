"""Copies of a log: a backup taken beside the server that writes, and a data directory made from one.

A backup has the layout of a data directory, views left out, so that ``log verify`` and ``log repair`` read it as one.
It ends at a signed checkpoint: the checkpoint is read first, sealed segments are copied whole and the last one up to
the checkpointed size, and the checkpoint goes into the backup last. What the server puts together, drops or erases
meanwhile shows as another file under its name, or as an audit's finding, and the copying starts over; it waits for an
erasure that is under way. So a backup is of before or after each erasure, never of some payloads and not of others.
A second backup into the same directory copies only what changed (by size and time of change), and removes what is no
longer in the log: erased payloads are gone from it. Invariant: ``backup.cbor`` says whether it is complete; an
incomplete one is not restored from. This module must not know what records mean.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from os.path import dirname, exists, join

import cbor2
import msgspec

from eventlog import frame as frames
from eventlog import index as indexes
from eventlog import origin as origins
from eventlog import retention, segment, snapshot
from eventlog.checkpoint import Checkpoint
from eventlog.disk import audit, durable
from eventlog.disk.durable import Disk
from eventlog.disk.erase import pending
from eventlog.disk.recovery import CHECKPOINT_FILE, judge_checkpoint
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import KEY_DIRECTORY, KEY_FILE, LOG_DIRECTORY, read_origin
from eventlog.disk.tiles import MARK_FILE
from eventlog.errors import Corrupt
from eventlog.limits import (
    BACKUP_CHECKPOINT_S_MAX,
    BACKUP_ERASURE_S_MAX,
    BACKUP_LOOK_S,
    BACKUP_TRIES_MAX,
    CHECKPOINT_BYTES_MAX,
    READ_BYTES,
)
from eventlog.origin import Origin
from eventlog.tile import TILE_BYTES_MAX

FILE = "backup.cbor"
TILE_DIRECTORY = "tile"
_FILE_BYTES_MAX = 1_024
_TAG, _VERSION = "heliograph-backup", 1
Wait = Callable[[float], None]  # let so many seconds pass


class Refused(Exception):
    """A backup or a restore that would overwrite or mix up logs, or cannot be trusted: the text says why."""


class Copied(msgspec.Struct, frozen=True):
    """What a backup or a restore did: the log's records and root, and what it cost."""

    records: int
    root: bytes
    files: int
    file_bytes: int
    kept: int  # files that were there already
    removed: int


class _Copying:
    """One run: what is copied where, and the count of it."""

    def __init__(self, disk: Disk, source: str, target: str, *, link: bool) -> None:
        self.disk, self.source, self.target, self.link = disk, source, target, link
        self.files = self.file_bytes = self.kept = self.removed = 0
        self._seen: dict[str, os.stat_result] = {}

    def is_stale(self) -> bool:
        """Whether a file that was copied whole is another one by now, or gone."""
        return any(not _is_still(found, source) for source, found in self._seen.items())

    def file(self, name: str, *, stop: int | None = None, secret: bool = False) -> None:
        """Copy a file, up to byte ``stop``, unless it is there already; it has its name once it is whole and synced."""
        source, target = join(self.source, name), join(self.target, name)
        found = os.stat(source)
        if stop is None:
            self._seen[source] = found
        if stop is None and _same(found, target):
            self.kept += 1
            return
        size = found.st_size if stop is None else stop
        if stop is not None or not self.link or not _linked(source, target):
            durable.stage(self.disk, target, _chunks(self.disk, source, size), secret=secret)
            if stop is None:  # a part is no file's equal: it is copied again once the segment is sealed
                os.utime(target + durable.TEMPORARY, ns=(found.st_atime_ns, found.st_mtime_ns))
        self.disk.rename(target + durable.TEMPORARY, target)
        self._count(size)

    def small(self, name: str, bytes_max: int) -> None:
        """Copy a small file whole; nothing where there is none."""
        data = self._news(name, bytes_max)
        if data is not None:
            durable.replace(self.disk, join(self.target, name), data)

    def tile(self, name: str) -> None:
        """Copy a tile; it is synced with all others at the end."""
        data = self._news(name, TILE_BYTES_MAX)
        if data is not None:
            os.makedirs(dirname(join(self.target, name)), exist_ok=True)
            durable.put_derived(self.disk, join(self.target, name), data)

    def _news(self, name: str, bytes_max: int) -> bytes | None:
        data = durable.read_whole(self.disk, join(self.source, name), bytes_max)
        if data is None or durable.read_whole(self.disk, join(self.target, name), bytes_max) == data:
            self.kept += data is not None
            return None
        self._count(len(data))
        return data

    def only(self, directory: str, names: Iterable[str]) -> None:
        """Remove from a directory of the copy what is not among ``names``."""
        there = join(self.target, directory)
        for name in sorted(set(self.disk.entries(there)) - set(names)) if exists(there) else ():
            if not os.path.isdir(join(there, name)):
                self.disk.unlink(join(there, name))
                self.removed += 1

    def _count(self, size: int) -> None:
        self.files += 1
        self.file_bytes += size


def _same(found: os.stat_result, target: str) -> bool:
    try:
        there = os.stat(target)
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (found.st_size, found.st_mtime_ns)


def _is_still(found: os.stat_result, path: str) -> bool:
    try:
        now = os.stat(path)
    except FileNotFoundError:
        return False
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (found.st_ino, found.st_size, found.st_mtime_ns)


def _linked(source: str, target: str) -> bool:
    """Give the file a second name instead of copying it; False on another file system."""
    with suppress(FileNotFoundError):
        os.unlink(target + durable.TEMPORARY)
    try:
        os.link(source, target + durable.TEMPORARY)
    except OSError:
        return False
    return True


def _chunks(disk: Disk, path: str, size: int) -> Iterator[bytes]:
    fd = disk.open(path)
    try:
        for at in range(0, size, READ_BYTES):
            yield disk.read(fd, min(READ_BYTES, size - at), at)
    finally:
        disk.close(fd)


def is_complete(disk: Disk, directory: str) -> bool | None:
    """Whether the backup in a directory was finished; None where there is none."""
    data = durable.read_whole(disk, join(directory, FILE), _FILE_BYTES_MAX)
    if data is None:
        return None
    try:
        fields = cbor2.loads(data)
    except (cbor2.CBORDecodeError, ValueError):
        return False
    return isinstance(fields, list) and fields[:2] == [_TAG, _VERSION] and fields[-1] is True


def backup(
    disk: Disk,
    source: str,
    target: str,
    *,
    link: bool = False,
    with_keys: bool = False,
    jobs: int = 1,
    progress: Callable[[str], None] = lambda _: None,
    wait: Wait = time.sleep,
) -> Copied:
    """Copy the log under the data directory ``source`` into ``target``, and verify the copy; blocks.

    ``link`` gives sealed segments a second name instead of a copy: cheap, and no protection against a failing disk.
    ``progress`` is told what is being done. Raises Refused (also where an erasure or other rewriting does not end),
    Corrupt (the log is damaged) or OSError; the directory is then marked incomplete.
    """
    origin = _same_log(disk, source, target)
    durable.make_directories(disk, target, secret=True)
    durable.make_directories(disk, join(target, LOG_DIRECTORY))
    _mark(disk, target, origin, complete=False)
    one_try = partial(_tried, disk, source, target, origin, link=link, jobs=jobs, progress=progress, wait=wait)
    copying, checkpoint = _until_whole(one_try, wait)
    if with_keys:
        _copy_keys(copying)
    _mark(disk, target, origin, complete=True)
    return _done(copying, checkpoint)


def _until_whole(one_try: Callable[[], tuple[_Copying, Checkpoint] | None], wait: Wait) -> tuple[_Copying, Checkpoint]:
    """Copy and verify, again where the log's files changed meanwhile. Raises Refused where they always do."""
    for number in range(BACKUP_TRIES_MAX):
        if number:
            wait(BACKUP_LOOK_S * 2 ** (number - 1))
        found = one_try()
        if found is not None:
            return found
    raise Refused("the log's files were put together, dropped or erased each time they were copied; try again later")


def _tried(
    disk: Disk,
    source: str,
    target: str,
    origin: Origin,
    *,
    link: bool,
    jobs: int,
    progress: Callable[[str], None],
    wait: Wait,
) -> tuple[_Copying, Checkpoint] | None:
    """Copy and verify once; None where the log's files changed meanwhile. Raises Corrupt where it is damaged."""
    _await_erasure(disk, source, progress, wait)
    copying = _Copying(disk, source, target, link=link)
    progress("copying")
    try:
        checkpoint = _copy_log(copying, origin)
    except FileNotFoundError:
        return None  # put together or dropped while it was copied
    progress("verifying")
    report = audit.verify(target, tree=True, jobs=jobs)
    assert report is not None
    if copying.is_stale() or pending(disk, source) is not None:
        return None
    if not report.findings:
        return copying, checkpoint
    # Erased before a file was copied, and told behind the checkpoint? Then another one is signed presently.
    if _is_superseded(disk, source, checkpoint, origin, wait):
        return None
    first = report.findings[0]
    raise Corrupt(f"the copy is not whole: {first.what}", first.path, first.offset)


def _await_erasure(disk: Disk, source: str, progress: Callable[[str], None], wait: Wait) -> None:
    """Wait until no erasure is under way. Raises Refused after BACKUP_ERASURE_S_MAX."""
    waited_s = 0.0
    while pending(disk, source) is not None:
        if not waited_s:
            progress("waiting for an erasure to end")
        if waited_s >= BACKUP_ERASURE_S_MAX:
            what = "an erasure is under way; where no server runs it was cut off, and the next start ends it"
            raise Refused(f"{what}: take the backup then")
        wait(BACKUP_LOOK_S)
        waited_s += BACKUP_LOOK_S


def _is_superseded(disk: Disk, source: str, checkpoint: Checkpoint, origin: Origin, wait: Wait) -> bool:
    """Whether a checkpoint over more records is signed within BACKUP_CHECKPOINT_S_MAX."""
    waited_s = 0.0
    while _checkpoint(disk, source, origin)[1].size <= checkpoint.size:
        if waited_s >= BACKUP_CHECKPOINT_S_MAX:
            return False
        wait(BACKUP_LOOK_S)
        waited_s += BACKUP_LOOK_S
    return True


def _checkpoint(disk: Disk, source: str, origin: Origin) -> tuple[bytes | None, Checkpoint]:
    path = join(source, LOG_DIRECTORY, CHECKPOINT_FILE)
    note = durable.read_whole(disk, path, CHECKPOINT_BYTES_MAX)
    return note, judge_checkpoint(note, path, origin.name, origin.public_key)


def _same_log(disk: Disk, source: str, target: str) -> Origin:
    origin = read_origin(disk, source)
    if origin is None:
        raise Refused(f"there is no log under {source}")
    other = read_origin(disk, target)
    if other is not None and other != origin:
        raise Refused(f"{target} holds a backup of another log, {other.name}")
    if other is not None and is_complete(disk, target) is None:
        raise Refused(f"{target} holds a log that is no backup")
    return origin


def _mark(disk: Disk, target: str, origin: Origin, *, complete: bool) -> None:
    durable.replace(disk, join(target, FILE), cbor2.dumps([_TAG, _VERSION, origin.name, complete]))


def _done(copying: _Copying, checkpoint: Checkpoint) -> Copied:
    return Copied(checkpoint.size, checkpoint.root, copying.files, copying.file_bytes, copying.kept, copying.removed)


def _copy_log(copying: _Copying, origin: Origin) -> Checkpoint:
    """Copy everything under ``log``, the checkpoint read first and written last."""
    disk, directory = copying.disk, join(copying.source, LOG_DIRECTORY)
    note, checkpoint = _checkpoint(disk, copying.source, origin)
    files = [file for file in Segments.found(disk, directory) if not file.first_seq or file.first_seq < checkpoint.size]
    names = _copy_segments(copying, files, checkpoint)
    for name, bytes_max in ((retention.FILE, retention.FILE_BYTES_MAX), (MARK_FILE, _FILE_BYTES_MAX)):
        copying.small(join(LOG_DIRECTORY, name), bytes_max)
    _copy_tiles(copying)
    _copy_snapshots(copying, checkpoint.size)
    copying.small(join(LOG_DIRECTORY, origins.FILE), origins.FILE_BYTES_MAX)
    copying.only(LOG_DIRECTORY, [*names, retention.FILE, MARK_FILE, origins.FILE, CHECKPOINT_FILE])
    disk.sync_all(copying.target)
    if note is not None:
        durable.replace(disk, join(copying.target, LOG_DIRECTORY, CHECKPOINT_FILE), note)
    return checkpoint


def _copy_segments(copying: _Copying, files: Sequence[SegmentFile], checkpoint: Checkpoint) -> list[str]:
    """Copy the segments up to the checkpoint's size; give the names that belong into the copy."""
    names = []
    for file in files:
        name = segment.name_of(file.first_seq)
        last = file is files[-1]
        copying.file(join(LOG_DIRECTORY, name), stop=_end_of(file, checkpoint.size) if last else None)
        names.append(name)
        if not last:
            names.append(name.removesuffix(segment.SUFFIX) + indexes.SUFFIX)
            with suppress(FileNotFoundError):
                copying.file(join(LOG_DIRECTORY, names[-1]))
    return names


def _end_of(file: SegmentFile, size: int) -> int:
    """Find the byte where the frame ends whose last record is the one before ``size``."""
    index, _ = file.index_frames()
    if size == file.first_seq:
        return file.head_bytes
    place = index.ending_at(size)
    if place is None:
        raise Corrupt(f"no frame ends where the checkpoint does, before record {size}", file.path, index.end_bytes)
    fd = file.disk.open(file.path)
    try:
        data = file.disk.read(fd, frames.HEAD_BYTES, place.offset)
    finally:
        file.disk.close(fd)
    return place.offset + frames.decode_head(data, 0, file.head().salt).frame_bytes


def _copy_tiles(copying: _Copying) -> None:
    root = join(copying.source, LOG_DIRECTORY, TILE_DIRECTORY)
    for directory, _, names in os.walk(root):
        inside = join(LOG_DIRECTORY, TILE_DIRECTORY, os.path.relpath(directory, root))
        for name in names:
            copying.tile(os.path.normpath(join(inside, name)))
        copying.only(os.path.normpath(inside), names)


def _copy_snapshots(copying: _Copying, size: int) -> None:
    inside = join(LOG_DIRECTORY, snapshot.DIRECTORY)
    if not exists(join(copying.source, inside)):
        return
    found = [snapshot.name_of(name) for name in copying.disk.entries(join(copying.source, inside))]
    names = [str(name) for name in found if name is not None and name.position <= size]
    durable.make_directories(copying.disk, join(copying.target, inside))
    for name in names:
        copying.file(join(inside, name))
    copying.only(inside, names)


def _copy_keys(copying: _Copying) -> None:
    durable.make_directories(copying.disk, join(copying.target, KEY_DIRECTORY), secret=True)
    for name in copying.disk.entries(join(copying.source, KEY_DIRECTORY)):
        copying.file(join(KEY_DIRECTORY, name), secret=True)
    copying.disk.sync_all(copying.target)


def restore(disk: Disk, source: str, target: str, *, keys: str | None = None, jobs: int = 1) -> Copied:
    """Make the data directory ``target`` from a backup; ``keys`` is a directory of keys, where the backup has none.

    The backup is verified first, and the copy has its origin, without which no log opens, last: an interrupted restore
    is done again. Raises Refused, Corrupt or OSError.
    """
    keys = keys or join(source, KEY_DIRECTORY)
    _refuse_restore(disk, source, target, keys)
    report = audit.verify(source, tree=True, jobs=jobs)
    if report is None or report.findings:
        what = "there is no log in it" if report is None else f"{report.findings[0].path}: {report.findings[0].what}"
        raise Refused(f"the backup {source} is not whole: {what}")
    copying = _Copying(disk, source, target, link=False)
    durable.make_directories(disk, target, secret=True)
    durable.make_directories(disk, join(target, LOG_DIRECTORY))
    durable.make_directories(disk, join(target, KEY_DIRECTORY), secret=True)
    for name in disk.entries(keys):
        path = join(target, KEY_DIRECTORY, name)
        durable.replace(disk, path, durable.read_whole(disk, join(keys, name), READ_BYTES) or b"", secret=True)
    origin = read_origin(disk, source)
    assert origin is not None
    return _done(copying, _copy_log(copying, origin))


def _refuse_restore(disk: Disk, source: str, target: str, keys: str) -> None:
    if is_complete(disk, source) is None:
        raise Refused(f"{source} holds no backup")
    if not is_complete(disk, source):
        raise Refused(f"the backup {source} is incomplete: it was cut off; take it again")
    if exists(join(target, LOG_DIRECTORY, origins.FILE)):
        raise Refused(f"{target} holds a log already")
    if not exists(join(keys, KEY_FILE)):
        raise Refused(f"there is no {KEY_FILE} in {keys}: the log's key is not in this backup; name its directory")
