"""Tiles are what the records give, also where retention took the records."""

import shutil
from pathlib import Path

import pytest

from eventlog.chronicle import Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.disk.compact import write_state
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import open_log
from eventlog.disk.tilecheck import Tiled, has_tiles, root_of
from eventlog.errors import Corrupt
from eventlog.merkle import EMPTY_ROOT, Tree
from eventlog.record import encode
from eventlog.retention import State
from tests.eventlog.logs import NOW_NS, draft, running
from tests.eventlog.tampering import audit, checkpoint_of, files
from tests.fakes import FakeClock

COUNT = 700


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Seven segments of 100 records: tiles of two levels, full ones among them; the first four may go."""
    async with running(open_log(tmp_path, FakeClock(), segment_bytes_max=12_000)) as log:
        for first in range(0, COUNT, 100):
            await log.append_many([draft(n) for n in range(first, first + 100)])
        write_state(log.store.disk, str(tmp_path / "log"), State(400))
        await log.append_many([entry_draft(Retained(400, ()), NOW_NS)])
    return tmp_path


def tree(size: int) -> Tree:
    made = Tree()
    made.extend(encode([draft(n) for n in range(size)]).leaves)
    return made


async def test_the_frontier_at_any_size_comes_from_tiles_alone(data: Path) -> None:
    tiled = Tiled(RealDisk(), str(data / "log"), COUNT + 1)
    for size in (0, 1, 2, 255, 256, 257, 300, 511, 512, 513, 699, 700):
        assert tiled.frontier(size) == tree(size).frontier(), size
        assert root_of(tiled.frontier(size)) == tree(size).root()
    assert root_of(()) == EMPTY_ROOT


async def test_every_tile_is_held_against_the_records(data: Path) -> None:
    assert len(files(data)) >= 7
    assert audit(data).findings == ()
    for path in sorted((data / "log" / "tile").rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            for at in (0, len(content) - 1):
                path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
                assert str(path) in [finding.path for finding in audit(data).findings], (path, at)
            path.write_bytes(content)
    assert audit(data, jobs=2).findings == ()


async def test_tiles_stand_for_removed_records_and_prove_a_checkpoint_over_them(data: Path) -> None:
    for path in files(data)[:4]:
        path.unlink()
        path.with_suffix(".idx").unlink()
    log = data / "log"
    kept = checkpoint_of(data)
    report = audit(data)
    assert (report.findings, report.first_seq) == ((), 400)
    old = type(kept)(kept.origin, 300, tree(300).root())
    assert audit(data, kept=old).findings == ()
    forged = type(kept)(kept.origin, 300, tree(301).root())
    assert "the first 300 records are not those" in audit(data, kept=forged).findings[0].what
    first = log / "tile" / "0" / "000"
    content = first.read_bytes()
    first.write_bytes(content[:40] + b"!" + content[41:])
    assert [one.path for one in audit(data).findings] == [str(first)]
    first.unlink()
    assert "stands for removed records is missing" in audit(data).findings[0].what
    with pytest.raises(Corrupt, match="put it back"):
        Tiled(RealDisk(), str(log), COUNT + 1).frontier(100)


async def test_a_log_of_the_first_release_has_no_tiles_and_none_are_missed(data: Path) -> None:
    shutil.rmtree(data / "log" / "tile")
    assert not has_tiles(RealDisk(), str(data / "log"))
    assert audit(data).findings == ()
