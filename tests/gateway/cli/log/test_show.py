"""Records are shown as they are, filtered as asked, and counted."""

import json
from pathlib import Path

import pytest

from eventlog.chronicle import ENTRIES
from tests.gateway.cli.log.calls import lines, run


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
    ],
)
async def test_show_filters(data: Path, words: list[str], seqs: list[int]) -> None:
    assert [line["seq"] for line in lines(run("show", "--data", str(data), *words))] == seqs


@pytest.mark.parametrize(
    "words", [["--from", "99"], ["--subject", "bb" * 16], ["--kind", "push.settled"], ["--until", "2025-01-01"]]
)
async def test_where_nothing_is_found_it_says_so_beside_the_output(data: Path, words: list[str]) -> None:
    result = run("show", "--data", str(data), *words)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no record is as asked for; the log has 0 to 4\n"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("relay.unregistred", "did you mean 'relay.unregistered' or 'relay.registered'"),
        ("relay", "did you mean 'relay.'"),
        ("pusch.", "did you mean 'push.'"),
        ("typo", "log.erased, "),
    ],
)
async def test_a_kind_that_is_none_is_a_mistake_and_told_the_nearest(data: Path, kind: str, says: str) -> None:
    result = run("show", "--data", str(data), "--kind", "word.said", "--kind", kind)
    assert (result.exit_code, result.stdout) == (2, "")
    told = " ".join(result.stderr.split())
    assert f"no kind is called {kind!r}" in told
    assert says in told


async def test_a_kind_that_only_the_log_knows_is_none_of_our_mistakes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ENTRIES, "other.thing")
    for kind in ("other.thing", "other."):
        assert [line["seq"] for line in lines(run("show", "--data", str(data), "--kind", kind))] == [4]


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
