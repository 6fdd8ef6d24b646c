"""``heliograph mirror export`` and ``import``: a relay's signed events as JSON lines, one event a line, as they came.

The files are strfry's (``strfry export``, ``strfry import``). Invariant: memory holds a few pages or lots, however many
events there are; killed at any time, a call with the same ``--cursor`` goes on where the last one stood.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import trio

from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.nostrkey import identity_of, nostr_key_option
from gateway.cli.replicating import at_url, cursor_option, filter_of, own_relay, progress, publish_lines, run, say
from gateway.cli.rowfile import RowFile
from gateway.cli.worker import DEFAULT_GATEWAY
from gateway.client.behaviour import TURNED_AWAY, back_off_ms
from gateway.client.clock import SystemClock
from gateway.client.line import LineLost
from gateway.client.paging import Pages
from gateway.client.syncing import Side, pages
from gateway.limits.client import SYNC_TRIES_MAX


def of_a_relay(wrapped: Any) -> Any:
    """The arguments that both take: which relay, and where the place is kept."""
    for option in (
        nostr_key_option,
        cursor_option,
        click.option(
            "--gateway", default=DEFAULT_GATEWAY, show_default=True, metavar="URL", help="Whose own relay, without URL."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@click.option("--filter", "filter_text", metavar="JSON", help="Only what matches this filter (NIP-01).")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file that events are appended to (default: stdout); with --cursor each event comes once.",
)
@of_a_relay
def export(
    *,
    url: str | None,
    filter_text: str | None,
    out: Path | None,
    cursor_path: Path | None,
    gateway: str,
    nostr_key_file: Path | None,
) -> None:
    """Write a relay's stored events as JSON lines, the newest first.

    \b
    Examples:
      heliograph mirror export --filter '{"kinds":[1]}' > notes.jsonl
      heliograph mirror export wss://relay.example --out events.jsonl --cursor events.cursor
    """
    paging = Pages(filter_of(filter_text))
    file = RowFile(out, cursor_path)
    try:
        if file.place.cursor is not None:
            paging.go_on(file.place.cursor)
    except ValueError:
        raise click.UsageError(f"{cursor_path} is no cursor of an export") from None
    try:
        run(partial(_export, _side(url, gateway, nostr_key_file), paging, file))
    finally:
        file.close()
        click.echo(f"{file.rows} events", err=True)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True), default="-")
@click.argument("url", metavar="[URL]", required=False)
@of_a_relay
def import_(
    *, file: Path, url: str | None, cursor_path: Path | None, gateway: str, nostr_key_file: Path | None
) -> None:
    """Publish a file's events (- for stdin) to a relay, which verifies each; exit code 1 where one was refused.

    \b
    Examples:
      strfry export | heliograph mirror import -
      heliograph mirror import events.jsonl wss://relay.example --cursor imported.cursor
    """
    path = None if str(file) == "-" else file
    if path is None and cursor_path is not None:
        raise click.UsageError("--cursor needs a file: stdin has no place to go on from")
    if run(partial(publish_lines, _side(url, gateway, nostr_key_file), path, cursor_path)):
        raise SystemExit(CHECK_FAILED)


def _side(url: str | None, gateway: str, nostr_key_file: Path | None) -> Side:
    side = own_relay(gateway, "the relay") if url is None else at_url(url, "the relay")
    return replace(side, identity=identity_of(nostr_key_file))


async def _export(side: Side, paging: Pages, file: RowFile) -> None:
    """Read page by page, through lost connections."""
    clock, tries, opened = SystemClock(), 0, False
    with progress("events") as (bar, task):
        while True:
            try:
                async with await side.open() as station:
                    opened = True
                    await station.introduce({})
                    async for page in pages(station, paging):
                        lines = [event.raw for event in page]
                        await trio.to_thread.run_sync(partial(file.keep_lines, lines, paging.place, flush=False))
                        bar.advance(task, len(page))
                        tries = 0
                    await trio.to_thread.run_sync(file.flush)
                    return
            except LineLost as lost:
                if not opened or tries >= (1 if lost.code in TURNED_AWAY else SYNC_TRIES_MAX):
                    raise
                wait_ms = back_off_ms(tries, clock.roll())
                tries += 1
                say(f"the connection is lost ({lost}); it is opened again in {wait_ms / 1000:.1f} s")
            await trio.sleep(wait_ms / 1000)
