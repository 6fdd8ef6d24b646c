"""The audits say what is there, on the data of a server that runs or not, and name what is wrong."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventlog.disk.log import open_log
from eventlog.record import Draft
from gateway.cli.log import command
from gateway.cli.main import exit_code
from gateway.facts import RelayUnregistered, draft
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock

AT = 1_763_126_872_000_000_000  # 2025-11-14T13:27:52Z
SECOND = 1_000_000_000
WORDS = [b"one", b"two", b"three"]


@pytest.fixture(autouse=True)
def _views(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view of the log's own tests, so that this does not hang on what the gateway's views make of their facts."""
    monkeypatch.setattr("gateway.serve.app.VIEWS", (WordsView,))
    monkeypatch.setattr("gateway.facts.LOG_KINDS", ("log.", "word.", "other."))


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with running(open_log(tmp_path, FakeClock(), origin="log.example")) as log:
        await log.append_many([said(word, AT + n * SECOND) for n, word in enumerate(WORDS)])
        await log.append_many([draft(RelayUnregistered("default", "key1", None, None), ts_ns=AT + 3 * SECOND)])
        await log.append_many([Draft("other.thing", b"\xff\x00", AT + 4 * SECOND, b"\xaa" * 16)])
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_verify_says_ok_and_on_damage_exits_1_with_file_and_byte(data: Path) -> None:
    for level in ("crc", "audit"):
        result = run("verify", "--data", str(data), "--level", level)
        assert result.exit_code == 0
        assert result.stdout.startswith("ok: 5 records in 3 frames and 1 segments")
    path = data / "log" / "00000000000000000000.evl"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    result = run("verify", "--data", str(data))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"damaged: {path}: byte ")


async def test_verify_and_show_work_while_a_log_is_open(data: Path) -> None:
    async with running(open_log(data, FakeClock())) as log:
        await log.append_many([said(b"four")])
        assert run("verify", "--data", str(data)).stdout.startswith("ok: 6 records")
        assert len(lines(run("show", "--data", str(data)))) == 6


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["--kind", "relay.", "--kind", "word."], [0, 1, 2, 3]),
        (["--kind", "relay.unregistered", "--kind", "other.thing"], [3, 4]),
        (["--subject", "aa" * 16], [4]),
        (["--since", "2025-11-14T13:27:54Z"], [2, 3, 4]),
        (["--until", "2025-11-14T13:27:54+00:00"], [0, 1]),
        (["--since", "2025-11-14T13:27:53", "--limit", "2"], [1, 2]),
        (["--from", "1", "--to", "3"], [1, 2, 3]),
        (["--from", "99"], []),
    ],
)
async def test_show_filters(data: Path, words: list[str], seqs: list[int]) -> None:
    assert [line["seq"] for line in lines(run("show", "--data", str(data), *words))] == seqs


async def test_show_names_what_a_payload_says(data: Path) -> None:
    found = lines(run("show", "--data", str(data)))
    assert found[0]["time"] == "2025-11-14T13:27:52.000000000Z"
    assert found[3]["payload"] == {"worker": "default", "relay_key": "key1", "nonce": None, "nonce_issued_ms": None}
    assert found[4]["payload"] == "ff00"


async def test_stats_add_up(data: Path) -> None:
    found = json.loads(run("stats", "--data", str(data), "--json").stdout)
    assert (found["origin"], found["records"], found["segments"], found["frames"]) == ("log.example", 5, 1, 3)
    assert {kind: one["records"] for kind, one in found["kinds"].items()} == {
        "word.said": 3,
        "relay.unregistered": 1,
        "other.thing": 1,
    }
    assert "other.thing" in run("stats", "--data", str(data)).stdout


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
    monkeypatch.setattr("gateway.facts.LOG_KINDS", ("log.", "word."))
    result = run("replay", "--data", str(data))
    assert result.exception is not None
    assert exit_code(result.exception) == 3
    assert "record 4: kind 'other.thing' is not known" in str(result.exception)
    assert run("replay", "--data", str(data), "--at", "3").exit_code == 0


async def test_a_replay_changes_nothing(data: Path) -> None:
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}  # noqa: ASYNC240
    run("replay", "--data", str(data))
    run("stats", "--data", str(data))
    run("verify", "--data", str(data))
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before  # noqa: ASYNC240


@pytest.mark.parametrize("name", ["verify", "show", "stats", "replay"])
def test_no_log_is_unavailable_not_a_traceback(tmp_path: Path, name: str) -> None:
    result = run(name, "--data", str(tmp_path))
    assert result.exception is not None
    assert exit_code(result.exception) == 3
    assert "there is no log under" in str(result.exception)


@pytest.mark.parametrize(
    "words", [["show", "--since", "yesterday"], ["show", "--subject", "xyz"], ["replay", "--view", "nothing"]]
)
async def test_wrong_words_are_usage(data: Path, words: list[str]) -> None:
    assert run(*words, "--data", str(data)).exit_code == 2
