"""A log goes through one file and comes out bit for bit, verified; what is not whole never becomes a log."""

from io import BytesIO
from pathlib import Path

import pytest

from eventlog.chronicle import Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.disk.archive import ArchiveDisk, Exists, export, import_log
from eventlog.disk.compact import write_state
from eventlog.disk.log import open_log
from eventlog.disk.segments import Segments
from eventlog.errors import Absent, Corrupt
from eventlog.exchange import Manifest
from eventlog.retention import State
from tests.eventlog.logs import NOW_NS, draft, running
from tests.eventlog.tampering import audit, files
from tests.fakes import FakeClock


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Five segments of two frames of sixty records: some full tiles."""
    async with running(open_log(tmp_path / "data", FakeClock(), segment_bytes_max=15_000)) as log:
        for first in range(0, 600, 60):
            await log.append_many([draft(n) for n in range(first, first + 60)])
    return tmp_path / "data"


def quiet(_done: int, _total: int) -> None:
    """Show nothing."""


def exported(data: Path, *, with_keys: bool = False) -> bytes:
    out = BytesIO()
    assert export(str(data), out, with_keys=with_keys, progress=quiet) is not None
    return out.getvalue()


def imported(target: Path, content: bytes) -> Manifest:
    return import_log(str(target), BytesIO(content), jobs=1, progress=quiet)


def contents(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


async def test_what_comes_out_is_bit_for_bit_what_went_in(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    content = exported(data, with_keys=True)
    manifest = imported(target, content)
    before, after = contents(data), contents(target)
    del before["LOCK"], after["LOCK"]
    assert after == before
    assert (manifest.first_seq, manifest.end_seq) == (0, 600)
    assert audit(target).root == audit(data).root
    assert (target / "keys" / "log.pem").stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700
    async with running(open_log(target, FakeClock())) as log:
        assert await log.append_many([draft(1)]) == 600
    assert exported(data, with_keys=True) == content  # nothing in it but the log: no times, no owners


async def test_keys_stay_unless_they_are_asked_for(data: Path, tmp_path: Path) -> None:
    content = exported(data)
    assert b"PRIVATE KEY" not in content
    imported(tmp_path / "copy", content)
    assert audit(tmp_path / "copy").findings == ()
    with pytest.raises(Corrupt, match="the key that signs this log's checkpoints is missing"):
        open_log(tmp_path / "copy", FakeClock())


async def test_an_export_beside_a_running_log_ends_with_a_whole_frame(data: Path, tmp_path: Path) -> None:
    async with running(open_log(data, FakeClock(), segment_bytes_max=15_000)) as log:
        await log.append_many([draft(n) for n in range(10)])
        path = files(data)[-1]
        with path.open("ab") as file:
            file.write(b"a commit in flight")
        manifest = imported(tmp_path / "copy", exported(data))
        assert manifest.end_seq == 610
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(b"a commit in flight"))
    assert audit(tmp_path / "copy").torn_bytes == 0


async def test_a_log_whose_beginning_retention_took_goes_through_too(data: Path, tmp_path: Path) -> None:
    async with running(open_log(data, FakeClock(), segment_bytes_max=15_000)) as log:
        write_state(log.store.disk, str(data / "log"), State(240))
        await log.append_many([entry_draft(Retained(240, ()), NOW_NS)])
    for path in files(data)[:2]:
        path.unlink()
        path.with_suffix(".idx").unlink()
    manifest = imported(tmp_path / "copy", exported(data))
    assert manifest.first_seq == 240
    assert audit(tmp_path / "copy").findings == ()


async def test_an_import_never_touches_a_log_that_is_there(data: Path, tmp_path: Path) -> None:
    content, before = exported(data), contents(data)
    with pytest.raises(Exists, match="there is a log under"):
        imported(data, content)
    del before["LOCK"]
    assert contents(data).items() >= before.items()


async def test_what_is_cut_off_or_changed_never_becomes_a_log(data: Path, tmp_path: Path) -> None:
    content = exported(data)
    target = tmp_path / "copy"
    end = content.rindex(b"\n\n\xe2\x80\x94")
    for size in [0, 100, 512, 3_000, *range(4_000, end, end // 20)]:
        with pytest.raises(Corrupt):
            imported(target, content[:size])
        assert not (target / "log").exists()
    for at in range(5_000, end, end // 20):
        with pytest.raises(Corrupt):
            imported(target, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not (target / "log").exists()
    imported(target, content)  # what was left by the others is no hindrance
    assert not (target / "importing").exists()


async def test_an_export_is_read_in_place(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "log.tar"
    path.write_bytes(exported(data))
    disk = ArchiveDisk(str(path))
    segments = Segments.found(disk, "log")  # type: ignore[arg-type]
    assert segments.end_seq == 600
    assert [one.seq for piece in segments.pieces(0, 600) for one in piece] == list(range(600))
    assert segments.record(77).payload == draft(77).payload
    segments.close()
    path.write_bytes(path.read_bytes()[:9_000])
    with pytest.raises(Corrupt, match="cannot be read"):
        ArchiveDisk(str(path))


async def test_a_segment_that_is_replaced_meanwhile_ends_the_export(data: Path) -> None:
    class Replacing(BytesIO):
        def write(self, content: object, /) -> int:
            files(data)[3].write_bytes(files(data)[3].read_bytes()[:-1])
            return super().write(content)  # type: ignore[arg-type]

    with pytest.raises(Absent, match="start again"):
        export(str(data), Replacing(), progress=quiet)


def test_there_is_nothing_to_export_where_no_log_is(tmp_path: Path) -> None:
    assert export(str(tmp_path), BytesIO(), progress=quiet) is None
    assert list(tmp_path.iterdir()) == []
