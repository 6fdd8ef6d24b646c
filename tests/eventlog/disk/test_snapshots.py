"""A view made anew starts from its snapshot and ends where the log does, to the same digest; a bad one is passed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eventlog.disk import snapshots
from eventlog.disk.compact import write_state
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import Log, open_log
from eventlog.disk.views import open_views
from eventlog.errors import Corrupt
from eventlog.record import Record
from eventlog.retention import State
from eventlog.snapshot import Name
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock

NAMES = ["words"]


class CountingView(WordsView):
    """Words, and how many records were folded for them."""

    folded = 0

    def fold(self, record: Record) -> None:
        CountingView.folded += 1
        super().fold(record)


async def grown(data: Path, count: int, origin: str = "log.example") -> None:
    async with running(open_log(data, FakeClock(), origin=origin)) as log:
        for first in range(0, count, 10):
            await log.append_many([said(bytes([97 + n % 5])) for n in range(first, first + 10)])


@contextmanager
def words(log: Log, data: Path, kind: type[WordsView] = WordsView) -> Iterator[WordsView]:
    view = open_views(log, data / "views", [kind], log_directory=data / "log")["words"]
    assert isinstance(view, WordsView)
    with closing(view.db):
        yield view


def take(log: Log, data: Path) -> list[Name]:
    return snapshots.take(str(data / "log"), str(data / "views"), NAMES, origin=log.origin)


def opened(data: Path) -> Log:
    return open_log(data, FakeClock())


def forget(data: Path) -> None:
    for path in (data / "views").iterdir():
        path.unlink()


async def sealed(data: Path, count: int = 50) -> None:
    """Grow the log, seal its view, and take a snapshot of it."""
    await grown(data, count)
    with opened(data) as log:
        with words(log, data):
            pass
        take(log, data)


async def test_a_deleted_view_starts_from_its_snapshot_and_folds_the_rest(tmp_path: Path) -> None:
    await sealed(tmp_path)
    await grown(tmp_path, 20)
    with opened(tmp_path) as log, words(log, tmp_path) as view:
        digest = view.digest()
    forget(tmp_path)
    CountingView.folded = 0
    with opened(tmp_path) as log, words(log, tmp_path, CountingView) as view:
        assert (view.position, view.digest(), CountingView.folded) == (70, digest, 20)


async def test_a_snapshot_is_taken_beside_the_one_who_folds_as_of_the_last_seal(tmp_path: Path) -> None:
    await grown(tmp_path, 50)
    with opened(tmp_path) as log, words(log, tmp_path) as view:
        view.apply([Record(50, 1, 1, "word.said", b"", b"", b"unsealed")], 51)
        assert take(log, tmp_path) == [Name("words", 50)]
        assert take(log, tmp_path) == []
        view.db.execute("ROLLBACK")
    with closing(sqlite3.connect(tmp_path / "log" / "snap" / str(Name("words", 50)))) as db:
        assert db.execute("SELECT COUNT(*) FROM words").fetchone() == (5,)


async def test_what_was_deleted_from_a_view_is_in_no_snapshot(tmp_path: Path) -> None:
    await grown(tmp_path, 50)
    with opened(tmp_path) as log, words(log, tmp_path) as view:
        view.db.execute("INSERT INTO words VALUES (?, 1, 1)", (b"the secret word",))
        view.db.execute("DELETE FROM words WHERE word = ?", (b"the secret word",))
        take(log, tmp_path)
    (path,) = (tmp_path / "log" / "snap").iterdir()
    assert b"the secret word" not in path.read_bytes()


async def test_the_newest_two_stay(tmp_path: Path) -> None:
    for _ in range(4):
        await sealed(tmp_path, 10)
    assert sorted(snapshots.names(str(tmp_path / "log"))) == [str(Name("words", at)) for at in (30, 40)]
    assert snapshots.reach(str(tmp_path / "log"), NAMES) == 40


@pytest.mark.parametrize("damage", ["nonsense", "other root", "other log", "flip", "empty"])
async def test_one_that_does_not_fit_is_passed_over(tmp_path: Path, damage: str) -> None:
    await sealed(tmp_path)
    await sealed(tmp_path, 20)
    newest = tmp_path / "log" / "snap" / str(Name("words", 70))
    if damage.startswith("other"):
        with closing(sqlite3.connect(newest)) as db:
            db.execute(
                "UPDATE bookmark SET root = x'00'" if damage == "other root" else "UPDATE bookmark SET origin = ''"
            )
            db.commit()
    else:
        content = bytearray(newest.read_bytes())
        content[4096:4196] = bytes(100)
        newest.write_bytes({"nonsense": b"nonsense", "flip": bytes(content), "empty": b""}[damage])
    with opened(tmp_path) as log, words(log, tmp_path) as view:
        digest = view.digest()
    forget(tmp_path)
    CountingView.folded = 0
    with opened(tmp_path) as log, words(log, tmp_path, CountingView) as view:
        assert (view.position, view.digest(), CountingView.folded) == (70, digest, 20)


async def test_where_retention_took_what_a_view_needs_only_a_snapshot_will_do(tmp_path: Path) -> None:
    await sealed(tmp_path)
    write_state(RealDisk(), str(tmp_path / "log"), State(0, {"word.said": 40}))
    forget(tmp_path)
    with opened(tmp_path) as log:
        with words(log, tmp_path) as view:
            assert view.position == 50
        write_state(RealDisk(), str(tmp_path / "log"), State(0, {"word.other": 60}))
        with words(log, tmp_path):
            pass  # another view's kind
        write_state(RealDisk(), str(tmp_path / "log"), State(0, {"word.said": 51}))
        with pytest.raises(Corrupt, match="retention took records before 51 that the view needs"), words(log, tmp_path):
            pass


async def test_nothing_to_take_is_nothing_taken(tmp_path: Path) -> None:
    await grown(tmp_path, 10)
    with opened(tmp_path) as log:
        assert take(log, tmp_path) == []
        (tmp_path / "views").mkdir()
        sqlite3.connect(tmp_path / "views" / "words.db").close()
        assert take(log, tmp_path) == []
        (tmp_path / "log" / "snap" / "words.tmp").write_bytes(b"half")
        assert take(log, tmp_path) == []
        assert snapshots.names(str(tmp_path / "log")) == []
