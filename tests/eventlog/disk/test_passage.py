"""A pass over one segment says where the tree stands at any size, and what its index is worth."""

import os
from pathlib import Path

import pytest

from eventlog import index as indexes
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import open_log
from eventlog.disk.passage import Passage, Task, verify_segment
from eventlog.disk.store import read_origin
from eventlog.index import FrameIndex
from eventlog.merkle import Tree
from eventlog.record import encode
from tests.eventlog.logs import draft, running
from tests.fakes import FakeClock


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """Two segments of two frames of ten records."""
    async with running(open_log(tmp_path, FakeClock(), segment_bytes_max=2600)) as log:
        for first in range(0, 40, 10):
            await log.append_many([draft(n) for n in range(first, first + 10)])
    return tmp_path


def walk(data: Path, first_seq: int = 0, *, tree: bool = True, watched: tuple[int, ...] = ()) -> Passage:
    origin = read_origin(RealDisk(), str(data))
    assert origin is not None
    last = first_seq == 20
    task = Task(str(data / "log"), first_seq, origin.name, origin.salt, tree, 0, watched, last=last)
    return verify_segment(task)


async def test_the_root_at_any_size_is_told_also_within_a_frame(data: Path) -> None:
    leaves = encode([draft(n) for n in range(40)]).leaves

    def root(size: int) -> bytes:
        tree = Tree()
        tree.extend(leaves[:size])
        return tree.root()

    wanted = (0, 1, 5, 9, 10, 11, 19, 20, 33)
    assert walk(data, watched=wanted).roots == {size: root(size) for size in wanted if size <= 20}
    assert walk(data, 20, watched=wanted).roots == {size: root(size) for size in wanted if size >= 20}
    assert walk(data, tree=False, watched=wanted).roots == {size: root(size) for size in (0, 10, 20)}


async def test_an_index_is_held_against_the_frames(data: Path) -> None:
    path = data / "log" / "00000000000000000000.idx"
    good = path.read_bytes()
    assert (walk(data).findings, walk(data).notes) == ((), ())
    path.write_bytes(good[:-1] + b"!")
    assert "rebuilt by whoever reads it" in walk(data).notes[0].what
    assert walk(data).findings == ()
    head = indexes.decode(good, 0)
    forged = FrameIndex(head.find(0).offset, 0)
    forged.add(0, 9, 700)
    forged.add(9, 11, head.end_bytes - forged.end_bytes)
    path.write_bytes(indexes.encode(forged))
    found = walk(data).findings
    assert [(one.path, one.what.split(";")[0]) for one in found] == [
        (str(path), "the index leads to other places than the frames are at")
    ]
    path.unlink()
    assert (walk(data).findings, walk(data).notes) == ((), ())


async def test_a_segment_that_is_replaced_under_the_pass_is_walked_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data / "log" / "00000000000000000000.evl"
    content = path.read_bytes()
    replaced = []

    def replace_once(*arguments: object) -> bytes | None:
        if not replaced:
            replaced.append(path)
            path.with_suffix(".new").write_bytes(content)
            os.replace(path.with_suffix(".new"), path)
        return None

    monkeypatch.setattr("eventlog.disk.passage.read_whole", replace_once)
    passage = walk(data)
    assert passage.identity is not None
    assert passage.identity.inode == path.stat().st_ino
    assert passage.end_seq == 20
