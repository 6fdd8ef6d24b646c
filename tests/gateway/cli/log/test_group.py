"""The log's commands, each listed with its own words and an example."""

import importlib

import pytest

from gateway.cli.log.group import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_listed_with_its_own_line_and_has_an_example(name: str) -> None:
    module, attribute, line = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    assert command.get_short_help_str(limit=200).rstrip(".") == line.rstrip(".")
    assert f"heliograph log {name}" in command.help
