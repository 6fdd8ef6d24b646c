"""A log in one file: written from a data directory beside a running server, read back in place, or made a log again.

`export` copies segments up to their last whole frame and the checkpoint that was there before, so what it writes is a
log as a clean stop would have left it. Nothing is read twice: what a server replaces meanwhile (an erasure, retention)
ends the export, to be started again. `import_log` believes nothing: it writes beside where the log will stand, audits
that as any log, and only then gives it its name, so that a data directory has a log that was verified, or none.
`ArchiveDisk` reads an export that is a file without unpacking it.
"""

import tarfile
from collections.abc import Callable, Iterator
from io import SEEK_END, BytesIO
from os.path import dirname, isdir, join
from shutil import rmtree
from typing import IO

from eventlog import exchange, segment, snapshot
from eventlog import origin as origins
from eventlog.disk import durable
from eventlog.disk.audit import verify
from eventlog.disk.durable import TEMPORARY, Disk, RealDisk, read_whole
from eventlog.disk.recovery import CHECKPOINT_FILE, judge_checkpoint, seal
from eventlog.disk.segments import Segments
from eventlog.disk.store import KEY_DIRECTORY, LOCK_FILE, LOG_DIRECTORY, read_origin
from eventlog.disk.tilecheck import has_tiles
from eventlog.disk.tiles import read_tile
from eventlog.errors import Absent, Corrupt
from eventlog.exchange import KEYS, LOG, MANIFEST, File, Manifest
from eventlog.limits import CHECKPOINT_BYTES_MAX, READ_BYTES
from eventlog.merkle import HASH_BYTES, TILE_HEIGHT
from eventlog.origin import Origin
from eventlog.tile import LEVELS, WIDTH, Tile, parse_path, partial_tiles

IMPORTING = "importing"
Progress = Callable[[int, int], None]  # bytes done, bytes in all


class Exists(Exception):
    """There is a log already where one was to be imported."""


# -- out ------------------------------------------------------------------------------------------------------------


def export(directory: str, out: IO[bytes], *, with_keys: bool = False, progress: Progress) -> Manifest | None:
    """Write the log under a data directory to ``out`` as one tar archive; None if there is no log.

    Raises Absent where the server replaced or removed a segment meanwhile: start again.
    """
    disk = RealDisk()
    origin = read_origin(disk, directory)
    if origin is None:
        return None
    manifest, ready = _plan(disk, directory, origin, with_keys=with_keys)
    total, done = sum(file.size for file in manifest.files), 0
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        text = exchange.encode(manifest)
        tar.addfile(_member(MANIFEST, len(text)), BytesIO(text))
        for file in manifest.files:
            _add(disk, tar, directory, file, ready.get(file.name))
            done += file.size
            progress(done, total)
    return manifest


def _plan(disk: Disk, directory: str, origin: Origin, *, with_keys: bool) -> tuple[Manifest, dict[str, bytes]]:
    """List the files, and read at once those that the server replaces: the checkpoint, before the segments' ends."""
    log_directory = join(directory, LOG_DIRECTORY)
    names = disk.entries(log_directory)
    small = [origins.FILE, *exchange.beside(names), *([CHECKPOINT_FILE] if CHECKPOINT_FILE in names else [])]
    ready = {LOG + name: read_whole(disk, join(log_directory, name), CHECKPOINT_BYTES_MAX) or b"" for name in small}
    # Of the very note that is exported: a running server may have signed another meanwhile.
    path = join(log_directory, CHECKPOINT_FILE)
    signed = judge_checkpoint(ready.get(LOG + CHECKPOINT_FILE), path, origin.name, origin.public_key).size
    segments = Segments.found(disk, log_directory)
    if not len(segments):
        raise Corrupt("there is an origin but no segment", log_directory)
    ends = [(file, file.index if file is not segments[-1] else file.index_frames()[0]) for file in segments]
    files = [File(LOG + file.path.rpartition("/")[2], index.end_bytes) for file, index in ends]
    files = [File(name, len(ready[name])) for name in [LOG + origins.FILE]] + files
    files += [File(LOG + name, size) for name, size in _snapshots(disk, log_directory)]
    files += [File(LOG + name, len(ready[LOG + name])) for name in exchange.beside(names)]
    files += _tiles(disk, log_directory, signed)
    files += _keys(disk, directory) if with_keys else []
    files += [File(name, len(ready[name])) for name in ready if name == LOG + CHECKPOINT_FILE]
    end_seq = ends[-1][1].end_seq
    root = (segments.root_at(end_seq) or b"").hex()
    segments.close()
    return Manifest(exchange.FORMAT, origin.name, segments[0].first_seq, end_seq, root, tuple(files)), ready


