"""A list of commands costs no import, and a name that is nearly right is told the right one."""

import sys

import click
import pytest
from click.testing import CliRunner

from gateway.cli.lazy import LazyGroup


@click.group(cls=LazyGroup, lazy={"calendar": ("calendar_of_nobody", "command", "Never imported.")})
def group() -> None:
    """A group."""


def test_a_list_imports_nothing() -> None:
    assert "Never imported." in CliRunner().invoke(group, ["--help"]).output
    assert "calendar_of_nobody" not in sys.modules


@pytest.mark.parametrize(("word", "says"), [("calender", "did you mean 'calendar'?"), ("zebra", "known: calendar")])
def test_an_unknown_command_is_told_the_nearest(word: str, says: str) -> None:
    result = CliRunner().invoke(group, [word])
    assert result.exit_code == 2
    assert says in result.output
