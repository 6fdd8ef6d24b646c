"""``heliograph log compact`` and ``log snapshot``: the log's housekeeping, now.

The one that has the log does it: a running server where there is one, asked through its door, else this process, under
the log's lock. Invariant: roots, proofs and what is kept are the same afterwards.
"""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from eventlog.disk.durable import RealDisk
from eventlog.disk.store import read_origin
from eventlog.errors import Corrupt, Locked, LogFailed
from gateway.cli.log.opening import DATA, no_log
from gateway.cli.settings import of_data
from gateway.config import Config
from gateway.errors import Unavailable
from gateway.serve.app import opened
from gateway.serve.clock import SystemClock
from gateway.serve.custody.control import SOCKET, ask
from gateway.serve.custody.keeping import Keeping
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics

Work = Callable[[Keeping], Awaitable[dict[str, Any]]]
CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The server's configuration; it names the data too, unless --data does.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON object.")


@click.command()
@DATA
@CONFIG
@JSON
def compact(data: Path, config: Path | None, as_json: bool) -> None:
    """Put short segments together, and remove what retention says.

    Roots, proofs and every record that is kept stay as they are. Beside a running server it is the server that does it,
    by its own rules; without one, by those of --config (default: everything is kept).

    \b
    Examples:
      heliograph log compact --data data
      heliograph log compact --config heliograph.toml
    """
    found = _done(data, config, "compact", lambda keeping: keeping.compact())
    if as_json:
        click.echo(json.dumps(found))
        return
    for name in ("segments", "bytes"):
        click.echo(f"{name}: {found[name][0]} before, {found[name][1]} now")
    click.echo(f"put together: {found['merged']}; changed by retention: {found['retained']}")
    click.echo(f"the log begins with record {found['first_seq']}")


@click.command()
@DATA
@JSON
def snapshot(data: Path, as_json: bool) -> None:
    """Take a snapshot of every view, so that deleted views are made anew from there.

    A snapshot is bound to the log's root; the newest two of each view are kept, under data/log/snap.

    \b
    Examples:
      heliograph log snapshot --data data
    """
    found = _done(data, None, "snapshot", lambda keeping: keeping.snapshot())
    click.echo(json.dumps(found) if as_json else "\n".join(found["taken"]) or "no view has news")


def _done(data: Path, config: Path | None, verb: str, work: Work) -> dict[str, Any]:
    settings = of_data(config, data)
    data = Path(settings.data)
    if read_origin(RealDisk(), str(data)) is None:
        raise no_log(data)
    return trio.run(partial(_carried_out, data, settings, verb, work))


async def _carried_out(data: Path, settings: Config, verb: str, work: Work) -> dict[str, Any]:
    try:
        return await _here(settings, work)
    except Unavailable as failure:
        if not isinstance(failure.__cause__, Locked) or not (data / SOCKET).exists():
            raise
    answer = await ask(data, {"verb": verb})
    assert isinstance(answer, dict)
    return answer


async def _here(settings: Config, work: Work) -> dict[str, Any]:
    clock, failure, done = SystemClock(), None, dict[str, Any]()
    with opened(settings, clock, Metrics()) as (log, views):
        ledger = Ledger(log, views)
        keeping = Keeping(settings, clock, log, ledger)
        async with trio.open_nursery() as ground:
            await ground.start(log.run)
            await ground.start(ledger.run)
            try:
                done = await work(keeping)
            except (Unavailable, LogFailed, Corrupt) as error:
                failure = error  # told when the log is closed in good order
            ground.cancel_scope.cancel()
    if failure is not None:
        raise Unavailable(str(failure)) from failure
    return done
