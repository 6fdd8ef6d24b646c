"""The tamper matrix: whatever was done to a log's files is found, and named by file and what is wrong with it.

First the table: what somebody can do who owns the disk, and, further down, who owns the key too. Then the flips: ten
thousand single bits over all files of a log, of which none goes unnoticed and none makes the audit stumble.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from zlib import crc32

import pytest

from eventlog import index as indexes
from eventlog import origin as origins
from eventlog.checkpoint import Checkpoint
from eventlog.chronicle import Below, Erased, Range, Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.disk import snapshots
from eventlog.disk.compact import write_state
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import Log, open_log
from eventlog.disk.passage import Passage, Task, verify_segment
from eventlog.disk.views import open_views
from eventlog.errors import Corrupt
from eventlog.index import FrameIndex
from eventlog.origin import Origin
from eventlog.retention import State
from tests.eventlog.logs import NOW_NS, draft, running
from tests.eventlog.tampering import (
    Change,
    audit,
    checkpoint_of,
    files,
    forge,
    nulled,
    origin_of,
    payload_alone,
    replaced,
    sign_anew,
    signed_by_another,
    starts,
    swapped,
)
from tests.eventlog.words import WordsView
from tests.fakes import FakeClock


@pytest.mark.parametrize("which", [1, 4])
@pytest.mark.parametrize(
    ("change", "fix_root", "what"),
    [
        (replaced, False, "root after seq"),
        (replaced, True, "the frontier is not where|not those that the checkpoint signed"),
        (swapped, False, "root after seq"),
        (swapped, True, "the frontier is not where|not those that the checkpoint signed"),
        (payload_alone, True, "does not match its commitment"),
        (nulled, True, "has no payload, and no record says that it was erased"),
    ],
)
async def test_a_forged_record_with_every_crc_right_is_named(
    data: Path, which: int, change: Change, fix_root: bool, what: str
) -> None:
    path = files(data)[which]
    path.write_bytes(forge(path.read_bytes(), change, fix_root=fix_root))
    findings = audit(data).findings
    assert findings
    assert any(part in findings[0].what for part in what.split("|"))
    assert findings[0].path in {str(path), str(files(data)[min(which + 1, 4)]), str(data / "log" / "checkpoint")}
    shallow = audit(
        data, "crc"
    ).findings  # why the deeper level exists: there only the last root is held to its signature
    assert not shallow or "not those that the checkpoint signed" in shallow[0].what


def cut_at_a_frames_end(data: Path) -> Path:
    path = files(data)[-1]
    content = path.read_bytes()
    path.write_bytes(content[: starts(content)[1]])
    return data / "log" / "checkpoint"


def cut_in_the_middle(data: Path) -> Path:
    path = files(data)[2]
    content = path.read_bytes()
    path.write_bytes(content[: starts(content)[1]])
    return path


def without_a_segment(data: Path) -> Path:
    files(data)[2].unlink()
    return files(data)[1]


def without_the_first(data: Path) -> Path:
    files(data)[0].unlink()
    return data / "log"


def one_in_the_place_of_another(data: Path) -> Path:
    shutil.copy(files(data)[0], files(data)[1])
    return files(data)[1]


def another_logs_segment(data: Path) -> Path:
    path = files(data)[1]
    name = origin_of(data).name.encode()
    content = path.read_bytes()
    made = content.replace(name, name[:-1] + b"!")
    end = 4 + int.from_bytes(content[2:4], "big")
    path.write_bytes(made[: end + 1] + crc32(made[4:end]).to_bytes(4, "big") + made[end + 5 :])
    return path


def another_origin(data: Path) -> Path:
    origin = origin_of(data)
    changed = Origin(origin.name, origin.created_ns, origin.public_key, origin.salt ^ 1)
    (data / "log" / "origin.cbor").write_bytes(origins.encode(changed))
    return files(data)[0]


def no_origin(data: Path) -> Path:
    (data / "log" / "origin.cbor").unlink()
    return data / "log" / "origin.cbor"


def another_key(data: Path) -> Path:
    origin = origin_of(data)
    changed = Origin(origin.name, origin.created_ns, bytes(32), origin.salt)
    (data / "log" / "origin.cbor").write_bytes(origins.encode(changed))
    return data / "log" / "checkpoint"


def an_index_that_leads_astray(data: Path) -> Path:
    path = files(data)[0].with_suffix(".idx")
    good = indexes.decode(path.read_bytes(), 0)
    forged = FrameIndex(good.find(0).offset, 0)
    forged.add(0, 9, 700)
    forged.add(9, 11, good.end_bytes - forged.end_bytes)
    path.write_bytes(indexes.encode(forged))
    return path


def a_false_tile(data: Path) -> Path:
    path = data / "log" / "tile" / "0" / "000.p" / "100"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])
    return path


def no_tile(data: Path) -> Path:
    path = data / "log" / "tile" / "0" / "000.p" / "100"
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("tamper", "what"),
    [
        (cut_at_a_frames_end, "the checkpoint vouches for 100 records, 90 are there"),
        (cut_in_the_middle, "the segment ends with seq 50, the next begins with 60"),
        (without_a_segment, "the segment ends with seq 40, the next begins with 60"),
        (without_the_first, "the records before 20 are gone, and no record says that they were removed"),
        (one_in_the_place_of_another, "the segment says it begins with seq 0"),
        (another_logs_segment, "the segment is of another log"),
        (another_origin, "or the log's origin file was changed"),
        (no_origin, "there are segments but no origin"),
        (another_key, "not signed by this log's key"),
        (a_false_tile, "the tile is not what the records give"),
        (no_tile, "a tile of the signed tree is missing or short"),
        (an_index_that_leads_astray, "the index leads to other places than the frames are at"),
    ],
)
async def test_files_cut_removed_or_exchanged_are_named(data: Path, tamper: Callable[[Path], Path], what: str) -> None:
    path = tamper(data)
    finding = audit(data).findings[0]
    assert what in finding.what
    assert finding.path == str(path)


async def test_whoever_owns_the_key_too_is_found_out_by_a_checkpoint_kept_elsewhere(data: Path) -> None:
    kept = checkpoint_of(data)
    shutil.copytree(data, data.parent / "old")
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([draft(n) for n in range(100, 110)])
    longer = checkpoint_of(data)
    old = data.parent / "old"
    assert audit(data, kept=kept).findings == ()  # it only grew
    assert audit(old).findings == ()
    finding = audit(old, kept=longer).findings[0]
    assert finding.what == "the log was rolled back: the checkpoint vouches for 110 records, 100 are there"
    path = files(old)[-1]
    path.write_bytes(forge(path.read_bytes(), replaced))
    sign_anew(old, 100, audit(old).root)
    shutil.rmtree(old / "log" / "tile")
    (old / "log" / "tiled").unlink()
    with open_log(old, FakeClock()):
        pass  # makes the tiles anew
    assert audit(old).findings == ()  # by itself it is whole
    finding = audit(old, kept=kept).findings[0]
    assert finding.path == "kept"
    assert "the first 100 records are not those that this checkpoint signed: the log was forked" in finding.what


async def test_a_kept_checkpoint_over_part_of_a_frame_is_held_against_the_log(data: Path) -> None:
    """Its maker cut frames otherwise; the tree does not know frames."""
    good = audit(data, kept=Checkpoint("any", 35, bytes(32)))
    assert "the first 35 records are not those" in good.findings[0].what


async def test_bytes_behind_the_last_frame_are_told(data: Path) -> None:
    path = files(data)[-1]
    content = path.read_bytes()
    path.write_bytes(content + content[starts(content)[1] :][:50])
    report = audit(data)
    assert (report.findings, report.records, report.torn_bytes) == ((), 100, 50)
    path.write_bytes(content + content[starts(content)[1] :])  # a whole frame that does not belong there is damage
    assert "a frame begins with seq 90, not 100" in audit(data).findings[0].what


# -- what may be missing --------------------------------------------------------------------------------------------


async def told(data: Path, *entries: Erased | Retained) -> None:
    """Let the log say of itself what it left out."""
    async with running(open_log(data, FakeClock(), segment_bytes_max=2600)) as log:
        for entry in entries:
            if isinstance(entry, Retained):
                below = {one.kind: one.seq for one in entry.below}
                write_state(log.store.disk, str(data / "log"), State(entry.first_seq, below))
        await log.append_many([entry_draft(entry, NOW_NS) for entry in entries])


@pytest.mark.parametrize(
    ("entry", "excused"),
    [
        (Erased("operator", "asked", "user", 1, (Range(30, 31),)), True),
        (Erased("operator", "asked", "user", 9, (Range(2, 9), Range(29, 31))), True),
        (Erased("operator", "asked", "user", 1, (Range(31, 40),)), False),
        (Erased("operator", "asked", "user", 1, (Range(0, 30),)), False),
        (Retained(0, (Below("thing.happened", 31),)), True),
        (Retained(0, (Below("thing.happened", 30),)), False),
        (Retained(0, (Below("another.thing", 99),)), False),
    ],
)
async def test_a_payload_is_missed_unless_a_later_record_names_it(
    data: Path, entry: Erased | Retained, excused: bool
) -> None:
    path = files(data)[1]
    path.write_bytes(forge(path.read_bytes(), nulled))
    path.with_suffix(".idx").unlink()
    finding = audit(data).findings[0]
    assert (finding.path, finding.offset) == (str(path), starts(path.read_bytes())[1])
    assert finding.what.startswith("record 30 (thing.happened) has no payload")
    await told(data, entry)
    report = audit(data)
    assert (report.findings == (), report.erased) == (excused, 1)


@pytest.mark.parametrize(("first_seq", "whole"), [(39, False), (40, True), (60, True)])
async def test_a_log_begins_where_retention_says_and_no_later(data: Path, first_seq: int, whole: bool) -> None:
    await told(data, Retained(first_seq, ()))
    assert audit(data).findings == ()  # said before it is done, so a crash between is no damage
    for path in files(data)[:2]:
        path.unlink()
    report = audit(data)
    assert (report.findings == (), report.first_seq, report.records) == (whole, 40, 61)


async def test_a_log_without_its_beginning_still_proves_its_root(data: Path) -> None:
    await told(data, Retained(40, ()))
    for path in files(data)[:2]:
        path.unlink()
    content = bytearray(files(data)[0].read_bytes())
    end = 4 + int.from_bytes(content[2:4], "big")
    content[end - 1] ^= 1  # the frontier's last hash, with the head's CRC right
    content[end + 1 : end + 5] = crc32(content[4:end]).to_bytes(4, "big")
    files(data)[0].write_bytes(content)
    assert "the tree's root after seq 50 is not what the frame says" in audit(data).findings[0].what


# -- what stands beside the segments -----------------------------------------------------------------------------------


@pytest.fixture
async def beside(data: Path) -> Path:
    """The same log with a snapshot of a view, a cosigned checkpoint, and retention that took its first segment."""
    async with running(open_log(data, FakeClock(), segment_bytes_max=2600)) as log:
        view = open_views(log, data / "views", [WordsView], log_directory=data / "log")["words"]
        view.db.close()
        snapshots.take(str(data / "log"), str(data / "views"), ["words"], origin=log.origin)
        log.store.keep_cosigned(log.store.note)
    await told(data, Retained(20, (Below("thing.happened", 40),)))
    (data / "log" / f"{0:020d}.evl").unlink()
    return data


def edit_snapshot(data: Path, statement: str, *values: object) -> Path:
    path = next((data / "log" / "snap").iterdir())
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)
    return path


def a_snapshot_of_other_records(data: Path) -> Path:
    return edit_snapshot(data, "UPDATE bookmark SET root = ?", bytes(32))


def a_snapshot_of_another_log(data: Path) -> Path:
    return edit_snapshot(data, "UPDATE bookmark SET origin = 'another.example'")


def a_snapshot_under_another_name(data: Path) -> Path:
    path = next((data / "log" / "snap").iterdir())
    return path.rename(path.with_name(f"words-{60:020d}.db"))


def a_snapshot_ahead_of_the_log(data: Path) -> Path:
    path = edit_snapshot(data, "UPDATE bookmark SET position = 200")
    return path.rename(path.with_name(f"words-{200:020d}.db"))


def a_snapshot_cut_off(data: Path) -> Path:
    path = next((data / "log" / "snap").iterdir())
    path.write_bytes(path.read_bytes()[:5000])
    return path


def a_snapshot_that_is_none(data: Path) -> Path:
    path = next((data / "log" / "snap").iterdir())
    path.write_bytes(b"?" * 5000)
    return path


def cosigned_by_another_key(data: Path) -> Path:
    path = data / "log" / "cosigned"
    path.write_bytes(signed_by_another(data, 100, audit(data).root))
    return path


def cosigned_for_a_longer_log(data: Path) -> Path:
    return cosigned(data, 102, bytes(32))


def cosigned_for_other_records(data: Path) -> Path:
    return cosigned(data, 30, bytes(32))


def cosigned(data: Path, size: int, root: bytes) -> Path:
    own = (data / "log" / "checkpoint").read_bytes()
    sign_anew(data, size, root)
    path = (data / "log" / "checkpoint").rename(data / "log" / "cosigned")
    (data / "log" / "checkpoint").write_bytes(own)
    return path


def retention_says(data: Path, state: State) -> Path:
    write_state(RealDisk(), str(data / "log"), state)
    return data / "log" / "retention"


def retention_took_more(data: Path) -> Path:
    return retention_says(data, State(20, {"thing.happened": 60}))


def retention_took_another_kind(data: Path) -> Path:
    return retention_says(data, State(20, {"thing.happened": 40, "another.thing": 40}))


def retention_rolled_back(data: Path) -> Path:
    return retention_says(data, State(20))


def retention_forgotten(data: Path) -> Path:
    (data / "log" / "retention").unlink()
    return data / "log" / "retention"


def retention_damaged(data: Path) -> Path:
    path = data / "log" / "retention"
    path.write_bytes(path.read_bytes()[:-1])
    return path


@pytest.mark.parametrize(
    ("tamper", "what"),
    [
        (a_snapshot_of_other_records, "after 100 of them the log has another root"),
        (a_snapshot_of_another_log, "the snapshot is not of this log"),
        (a_snapshot_under_another_name, "or not of the records that its name says"),
        (a_snapshot_ahead_of_the_log, "the snapshot holds 200 records, 101 are there"),
        (a_snapshot_cut_off, "the snapshot is damaged|the snapshot cannot be read"),
        (a_snapshot_that_is_none, "the snapshot cannot be read"),
        (cosigned_by_another_key, "not signed by this log's key"),
        (cosigned_for_a_longer_log, "rolled back: witnesses cosigned 102 records, 101 are there"),
        (cosigned_for_other_records, "the first 30 records are not those that witnesses cosigned"),
        (retention_took_more, "more was removed than any record of the log does"),
        (retention_took_another_kind, "more was removed than any record of the log does"),
        (retention_rolled_back, "what retention removed is older than the log's records"),
        (retention_forgotten, "what retention removed is missing"),
        (retention_damaged, "put it back from a copy"),
    ],
)
async def test_what_stands_beside_the_segments_is_held_against_them(
    beside: Path, tamper: Callable[[Path], Path], what: str
) -> None:
    assert audit(beside).findings == ()
    path = tamper(beside)
    findings = audit(beside).findings
    assert [finding.path for finding in findings] == [str(path)]
    assert any(part in findings[0].what for part in what.split("|"))


async def test_retention_that_is_not_done_may_say_more_than_the_records(beside: Path) -> None:
    """The file is written before the records: a crash came between."""
    retention_says(beside, State(40, {"thing.happened": 40}, done=False))
    assert audit(beside).findings == ()


# -- ten thousand flips -----------------------------------------------------------------------------------------------

FLIPS = 10_000


@pytest.fixture
async def small(tmp_path: Path) -> Path:
    """Three segments of two frames of two records, one of them erased, so that an audit is short."""
    data = tmp_path / "small"
    async with running(open_log(data, FakeClock(), segment_bytes_max=800)) as log:
        for first in range(0, 8, 2):
            await log.append_many([draft(n) for n in range(first, first + 2)])
        await log.append_many([entry_draft(Erased("operator", "asked", "user", 1, (Range(2, 3),)), NOW_NS), draft(9)])
    path = files(data)[0]
    path.write_bytes(forge(path.read_bytes(), nulled))
    path.with_suffix(".idx").unlink()
    async with running(open_log(data, FakeClock(), segment_bytes_max=800)) as log:
        await log.append_many([draft(10)])
    return data


async def test_of_ten_thousand_flipped_bits_none_goes_unnoticed(small: Path) -> None:
    paths = [path for path in (small / "log").rglob("*") if path.is_file() and path.suffix != ".idx"]
    paths.remove(small / "log" / "tiled")  # derived: see below
    assert len(files(small)) >= 3
    whole = audit(small)
    assert (whole.findings, whole.notes, whole.torn_bytes, whole.erased) == ((), (), 0, 1)
    dice = random.Random(20_261_122)
    contents = {path: path.read_bytes() for path in paths}
    bits = [(path, bit) for path, content in contents.items() for bit in range(8 * len(content))]
    for number, (path, bit) in enumerate(dice.choices(bits, k=FLIPS)):
        put(path, bit // 8, flipped(contents[path], bit)[bit // 8])
        # The whole audit is its passes and what ties them together: where the pass over the changed file finds it, so
        # does the whole, and most flips may be tried at a tenth of the time.
        findings = pass_over(small, path).findings if path.suffix == ".evl" and number % 10 else ()
        findings = findings or audit(small).findings
        assert findings, (path.name, bit)
        assert findings[0].what
        put(path, bit // 8, contents[path][bit // 8])
    assert audit(small) == whole


def put(path: Path, at: int, byte: int) -> None:
    """Change one byte in place: a file that is truncated and written anew may be flushed to the disk each time."""
    with path.open("r+b", buffering=0) as file:
        file.seek(at)
        file.write(bytes([byte]))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def pass_over(data: Path, path: Path) -> Passage:
    origin, size = origin_of(data), checkpoint_of(data).size
    last = path == files(data)[-1]
    return verify_segment(
        Task(str(data / "log"), int(path.stem), origin.name, origin.salt, True, size, (size,), last=last)
    )


async def test_a_flip_in_the_mark_of_the_tiles_changes_no_answer(small: Path) -> None:
    """The mark says where making tiles goes on; wherever that is, what they give is held against the log's root."""
    path = small / "log" / "tiled"
    content, whole = path.read_bytes(), audit(small)
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        with open_log(small, FakeClock()) as log:
            assert log.root == whole.root
        assert audit(small).findings == ()


