"""The log's directory, open for writing: one commit after another into the last segment, rotation, checkpoints.

`open_store` makes or recovers; then `commit` and `sign` are called one at a time, from the writer's thread. Both return
only once what they wrote is durable; whatever they raise means that the store is not to be used again.
"""

from contextlib import suppress
from os.path import join

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from eventlog import checkpoint as checkpoints
from eventlog import origin as origins
from eventlog import segment
from eventlog.checkpoint import Checkpoint
from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.recovery import CHECKPOINT_FILE, Recovered, leftovers, recover, seal
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.tiles import open_tiles
from eventlog.errors import Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX, REOPEN_ROOM_BYTES, SEGMENT_BYTES_MAX
from eventlog.origin import Origin

LOCK_FILE = "LOCK"
LOG_DIRECTORY, KEY_DIRECTORY, VIEW_DIRECTORY = "log", "keys", "views"
KEY_FILE = "log.pem"
COSIGNED_FILE = "cosigned"
PROBE_FILE = "room"
_KEY_BYTES_MAX = 4_096


class Birth(msgspec.Struct, frozen=True):
    """What a log that is made now gets: its name (empty: one from the dice), the time, 44 random bytes."""

    name: str
    time_ns: int
    dice: bytes


class Store:
    """An open log directory; ``tree`` and ``epoch`` say where the next frame goes on."""

    def __init__(
        self,
        disk: Disk,
        found: Recovered,
        origin: Origin,
        *,
        key: Ed25519PrivateKey,
        lock: int,
        segment_bytes_max: int,
    ) -> None:
        self.disk, self.origin, self.segments = disk, origin, found.segments
        self.tree, self.epoch, self.torn, self.signed = found.tree, found.epoch, found.torn, found.checkpoint
        self._key, self._lock = key, lock
        self._segment_bytes_max = segment_bytes_max
        self.tiles = open_tiles(
            disk,
            found.segments.directory,
            found.segments,
            size=self.tree.size,
            root=self.tree.root(),
            signed=self.signed.size,
        )
        self.note = checkpoints.sign(self.signed, key)
        self._rolling = False  # whether the next frame begins a segment, however short the last one is
        self._fd = disk.open(found.segments[-1].path, create=True)

    def commit(self, frame: bytes, *, first_seq: int, count: int, time_ns: int, frontier: tuple[bytes, ...]) -> None:
        """Append one frame and sync it; ``frontier`` is the tree's before it, for a segment that begins with it."""
        index = self.segments[-1].index
        full = index.end_bytes + len(frame) > self._segment_bytes_max
        if len(index) and (full or self._rolling):
            self._rotate(first_seq, time_ns, frontier)
            index = self.segments[-1].index
        durable.append(self.disk, self._fd, frame, index.end_bytes)
        index.add(first_seq, count, len(frame))

    def _rotate(self, first_seq: int, time_ns: int, frontier: tuple[bytes, ...]) -> None:
        full = self.segments[-1]
        seal(self.disk, full, full.index)
        head = segment.Head(self.origin.name, first_seq, time_ns, self.epoch, self.origin.salt, frontier)
        file = _new_segment(self.disk, self.segments.directory, head)
        old, self._fd = self._fd, self.disk.open(file.path, create=True)
        self.disk.close(old)
        self.segments.add(file)
        self._rolling = False

    def roll(self) -> None:
        """Have the next frame begin a segment, so that none before it grows any more."""
        self._rolling = True

    def rotate(self, time_ns: int) -> None:
        """Begin a segment now, where no writer runs yet."""
        self._rotate(self.tree.size, time_ns, self.tree.frontier())

    def sign(self, size: int, root: bytes) -> None:
        """Replace the checkpoint by one over ``size`` records, all of them durable, with all tiles in place."""
        assert self.tiles.size >= size, (self.tiles.size, size)
        if self.tiles.due:
            self.tiles.settle()
        checkpoint = Checkpoint(self.origin.name, size, root)
        note = checkpoints.sign(checkpoint, self._key)
        durable.replace(self.disk, join(self.segments.directory, CHECKPOINT_FILE), note)
        self.signed, self.note = checkpoint, note

    def keep_cosigned(self, note: bytes) -> None:
        """Keep a checkpoint with its witnesses' cosignatures beside the newest one. Safe beside the writer's thread."""
        durable.replace(self.disk, join(self.segments.directory, COSIGNED_FILE), note)

    def cosigned(self) -> bytes | None:
        """Read the checkpoint that was kept with its cosignatures, None where it is none of ours."""
        return read_cosigned(self.disk, self.segments.directory, self.origin)

    def reopened(self, known: Checkpoint) -> "Store":
        """Recover after a failure, under the same lock: a new store, or OSError or Corrupt and nothing has changed.

        ``known`` is what was synced with success, whether it was signed or not: of that nothing is moved, so who reads
        it meanwhile is not disturbed; what stands behind it is rewritten. It goes on in a new segment: a file that
        could not be written or synced is not written to again.
        """
        directory = self.segments.directory
        _sweep(self.disk, directory)
        durable.probe(self.disk, join(directory, PROBE_FILE), min(REOPEN_ROOM_BYTES, self._segment_bytes_max))
        found = recover(self.disk, directory, self.origin.name, self.origin.public_key, known)
        found.checkpoint = self.signed
        store = Store(
            self.disk,
            found,
            self.origin,
            key=self._key,
            lock=self._lock,
            segment_bytes_max=self._segment_bytes_max,
        )
        store._rolling = True
        return store

    def retire(self) -> None:
        """Close the files of a store that failed; its successor has the lock."""
        self.segments.close()
        with suppress(OSError):  # of a descriptor whose writes failed nothing more is asked
            self.disk.close(self._fd)

    def close(self) -> None:
        """Close every file and free the lock. Durability is not its business: that was done by each commit."""
        self.segments.close()
        self.disk.close(self._fd)
        self.disk.close(self._lock)


