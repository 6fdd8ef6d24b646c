"""A log with every kind of record that there is opens, verifies, folds to the same state, and is shown."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import cli
from tests.data.every_kind import HERE, missing
from tests.data.first_release import assert_said

EXPECTED = json.loads((HERE / "expected.json").read_text("utf-8"))
SIZE_MAX = 200 * 1024


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A copy: an opened log may write."""
    return shutil.copytree(HERE / "data", tmp_path / "data")


def test_it_has_every_kind_of_the_registry_and_is_small() -> None:
    lacks = missing({kind.partition("/")[0] for kind in EXPECTED["kinds"]})
    assert not lacks, f"python -m tests.data.every_kind MAKE, once its make brings about {sorted(lacks)}"
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) <= SIZE_MAX


def test_it_holds_what_it_held_and_every_view_says_what_it_said(data: Path) -> None:
    # A view of a later version may have other tables: then `python -m tests.data.every_kind EXPECT`.
    assert_said(data, EXPECTED)


def test_the_commands_verify_replay_report_and_show_it(data: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for command in (
        ("verify", "--level", "audit", "--jobs", "1"),
        ("replay",),
        ("report", "--out", str(tmp_path / "report.html")),
    ):
        result = runner.invoke(cli, ["log", *command, "--data", str(data)])
        assert result.exit_code == 0, (command, result.output)
    shown = runner.invoke(cli, ["log", "show", "--data", str(data)])
    assert shown.exit_code == 0, shown.output
    assert missing({json.loads(line)["kind"] for line in shown.stdout.splitlines()}) == set()
