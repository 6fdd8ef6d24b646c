"""The one module that knows how bytes become durable. Nothing else in the log opens a file for writing.

The contract of every function here: when it returns, what it wrote survives a power loss; when it raises OSError,
nothing is known, and the caller gives up the log (fails closed) rather than try again: after a failed fsync Linux marks
the pages clean, so a second one would succeed without having written anything.

`Disk` is the seam to the world: the calls of a POSIX file system, nothing more, so that a simulated disk can lose what
was never synced, write short and fail anywhere.
"""

import ctypes
import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from eventlog.errors import Locked

TEMPORARY = ".tmp"
_SYNCFS = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
_FILE_MODE, _SECRET_MODE, _DIRECTORY_MODE = 0o644, 0o600, 0o755


class Disk(Protocol):
    """What a file system offers; every call may raise OSError. Paths are strings, files are descriptors."""

    def open(self, path: str, *, create: bool = False, mode: int = _FILE_MODE) -> int: ...

    def close(self, fd: int) -> None: ...

    def size(self, fd: int) -> int: ...

    def read(self, fd: int, size: int, offset: int) -> bytes: ...

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int: ...

    def truncate(self, fd: int, size: int) -> None: ...

    def datasync(self, fd: int) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def entries(self, directory: str) -> list[str]: ...

    def make_directory(self, path: str, mode: int = _DIRECTORY_MODE) -> None: ...

    def remove_directory(self, path: str) -> None: ...

    def sync_directory(self, path: str) -> None: ...

    def sync_all(self, path: str) -> None: ...

    def lock(self, path: str) -> int: ...


class RealDisk:
    """The machine's own file system."""

    def open(self, path: str, *, create: bool = False, mode: int = _FILE_MODE) -> int:
        """Open for reading, or, where it may be created, for writing too."""
        return os.open(path, (os.O_RDWR | os.O_CREAT if create else os.O_RDONLY) | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Close; says nothing about durability."""
        os.close(fd)

    def size(self, fd: int) -> int:
        """Give the file's size in bytes."""
        return os.fstat(fd).st_size

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes; fewer only at the end of the file."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write some of the data, at least one byte of it; give how many."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file."""
        os.ftruncate(fd, size)

    def datasync(self, fd: int) -> None:
        """Make the file's bytes, and its size, survive a power loss."""
        os.fdatasync(fd)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in the place of whatever had it."""
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(path)

    def entries(self, directory: str) -> list[str]:
        """List the names in a directory, sorted."""
        return sorted(os.listdir(directory))

    def make_directory(self, path: str, mode: int = _DIRECTORY_MODE) -> None:
        """Make a directory; FileExistsError if it is there."""
        os.mkdir(path, mode)

    def remove_directory(self, path: str) -> None:
        """Remove a directory that is empty."""
        os.rmdir(path)

    def sync_all(self, path: str) -> None:
        """Make everything written so far to the file system that holds ``path`` survive a power loss (syncfs(2))."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _SYNCFS is None:
                os.sync()  # macOS: of all file systems
            elif _SYNCFS(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), path)
        finally:
            os.close(fd)

    def sync_directory(self, path: str) -> None:
        """Make names given, taken and changed in a directory survive a power loss."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: str) -> int:
        """Take the lock file, or raise Locked with the holder's pid. Closing the descriptor frees it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            written = os.pread(fd, 32, 0).strip()
            os.close(fd)
            raise Locked(path, int(written) if written.isdigit() else 0) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd


def append(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write ``data`` at ``offset`` and sync it; short writes are carried on where they stopped."""
    _write(disk, fd, data, offset)
    disk.datasync(fd)


def cut(disk: Disk, path: str, size: int) -> None:
    """Cut a file down to ``size`` bytes."""
    fd = disk.open(path, create=True)
    try:
        disk.truncate(fd, size)
        disk.datasync(fd)
    finally:
        disk.close(fd)


def replace(disk: Disk, path: str, data: bytes, *, secret: bool = False) -> None:
    """Put ``data`` at ``path``, whole: after a crash there is the old file or the new one, never a part."""
    stage(disk, path, (data,), secret=secret)
    disk.rename(path + TEMPORARY, path)
    disk.sync_directory(os.path.dirname(path))


def stage(disk: Disk, path: str, parts: Iterable[bytes], *, secret: bool = False) -> None:
    """Write what is to take the place of ``path`` beside it, and sync it; a rename and `settle` are left to do."""
    temporary = path + TEMPORARY
    with suppress(FileNotFoundError):
        disk.unlink(temporary)
    fd = disk.open(temporary, create=True, mode=_SECRET_MODE if secret else _FILE_MODE)
    try:
        offset = 0
        for part in parts:
            _write(disk, fd, part, offset)
            offset += len(part)
        disk.datasync(fd)
    finally:
        disk.close(fd)


def adopt(disk: Disk, temporary: str, path: str) -> None:
    """Put a file that somebody else wrote (SQLite, a copy) at ``path``, in the same directory, synced first."""
    fd = disk.open(temporary, create=True)
    try:
        disk.datasync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, path)
    disk.sync_directory(os.path.dirname(path))


def settle(disk: Disk, directory: str) -> None:
    """Make the names that were given and taken in a directory durable."""
    disk.sync_directory(directory)


def remove(disk: Disk, path: str) -> bool:
    """Remove a file for good; False where there is none (its name may still have been waiting for a sync)."""
    found = True
    try:
        disk.unlink(path)
    except FileNotFoundError:
        found = False
    with suppress(FileNotFoundError):
        disk.sync_directory(os.path.dirname(path))
    return found


def probe(disk: Disk, path: str, size: int) -> None:
    """Find out whether the disk takes ``size`` bytes now, in a temporary file that is gone after it."""
    temporary = path + TEMPORARY
    fd = disk.open(temporary, create=True)
    try:
        append(disk, fd, bytes(size), 0)
    finally:
        disk.close(fd)
        disk.unlink(temporary)


def put_derived(disk: Disk, path: str, data: bytes) -> None:
    """Write a file that can be made anew, without syncing it: until `Disk.sync_all` a power loss may take any of it.

    What the name held before, if anything, was of the same length, or shorter.
    """
    fd = disk.open(path, create=True)
    try:
        _write(disk, fd, data, 0)
    finally:
        disk.close(fd)


def make_directories(disk: Disk, path: str, *, secret: bool = False) -> None:
    """Make a directory and whatever above it is missing."""
    parent = os.path.dirname(path)
    try:
        disk.make_directory(path, 0o700 if secret else _DIRECTORY_MODE)
    except FileExistsError:
        pass  # its name is synced all the same: whoever made it may have failed to
    except FileNotFoundError:
        make_directories(disk, parent)
        disk.make_directory(path, 0o700 if secret else _DIRECTORY_MODE)
    disk.sync_directory(parent or ".")


def read_whole(disk: Disk, path: str, bytes_max: int) -> bytes | None:
    """Read a small file, or None if there is none; at most one byte more than ``bytes_max``."""
    try:
        fd = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        return disk.read(fd, bytes_max + 1, 0)
    finally:
        disk.close(fd)


def read_part(disk: Disk, path: str, offset: int, size: int) -> bytes:
    """Read a stretch of a file, which is there."""
    fd = disk.open(path)
    try:
        return disk.read(fd, size, offset)
    finally:
        disk.close(fd)


def _write(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    done = disk.write(fd, data, offset)
    rest = memoryview(data)
    while done < len(data):
        wrote = disk.write(fd, rest[done:], offset + done)
        assert wrote > 0, "a write that makes no progress and raises nothing"
        done += wrote
