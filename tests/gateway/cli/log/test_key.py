"""``heliograph log key`` prints what signed-note tools take."""

from pathlib import Path

from click.testing import CliRunner

from eventlog.disk.log import open_log
from gateway.cli.log.group import command
from tests.conformance import tlog
from tests.fakes import FakeClock


def test_it_is_the_key_that_signs_the_checkpoints(tmp_path: Path) -> None:
    with open_log(tmp_path, FakeClock()) as log:
        note = log.note
    printed = CliRunner().invoke(command, ["key", "--data", str(tmp_path)]).output
    assert tlog.read_checkpoint(note, tlog.Key.parse(printed)).size == 0
