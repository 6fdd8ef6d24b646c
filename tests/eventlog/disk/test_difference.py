"""Two copies of a log: where they part is where a slow comparison says, whatever their frames and segments."""

import random
import shutil
from io import BytesIO
from pathlib import Path

import pytest

from eventlog.disk.archive import export
from eventlog.disk.difference import (
    Changed,
    Difference,
    Erased,
    Longer,
    OtherBeginning,
    OtherLog,
    Parted,
    differences,
    open_side,
)
from eventlog.disk.log import open_log
from eventlog.record import Draft
from tests.eventlog.logs import draft, running
from tests.eventlog.tampering import files, forge, nulled, swapped
from tests.fakes import FakeClock


async def made(data: Path, drafts: list[Draft], batch: int = 10, segment_bytes_max: int = 2600) -> Path:
    """Make a log of these records; equal dice make it the same log, however its frames are cut."""
    async with running(open_log(data, FakeClock(), segment_bytes_max=segment_bytes_max)) as log:
        for at in range(0, len(drafts), batch):
            await log.append_many(drafts[at : at + batch])
    return data


def found(a: Path, b: Path, limit: int = 3) -> list[Difference]:
    one, two = open_side(str(a)), open_side(str(b))
    assert one is not None
    assert two is not None
    result = list(differences(one, two, limit))
    one.segments.close()
    two.segments.close()
    return result


def hundred() -> list[Draft]:
    return [draft(n) for n in range(100)]


CUTS = [(10, 2600), (7, 2600), (33, 900), (100, 64_000)]  # records a frame, bytes a segment


@pytest.mark.parametrize(("batch", "segment_bytes_max"), CUTS)
async def test_the_first_record_that_differs_is_found(tmp_path: Path, batch: int, segment_bytes_max: int) -> None:
    a = await made(tmp_path / "a", hundred())
    dice = random.Random(5)
    for at in [0, 99, *(dice.randrange(100) for _ in range(2))]:
        other = hundred()
        other[at] = draft(999)
        b = await made(tmp_path / f"b{at}", other, batch, segment_bytes_max)
        parted, changed, *rest = found(a, b)
        assert parted == Parted(at)
        assert isinstance(changed, Changed)
        assert (changed.seq, changed.a and changed.a.payload) == (at, draft(at).payload)
        assert changed.b is not None
        assert changed.b.payload == draft(999).payload
        assert rest == []
        shutil.rmtree(b)


@pytest.mark.parametrize(("batch", "segment_bytes_max"), CUTS)
async def test_equal_logs_do_not_differ_however_they_are_cut(
    tmp_path: Path, batch: int, segment_bytes_max: int
) -> None:
    a = await made(tmp_path / "a", hundred())
    b = await made(tmp_path / "b", hundred(), batch, segment_bytes_max)
    assert found(a, b) == []
    longer = await made(tmp_path / "c", [*hundred(), draft(100), draft(101)], batch, segment_bytes_max)
    assert found(a, longer) == [Longer("b", 100, 2)]
    assert found(longer, a) == [Longer("a", 100, 2)]


async def test_an_export_is_compared_in_place(tmp_path: Path) -> None:
    a = await made(tmp_path / "a", hundred())
    out = BytesIO()
    export(str(a), out, progress=lambda _done, _total: None)
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    assert found(a, tmp_path / "a.tar") == []
    other = hundred()
    other[50] = draft(999)
    assert found(await made(tmp_path / "b", other), tmp_path / "a.tar")[0] == Parted(50)


async def test_an_erased_payload_and_a_beginning_that_is_gone_are_told(tmp_path: Path) -> None:
    a = await made(tmp_path / "a", hundred())
    b = Path(shutil.copytree(a, tmp_path / "b"))
    path = files(b)[1]
    path.write_bytes(forge(path.read_bytes(), nulled))
    assert found(a, b) == [Erased(30, "thing.happened", "b")]
    assert found(b, a) == [Erased(30, "thing.happened", "a")]
    files(b)[0].unlink()
    assert found(a, b) == [OtherBeginning(0, 20), Erased(30, "thing.happened", "b")]


async def test_a_record_that_was_changed_under_the_same_root_is_told(tmp_path: Path) -> None:
    a = await made(tmp_path / "a", hundred())
    b = Path(shutil.copytree(a, tmp_path / "b"))
    path = files(b)[1]
    path.write_bytes(forge(path.read_bytes(), swapped, fix_root=False))
    for limit in (0, 1):
        [one] = found(a, b, limit)
        assert isinstance(one, Changed)
        assert (one.seq, one.a and one.a.payload) == (30, draft(30).payload)
    assert [one.seq for one in found(b, a, 9) if isinstance(one, Changed)] == [30, 31]


async def test_another_log_is_called_so(tmp_path: Path) -> None:
    a = await made(tmp_path / "a", hundred())
    clock = FakeClock()
    clock.random_bytes(1)
    async with running(open_log(tmp_path / "b", clock)) as log:
        await log.append_many(hundred())
    assert [type(one) for one in found(a, tmp_path / "b")] == [OtherLog]


async def test_two_empty_logs_are_equal_and_no_log_is_none(tmp_path: Path) -> None:
    a, b = await made(tmp_path / "a", []), await made(tmp_path / "b", [])
    assert found(a, b) == []
    c = await made(tmp_path / "c", hundred())
    assert found(a, c) == [Longer("b", 0, 100)]
    assert open_side(str(tmp_path)) is None
