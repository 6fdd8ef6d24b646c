"""An audit tells a whole log, beside a running server too; `test_tamper` has all that may be wrong with one."""

from pathlib import Path

import pytest

from eventlog.chronicle import Erased, Range
from eventlog.chronicle import draft as entry_draft
from eventlog.disk.audit import verify
from eventlog.disk.log import open_log
from eventlog.disk.passage import Passage, Task, verify_segment
from eventlog.errors import Absent
from tests.eventlog.logs import NOW_NS, running
from tests.eventlog.tampering import audit, checkpoint_of, files, forge, nulled
from tests.fakes import FakeClock


@pytest.mark.parametrize("jobs", [1, 2])
async def test_a_whole_log_is_whole(data: Path, jobs: int) -> None:
    for level in ("crc", "audit"):
        report = audit(data, level, jobs)
        assert (report.findings, report.records, report.frames, report.segments) == ((), 100, 10, 5)
        assert (report.checkpoint_size, report.torn_bytes, report.erased, report.notes) == (100, 0, 0, ())
    assert verify(str(data / "nowhere"), tree=True) is None


async def test_every_flipped_byte_of_a_segment_is_found_by_either_level(data: Path) -> None:
    path = files(data)[2]
    content = path.read_bytes()
    for at in range(0, len(content), 31):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1 :])
        for level in ("crc", "audit"):
            findings = audit(data, level).findings
            assert findings, at
            assert findings[0].path == str(path)
            assert findings[0].offset <= at


async def test_the_bytes_read_are_told_as_they_are(data: Path) -> None:
    told: list[int] = []
    verify(str(data), tree=True, jobs=2, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == sum(path.stat().st_size for path in files(data))


async def test_an_erasure_while_the_audit_runs_is_no_damage(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of it comes first, then the payload goes: an audit may have passed where the record came to stand."""
    path = files(data)[1]
    path.with_suffix(".idx").unlink()
    checkpoint = checkpoint_of(data)
    async with running(open_log(data, FakeClock(), segment_bytes_max=2600)) as log:
        whole = verify_segment
        last = max(int(one.stem) for one in files(data))
        kept: list[Passage] = []

        def walk(task: Task) -> Passage:
            """Pass over the last segment before the erasure, over the others after it."""
            if task.first_seq == last:
                return kept[0]
            return whole(task)

        def early(task: Task) -> Passage:
            passage = whole(task)
            kept.extend([passage] if task.first_seq == last else [])
            return passage

        monkeypatch.setattr("eventlog.disk.audit.verify_segment", early)
        assert audit(data).findings == ()
        await log.append_many([entry_draft(Erased("operator", "asked", "user", 1, (Range(30, 31),)), NOW_NS)])
        path.write_bytes(forge(path.read_bytes(), nulled))
        monkeypatch.setattr("eventlog.disk.audit.verify_segment", walk)
        monkeypatch.setattr("eventlog.disk.audit.read_checkpoint", lambda *_: checkpoint)
        assert audit(data).findings == ()
        assert audit(data).erased == 1


async def test_segments_that_retention_takes_away_meanwhile_ask_for_another_try(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def walk(task: Task) -> Passage:
        if task.first_seq == 0:
            files(data)[0].unlink()
        return verify_segment(task)

    monkeypatch.setattr("eventlog.disk.audit.verify_segment", walk)
    with pytest.raises(Absent, match="was removed while the log was read"):
        audit(data)
