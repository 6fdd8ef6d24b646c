"""A view whose rows are not what the log says is named, wherever its server stands; one that is whole is not."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest

from eventlog.chronicle import Below, Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.disk import snapshots
from eventlog.disk.compact import write_state
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import Log, open_log
from eventlog.disk.segments import Segments
from eventlog.disk.viewcheck import Checked, check_views
from eventlog.disk.views import connect, open_views
from eventlog.errors import Absent
from eventlog.retention import State
from eventlog.view import TableView
from tests.eventlog.logs import NOW_NS, running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock


class SecondView(WordsView):
    """The same words, in a file of their own."""

    name = "second"


class LaterView(WordsView):
    """As a later release has it."""

    version = 2


@asynccontextmanager
async def grown(data: Path, count: int = 300) -> AsyncIterator[tuple[Log, list[TableView]]]:
    """Grow a log and catch its views up; they are closed at the end."""
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(running(open_log(data, FakeClock(), origin="log.example")))
        await log.append_many([said(bytes([97 + n % 7])) for n in range(count)])
        views = open_views(log, data / "views", [WordsView, SecondView], log_directory=data / "log")
        for view in views.values():
            stack.callback(view.db.close)
        yield log, list(views.values())


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with grown(tmp_path / "data"):
        pass
    return tmp_path / "data"


def checked(data: Path, *classes: type[TableView]) -> Checked:
    room = data.parent / "room"
    room.mkdir()
    try:
        with closing(Segments.found(RealDisk(), str(data / "log"))) as segments:
            found = classes or (WordsView, SecondView)
            return check_views(
                segments, str(data / "views"), found, origin="log.example", judge=lambda _: None, room=str(room)
            )
    finally:
        shutil.rmtree(room)


def edit(data: Path, statement: str, name: str = "words") -> Path:
    path = data / "views" / f"{name}.db"
    with closing(connect(str(path))) as db:
        db.execute(statement)
    return path


def times(data: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in data.rglob("*")}


async def test_views_as_their_server_left_them_are_whole_and_nothing_is_written(data: Path) -> None:
    before = times(data)
    assert checked(data) == Checked(("words", "second"), (), ())
    assert times(data) == before


async def test_a_flipped_bit_in_a_row_is_found_and_the_view_named(data: Path) -> None:
    path = edit(data, "UPDATE words SET times = (times | 4) - (times & 4) WHERE word = (SELECT min(word) FROM words)")
    found = checked(data)
    assert (found.whole, [one.path for one in found.findings]) == (("second",), [str(path)])
    assert "rows are not what the first 300 records add up to" in found.findings[0].what
    assert "delete the file" in found.findings[0].what


async def test_a_page_that_is_none_any_more_is_found(data: Path) -> None:
    path = data / "views" / "words.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"?" * (len(content) - 4096)
    path.write_bytes(content)
    assert [one.path for one in checked(data).findings] == [str(path)]


async def test_a_running_servers_views_are_read_as_they_were_sealed_last(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with grown(data) as (log, views):
        first = await log.append_many([said(b"new")] * 10)
        await log.durable(first + 10)
        views[0].apply([record for piece in log.read(first) for record in piece], first + 10)
        assert checked(data).whole == ("words", "second")
        views[0].commit(log.origin, log.root)
        assert checked(data).whole == ("words", "second")


async def test_what_a_crash_left_is_read_too(tmp_path: Path) -> None:
    data, left = tmp_path / "data", tmp_path / "left"
    async with grown(data):
        shutil.copytree(data, left, ignore=shutil.ignore_patterns("*-shm"))
    assert (left / "views" / "words.db-wal").stat().st_size
    before = sorted(path.name for path in (left / "views").iterdir())
    assert checked(left).whole == ("words", "second")
    assert sorted(path.name for path in (left / "views").iterdir()) == before


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE bookmark SET root = x'00'", "does not stand at a point of this log"),
        ("UPDATE bookmark SET origin = 'another.example'", "does not stand at a point of this log"),
        ("UPDATE bookmark SET position = 10000", "does not stand at a point of this log"),
    ],
)
async def test_a_bookmark_of_no_point_of_this_log_is_named(data: Path, statement: str, what: str) -> None:
    edit(data, statement)
    assert [what in one.what for one in checked(data).findings] == [True]


async def test_a_view_that_a_start_makes_anew_is_no_damage(data: Path) -> None:
    (data / "views" / "second.db").unlink()
    found = checked(data, LaterView, SecondView)
    assert (found.whole, found.findings) == ((), ())
    assert [("of another release" in one.what, "not there" in one.what) for one in found.notes] == [
        (True, False),
        (False, True),
    ]


async def test_where_retention_took_records_the_fold_begins_with_a_snapshot(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with grown(data) as (log, _):
        snapshots.take(str(data / "log"), str(data / "views"), ["words"], origin=log.origin)
        write_state(RealDisk(), str(data / "log"), State(0, {"word.said": 200}))
        await log.append_many([entry_draft(Retained(0, (Below("word.said", 200),)), NOW_NS), said(b"last")])
    async with grown(data, 1):
        pass
    found = checked(data)
    assert (found.whole, found.findings) == (("words",), ())
    assert "no snapshot is at hand" in found.notes[0].what
    edit(data, "UPDATE words SET times = 0")
    assert len(checked(data).findings) == 1


async def test_segments_that_were_rewritten_meanwhile_convict_nobody(data: Path) -> None:
    edit(data, "UPDATE words SET times = 0")
    path = next((data / "log").glob("*.evl"))

    def rewriting(_: object) -> None:
        shutil.copy(path, path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)

    with closing(Segments.found(RealDisk(), str(data / "log"))) as segments, pytest.raises(Absent, match="start again"):
        check_views(
            segments,
            str(data / "views"),
            [WordsView],
            origin="log.example",
            judge=rewriting,
            room=str(data.parent),
        )


async def test_a_record_that_this_release_does_not_know_stops_the_check(data: Path) -> None:
    """As it stops every replay: what it would have changed is not known."""

    def refuse(_: object) -> None:
        raise ValueError("unknown")

    with closing(Segments.found(RealDisk(), str(data / "log"))) as segments, pytest.raises(ValueError, match="unknown"):
        check_views(
            segments,
            str(data / "views"),
            [WordsView],
            origin="log.example",
            judge=refuse,
            room=str(data.parent),
        )
