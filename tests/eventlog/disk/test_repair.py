"""Whatever was damaged is made good from a copy, proven, and what only this log has stays; or nothing is changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eventlog import frame as frames
from eventlog import segment
from eventlog.chronicle import Range
from eventlog.disk import audit
from eventlog.disk.durable import RealDisk
from eventlog.disk.erase import Job, end, erase
from eventlog.disk.repair import Unproven, repair
from eventlog.erasure import without
from eventlog.record import encode
from tests.eventlog.logs import append_frames, at_once, draft, opened_at, running
from tests.eventlog.tampering import files, starts

DISK = RealDisk()


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A log of 300 records, and a copy of it as of 270."""
    async with running(opened_at(tmp_path / "data")) as log:
        await append_frames(log, 270)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    async with running(opened_at(tmp_path / "data")) as log:
        await append_frames(log, 30)
    return tmp_path / "data"


def flip(path: Path, frame: int = 2) -> None:
    content = bytearray(path.read_bytes())
    content[starts(content)[frame] + 150] ^= 1
    path.write_bytes(content)


def flip_everywhere(path: Path) -> None:
    for frame in range(5):
        flip(path, frame)


def behead(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: starts(content)[3] + 20])


def change_frame(path: Path, change: Callable[[frames.Frame, int], bytes]) -> None:
    """Replace the third frame by one whose CRCs are right."""
    content = path.read_bytes()
    salt, at = segment.decode_head(content)[0].salt, starts(content)
    made = change(frames.decode(content, at[2], salt), salt)
    path.write_bytes(content[: at[2]] + made + content[at[3] :])


def forge(path: Path) -> None:
    def forged(frame: frames.Frame, salt: int) -> bytes:
        stored, head = [*frame.slices()[:9], encode([draft(999)]).stored[0]], frame.head
        return frames.encode(stored, first_seq=head.first_seq, time_ns=0, epoch=1, root=head.root, salt=salt)

    change_frame(path, forged)


def null(path: Path) -> None:
    change_frame(path, lambda frame, salt: without(frame, [frame.head.first_seq + 3], salt))


DAMAGES = [flip, flip_everywhere, behead, cut, forge, null, Path.unlink]


def whole(data: Path) -> bytes:
    report = audit.verify(str(data), tree=True)
    assert report is not None
    assert report.findings == ()
    return report.root


def snapshot(data: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("which", [0, 2, 4])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_segment_is_made_good_and_the_root_is_as_before(
    data: Path, damage: Callable[[Path], None], which: int
) -> None:
    root, before = whole(data), [path.read_bytes() for path in files(data)]
    path = files(data)[which]
    damage(path)
    bad = path.read_bytes() if path.exists() else b""
    (done,) = repair(DISK, str(data), str(data.parent / "copy"))
    assert (done.path, done.first_seq, done.end_seq) == (str(path), which * 50, which * 50 + 50)
    assert whole(data) == root
    assert [one.read_bytes() for one in files(data)] == before
    assert not bad or (data / "log" / done.kept_as).read_bytes() == bad
    assert repair(DISK, str(data), str(data.parent / "copy")) == []
    async with running(opened_at(data)) as log:
        assert log.root == root
        assert log.record(which * 50 + 23).payload == draft(which * 50 + 23).payload


async def test_records_behind_the_damage_that_only_this_log_has_stay(data: Path) -> None:
    root, path = whole(data), files(data)[-1]  # 250 to 299; the copy ends with 269
    flip(path, 1)
    (done,) = repair(DISK, str(data), str(data.parent / "copy"))
    assert (done.end_seq, done.from_copy) == (300, 10)
    assert whole(data) == root


async def test_several_neighbours_are_made_good_at_once_from_what_both_sides_have(data: Path) -> None:
    root = whole(data)
    flip(files(data)[1], 1)
    behead(files(data)[2])
    flip(files(data.parent / "copy")[1], 3)  # another frame: each side has what the other lacks
    files(data)[4].unlink()
    done = repair(DISK, str(data), str(data.parent / "copy"))
    assert [(one.first_seq, one.from_copy) for one in done] == [(50, 10), (100, 0), (200, 50)]
    assert whole(data) == root


@pytest.mark.parametrize("which", [2, 5])
async def test_what_the_copy_lacks_is_named_and_nothing_is_changed(data: Path, which: int) -> None:
    flip(files(data)[which], 3)
    flip(files(data.parent / "copy")[2], 3)
    flip(files(data)[0], 1)  # this one could be made good, but all or nothing
    before = snapshot(data)
    with pytest.raises(Unproven, match=r"the copy lacks records (130|280) to"):
        repair(DISK, str(data), str(data.parent / "copy"))
    assert snapshot(data) == before


async def test_a_copy_of_another_past_proves_nothing(data: Path, tmp_path: Path) -> None:
    flip(files(data)[1], 1)
    forge(files(tmp_path / "copy")[1])
    flip(files(tmp_path / "copy")[1], 1)
    before = snapshot(data)
    with pytest.raises(Unproven, match="the copy lacks records 60 to 99"):
        repair(DISK, str(data), str(tmp_path / "copy"))
    async with running(opened_at(tmp_path / "other", "other.example")) as log:
        await append_frames(log, 300)
    with pytest.raises(Unproven, match=r"a copy of another log, other\.example"):
        repair(DISK, str(data), str(tmp_path / "other"))
    with pytest.raises(Unproven, match="there is no log under"):
        repair(DISK, str(data), str(tmp_path / "nowhere"))
    assert snapshot(data) == before


async def test_a_damaged_checkpoint_is_replaced_by_the_copys(data: Path) -> None:
    root, path = whole(data), data / "log" / "checkpoint"
    note = bytearray(path.read_bytes())
    note[-10] ^= 1
    path.write_bytes(note)
    flip(files(data)[1])
    assert len(repair(DISK, str(data), str(data.parent / "copy"))) == 1
    assert path.read_bytes() == (data.parent / "copy" / "log" / "checkpoint").read_bytes()
    async with running(opened_at(data)) as log:
        assert log.root == root
    path.write_bytes(note)
    (data.parent / "copy" / "log" / "checkpoint").write_bytes(note)
    with pytest.raises(Unproven, match="neither the log nor the copy has a checkpoint"):
        repair(DISK, str(data), str(data.parent / "copy"))


async def test_what_was_erased_since_the_copy_was_made_does_not_come_back(data: Path) -> None:
    async with running(opened_at(data)) as log:
        await erase(log, str(data), Job(1, log.durable_size, "me", "", "user", (Range(77, 78),), ()), 1, at_once)
        end(DISK, str(data))
    root = whole(data)
    flip(files(data)[1], 2)  # 70 to 79
    (done,) = repair(DISK, str(data), str(data.parent / "copy"))
    assert done.from_copy == 10
    assert whole(data) == root
    assert draft(77).payload not in files(data)[1].read_bytes()
    assert draft(76).payload in files(data)[1].read_bytes()


async def test_a_whole_log_and_a_torn_tail_are_left_alone(data: Path) -> None:
    path = files(data)[-1]
    path.write_bytes(path.read_bytes() + b"\x83\x58\x50EVLF torn")
    before = snapshot(data)
    assert repair(DISK, str(data), str(data.parent / "copy")) == []
    assert snapshot(data) == before
