"""A backup ends at a checkpoint, is whole, costs only what is new, and a log made from it goes on; or it is refused."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from eventlog.chronicle import Range
from eventlog.disk import audit
from eventlog.disk.backup import Copied, Refused, backup, is_complete, restore
from eventlog.disk.compact import merge, plan_merges
from eventlog.disk.durable import TEMPORARY, RealDisk
from eventlog.disk.erase import Job, end, erase
from eventlog.disk.log import Log
from eventlog.disk.snapshots import take
from eventlog.disk.views import open_views
from eventlog.errors import Corrupt
from eventlog.limits import BACKUP_CHECKPOINT_S_MAX, BACKUP_ERASURE_S_MAX, BACKUP_LOOK_S, BACKUP_TRIES_MAX
from tests.eventlog.logs import append_frames, at_once, draft, opened_at, running
from tests.eventlog.words import WordsView

DISK = RealDisk()


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with running(opened_at(tmp_path / "data")) as log:
        await append_frames(log, 300)
    return tmp_path / "data"


def copied(data: Path, **options: bool) -> Copied:
    return backup(DISK, str(data), str(data.parent / "copy"), **options)


def found(directory: Path) -> tuple[bytes, list[bytes | None]]:
    """The root and payloads of a log's files, opened by nobody."""
    report = audit.verify(str(directory), tree=True)
    assert report is not None
    assert report.findings == ()
    return report.root, []


async def test_a_backup_is_the_log_as_of_its_checkpoint(data: Path) -> None:
    done = copied(data)
    assert (done.records, done.root) == (300, found(data)[0])
    assert found(data.parent / "copy") == found(data)
    assert not (data.parent / "copy" / "keys").exists()
    assert is_complete(DISK, str(data.parent / "copy"))


def files(directory: Path) -> dict[str, int]:
    """Every file of a log and its size, by its path."""
    root = directory / "log"
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def snapped(log: Log, data: Path) -> None:
    views = open_views(log, data / "views", [WordsView])
    take(str(data / "log"), str(data / "views"), ["words"], origin=log.origin)
    views["words"].db.close()


async def test_tiles_and_snapshots_are_in_it_and_all_is_counted(data: Path) -> None:
    async with running(opened_at(data)) as log:
        snapped(log, data)
    done = copied(data)
    assert files(data.parent / "copy") == files(data)
    assert {name.partition("/")[0] for name in files(data)} > {"tile", "snap"}
    counted = {name: size for name, size in files(data).items() if name != "checkpoint"}
    assert (done.files, done.file_bytes) == (len(counted), sum(counted.values()))

    shutil.copy(data / "log" / "checkpoint", data.parent / "older")
    async with running(opened_at(data)) as log:
        for _ in range(2):  # the newest two are kept
            await append_frames(log, 20)
            snapped(log, data)
    copied(data)
    assert files(data.parent / "copy") == files(data)
    shutil.copy(data.parent / "older", data / "log" / "checkpoint")
    copied(data)
    assert not [name for name in files(data.parent / "copy") if name.startswith("snap")], "they are of what comes later"


