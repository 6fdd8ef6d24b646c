"""An audit that was cut off goes on where it was, and believes nothing that no longer fits."""

import shutil
from pathlib import Path

import pytest

from eventlog.disk.audit import Report, verify
from eventlog.disk.log import open_log
from eventlog.disk.passage import Passage, Task, verify_segment
from tests.eventlog.logs import draft, running
from tests.fakes import FakeClock


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first seqs of the segments that were really walked."""
    found: list[int] = []

    def counting(task: Task) -> Passage:
        found.append(task.first_seq)
        return verify_segment(task)

    monkeypatch.setattr("eventlog.disk.audit.verify_segment", counting)
    return found


def audit(data: Path, *, tree: bool = True) -> Report:
    report = verify(str(data), tree=tree, resume=str(data.parent / "state"))
    assert report is not None
    return report


class CutOff(Exception):
    """What ends an audit in the middle."""


def stop_after(count: int) -> object:
    done: list[int] = []

    def progress(read: int) -> None:
        done.append(read)
        if len(done) == count:
            raise CutOff

    return progress


async def test_an_audit_that_was_cut_off_goes_on_where_it_was(data: Path, walked: list[int]) -> None:
    with pytest.raises(CutOff):
        verify(str(data), tree=True, resume=str(data.parent / "state"), progress=stop_after(3))  # type: ignore[arg-type]
    assert walked == [0, 20, 40]
    walked.clear()
    report = audit(data)
    assert walked == [60, 80]
    whole = verify(str(data), tree=True)
    assert whole is not None
    assert (report.resumed, report.findings, report.root) == (3, (), whole.root)
    walked.clear()
    assert audit(data).resumed == 4  # the last segment may have grown: always read anew
    assert walked == [80]


async def test_a_segment_that_was_changed_since_is_read_again(data: Path, walked: list[int]) -> None:
    audit(data)
    walked.clear()
    path = data / "log" / "00000000000000000040.evl"
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"!" + content[-2:])
    report = audit(data)
    assert walked == [40, 80]
    assert report.findings[0].path == str(path)
    walked.clear()
    audit(data)
    assert 40 in walked  # damage is never taken over


@pytest.mark.parametrize("spoil", [b"", b'a505df1b {"format":"heliograph-audit/1"}\n'])
async def test_a_file_that_holds_no_whole_line_is_begun_anew(data: Path, walked: list[int], spoil: bytes) -> None:
    (data.parent / "state").write_bytes(spoil)
    report = audit(data)
    assert walked == [0, 20, 40, 60, 80]
    assert [note.what for note in report.notes] == ["nothing was taken over from it: it is not what an audit leaves"]
    assert audit(data).resumed == 4


@pytest.mark.parametrize("content", [b"rubbish\n", b"00000000 {}\n", b'a505df1b {"format":"another"}\n', bytes(99)])
async def test_a_file_that_no_audit_left_is_not_overwritten(data: Path, content: bytes) -> None:
    state = data.parent / "state"
    state.write_bytes(content)
    with pytest.raises(FileExistsError):
        audit(data)
    assert state.read_bytes() == content


async def test_a_line_that_was_cut_off_or_changed_ends_what_is_believed(data: Path, walked: list[int]) -> None:
    audit(data)
    state = data.parent / "state"
    lines = state.read_bytes().splitlines(keepends=True)
    state.write_bytes(b"".join(lines[:3]) + lines[3][:50])
    assert audit(data).resumed == 2
    lines[2] = lines[2].replace(b"40", b"41", 1)
    state.write_bytes(b"".join(lines))
    assert audit(data).resumed == 1


async def test_another_log_or_another_level_begins_anew(data: Path) -> None:
    audit(data)
    report = audit(data, tree=False)
    assert (report.resumed, "another level" in report.notes[0].what) == (0, True)
    shutil.move(data, data.parent / "old")
    async with running(open_log(data, FakeClock(5))) as log:
        await log.append_many([draft(1)])
    assert "another log" in audit(data, tree=False).notes[0].what


async def test_a_root_that_was_not_asked_for_before_is_looked_up(data: Path, walked: list[int]) -> None:
    """A kept checkpoint within a segment that an earlier run has done needs its root there."""
    from eventlog.checkpoint import Checkpoint  # noqa: PLC0415
    from eventlog.disk.audit import Kept  # noqa: PLC0415

    audit(data)
    walked.clear()
    kept = Kept("kept", Checkpoint("any", 25, bytes(32)))
    report = verify(str(data), tree=True, resume=str(data.parent / "state"), kept=[kept])
    assert report is not None
    assert walked == [20, 80]
    assert "the first 25 records are not those that this checkpoint signed" in report.findings[0].what
