"""``heliograph tenant``: the operator's view of who uses the gateway, how much, and what stands in the way.

A running server is asked through its door (`gateway.serve.custody.control`); without one this process reads the views,
under the log's lock. Nothing of it is served over HTTP.
"""

import json
from pathlib import Path
from typing import Any

import click
import trio

from eventlog.disk.durable import RealDisk
from eventlog.disk.store import read_origin
from eventlog.errors import Locked
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import DATA, no_log
from gateway.cli.nearest import nearest
from gateway.cli.settings import of_data
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.push.tenant import Directory
from gateway.serve.app import opened
from gateway.serve.clock import SystemClock
from gateway.serve.custody.control import SOCKET, ask
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.push.tenancy import Tenancy

CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The server's configuration; it names the data too, unless --data does, and the limits where no server runs.",
)
COLUMNS = ("devices", "accepted", "acceptedToday", "delivered", "failed", "removed", "expired", "queued")


@click.group()
def command() -> None:
    """See who uses the gateway, and how much.

    \b
    Examples:
      heliograph tenant list --data data
      heliograph tenant show demo.example.com --data data
    """


@command.command("list")
@DATA
@CONFIG
@click.option("--json", "as_json", is_flag=True, help="As one JSON array, with limits and reasons.")
def list_tenants(data: Path, config: Path | None, as_json: bool) -> None:
    """List every tenant, those that sent most first.

    Deliveries are counted by what became of them, since the log began; devices and queue are as they are now.
    The last column is how the instance's document stands, where a server runs.

    \b
    Examples:
      heliograph tenant list
      heliograph tenant list --config heliograph.toml --json | jq '.[] | select(.usage.queued > 1000)'
    """
    told = _tenants(data, config)
    click.echo(json.dumps(told) if as_json else table(told))
    if not told:
        click.echo("nobody has registered a device or sent anything yet", err=True)


@command.command()
@click.argument("tenant", metavar="TENANT")
@DATA
@CONFIG
def show(tenant: str, data: Path, config: Path | None) -> None:
    """Show one tenant, as JSON: usage, reasons of failures, limits, and how its document stands.

    \b
    Examples:
      heliograph tenant show demo.example.com
    """
    found = {one["tenant"]: one for one in _tenants(data, config)}
    if tenant not in found:
        click.echo(f"no tenant is called {tenant!r}; {nearest(tenant, found)}", err=True)
        raise SystemExit(CHECK_FAILED)
    click.echo(json.dumps(found[tenant], indent=2))


def table(told: list[dict[str, Any]]) -> str:
    """One line a tenant, in columns."""
    rows = [("TENANT", *(name.upper() for name in COLUMNS), "DOCUMENT"), *map(_row, told)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *numbers, document in rows:
        cells = [one.rjust(width) for one, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, document]).rstrip())
    return "\n".join(lines)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    usage = one["usage"] | {"failed": sum(one["usage"]["failed"].values())}
    state = "not admitted" if not one["admitted"] else one.get("document", {}).get("state", "")
    return one["tenant"], *(str(usage[name]) for name in COLUMNS), state


def _tenants(data: Path, config: Path | None) -> list[dict[str, Any]]:
    settings = of_data(config, data)
    data = Path(settings.data)
    if read_origin(RealDisk(), str(data)) is None:
        raise no_log(data)
    try:
        return _here(settings)
    except Unavailable as failure:
        if not isinstance(failure.__cause__, Locked) or not (data / SOCKET).exists():
            raise
    told = trio.run(ask, data, {"verb": "tenants"})
    assert isinstance(told, list)
    return told


def _here(settings: Config) -> list[dict[str, Any]]:
    clock = SystemClock()
    with opened(settings, clock, Metrics()) as (log, views):
        directory = Directory(settings.push, settings.instances, settings.matrix)
        return list(Tenancy(clock, Ledger(log, views), directory).overview())
