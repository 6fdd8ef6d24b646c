"""What stands beside the segments: what can be said of it before a walk and after; `test_tamper` has the table."""

from pathlib import Path

import pytest
from msgspec import structs

from eventlog import retention
from eventlog.chronicle import Below, Retained, draft
from eventlog.disk import companions, snapshots
from eventlog.disk.companions import Claim, disagreements, look, unlike_told
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from eventlog.errors import Corrupt
from eventlog.record import Record
from eventlog.retention import State
from tests.eventlog.logs import running
from tests.eventlog.tampering import audit, origin_of
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock

TOLD = [Retained(20, ()), Retained(20, (Below("thing.happened", 40),))]
STATE = retention.encode(State(20, {"thing.happened": 40}))


def own(entries: list[Retained]) -> list[Record]:
    drafts = [draft(entry, 1) for entry in entries]
    return [Record(seq, 1, 1, one.kind, b"", bytes(32), one.payload) for seq, one in enumerate(drafts)]


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with running(open_log(tmp_path, FakeClock())) as log:
        await log.append_many([said(b"word")] * 10)
        open_views(log, tmp_path / "views", [WordsView], log_directory=tmp_path / "log")["words"].db.close()
        snapshots.take(str(tmp_path / "log"), str(tmp_path / "views"), ["words"], origin=log.origin)
    return tmp_path


async def test_a_snapshot_claims_the_root_of_its_bookmark(data: Path) -> None:
    found = look(RealDisk(), str(data / "log"), origin_of(data), deep=True)
    assert [(one.size, one.root) for one in found.claims] == [(10, audit(data).root)]
    assert (found.findings, found.retention) == ((), None)


async def test_a_snapshot_that_is_gone_again_claims_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running server takes newer ones, and the older ones go."""
    listed = snapshots.names(str(data / "log"))
    next((data / "log" / "snap").iterdir()).unlink()
    monkeypatch.setattr(companions, "names", lambda _: listed)
    found = look(RealDisk(), str(data / "log"), origin_of(data), deep=True)
    assert (found.claims, found.findings) == ((), ())


async def test_reading_a_snapshot_leaves_nothing_beside_it(data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (data / "log" / "snap").iterdir()}
    assert audit(data).findings == ()
    assert {path: path.stat().st_mtime_ns for path in (data / "log" / "snap").iterdir()} == before


def test_a_claim_is_judged_where_the_root_is_known() -> None:
    claim = Claim("path", 5, b"root", "5, not {}", "other")
    assert disagreements([claim], {5: b"root"}, 9) == []
    assert disagreements([claim], {4: b"none"}, 9) == []
    assert [one.what for one in disagreements([claim], {5: b"none"}, 9)] == ["other"]
    assert [one.what for one in disagreements([claim], {}, 4)] == ["5, not 4"]


def test_every_flip_in_retentions_file_is_found_but_that_of_whether_it_is_done() -> None:
    state = retention.decode(STATE)
    for bit in range(8 * len(STATE)):
        flipped = bytearray(STATE)
        flipped[bit // 8] ^= 1 << bit % 8
        if not unlike_told(bytes(flipped), bytes(flipped), own(TOLD), "log"):
            assert retention.decode(bytes(flipped)) == structs.replace(state, done=False)


def test_what_a_running_server_removed_during_the_walk_is_no_damage() -> None:
    before = retention.encode(State(20))
    assert unlike_told(before, STATE, own(TOLD), "log") == []
    assert len(unlike_told(before, before, own(TOLD), "log")) == 1


def test_what_is_said_of_a_kind_counts_from_the_logs_beginning_on() -> None:
    """The record that said it may itself have been removed since."""
    said_once = retention.encode(State(90, {"thing.happened": 40, "thing.ended": 95}))
    assert unlike_told(said_once, said_once, own([Retained(90, (Below("thing.ended", 95),))]), "log") == []


def test_a_record_of_retention_that_is_none_is_corrupt() -> None:
    rubbish = Record(0, 1, 1, Retained.kind, b"", bytes(32), b"?")
    with pytest.raises(Corrupt):
        unlike_told(STATE, STATE, [rubbish], "log")
