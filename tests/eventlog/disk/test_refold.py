"""A view made anew says what every later replay says, stands where the others do, and leaves nothing of the old one."""

from collections.abc import Sequence
from pathlib import Path

from eventlog.chronicle import ranges_of
from eventlog.disk import erase as erasures
from eventlog.disk import refold
from eventlog.disk.erase import Job
from eventlog.disk.log import Log, open_log
from eventlog.disk.views import connect, open_views
from eventlog.record import Draft, Record
from tests.eventlog.logs import NOW_NS, at_once, running
from tests.eventlog.words import WordsView
from tests.fakes import FakeClock

WORDS = [b"one", b"two", b"three", b"two", b"one"]


def judge(records: Sequence[Record]) -> None:
    assert records


def files_with(directory: Path, word: bytes) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.is_file() and word in path.read_bytes()]


async def said(log: Log, words: list[bytes]) -> None:
    await log.append_many([Draft("word.said", word, NOW_NS) for word in words])


async def test_a_view_made_anew_is_what_a_replay_makes_and_holds_nothing_that_was_erased(tmp_path: Path) -> None:
    data, directory = str(tmp_path), str(tmp_path / "views")
    async with running(open_log(data, FakeClock())) as log:
        await said(log, [*WORDS, b"forget-me"])
        view = open_views(log, directory, [WordsView])[WordsView.name]
        before = view.db
        job = Job(erasures.VERSION, 6, "", "", "word", ranges_of([5]), ())
        await erasures.erase(log, data, job, NOW_NS, at_once)
        refold.refold(log, directory, WordsView, 6, judge)
        await said(log, [b"four"])
        refold.carry_on(log, directory, WordsView, 7, judge)
        refold.swap(log, directory, view, log.durable_size)
        erasures.end(log.store.disk, data)
        assert view.db is not before
        assert view.position == log.durable_size
        replayed = WordsView(connect(":memory:"))
        for records in log.read(0):
            replayed.apply(records, records[-1].seq + 1)
        assert view.digest() == replayed.digest()
        replayed.db.close()
        again = open_views(log, str(tmp_path / "again"), [WordsView])[WordsView.name]
        assert again.digest() == view.digest()
        again.db.close()
        view.db.close()
        # sealed with the log's own root, so the next start takes it as it is
        sealed = open_views(log, directory, [WordsView])[WordsView.name]
        assert sealed.bookmark() == (WordsView.version, log.origin, log.durable_size, log.root)
        sealed.db.close()
    assert files_with(tmp_path, b"forget-me") == []


def test_every_file_that_may_hold_something_of_a_view_is_named() -> None:
    assert refold.files_of("/v", "words") == [
        f"/v/words.db{fresh}{end}" for fresh in ("", ".fresh") for end in ("", "-wal", "-shm")
    ]
