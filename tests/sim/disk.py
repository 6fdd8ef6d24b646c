"""A simulated disk: a page cache over media, that loses what was never synced, and fails when told to.

Every file has two contents: what a read sees (the cache), and what a power loss leaves (the media). A successful sync
brings the dirty writes to the media; a failed one forgets that they were dirty, as Linux does, so that a later sync
succeeds without them. Names live the same double life, by directory. At a power loss each dirty sector of 512 bytes
comes through or not by itself, and so does a prefix of the dirty names (a journal keeps their order).
"""

import errno
import random
from collections.abc import Callable, Iterator
from os.path import basename, dirname

from eventlog.errors import Locked

SECTOR = 512

FAIL, FAIL_PERSISTED, SHORT = "fail", "fail-persisted", "short"


class PowerLost(Exception):
    """The machine is off: nothing that was running goes on."""


class File:
    """An inode: cache, media, and the writes that only the cache has."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.media = bytearray()
        self.dirty: list[tuple[int, bytes] | int] = []  # (offset, bytes) written, or a size cut to

    def write(self, offset: int, data: bytes) -> None:
        _put(self.cache, offset, data)
        self.dirty.append((offset, data))

    def truncate(self, size: int) -> None:
        _cut(self.cache, size)
        self.dirty.append(size)

    def persist(self) -> None:
        for change in self.dirty:
            _apply(self.media, change)
        self.dirty.clear()

    def forget(self) -> None:
        """The failed sync: dirty pages are marked clean, and the media never saw them."""
        self.dirty.clear()

    def lose_power(self, dice: random.Random) -> None:
        for change in self.dirty:
            if isinstance(change, int):
                if dice.random() < 0.5:
                    _cut(self.media, change)
                continue
            for offset, sector in _sectors(*change):
                if dice.random() < 0.5:
                    _put(self.media, offset, sector)
        self.dirty.clear()
        self.cache = bytearray(self.media)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(offset - len(content), 0)))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        _cut(content, change)
    else:
        _put(content, *change)


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        yield offset + at, data[at : at + size]
        at += size


class Directory:
    """Names, as a read sees them and as a power loss leaves them."""

    def __init__(self) -> None:
        self.cache: dict[str, File] = {}
        self.media: dict[str, File] = {}
        self.dirty: list[tuple[str, File | None, str]] = []  # (name, what it now stands for, name that went)

    def change(self, name: str, file: File | None, gone: str = "") -> None:
        self.dirty.append((name, file, gone))
        _rename(self.cache, self.dirty[-1])

    def persist(self, count: int | None = None) -> None:
        for change in self.dirty[:count]:
            _rename(self.media, change)
        self.dirty.clear()


def _rename(names: dict[str, File], change: tuple[str, File | None, str]) -> None:
    name, file, gone = change
    names.pop(gone, None)
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


Fault = Callable[[str, str], str]  # (call, path) -> "" | FAIL | FAIL_PERSISTED | SHORT; may raise PowerLost


class SimDisk:
    """The `eventlog.disk.durable.Disk` of a simulated machine; ``fault`` is asked before every call that changes it."""

    def __init__(self, dice: random.Random | None = None, fault: Fault | None = None) -> None:
        self.dice = dice or random.Random(0)
        self.fault = fault or (lambda call, path: "")
        self.directories: dict[str, Directory] = {"/": Directory()}
        self.trace: list[tuple[str, str, int]] = []
        self._files: dict[int, tuple[str, File]] = {}
        self._locks: dict[str, int] = {}
        self._next_fd = 3
        self.off = False

    # -- what the machine does ---------------------------------------------------------------------------------------

    def lose_power(self) -> None:
        """Leave only what the media holds, dirty sectors and names by the dice. The process is gone."""
        for path in sorted(self.directories):
            directory = self.directories[path]
            files = {id(file): file for file in (*directory.cache.values(), *directory.media.values())}
            for file in files.values():
                file.lose_power(self.dice)
            directory.persist(self.dice.randint(0, len(directory.dirty)))
            directory.cache = dict(directory.media)
        self.restart()

    def restart(self) -> None:
        """The process is gone, the machine is not: the cache stays."""
        self._files.clear()
        self._locks.clear()
        self.off = False

    def evict(self) -> None:
        """The kernel drops clean pages when it likes: what a failed sync forgot then reads as it is on the media."""
        for directory in self.directories.values():
            for file in directory.cache.values():
                if not file.dirty:
                    file.cache = bytearray(file.media)

    def turn_off(self) -> None:
        """From now on every call raises PowerLost."""
        self.off = True

    # -- the calls ---------------------------------------------------------------------------------------------------

    def _ask(self, call: str, path: str, size: int = 0) -> str:
        if self.off:
            raise PowerLost
        self.trace.append((call, path, size))
        fault = self.fault(call, path)
        if self.off:
            raise PowerLost
        return fault

    def _fail(self, path: str, number: int = errno.EIO) -> OSError:
        return OSError(number, "simulated", path)

    def open(self, path: str, *, create: bool = False, mode: int = 0o644) -> int:
        if self._ask("open", path) and create:
            raise self._fail(path, errno.ENOSPC)
        directory = self.directories.get(dirname(path))
        if directory is None or (basename(path) not in directory.cache and not create):
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if basename(path) not in directory.cache:
            directory.change(basename(path), File())
        return self._descriptor(path, directory.cache[basename(path)])

    def _descriptor(self, path: str, file: File) -> int:
        self._next_fd += 1
        self._files[self._next_fd] = (path, file)
        return self._next_fd

    def close(self, fd: int) -> None:
        if self.off:
            raise PowerLost
        path, _ = self._files.pop(fd)
        if self._locks.get(path) == fd:
            del self._locks[path]

    def size(self, fd: int) -> int:
        return len(self._files[fd][1].cache)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if self.off:
            raise PowerLost
        return bytes(self._files[fd][1].cache[offset : offset + size])

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        path, file = self._files[fd]
        fault = self._ask("write", path, len(data))
        size = len(data)
        if fault == SHORT:
            size = self.dice.randint(1, max(size - 1, 1))
        elif fault:
            # A full disk takes what fits, then says no.
            file.write(offset, bytes(data[: self.dice.randint(0, size)]))
            raise self._fail(path, errno.ENOSPC)
        file.write(offset, bytes(data[:size]))
        return size

    def truncate(self, fd: int, size: int) -> None:
        path, file = self._files[fd]
        if self._ask("truncate", path, size):
            raise self._fail(path)
        file.truncate(size)

    def datasync(self, fd: int) -> None:
        path, file = self._files[fd]
        fault = self._ask("datasync", path, len(file.cache))
        if fault == FAIL:
            file.forget()
            raise self._fail(path)
        file.persist()
        if fault:
            raise self._fail(path)

    def rename(self, old: str, new: str) -> None:
        fault = self._ask("rename", new)
        directory = self.directories[dirname(old)]
        assert dirname(old) == dirname(new)
        if fault != FAIL:
            directory.change(basename(new), directory.cache[basename(old)], basename(old))
        if fault:
            raise self._fail(new)

    def unlink(self, path: str) -> None:
        if self._ask("unlink", path):
            raise self._fail(path)
        directory = self.directories[dirname(path)]
        if basename(path) not in directory.cache:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        directory.change(basename(path), None)

    def entries(self, directory: str) -> list[str]:
        if self.off:
            raise PowerLost
        if directory not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", directory)
        return sorted(self.directories[directory].cache)

    def make_directory(self, path: str, mode: int = 0o755) -> None:
        self._ask("mkdir", path)
        if path in self.directories:
            raise FileExistsError(errno.EEXIST, "exists", path)
        if dirname(path) not in self.directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", path)
        # Kept simple: a directory is there for good once made; the log makes its few before anything else.
        self.directories[path] = Directory()

    def remove_directory(self, path: str) -> None:
        if self._ask("rmdir", path):
            raise self._fail(path)
        if self.directories[path].cache:
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        del self.directories[path]  # at once and for good, as it was made

    def sync_all(self, path: str) -> None:
        fault = self._ask("sync-all", path)
        for directory in self.directories.values():
            for file in {id(file): file for file in directory.cache.values()}.values():
                file.forget() if fault == FAIL else file.persist()
            if fault != FAIL:
                directory.persist()
        if fault:
            raise self._fail(path)

    def sync_directory(self, path: str) -> None:
        fault = self._ask("sync-directory", path)
        directory = self.directories[path]
        if fault != FAIL:
            directory.persist()
        if fault:
            raise self._fail(path)

    def lock(self, path: str) -> int:
        if path in self._locks:
            raise Locked(path, 1)
        fd = self.open(path, create=True)
        self._locks[path] = fd
        return fd
