"""``heliograph config``: what is in force, and a commented file to begin with."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import click
import trio

from gateway.cli.log.opening import DATA
from gateway.cli.settings import load
from gateway.configtext import masked
from gateway.serve.custody.control import ControlRefused, ask


@click.group()
def command() -> None:
    """Show the configuration in force, or an example of one.

    \b
    Examples:
      heliograph config example > heliograph.toml
      heliograph config show --config heliograph.toml
      GATEWAY_PUBLIC_URL=https://gw.example.com heliograph config show
      heliograph config reload --data data
    """


@command.command()
@click.option("--config", "path", type=click.Path(path_type=Path, dir_okay=False), help="The TOML file.")
def show(path: Path | None) -> None:
    """Print the effective configuration: file and environment together, secrets masked.

    What a start would refuse of it is refused here too; certificates and service accounts a start alone looks at.

    \b
    Examples:
      heliograph config show
      heliograph config show --config heliograph.toml
    """
    click.echo(toml(masked(load(path))), nl=False)


@command.command()
def example() -> None:
    """Print a commented configuration file, with every key at its default.

    \b
    Examples:
      heliograph config example > heliograph.toml
    """
    click.echo(resources.files("gateway.cli").joinpath("example.toml").read_text("utf-8"), nl=False)


@command.command()
@DATA
def reload(data: Path) -> None:
    """Have the running server read its configuration again.

    Instances, lists, quotas and the relay's write policy change at once; what needs a restart is named. A file that is
    wrong changes nothing.

    \b
    Examples:
      heliograph config reload --data /var/lib/heliograph
    """
    try:
        told = trio.run(ask, data, {"verb": "reload"})
    except ControlRefused as refused:
        click.echo(f"heliograph: {refused}", err=True)
        raise SystemExit(refused.code) from None
    click.echo(f"changed: {', '.join(told['changed']) or 'nothing'}")
    if told["needs_restart"]:
        click.echo(f"takes effect at the next start: {', '.join(told['needs_restart'])}")


def toml(tree: dict[str, Any], prefix: str = "") -> str:
    """Write plain values as TOML; what `gateway.configtext.parse` reads back as the same values."""
    values = [f"{_key(key)} = {_value(value)}\n" for key, value in tree.items() if not isinstance(value, dict)]
    sections = [(f"{prefix}{_key(key)}", value) for key, value in tree.items() if isinstance(value, dict)]
    head = f"\n[{prefix.removesuffix('.')}]\n" if prefix and values else ""
    return head + "".join(values) + "".join(toml(value, f"{name}.") for name, value in sections)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    """JSON's strings, numbers, booleans and arrays are TOML's too."""
    return json.dumps(value, ensure_ascii=False)
