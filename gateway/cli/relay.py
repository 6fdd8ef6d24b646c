"""``heliograph relay``: a worker's relays at a gateway.

Prints the gateway's answer as it came, on stdout. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable or 5xx.
"""

import json
from pathlib import Path
from typing import Any

import click

from gateway.cli.worker import Gateway, find_secret, options, relay_path
from gateway.replication.path import HEX_64


@click.group()
def command() -> None:
    """Register, list, show and unregister relays, as a worker.

    \b
    Examples:
      export GATEWAY_REGISTRATION_SECRET=…
      heliograph relay register KEY --identifier npub1abc:my-relay --name 'My relay'
      heliograph relay list
      heliograph relay unregister KEY
    """


@command.command()
@click.argument("relay_key", metavar="KEY")
@options
@click.option("--identifier", help="The public identifier, like npub1…:name.")
@click.option("--name", help="A name for people.")
@click.option("--description", help="A sentence for people.")
@click.option("--gateway-path", help="Its path at the gateway (default: from the identifier).")
@click.option("--alias", "aliases", multiple=True, help="Another path; may be repeated.")
@click.option("--peer", "peers", multiple=True, help="A peer that holds it, a ws(s):// URL or a key; may be repeated.")
@click.option("--private", is_flag=True, help="Show it to its own worker alone.")
@click.option("--open", "is_open", is_flag=True, help="Let clients use its normal socket without a token.")
@click.option(
    "--metadata",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file with further metadata; options win.",
)
def register(
    *,
    relay_key: str,
    gateway: str,
    secret: str | None,
    secret_file: Path | None,
    worker: str,
    aliases: tuple[str, ...],
    peers: tuple[str, ...],
    private: bool,
    is_open: bool,
    metadata: Path | None,
    **texts: str | None,
) -> None:
    """Register a relay, or renew its registration. KEY is 64 hexadecimal digits.

    The answer holds both of the relay's URLs, with tokens: keep it to yourself.

    \b
    Example:
      heliograph relay register KEY --identifier npub1abc:my-relay --peer wss://desktop.example/relay
    """
    fields = read_metadata(metadata)
    names = {"identifier": "identifier", "name": "name", "description": "description", "gateway_path": "gatewayPath"}
    fields |= {names[key]: value for key, value in texts.items() if value is not None}
    fields |= {"pathAliases": list(aliases)} if aliases else {}
    fields |= {"isPublic": False} if private else {}
    fields |= {"requiresAuth": False} if is_open else {}
    at = Gateway(gateway, find_secret(secret, secret_file, worker))
    payload = {"relayKey": relay_key, **at.once(), "peers": list(peers), "metadata": fields}
    at.post("/api/relays", "registration", payload)
    for peer in peers:
        if not peer.startswith(("ws://", "wss://")) and not HEX_64.fullmatch(peer):
            click.echo(
                f"{peer} is no ws:// or wss:// URL and no key of 64 digits: it is kept, and never asked", err=True
            )


@command.command("list")
@options
def list_relays(*, gateway: str, secret: str | None, secret_file: Path | None, worker: str) -> None:
    """List relays: the worker's own where there is a secret, else the public ones.

    \b
    Example:
      heliograph relay list --gateway https://gateway.example
    """
    Gateway(gateway, find_secret(secret, secret_file, worker)).read("*", "/api/relays")


@command.command()
@click.argument("relay_key", metavar="KEY")
@options
def show(*, relay_key: str, gateway: str, secret: str | None, secret_file: Path | None, worker: str) -> None:
    """Show one relay; with a secret, its URLs hold tokens.

    \b
    Example:
      heliograph relay show public-gateway:hyperbee
    """
    Gateway(gateway, find_secret(secret, secret_file, worker)).read(relay_key, relay_path(relay_key))


@command.command()
@click.argument("relay_key", metavar="KEY")
@options
def unregister(*, relay_key: str, gateway: str, secret: str | None, secret_file: Path | None, worker: str) -> None:
    """Take a relay away: its tokens end, its sessions are closed, its events are served no more.

    \b
    Example:
      heliograph relay unregister KEY
    """
    Gateway(gateway, find_secret(secret, secret_file, worker)).delete(relay_key)


def read_metadata(path: Path | None) -> dict[str, Any]:
    """Read further metadata from a file; click.UsageError where it is no JSON object."""
    if path is None:
        return {}
    try:
        fields = json.loads(path.read_text("utf-8"))
    except ValueError as why:
        raise click.UsageError(f"{path} is not JSON: {why}") from None
    if not isinstance(fields, dict):
        raise click.UsageError(f"{path} is not a JSON object")
    return fields