class Noted(RealDisk):
    """A disk that writes down what is renamed, and when all before is made durable."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def rename(self, old: str, new: str) -> None:
        self.told.append(Path(new).name)
        super().rename(old, new)

    def sync_all(self, directory: str) -> None:
        self.told.append("synced")
        super().sync_all(directory)


async def test_what_vouches_for_the_rest_comes_after_the_rest_is_durable(data: Path) -> None:
    disk = Noted()
    backup(disk, str(data), str(data.parent / "copy"), with_keys=True)
    first, middle, last = (disk.told[at - 1 : at + 1] for at in (1, disk.told.index("checkpoint"), len(disk.told) - 1))
    assert first == ["backup.cbor", "00000000000000000000.evl"], "it is called incomplete before anything is in it"
    assert middle == ["synced", "checkpoint"]
    assert last == ["synced", "backup.cbor"]


async def test_what_is_written_meanwhile_is_left_out_at_a_frames_end(data: Path) -> None:
    async with running(opened_at(data)) as log:
        shutil.copy(data / "log" / "checkpoint", data.parent / "older")
        await append_frames(log, 20)
        shutil.copy(data.parent / "older", data / "log" / "checkpoint")  # as if it had been read before
        assert copied(data).records == 300
        assert found(data.parent / "copy")[0] == log.root_at(300)
        assert copied(data).records == 300


async def test_a_second_one_costs_only_what_is_new(data: Path) -> None:
    first = copied(data)
    again = copied(data)
    assert again.files <= 1  # the open segment
    assert again.kept >= first.files - 1
    async with running(opened_at(data)) as log:
        await append_frames(log, 100)
    third = copied(data)
    assert (third.records, third.root) == (400, found(data)[0])
    assert third.file_bytes < first.file_bytes


async def test_linked_segments_are_the_same_files(data: Path) -> None:
    copied(data, link=True)
    names = sorted(path.name for path in (data / "log").glob("*.evl"))
    for name in names:  # a run before was cut off
        (data.parent / "copy" / "log" / f"{name}{TEMPORARY}").touch()
        (data.parent / "copy" / "log" / name).unlink()
    copied(data, link=True)
    same = [(data / "log" / name).samefile(data.parent / "copy" / "log" / name) for name in names]
    assert same == [True] * (len(names) - 1) + [False]
    assert found(data.parent / "copy") == found(data)


async def test_what_was_erased_is_gone_from_the_next_backup(data: Path) -> None:
    copied(data)
    secret = draft(77).payload
    assert any(secret in path.read_bytes() for path in (data.parent / "copy" / "log").glob("*.evl"))
    async with running(opened_at(data)) as log:
        job = Job(1, log.durable_size, "me", "because", "user", (Range(77, 78),), ())
        await erase(log, str(data), job, 1, at_once)
        end(DISK, str(data))
    copied(data)
    assert not any(secret in path.read_bytes() for path in (data.parent / "copy" / "log").glob("*.evl"))
    assert found(data.parent / "copy") == found(data)


async def test_segments_that_were_put_together_leave_no_old_names(data: Path) -> None:
    copied(data)
    async with running(opened_at(data)) as log:
        for group in plan_merges(log.store.segments, 10**6):
            await merge(log, group, at_once)
    done = copied(data)
    assert done.removed > 0
    names = [sorted(path.name for path in (one / "log").glob("*.evl")) for one in (data, data.parent / "copy")]
    assert names[0] == names[1]
    assert len(names[0]) == 2


async def test_a_log_made_from_a_backup_opens_and_goes_on(data: Path, tmp_path: Path) -> None:
    copied(data, with_keys=True)
    shutil.rmtree(data)
    done = restore(DISK, str(tmp_path / "copy"), str(data))
    assert done.records == 300
    private = (tmp_path / "copy", data, data / "keys", data / "keys" / "log.pem")
    assert not any(path.stat().st_mode & 0o077 for path in private)
    async with running(opened_at(data)) as log:
        assert log.torn is None
        await append_frames(log, 10)
        assert log.record(299).payload == draft(299).payload
    assert audit.verify(str(data), tree=True).findings == ()  # type: ignore[union-attr]
    with pytest.raises(Refused, match="holds a log already"):
        restore(DISK, str(tmp_path / "copy"), str(data))


async def test_keys_may_be_kept_elsewhere(data: Path, tmp_path: Path) -> None:
    copied(data)
    with pytest.raises(Refused, match="the log's key is not in this backup"):
        restore(DISK, str(tmp_path / "copy"), str(tmp_path / "new"))
    restore(DISK, str(tmp_path / "copy"), str(tmp_path / "new"), keys=str(data / "keys"))
    async with running(opened_at(tmp_path / "new")) as log:
        assert log.durable_size == 300


async def test_nothing_is_mixed_up(data: Path, tmp_path: Path) -> None:
    async with running(opened_at(tmp_path / "other", "other.example")) as log:
        await append_frames(log, 10)
    copied(data)
    with pytest.raises(Refused, match=r"holds a backup of another log, log\.example"):
        backup(DISK, str(tmp_path / "other"), str(tmp_path / "copy"))
    with pytest.raises(Refused, match="holds a log that is no backup"):
        backup(DISK, str(data), str(data))
    with pytest.raises(Refused, match="there is no log under"):
        backup(DISK, str(tmp_path / "none"), str(tmp_path / "copy2"))
    with pytest.raises(Refused, match="holds no backup"):
        restore(DISK, str(data), str(tmp_path / "new"))


async def test_a_damaged_log_gives_no_complete_backup_and_a_damaged_backup_no_log(data: Path, tmp_path: Path) -> None:
    copied(data, with_keys=True)
    damage(tmp_path / "copy")
    with pytest.raises(Refused, match="is not whole"):
        restore(DISK, str(tmp_path / "copy"), str(tmp_path / "new"))
    shutil.rmtree(tmp_path / "copy")
    damage(data)
    with pytest.raises(Corrupt, match="the copy is not whole"):
        backup(DISK, str(data), str(tmp_path / "copy"), wait=lambda _: None)
    assert is_complete(DISK, str(tmp_path / "copy")) is False
    with pytest.raises(Refused, match="incomplete"):
        restore(DISK, str(tmp_path / "copy"), str(tmp_path / "new"))


def damage(directory: Path) -> None:
    path = sorted((directory / "log").glob("*.evl"))[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Meddled(RealDisk):
    """A disk under whose user something else happens, once, just before the call of a number."""

    def __init__(self, at: int, then: Callable[[], None] = lambda: None) -> None:
        self.calls, self._at, self._then = 0, at, then

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            self._then()

    def open(self, path: str, *, create: bool = False, mode: int = 0o644) -> int:
        self._call()
        return super().open(path, create=create, mode=mode)

    def entries(self, directory: str) -> list[str]:
        self._call()
        return super().entries(directory)

    def rename(self, old: str, new: str) -> None:
        self._call()
        super().rename(old, new)


ERASED = (7, 77)  # in two segments


class CutOff(Exception):
    """The erasure stops here."""


async def erased(data: Path, segments: int) -> None:
    """Erase in a server's place; after so many segments it is cut off, and the next opening ends it."""
    job = Job(1, 120, "me", "because", "user", tuple(Range(seq, seq + 1) for seq in ERASED), ())

    def progress(done: int) -> None:
        if done == segments:
            raise CutOff

    async with running(opened_at(data)) as log:
        with suppress(CutOff):
            await erase(log, str(data), job, 1, at_once, progress=progress)
            end(DISK, str(data))


