"""The tamper matrix: whatever was changed is found, and named by file and byte."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eventlog import frame as frames
from eventlog import segment
from eventlog.disk.audit import Kept, Report, verify
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import open_log
from eventlog.disk.recovery import read_checkpoint
from eventlog.disk.store import read_origin
from eventlog.merkle import Tree
from eventlog.record import encode
from tests.eventlog.logs import draft, running
from tests.fakes import FakeClock


def audit(data: Path, level: str = "audit", jobs: int = 1) -> Report:
    report = verify(str(data), tree=level == "audit", jobs=jobs)
    assert report is not None
    return report


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Five segments of two frames of ten records."""
    async with running(open_log(tmp_path / "data", FakeClock(), segment_bytes_max=2600)) as log:
        for first in range(0, 100, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
    return tmp_path / "data"


def files(data: Path) -> list[Path]:
    return sorted((data / "log").glob("*.evl"))


def starts(content: bytes) -> list[int]:
    found, at = [], 0
    while (at := content.find(frames.MAGIC, at)) >= 0:
        found.append(at)
        at += 1
    return found


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_whole_log_is_whole(data: Path, jobs: int) -> None:
    for level in ("crc", "audit"):
        report = audit(data, level, jobs)
        assert (report.findings, report.records, report.frames, report.segments) == ((), 100, 10, 5)
        assert (report.checkpoint_size, report.torn_bytes) == (100, 0)
    assert verify(str(data / "nowhere"), tree=True) is None


async def test_every_flipped_byte_of_a_segment_is_found_by_either_level(data: Path) -> None:
    path = files(data)[2]
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1 :])
        for level in ("crc", "audit"):
            findings = audit(data, level).findings
            assert findings, at
            assert findings[0].path == str(path)
            assert findings[0].offset <= at


def forge(content: bytes, change: Callable[[list[bytes]], list[bytes]], *, fix_root: bool = True) -> bytes:
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


def erased(stored: list[bytes]) -> list[bytes]:
    return [stored[0][: -len(draft(0).payload) - 1] + b"\xf6", *stored[1:]]


@pytest.mark.parametrize("which", [1, 4])
@pytest.mark.parametrize(
    ("change", "fix_root", "what"),
    [
        (replaced, False, "root after seq"),
        (replaced, True, "frontier is not where|not those that the checkpoint signed"),
        (swapped, False, "root after seq"),
        (swapped, True, "frontier is not where|not those that the checkpoint signed"),
        (payload_alone, True, "does not match its commitment"),
        (erased, True, "no record says that it was erased"),
    ],
)
async def test_a_forged_record_with_every_crc_right_is_found(
    data: Path, which: int, change: Callable[[list[bytes]], list[bytes]], fix_root: bool, what: str
) -> None:
    path = files(data)[which]
    path.write_bytes(forge(path.read_bytes(), change, fix_root=fix_root))
    findings = audit(data).findings
    assert findings
    assert any(part in findings[0].what for part in what.split("|"))
    shallow = audit(data, "crc").findings  # why the deeper level exists: only the last root is signed
    assert not shallow or "not those that the checkpoint signed" in shallow[0].what


async def test_segments_that_are_missing_cut_or_exchanged_are_named(data: Path) -> None:
    first, second, *_ = files(data)
    kept = second.read_bytes()
    second.write_bytes(kept[: starts(kept)[1]])
    assert "the segment ends with seq 30, the next begins with 40" in audit(data).findings[0].what
    second.unlink()
    assert "the segment ends with seq 20, the next begins with 40" in audit(data).findings[0].what
    shutil.copy(first, second)
    assert "says it begins with seq 0" in audit(data).findings[0].what


async def test_a_log_cut_at_a_frames_end_is_found_by_its_checkpoint(data: Path) -> None:
    path = files(data)[-1]
    content = path.read_bytes()
    path.write_bytes(content[: starts(content)[1]])
    assert "vouches for 100 records, 90 are there" in audit(data, "crc").findings[0].what


async def test_a_rolled_back_log_is_found_by_a_checkpoint_kept_elsewhere(data: Path) -> None:
    disk = RealDisk()
    origin = read_origin(disk, str(data))
    assert origin is not None
    shutil.copytree(data, data.parent / "old")
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([draft(n) for n in range(100, 110)])
    kept = read_checkpoint(disk, str(data / "log"), origin.name, origin.public_key)
    assert audit(data.parent / "old").findings == ()
    report = verify(str(data.parent / "old"), tree=True, kept=[Kept("kept", kept)])
    assert report is not None
    assert "vouches for 110 records, 100 are there" in report.findings[0].what


async def test_a_changed_checkpoint_is_named(data: Path) -> None:
    path = data / "log" / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n100\n", b"\n 90\n"))
    assert audit(data).findings[0].path == str(path)


async def test_a_commit_in_flight_is_no_damage(data: Path) -> None:
    path = files(data)[-1]
    content = path.read_bytes()
    path.write_bytes(content + content[starts(content)[1] :][:50])
    report = audit(data)
    assert (report.findings, report.records, report.torn_bytes) == ((), 100, 50)
    path.write_bytes(content + content[starts(content)[1] :])  # a whole frame that does not belong there is
    assert "a frame begins with seq 90, not 100" in audit(data).findings[0].what
