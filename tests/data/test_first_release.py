"""A log that the first release wrote opens for ever: it verifies, folds to the same state, is shown, and goes on."""

import json
import shutil
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from gateway.facts import UPCASTERS, FactUnknown, TokenIssued, fact_of
from tests.data.first_release import CONFIG, HERE, SECRET, TENANT, assert_said, said
from tests.server import process

EXPECTED = json.loads((HERE / "expected.json").read_text("utf-8"))
SIZE_MAX = 200 * 1024


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A copy: an opened log may write."""
    return shutil.copytree(HERE / "data", tmp_path / "data")


def test_the_fixture_is_small() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) <= SIZE_MAX


def test_it_holds_what_it_held_and_every_view_says_what_it_said(data: Path) -> None:
    # A view of a later version may have other tables; what is asked of it is the same.
    assert_said(data, EXPECTED)


def test_the_commands_verify_replay_and_show_it(data: Path) -> None:
    runner = CliRunner()
    for level in ("crc", "audit"):
        verified = runner.invoke(cli, ["log", "verify", "--data", str(data), "--level", level])
        assert verified.exit_code == 0, verified.output
    shown = runner.invoke(cli, ["log", "show", "--data", str(data)])
    assert shown.exit_code == 0, shown.output
    assert [json.loads(line)["seq"] for line in shown.stdout.splitlines()] == list(range(EXPECTED["size"]))
    replayed = runner.invoke(cli, ["log", "replay", "--data", str(data)])
    assert json.loads(replayed.stdout)["records"] == EXPECTED["size"]


def test_it_is_served_and_goes_on(data: Path) -> None:
    config = CONFIG.format(secret=SECRET, fcm="http://127.0.0.1:9", domain=TENANT, document="http://127.0.0.1:9/")
    config = config.replace('[fcm.projects.default]\ncredentials = "service-account.json"\n', "")
    with process(data.parent, config) as server:
        listed = httpx.get(f"{server.url}/api/relays", timeout=60).json()["relays"]
        assert sorted(each["relayKey"] for each in listed) == EXPECTED["state"]["relays"]
        assert httpx.get(f"{server.url}/status", timeout=60).json()["log"]["size"] >= EXPECTED["size"]
        assert server.stop(60) == 0
    assert said(data)["size"] >= EXPECTED["size"]


def test_what_it_wrote_is_read_through_an_upcaster_and_not_without(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenIssued, "schema", 2)
    fact_of.cache_clear()  # what was read before, by a program that knew no other schema
    with pytest.raises(FactUnknown, match=r"kind 'token\.issued' schema 1 has no upcaster"):
        said(data)
    monkeypatch.setitem(UPCASTERS, (TokenIssued.kind, 1), lambda fields: fields)
    assert json.loads(json.dumps(said(data)["state"])) == EXPECTED["state"]