def open_store(disk: Disk, directory: str, birth: Birth, *, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> Store:
    """Open the log under ``directory``, or make one that only its owner may look into; Locked, Corrupt, or OSError."""
    durable.make_directories(disk, directory, secret=True)
    lock = disk.lock(join(directory, LOCK_FILE))
    try:
        origin, key = _identity(disk, directory, birth)
        log_directory = join(directory, LOG_DIRECTORY)
        _sweep(disk, log_directory)
        if not len(Segments.found(disk, log_directory)):
            _new_segment(disk, log_directory, segment.Head(origin.name, 0, birth.time_ns, 1, origin.salt, ()))
        found = recover(disk, log_directory, origin.name, origin.public_key)
        return Store(disk, found, origin, key=key, lock=lock, segment_bytes_max=segment_bytes_max)
    except BaseException:
        disk.close(lock)
        raise


def _sweep(disk: Disk, log_directory: str) -> None:
    # A name may be readable and yet not durable, where an earlier try failed to sync it. Nothing is built on it before
    # it is.
    disk.sync_directory(log_directory)
    for name in leftovers(disk.entries(log_directory)):
        disk.unlink(join(log_directory, name))


def read_cosigned(disk: Disk, log_directory: str, origin: Origin) -> bytes | None:
    """Read the newest checkpoint that witnesses cosigned, None where there is none that this log signed."""
    note = durable.read_whole(disk, join(log_directory, COSIGNED_FILE), CHECKPOINT_BYTES_MAX)
    try:
        good = note is not None and checkpoints.verify(note, origin.public_key).origin == origin.name
    except Corrupt:
        good = False  # derived: the witnesses are asked again
    return note if good else None


def _new_segment(disk: Disk, directory: str, head: segment.Head) -> SegmentFile:
    path = join(directory, segment.name_of(head.first_seq))
    durable.replace(disk, path, segment.encode_head(head))
    return SegmentFile(disk, directory, head.first_seq)


def read_origin(disk: Disk, directory: str) -> Origin | None:
    """Read the identity of the log under ``directory``, or None if there is no log; Corrupt."""
    path = join(directory, LOG_DIRECTORY, origins.FILE)
    data = durable.read_whole(disk, path, origins.FILE_BYTES_MAX)
    if data is None:
        return None
    try:
        return origins.decode(data)
    except Corrupt as flaw:
        raise flaw.at(path, 0) from None


def _identity(disk: Disk, directory: str, birth: Birth) -> tuple[Origin, Ed25519PrivateKey]:
    key_path = join(directory, KEY_DIRECTORY, KEY_FILE)
    origin = read_origin(disk, directory)
    if origin is None:
        return _make_identity(disk, directory, key_path, birth)
    pem = durable.read_whole(disk, key_path, _KEY_BYTES_MAX)
    if pem is None:
        raise Corrupt("the key that signs this log's checkpoints is missing; put it back from a copy", key_path, 0)
    key = _parse_key(pem, key_path)
    if key.public_key().public_bytes_raw() != origin.public_key:
        raise Corrupt("this key is not the one that the log was made with; put that one back", key_path, 0)
    return origin, key


def _parse_key(pem: bytes, path: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Corrupt("this is not a private key in PEM form", path, 0) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Corrupt("this is not an Ed25519 key", path, 0)
    return key


def _make_identity(disk: Disk, directory: str, key_path: str, birth: Birth) -> tuple[Origin, Ed25519PrivateKey]:
    log_directory = join(directory, LOG_DIRECTORY)
    durable.make_directories(disk, log_directory)
    durable.make_directories(disk, join(directory, KEY_DIRECTORY), secret=True)
    if len(Segments.found(disk, log_directory)):
        raise Corrupt("there are segments but no origin; put it back from a copy", join(log_directory, origins.FILE), 0)
    seed, salt, name = birth.dice[:32], birth.dice[32:36], birth.dice[36:44]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    # The key first: an origin whose key is missing could never be opened.
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable.replace(disk, key_path, pem, secret=True)
    public = key.public_key().public_bytes_raw()
    origin = Origin(birth.name or f"heliograph/{name.hex()}", birth.time_ns, public, int.from_bytes(salt, "big"))
    durable.replace(disk, join(log_directory, origins.FILE), origins.encode(origin))
    return origin, key
