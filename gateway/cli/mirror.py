"""``heliograph mirror``: a relay's replication rows to and from JSON lines, over `gateway.client`.

Rows on stdout or in a file, everything else on stderr. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli.rowfile import Place, RowFile, chunks_of, read_place, write_place
from gateway.cli.token import AUTH_TOKEN_BYTES
from gateway.cli.worker import ANSWER_S_MAX, Gateway, find_secret, options, relay_path
from gateway.client.address import NoAddress
from gateway.client.happening import Lost, Notice
from gateway.client.replica import ReplicaFailed, SubscriptionEnded, TokenRefused, open_replica
from gateway.errors import ApiRefused, Unavailable
from gateway.replication.binding import relay_id
from gateway.replication.registration import INTERNAL
from gateway.replication.signature import canonical
from gateway.serve.clock import SystemClock

HEX_DIGITS = 64


@click.group()
def command() -> None:
    """Pull, push and follow a relay's replication rows, as JSON lines.

    \b
    Examples:
      export GATEWAY_REGISTRATION_SECRET=…
      heliograph mirror pull public-gateway:hyperbee --out rows.jsonl --cursor rows.cursor
      heliograph mirror tail KEY --out rows.jsonl --cursor rows.cursor
      heliograph mirror push KEY rows.jsonl --gateway https://other.example --cursor pushed.cursor
    """


def of_a_relay(wrapped: Callable[..., None]) -> Callable[..., None]:
    """The options that every subcommand takes: which relay, and with what token."""
    for option in (
        click.option(
            "--cursor",
            "cursor_path",
            type=click.Path(path_type=Path, dir_okay=False),
            help="A file that keeps the place: the next call goes on there.",
        ),
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
        click.option("--kind", "kinds", type=int, multiple=True, help="Rows of this kind alone; may be repeated."),
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
        raise SystemExit(1)


class Relay:
    """One relay at one gateway, as the options name it."""

    def __init__(
        self,
        *,
        relay_key: str,
        gateway: str,
        secret: str | None,
        secret_file: Path | None,
        worker: str,
        token: str | None,
        ttl_s: int | None,
    ) -> None:
        self.key, self._url, self._token, self._ttl_s = relay_key, gateway.rstrip("/"), token, ttl_s
        self._at = Gateway(gateway, None if token else find_secret(secret, secret_file, worker))
        self._given = False
        if token is None:
            self._at.signed("")  # says what is needed where there is no secret

    async def state(self) -> dict[str, Any]:
        """Ask for the relay's state: signed where there is a secret. Raises Unavailable and ApiRefused."""
        headers = {}
        if self._at.signs:
            issued_ms = SystemClock().now_ms()
            signature = self._at.signed({"read": self.key, "issuedAt": issued_ms})
            headers = {"x-signature": signature, "x-issued-at": str(issued_ms)}
        try:
            return await self._ask("GET", relay_path(self.key), headers=headers)
        except OSError as why:
            raise Unavailable(str(why)) from None
        except TokenRefused as why:
            raise ApiRefused(404, str(why)) from None

    async def provide(self) -> Mapping[str, Any]:
        """Give a token: the one of the options once, or a new one each time. Raises TokenRefused and OSError."""
        if self._token is not None:
            if self._given:
                raise TokenRefused("the token that was given has ended")
            self._given = True
            return {"token": self._token}
        auth = None if self.key == INTERNAL else SystemClock().random_bytes(AUTH_TOKEN_BYTES).hex()
        asked = {"relayKey": self.key, "relayAuthToken": auth, "ttlSeconds": self._ttl_s, **self._at.once()}
        payload = {name: value for name, value in asked.items() if value is not None}
        body = canonical({"payload": payload, "signature": self._at.signed(payload)})
        return await self._ask("POST", "/api/relay-tokens/issue", content=body)

    async def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=ANSWER_S_MAX) as client:
                answer = await client.request(method, f"{self._url}{path}", **more)
        except (httpx.HTTPError, httpx.InvalidURL) as why:
            raise OSError(f"{self._url} cannot be reached: {why}") from None
        if answer.status_code >= 500:
            raise OSError(f"{self._url} answers {answer.status_code}")
        if answer.status_code != 200:
            raise TokenRefused(f"{self._url} refuses with {answer.status_code}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def read_rows(relay: Relay, file: RowFile, named: str | None, kinds: tuple[int, ...], *, live: bool) -> None:
    """Pull or tail: rows into the file, and how many on stderr."""
    try:
        run(partial(follow, relay, file, named, kinds, live=live))
    finally:
        file.close()
        click.echo(f"{file.rows} rows", err=True)


async def follow(relay: Relay, file: RowFile, named: str | None, kinds: tuple[int, ...], *, live: bool) -> None:
    """Read rows into the file until all that is stored has come, or for ever."""
    state = await relay.state()
    place: dict[str, Any] = {"relayID": hashed(named or str(state.get("identifier") or relay.key))}
    if kinds:
        place["kinds"] = list(kinds)
    with progress("rows") as (bar, task):
        async with (
            open_replica(state, relay.provide, tell=tell) as replica,
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


async def push_rows(relay: Relay, path: Path | None, cursor_path: Path | None) -> int:
    """Publish a file's rows behind the place that the cursor file says; how many were refused."""
    start = read_place(cursor_path).bytes
    state = await relay.state()
    refused = 0
    chunks = chunks_of(path, start)
    total = None if path is None else path.stat().st_size  # noqa: ASYNC240 - once
    with progress("bytes", total, start) as (bar, task):
        async with open_replica(state, relay.provide, tell=tell) as replica:
            while chunk := await trio.to_thread.run_sync(next, chunks, None):
                rows, end = chunk
                outcomes = await replica.publish_all(rows)
                for row, outcome in zip(rows, outcomes, strict=True):
                    if not outcome.accepted:
                        refused += 1
                        click.echo(f"refused {row['id']}: {outcome.reason}", err=True)
                write_place(cursor_path, Place(None, end))
                bar.update(task, completed=end)
    return refused


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run, and turn the client's failures into those that have an exit code."""
    try:
        return trio.run(main)
    except ReplicaFailed as failed:
        raise ApiRefused(401, str(failed)) from None
    except NoAddress as why:
        raise Unavailable(str(why)) from None
    except SubscriptionEnded as ended:
        hint = "; the cursor file is of another log, or too old" if str(ended).startswith("cursor-unknown") else ""
        raise ApiRefused(400, f"{ended}{hint}") from None


def hashed(named: str) -> str:
    """Give a relayID: as it is, or the hash of a name."""
    is_hash = len(named) == HEX_DIGITS and all(digit in "0123456789abcdef" for digit in named)
    return named if is_hash else relay_id(named)


def tell(what: Lost | Notice) -> None:
    """Say on stderr what the client has to tell."""
    match what:
        case Lost(socket, code, reason):
            click.echo(f"the {socket} socket is lost ({code} {reason}); it will be opened again", err=True)
        case Notice(text=text):
            click.echo(text, err=True)


@contextmanager
def progress(unit: str, total: int | None = None, start: int = 0) -> Iterator[tuple[Progress, TaskID]]:
    """A bar on stderr, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as bar:
        yield bar, bar.add_task(unit, total=total, completed=start)
