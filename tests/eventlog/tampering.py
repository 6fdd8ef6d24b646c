"""How to tamper with a log: whoever owns the disk can set every CRC right, and whoever owns the key signs anew."""

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventlog import checkpoint as checkpoints
from eventlog import frame as frames
from eventlog import segment
from eventlog.checkpoint import Checkpoint
from eventlog.disk.audit import Kept, Report, verify
from eventlog.disk.durable import RealDisk
from eventlog.disk.store import KEY_DIRECTORY, KEY_FILE, _parse_key, read_origin
from eventlog.merkle import Tree
from eventlog.origin import Origin
from eventlog.record import encode
from tests.eventlog.logs import draft

Change = Callable[[list[bytes]], list[bytes]]


def audit(data: Path, level: str = "audit", jobs: int = 1, kept: Checkpoint | None = None) -> Report:
    others = [] if kept is None else [Kept("kept", kept)]
    report = verify(str(data), tree=level == "audit", jobs=jobs, kept=others)
    assert report is not None
    return report


def origin_of(data: Path) -> Origin:
    origin = read_origin(RealDisk(), str(data))
    assert origin is not None
    return origin


def checkpoint_of(data: Path) -> Checkpoint:
    return checkpoints.verify((data / "log" / "checkpoint").read_bytes(), origin_of(data).public_key)


def sign_anew(data: Path, size: int, root: bytes) -> None:
    """Sign a checkpoint over whatever is there now, as the owner of the key can."""
    key = _parse_key((data / KEY_DIRECTORY / KEY_FILE).read_bytes(), "")
    note = checkpoints.sign(Checkpoint(origin_of(data).name, size, root), key)
    (data / "log" / "checkpoint").write_bytes(note)


def signed_by_another(data: Path, size: int, root: bytes) -> bytes:
    """Sign a checkpoint of this log with a key that is not its own."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    return checkpoints.sign(Checkpoint(origin_of(data).name, size, root), key)


def files(data: Path) -> list[Path]:
    return sorted((data / "log").glob("*.evl"))


def starts(content: bytes) -> list[int]:
    """Where the frames of a segment begin."""
    found, at = [], 0
    while (at := content.find(frames.MAGIC, at)) >= 0:
        found.append(at)
        at += 1
    return found


def forge(content: bytes, change: Change, *, fix_root: bool = True) -> bytes:
    """Rewrite a segment's last frame with other records and every CRC (and perhaps the root) right."""
    head, _ = segment.decode_head(content)
    first, second = starts(content)
    kept = frames.decode(content, first, head.salt)
    old = frames.decode(content, second, head.salt)
    stored = change(old.slices())
    tree = Tree(head.first_seq, head.frontier)
    tree.extend(kept.leaves())
    made = frames.encode(stored, first_seq=kept.head.end_seq, time_ns=0, epoch=1, root=bytes(32), salt=head.salt)
    tree.extend(frames.decode(made, 0, head.salt).leaves())
    root = tree.root() if fix_root else old.head.root
    return content[:second] + frames.encode(
        stored, first_seq=kept.head.end_seq, time_ns=0, epoch=1, root=root, salt=head.salt
    )


def replaced(stored: list[bytes]) -> list[bytes]:
    return [*stored[:3], encode([draft(999)]).stored[0], *stored[4:]]


def swapped(stored: list[bytes]) -> list[bytes]:
    return [stored[1], stored[0], *stored[2:]]


def payload_alone(stored: list[bytes]) -> list[bytes]:
    return [stored[0].replace(b"...", b"!!!"), *stored[1:]]


def nulled(stored: list[bytes]) -> list[bytes]:
    return [stored[0][: -len(draft(0).payload) - 1] + b"\xf6", *stored[1:]]