def _size(disk: Disk, path: str) -> int:
    fd = disk.open(path)
    try:
        return disk.size(fd)
    finally:
        disk.close(fd)


def _snapshots(disk: Disk, log_directory: str) -> list[tuple[str, int]]:
    try:
        names = disk.entries(join(log_directory, snapshot.DIRECTORY))
    except FileNotFoundError:
        return []
    paths = [f"{snapshot.DIRECTORY}/{name}" for name in names if snapshot.name_of(name) is not None]
    return [(path, _size(disk, join(log_directory, path))) for path in paths]


def _tiles(disk: Disk, log_directory: str, size: int) -> list[File]:
    """The tiles of the signed tree; those of removed records are there too."""
    if not has_tiles(disk, log_directory):
        return []
    full = [Tile(level, index) for level in range(LEVELS) for index in range((size >> (TILE_HEIGHT * level)) // WIDTH)]
    return [File(LOG + tile.path, tile.width * HASH_BYTES) for tile in (*full, *partial_tiles(size))]


def _keys(disk: Disk, directory: str) -> list[File]:
    room = join(directory, KEY_DIRECTORY)
    return [File(KEYS + name, _size(disk, join(room, name))) for name in disk.entries(room)]


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600 if name.startswith(KEYS) else 0o644
    return member


def _add(disk: Disk, tar: tarfile.TarFile, directory: str, file: File, ready: bytes | None) -> None:
    path = join(directory, file.name)
    tile = parse_path(file.name.removeprefix(LOG))
    if tile is not None:
        ready = read_tile(disk, join(directory, LOG_DIRECTORY), tile)
    if ready is not None:
        tar.addfile(_member(file.name, file.size), BytesIO(ready))
        return
    try:
        content = open(path, "rb")  # noqa: SIM115 - closed below
    except FileNotFoundError as error:
        raise Absent(f"{path} was removed while the log was exported: start again") from error
    with content:
        size = content.seek(0, SEEK_END)
        # What was planned is a prefix of the last segment, and all of every other file.
        if size < file.size or (size > file.size and not file.name.endswith(segment.SUFFIX)):
            raise Absent(f"{path} was replaced while the log was exported: start again")
        content.seek(0)
        tar.addfile(_member(file.name, file.size), content)


# -- in -------------------------------------------------------------------------------------------------------------


def import_log(directory: str, source: IO[bytes], *, jobs: int, progress: Progress) -> Manifest:
    """Make the log that ``source`` holds under a data directory without one, audited before it gets its name.

    Raises Exists, Corrupt (nothing is left but what a next import clears away), Locked or OSError.
    """
    disk = RealDisk()
    durable.make_directories(disk, directory, secret=True)
    lock = disk.lock(join(directory, LOCK_FILE))
    try:
        if LOG_DIRECTORY in disk.entries(directory):
            raise Exists(f"there is a log under {directory} already; name a data directory that has none")
        room = join(directory, IMPORTING)
        rmtree(room, ignore_errors=True)
        manifest = _unpack(disk, room, source, progress)
        _audit(room, manifest, jobs)
        _give_name(disk, directory, room, manifest)
        return manifest
    finally:
        disk.close(lock)


def _unpack(disk: Disk, room: str, source: IO[bytes], progress: Progress) -> Manifest:
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            manifest = _manifest(tar)
            total, done = sum(file.size for file in manifest.files), 0
            for file in manifest.files:
                member = tar.next()
                if member is None or not member.isreg() or (member.name, member.size) != (file.name, file.size):
                    raise Corrupt(f"the export lacks {file.name}, or has it in another place or size")
                _put(disk, join(room, file.name), _parts(tar, member), file)
                done += file.size
                progress(done, total)
    except (tarfile.TarError, EOFError) as error:
        raise Corrupt(f"the export cannot be read to its end: {error}") from error
    disk.sync_all(room)
    return manifest


def _manifest(tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    if member is None or member.name != MANIFEST or member.size > exchange.MANIFEST_BYTES_MAX:
        raise Corrupt("this is not an exported log: it does not begin with a manifest")
    return exchange.decode(b"".join(_parts(tar, member)))


def _parts(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    content = tar.extractfile(member)
    left = member.size
    while left and content is not None:
        part = content.read(min(READ_BYTES, left))
        if not part:
            raise Corrupt(f"the export is cut off within {member.name}")
        left -= len(part)
        yield part


def _put(disk: Disk, path: str, parts: Iterator[bytes], file: File) -> None:
    if not isdir(dirname(path)):
        durable.make_directories(disk, dirname(path), secret=file.name.startswith(KEYS))
    durable.stage(disk, path, parts, secret=file.name.startswith(KEYS))
    disk.rename(path + TEMPORARY, path)


def _audit(room: str, manifest: Manifest, jobs: int) -> None:
    report = verify(room, tree=True, jobs=jobs)
    assert report is not None, "the manifest names an origin"
    if report.findings:
        raise Corrupt(f"what was imported is damaged: {report.findings[0].what}", report.findings[0].path)
    found = (report.origin, report.first_seq, report.end_seq, report.root.hex())
    if found != (manifest.origin, manifest.first_seq, manifest.end_seq, manifest.root) or report.torn_bytes:
        raise Corrupt("what was imported is not the log that its manifest names")


def _give_name(disk: Disk, directory: str, room: str, manifest: Manifest) -> None:
    for file in list(Segments.found(disk, join(room, LOG_DIRECTORY)))[:-1]:
        seal(disk, file)
    keys = join(directory, KEY_DIRECTORY)
    if any(file.name.startswith(KEYS) for file in manifest.files):
        durable.make_directories(disk, keys, secret=True)
        for name in disk.entries(join(room, KEY_DIRECTORY)):
            disk.rename(join(room, KEY_DIRECTORY, name), join(keys, name))
        disk.sync_directory(keys)
    disk.rename(join(room, LOG_DIRECTORY), join(directory, LOG_DIRECTORY))
    disk.sync_directory(directory)
    rmtree(room, ignore_errors=True)


# -- read in place --------------------------------------------------------------------------------------------------


class ArchiveDisk:
    """An export on disk, read as the files that it holds; a `Disk` for whoever only reads."""

    def __init__(self, path: str) -> None:
        """Read the list of members; Corrupt where the file is no export, or is cut off."""
        self._path = path
        self._disk = RealDisk()
        try:
            with tarfile.open(path, mode="r:") as tar:
                self.manifest = _manifest(tar)
                self._places = {member.name: (member.offset_data, member.size) for member in tar}
        except (tarfile.TarError, EOFError, OSError) as error:
            raise Corrupt(f"the export cannot be read: {error}", path) from error
        self._names: dict[int, str] = {}

    def open(self, path: str) -> int:
        """Open a member for reading."""
        if path not in self._places:
            raise FileNotFoundError(path)
        fd = self._disk.open(self._path)
        self._names[fd] = path
        return fd

    def close(self, fd: int) -> None:
        """Close it."""
        del self._names[fd]
        self._disk.close(fd)

    def size(self, fd: int) -> int:
        """Give the member's size in bytes."""
        return self._places[self._names[fd]][1]

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes; fewer only at the end of the member."""
        start, whole = self._places[self._names[fd]]
        return self._disk.read(fd, max(min(size, whole - offset), 0), start + offset)

    def entries(self, directory: str) -> list[str]:
        """List the members in a directory, sorted."""
        room = f"{directory}/"
        return sorted({name.removeprefix(room).split("/")[0] for name in self._places if name.startswith(room)})
