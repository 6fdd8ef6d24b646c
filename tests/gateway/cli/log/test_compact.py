"""Housekeeping by command: without a server under the log's lock, beside one through its door, never without a log."""

import json
from pathlib import Path

import pytest
import trio
from click.testing import Result

from eventlog.disk.log import open_log
from gateway.cli.main import exit_code
from gateway.errors import Unavailable
from tests.eventlog.logs import running
from tests.eventlog.words import said
from tests.fakes import FakeClock
from tests.gateway.cli.log import calls


async def run(*words: str) -> Result:
    """Call a command that runs a loop of its own: in a thread, beside the test's."""
    return await trio.to_thread.run_sync(calls.run, *words)


@pytest.fixture
async def short(data: Path) -> Path:
    """Four segments of a few records."""
    async with running(open_log(data, FakeClock())) as log:
        for word in (b"four", b"five", b"six"):
            log.store.roll()
            await log.append_many([said(word)])
    return data


async def test_short_segments_are_put_together(short: Path) -> None:
    result = await run("compact", "--data", str(short), "--json")
    found = json.loads(result.stdout)
    assert (found["segments"], found["merged"], found["first_seq"]) == ([4, 2], 3, 0)
    assert (await run("verify", "--data", str(short))).exit_code == 0
    assert "segments: 2 before, 2 now" in (await run("compact", "--data", str(short))).output


async def test_a_configuration_names_the_data_and_the_rules(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "heliograph.toml"
    path.write_text(f'data = "{data}"\n[log]\ntotal_bytes_max = 1\n')
    result = await run("compact", "--config", str(path))
    assert result.exit_code == 0, result.output
    # Retention takes whole tiles of 256 records only, and this log has five: nothing may go yet.
    assert "the log begins with record 0" in result.output
    path.write_text('data = "nowhere"\n')
    assert (await run("compact", "--config", str(path))).exit_code != 0
    assert (await run("compact", "--config", str(path), "--data", str(data))).exit_code == 0, "what was typed wins"


async def test_a_snapshot_is_taken_of_every_view_with_news(short: Path) -> None:
    assert "words-00000000000000000008.db" in (await run("snapshot", "--data", str(short))).output
    assert "no view has news" in (await run("snapshot", "--data", str(short))).output


async def test_a_log_that_somebody_else_has_open_is_told(data: Path) -> None:
    with open_log(data, FakeClock()):
        result = await run("compact", "--data", str(data))
    assert isinstance(result.exception, Unavailable)
    assert "one process may write a log" in str(result.exception)


@pytest.mark.parametrize("name", ["compact", "snapshot"])
async def test_no_log_is_unavailable(tmp_path: Path, name: str) -> None:
    result = await run(name, "--data", str(tmp_path / "nowhere"))
    assert result.exception is not None
    assert exit_code(result.exception) == 3
