"""``heliograph log key``: the line that anybody needs to check this log's checkpoints and proofs."""

from pathlib import Path

import click

from eventlog.checkpoint import verifier_key
from gateway.cli.log.opening import DATA, opened


@click.command()
@DATA
def key(data: Path) -> None:
    """Print the verifier key of the log's checkpoints.

    It is public, and also at /log/key of the server; whoever is to trust proofs should have it from elsewhere than
    the proofs, and early.

    \b
    Examples:
      heliograph log key
      heliograph log check-proof record.tlog-proof --key "$(heliograph log key)"
    """
    with opened(data) as (origin, _):
        click.echo(verifier_key(origin.name, origin.public_key))
