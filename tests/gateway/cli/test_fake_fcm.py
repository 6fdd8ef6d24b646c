"""The fake FCM's command: its options, and its help that lists every failure."""

import pytest
from click.testing import CliRunner

from gateway.cli.fake_fcm import command
from gateway.serve.fakes.fcm import FAILURES


def test_the_help_lists_every_failure() -> None:
    told = CliRunner().invoke(command, ["--help"]).output.split()
    assert set(FAILURES) <= set(told)


@pytest.mark.parametrize(
    "words", [["--fail", "unavailable:often"], ["--port", "65536"], ["--port", "-1"], ["--latency", "-1"]]
)
def test_what_cannot_be_is_a_usage_error(words: list[str]) -> None:
    assert CliRunner().invoke(command, words).exit_code == 2


def test_an_unknown_failure_is_a_usage_error_that_names_the_known_ones() -> None:
    told = CliRunner().invoke(command, ["--fail", "gremlins"])
    assert told.exit_code == 2
    assert "unregistered" in told.output
