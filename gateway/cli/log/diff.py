"""``heliograph log diff``: where two copies of a log part, and what differs."""

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click
import msgspec

from eventlog.disk.difference import Changed, Difference, Side, differences, open_side
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import no_log
from gateway.cli.log.show import describe


@click.command()
@click.argument("a", metavar="A", type=click.Path(path_type=Path, exists=True))
@click.argument("b", metavar="B", type=click.Path(path_type=Path, exists=True))
@click.option("--limit", type=click.IntRange(0), default=10, show_default=True, help="Records to show where they part.")
def diff(a: Path, b: Path, limit: int) -> None:
    """Print where two copies of a log part and what differs, as JSON, one a line.

    Each is a data directory or an exported file. Nothing printed and exit code 0: they are the same, record
    by record, as far as their roots and checksums say; whether those are right `log verify` says of each.
    Exit code 1: they differ; one that only goes on where the other ends is "longer".

    \b
    Examples:
      heliograph log diff data /mnt/backup
      heliograph log diff data log.tar
    """
    with ExitStack() as stack:
        sides = [_opened(stack, path) for path in (a, b)]
        differ = False
        for one in differences(sides[0], sides[1], limit):
            click.echo(json.dumps(_plain(one), ensure_ascii=False))
            differ = True
    if differ:
        raise SystemExit(CHECK_FAILED)


def _opened(stack: ExitStack, path: Path) -> Side:
    side = open_side(str(path))
    if side is None:
        raise no_log(path)
    stack.enter_context(closing(side.segments))
    return side


def _plain(one: Difference) -> dict[str, Any]:
    what = str(one.__struct_config__.tag)
    if isinstance(one, Changed):
        sides = {name: None if record is None else describe(record) for name, record in (("a", one.a), ("b", one.b))}
        return {"differs": what, "seq": one.seq, **sides}
    return {"differs": what, **msgspec.structs.asdict(one)}