async def ended(data: Path) -> None:
    async with running(opened_at(data)):
        pass


def left(directory: Path) -> list[bool]:
    """Whether each of the erased payloads is in some segment."""
    content = b"".join(path.read_bytes() for path in (directory / "log").glob("*.evl"))
    return [draft(seq).payload in content for seq in ERASED]


async def made(directory: Path) -> None:
    async with running(opened_at(directory)) as log:
        await append_frames(log, 120)


@pytest.mark.parametrize("segments", [0, 1, 2], ids=["wholly", "cut-off-after-one", "cut-off-after-two"])
def test_a_backup_is_of_before_or_after_an_erasure_wherever_that_falls(tmp_path: Path, segments: int) -> None:
    trio.run(made, tmp_path / "log")
    counting, states = Meddled(0), set[bool]()
    backup(counting, str(tmp_path / "log"), str(tmp_path / "counted"))
    for at in range(counting.calls, 0, -9 if segments else -4):
        data, copy = tmp_path / str(at) / "data", tmp_path / str(at) / "copy"
        shutil.copytree(tmp_path / "log", data)
        disk = Meddled(at, partial(trio.run, erased, data, segments))
        backup(disk, str(data), str(copy), wait=lambda _, data=data: trio.run(ended, data))  # type: ignore[misc]
        assert found(copy)[0]
        assert len(set(left(copy))) == 1, (at, left(copy))
        states.add(left(copy)[0])
        assert is_complete(DISK, str(copy))
        trio.run(ended, data)
        backup(DISK, str(data), str(copy))
        assert (left(copy), left(data)) == ([False] * 2, [False] * 2), "one made after it holds none"
    assert states == {True, False}  # at the last call of all it came too late to be seen


