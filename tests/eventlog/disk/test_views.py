"""View files follow the log or are made anew: deleting, damaging or exchanging them is always safe."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from eventlog.disk.log import Log, open_log
from eventlog.disk.views import open_views
from eventlog.record import Record
from gateway.serve.ledger import Ledger
from tests.eventlog.logs import open_sim, running
from tests.eventlog.words import WordsView, oracle, said
from tests.fakes import FakeClock
from tests.sim.disk import SimDisk

WORDS = [said(bytes([97 + n % 5])) for n in range(100)]


@contextmanager
def words(log: Log, directory: Path, kind: type[WordsView] = WordsView) -> Iterator[WordsView]:
    view = open_views(log, directory, [kind])["words"]
    assert isinstance(view, WordsView)
    yield view
    view.db.close()


def records(log: Log) -> list[Record]:
    return [record for piece in log.read(0) for record in piece]


async def fill(tmp_path: Path, name: str = "data") -> Path:
    async with running(open_log(tmp_path / name, FakeClock(), origin=name)) as log:
        for first in range(0, 100, 10):
            await log.append_many(WORDS[first : first + 10])
    return tmp_path / name


async def test_a_view_is_built_and_found_again(tmp_path: Path) -> None:
    with open_log(await fill(tmp_path), FakeClock()) as log:
        with words(log, tmp_path) as view:
            assert view.found() == oracle(records(log))
            digest = view.digest()
        with words(log, tmp_path) as view:
            assert (view.position, view.digest()) == (100, digest)
            assert view.bookmark() == (1, log.origin, 100, log.root)


@pytest.mark.parametrize("damage", ["delete", "nonsense", "empty", "flip", "truncate"])
async def test_a_damaged_file_is_rebuilt_to_the_same_digest(tmp_path: Path, damage: str) -> None:
    with open_log(await fill(tmp_path), FakeClock()) as log:
        with words(log, tmp_path) as view:
            digest = view.digest()
        path = tmp_path / "words.db"
        content = bytearray(path.read_bytes())
        if damage == "delete":
            path.unlink()
        elif damage == "flip":
            content[4096 : 4096 + 100] = bytes(100)
            path.write_bytes(content)
        else:
            path.write_bytes({"nonsense": b"nonsense" * 999, "empty": b"", "truncate": bytes(content[:5000])}[damage])
        with words(log, tmp_path) as view:
            assert (view.position, view.digest()) == (100, digest)


async def test_a_view_that_cannot_be_opened_for_want_of_room_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(open_sim(SimDisk())) as log:
        await log.append_many([said(b"a")])
        open_views(log, tmp_path, [WordsView])["words"].db.close()
        full = sqlite3.OperationalError("database or disk is full")
        full.sqlite_errorcode = sqlite3.SQLITE_FULL

        def refuse(db: sqlite3.Connection) -> None:
            raise full

        monkeypatch.setattr("eventlog.disk.views.bookmark_of", refuse)
        with pytest.raises(sqlite3.OperationalError, match="disk is full"):
            open_views(log, tmp_path, [WordsView])
        monkeypatch.undo()
        view = open_views(log, tmp_path, [WordsView])["words"]
        assert view.position == 1
        view.db.close()


async def test_another_logs_file_is_rebuilt(tmp_path: Path) -> None:
    one, other = await fill(tmp_path, "one"), await fill(tmp_path, "other")
    with open_log(one, FakeClock()) as log, words(log, tmp_path) as view:
        view.db.execute("INSERT INTO words VALUES ('mark', 1, 1)")
    with open_log(other, FakeClock()) as log, words(log, tmp_path) as view:
        assert view.found() == oracle(records(log))


async def test_another_version_is_rebuilt(tmp_path: Path) -> None:
    class NewerView(WordsView):
        version = 2
        schema = "CREATE TABLE IF NOT EXISTS words (word BLOB PRIMARY KEY, times INTEGER, last INTEGER, more TEXT)"

        def fold(self, record: Record) -> None:
            self.db.execute("INSERT OR REPLACE INTO words VALUES (?, 0, 0, 'more')", (record.payload,))

    with open_log(await fill(tmp_path), FakeClock()) as log:
        with words(log, tmp_path):
            pass
        with words(log, tmp_path, NewerView) as view:
            assert {row[3] for row in view.db.execute("SELECT * FROM words")} == {"more"}


async def test_a_view_ahead_of_the_log_is_rebuilt(tmp_path: Path) -> None:
    data = await fill(tmp_path)
    with open_log(data, FakeClock()) as log, words(log, tmp_path) as view:
        view.db.execute("UPDATE bookmark SET position = 200")
    with open_log(data, FakeClock()) as log, words(log, tmp_path) as view:
        assert (view.position, view.found()) == (100, oracle(records(log)))


async def test_a_view_of_another_past_is_rebuilt(tmp_path: Path) -> None:
    data = await fill(tmp_path)
    with open_log(data, FakeClock()) as log, words(log, tmp_path) as view:
        view.db.execute("UPDATE bookmark SET root = x'00'")
        view.db.execute("DELETE FROM words")
    with open_log(data, FakeClock()) as log, words(log, tmp_path) as view:
        assert view.found() == oracle(records(log))


async def test_only_the_tail_is_folded_at_a_start(tmp_path: Path) -> None:
    class CountingView(WordsView):
        folded = 0

        def fold(self, record: Record) -> None:
            CountingView.folded += 1
            super().fold(record)

    data = await fill(tmp_path)
    with open_log(data, FakeClock()) as log, words(log, tmp_path, CountingView):
        assert CountingView.folded == 100
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many(WORDS[:5])
    with open_log(data, FakeClock()) as log, words(log, tmp_path, CountingView) as view:
        assert CountingView.folded == 105
        assert view.found() == oracle(records(log))


async def test_a_ledger_keeps_them_current_and_seals_them_at_the_end(tmp_path: Path) -> None:
    async with running(open_log(tmp_path / "data", FakeClock())) as log:
        views = open_views(log, tmp_path / "views", [WordsView])
        ledger = Ledger(log, views)
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            await ledger.record(WORDS[:7])
            view = views["words"]
            assert isinstance(view, WordsView)
            assert view.found() == oracle(records(log))
            nursery.cancel_scope.cancel()
        assert view.bookmark() == (1, log.origin, 7, log.root)
        view.db.close()