async def test_a_flip_in_an_index_is_told_and_changes_no_answer(small: Path) -> None:
    """An index is derived: whoever finds it is not its segment's reads the segment instead."""
    path = next((small / "log").glob("*.idx"))
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 7):
        path.write_bytes(flipped(content, bit))
        report = audit(small)
        assert report.findings == ()
        assert [note.path for note in report.notes] == [str(path)], bit
    with open_log(small, FakeClock()) as log:
        assert everything(log) == [draft(n).payload for n in (0, 1)] + [None] + [
            draft(n).payload for n in range(3, 8)
        ] + [
            log.record(8).payload,
            draft(9).payload,
            draft(10).payload,
        ]


def everything(log: Log) -> list[bytes | None]:
    return [log.record(seq).payload for seq in range(log.durable_size)]


async def test_a_flip_in_the_key_lets_no_other_key_sign(small: Path) -> None:
    """The key is no part of what an audit reads; a log does not open with another one."""
    path = small / "keys" / "log.pem"
    content = path.read_bytes()
    root = audit(small).root
    refused = 0
    for bit in range(0, 8 * len(content), 23):
        path.write_bytes(flipped(content, bit))
        try:
            with open_log(small, FakeClock()) as log:
                assert log.root == root
        except Corrupt as flaw:
            assert flaw.path == str(path)  # noqa: PT017 - a flip may be read over, as one in the last line's end
            refused += 1
    assert refused > 0.9 * len(range(0, 8 * len(content), 23))
