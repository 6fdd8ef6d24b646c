"""``heliograph mirror``: a relay's replication rows to and from JSON lines, over `gateway.client`.

Rows on stdout or in a file, everything else on stderr. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable.
"""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from gateway.cli.eventlines import export, import_
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.replicating import Relay, cursor_option, hashed, progress, publish_lines, run, tell
from gateway.cli.rowfile import RowFile
from gateway.cli.sync import sync
from gateway.cli.worker import options
from gateway.client.behaviour import NOT_SERVED
from gateway.client.happening import Lost, Notice
from gateway.client.line import LineLost
from gateway.client.replica import open_replica
from gateway.limits.nostr import KIND_MAX


@click.group()
def command() -> None:
    """Pull, push and follow a relay's replication rows, as JSON lines.

    \b
    Examples:
      export GATEWAY_REGISTRATION_SECRET=…
      heliograph mirror pull public-gateway:hyperbee --out rows.jsonl --cursor rows.cursor
      heliograph mirror tail KEY --out rows.jsonl --cursor rows.cursor
      heliograph mirror push KEY rows.jsonl --gateway https://other.example --cursor pushed.cursor
      heliograph mirror sync wss://relay.example --filter '{"kinds":[0,1]}'
      heliograph mirror export wss://relay.example --out events.jsonl
    """


def of_a_relay(wrapped: Callable[..., None]) -> Callable[..., None]:
    """The options that every subcommand takes: which relay, and with what token."""
    for option in (
        cursor_option,
        click.option("--ttl", "ttl_s", type=click.IntRange(min=1), help="The life of tokens that are asked for."),
        click.option("--token", help="A token, instead of the worker's secret; it is not renewed."),
        options,
        click.argument("relay_key", metavar="KEY"),
    ):
        wrapped = option(wrapped)
    return wrapped


def read_options(wrapped: Callable[..., None]) -> Callable[..., None]:
    """What is read, and where to."""
    for option in (
        click.option(
            "--out",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The file that rows are appended to (default: stdout); with --cursor each row comes once.",
        ),
        click.option(
            "--kind",
            "kinds",
            type=click.IntRange(0, KIND_MAX),
            multiple=True,
            help="Rows of this kind alone; may be repeated.",
        ),
        click.option(
            "--relay-id", help="Whose rows: 64 hexadecimal digits, or a name to hash (default: the relay's identifier)."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@command.command()
@of_a_relay
@read_options
def pull(
    *, out: Path | None, cursor_path: Path | None, relay_id: str | None, kinds: tuple[int, ...], **relay: Any
) -> None:
    """Fetch what is stored behind the cursor, and end.

    \b
    Example:
      heliograph mirror pull KEY --out rows.jsonl --cursor rows.cursor
    """
    read_rows(Relay(**relay), RowFile(out, cursor_path), relay_id, kinds, live=False)


@command.command()
@of_a_relay
@read_options
def tail(
    *, out: Path | None, cursor_path: Path | None, relay_id: str | None, kinds: tuple[int, ...], **relay: Any
) -> None:
    """Fetch what is stored behind the cursor, then whatever comes, through restarts and cuts, until it is ended.

    \b
    Example:
      heliograph mirror tail KEY --token TOKEN | jq .created_at
    """
    read_rows(Relay(**relay), RowFile(out, cursor_path), relay_id, kinds, live=True)


@command.command()
@of_a_relay
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True), default="-")
def push(*, file: Path, cursor_path: Path | None, **relay: Any) -> None:
    """Publish a file's rows (- for stdin), and end when each has its answer. Exit code 1 where one was refused.

    \b
    Example:
      heliograph mirror push KEY rows.jsonl --cursor pushed.cursor
    """
    path = None if str(file) == "-" else file
    if path is None and cursor_path is not None:
        raise click.UsageError("--cursor needs a file: stdin has no place to go on from")
    refused = run(partial(push_rows, Relay(**relay), path, cursor_path))
    if refused:
        raise SystemExit(CHECK_FAILED)


def read_rows(relay: Relay, file: RowFile, named: str | None, kinds: tuple[int, ...], *, live: bool) -> None:
    """Pull or tail: rows into the file, and how many on stderr."""
    try:
        run(partial(follow, relay, file, named, kinds, live=live))
    finally:
        file.close()
        click.echo(f"{file.rows} rows", err=True)


async def follow(relay: Relay, file: RowFile, named: str | None, kinds: tuple[int, ...], *, live: bool) -> None:
    """Read rows into the file until all that is stored has come, or for ever."""
    state, gone = await relay.state(), list[Lost]()
    place: dict[str, Any] = {"relayID": hashed(named or str(state.get("identifier") or relay.key))}
    if kinds:
        place["kinds"] = list(kinds)
    with progress("rows") as (bar, task), trio.CancelScope() as scope:

        def hear(what: Lost | Notice) -> None:
            """Wait for a relay that is not served only where somebody waits for what will come."""
            if live or not isinstance(what, Lost) or what.code != NOT_SERVED:
                return tell(what)
            gone.append(what)
            return scope.cancel()

        async with (
            open_replica(state, relay.provide, tell=hear) as replica,
            aclosing(replica.follow(place, cursor=file.place.cursor)) as batches,
        ):
            caught = False
            async for batch in batches:
                caught = caught or batch.caught_up
                keep = partial(file.keep, list(batch.rows), batch.cursor, flush=caught)
                await trio.to_thread.run_sync(keep)
                bar.advance(task, len(batch.rows))
                if caught and not live:
                    file.flush()  # a server without cursors that holds nothing gives none
                    return
    if gone:
        raise LineLost(gone[0].code, gone[0].reason)


async def push_rows(relay: Relay, path: Path | None, cursor_path: Path | None) -> int:
    """Publish a file's rows behind the place that the cursor file says; how many were refused."""
    side = relay.side(relay.key, await relay.state(), is_mirror=True)
    return await publish_lines(side, path, cursor_path)


command.add_command(sync)
command.add_command(export)
command.add_command(import_)
