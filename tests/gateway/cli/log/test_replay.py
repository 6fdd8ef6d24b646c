"""The state is shown as it was at a time or a record, and nothing is changed by looking."""

import json
from collections import Counter
from pathlib import Path

import pytest

from eventlog.chronicle import ENTRIES, Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.disk import durable
from eventlog.disk.durable import RealDisk
from eventlog.disk.log import open_log
from eventlog.disk.snapshots import take
from eventlog.disk.views import open_views
from eventlog.retention import State, encode
from gateway.cli.main import exit_code
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import AT, SECOND, run


@pytest.mark.parametrize(
    ("at", "records", "words"),
    [
        ("0", 1, ["one"]),
        ("2", 3, ["one", "two", "three"]),
        ("2025-11-14T13:27:53Z", 2, ["one", "two"]),
        ("2025-11-14T13:27:52.5Z", 1, ["one"]),
        ("2025-11-14T13:00:00Z", 0, []),
        ("2030-01-01T00:00:00Z", 5, ["one", "two", "three"]),
        ("99", 5, ["one", "two", "three"]),
    ],
)
async def test_replay_shows_the_state_as_it_was(data: Path, at: str, records: int, words: list[str]) -> None:
    result = run("replay", "--data", str(data), "--at", at, "--view", "words")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["records"] == records
    rows = found["views"]["words"]["tables"]["words"]
    assert sorted(row["word"] for row in rows) == sorted(words)
    assert result.stderr == ("there is no record 99 yet; this is the state after all 5\n" if at == "99" else "")
    assert all(row["times"] == 1 for row in rows)


async def test_a_view_that_is_none_is_told_the_nearest(data: Path) -> None:
    result = run("replay", "--data", str(data), "--view", "word")
    assert result.exit_code == 2
    assert "there is no view 'word'; did you mean 'words'?" in " ".join(result.stderr.split())


async def test_a_replay_stops_at_a_kind_that_nobody_knows(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENTRIES, "other.thing")
    result = run("replay", "--data", str(data))
    assert result.exception is not None
    assert exit_code(result.exception) == 3
    assert "record 4: kind 'other.thing' schema 1 is not known" in str(result.exception)
    assert run("replay", "--data", str(data), "--at", "3").exit_code == 0


async def test_a_replay_changes_nothing(data: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}  # noqa: ASYNC240
    run("replay", "--data", str(data))
    run("stats", "--data", str(data))
    run("verify", "--data", str(data))
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before  # noqa: ASYNC240


async def test_above_retention_a_snapshot_carries_what_is_gone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    log_directory = str(data / "log")
    words = [b"w%d" % (n % 7) for n in range(40)]
    async with running(open_log(data, FakeClock(), segment_bytes_max=900)) as log:
        for at, word in enumerate(words):
            await log.append_many([said(word, AT + at * SECOND)])
            if at in (14, 29):
                views = open_views(log, data / "views", [WordsView])
                take(log_directory, str(data / "views"), ["words"], origin=log.origin)
                views["words"].db.close()
        await log.append_many([entry_draft(Retained(20, ()), AT + 40 * SECOND)])
    for path in [one for one in sorted((data / "log").glob("*.evl")) if int(one.stem) < 15][:-1]:
        path.unlink()
    first = min(int(one.stem) for one in (data / "log").glob("*.evl"))
    durable.replace(RealDisk(), str(data / "log" / "retention"), encode(State(first, {}, done=True)))
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for at in (14, 15, 28, 29, 35, 39):
        result = run("replay", "--data", str(data), "--at", str(at))
        assert result.exit_code == 0, result.exception
        rows = json.loads(result.stdout)["views"]["words"]["tables"]["words"]
        assert {row["word"]: row["times"] for row in rows} == Counter(word.decode() for word in words[: at + 1])
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    early = run("replay", "--data", str(data), "--at", "13")
    assert early.exception is not None
    assert exit_code(early.exception) == 3
    assert "the first that can be shown is record 14" in str(early.exception)
