"""The state is shown as it was at a time or a record, and nothing is changed by looking."""

import json
from pathlib import Path

import pytest

from eventlog.chronicle import ENTRIES
from gateway.cli.main import exit_code
from tests.gateway.cli.log.calls import run


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
    assert all(row["times"] == 1 for row in rows)


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
