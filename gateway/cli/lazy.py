"""A group of commands that are imported when they are called.

This module must not import any command: a list of them answers at once.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from gateway.cli.nearest import nearest

Lazy = Mapping[str, tuple[str, str, str]]  # name -> (module, the command in it, its first help line)


class LazyGroup(click.Group):
    """A group that knows its commands by name and help line, and imports one when it is called."""

    def __init__(self, *args: Any, lazy: Lazy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a newcomer needs them."""
        del ctx
        return list(self.lazy)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        """Import the module that holds the command; None where there is no such command."""
        del ctx
        if cmd_name not in self.lazy:
            return None
        module, name, _ = self.lazy[cmd_name]
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command), cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where the one asked for does not exist."""
        name = args[0]
        if name not in self.lazy and not name.startswith("-"):
            raise click.UsageError(f"no such command {name!r}; {nearest(name, self.lazy)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.lazy.items()])