def test_an_erasure_that_is_half_done_and_already_told_is_waited_for(tmp_path: Path) -> None:
    data, copy, told = tmp_path / "data", tmp_path / "copy", list[str]()
    trio.run(made, data)

    def progress(what: str) -> None:
        told.append(what)
        if told == ["copying"]:  # so the checkpoint that is read now covers the record of it
            trio.run(erased, data, 1)

    backup(DISK, str(data), str(copy), progress=progress, wait=lambda _: trio.run(ended, data))
    assert left(copy) == [False] * 2
    assert found(copy) == found(data)


async def erased_behind_the_checkpoint(data: Path) -> Path:
    """End an erasure that is told behind the log's checkpoint; give the file of the one that supersedes it."""
    older, newer = data.parent / "older", data.parent / "newer"
    shutil.copy(data / "log" / "checkpoint", older)
    await erased(data, -1)
    (data / "log" / "checkpoint").rename(newer)
    older.rename(data / "log" / "checkpoint")
    return newer


async def test_an_erasure_told_behind_the_checkpoint_waits_for_the_next_one(data: Path) -> None:
    newer, waits = await erased_behind_the_checkpoint(data), list[float]()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            shutil.copy(newer, data / "log" / "checkpoint")

    done = backup(DISK, str(data), str(data.parent / "copy"), wait=wait)
    assert done.records > 300
    assert waits == [BACKUP_LOOK_S] * 4, "three looks, and the pause before it is copied again"
    assert found(data.parent / "copy") == found(data)
    assert left(data.parent / "copy") == [False] * 2


async def test_payloads_that_no_checkpoint_ever_accounts_for_are_damage(data: Path) -> None:
    await erased_behind_the_checkpoint(data)
    waits: list[float] = []
    with pytest.raises(Corrupt, match="the copy is not whole"):
        backup(DISK, str(data), str(data.parent / "copy"), wait=waits.append)
    assert sum(waits) == BACKUP_CHECKPOINT_S_MAX
    assert not is_complete(DISK, str(data.parent / "copy"))


async def test_an_erasure_that_does_not_end_lets_no_backup_be_made(data: Path) -> None:
    await erased(data, 1)
    waits: list[float] = []
    with pytest.raises(Refused, match="an erasure is under way"):
        backup(DISK, str(data), str(data.parent / "copy"), wait=waits.append)
    assert sum(waits) == BACKUP_ERASURE_S_MAX
    assert not is_complete(DISK, str(data.parent / "copy"))


async def test_a_log_whose_files_never_rest_is_tried_ever_less_often_and_given_up(data: Path) -> None:
    waits: list[float] = []

    def meddle(what: str) -> None:
        """Another file under the same name, as often as the copy is verified."""
        first = min((data / "log").glob("*.evl"))
        if what == "verifying":
            shutil.copy(first, first.with_suffix(".new"))
            first.with_suffix(".new").rename(first)

    with pytest.raises(Refused, match="each time they were copied"):
        backup(DISK, str(data), str(data.parent / "copy"), wait=waits.append, progress=meddle)
    assert waits == [BACKUP_LOOK_S * 2**number for number in range(BACKUP_TRIES_MAX - 1)]
    assert not is_complete(DISK, str(data.parent / "copy"))
