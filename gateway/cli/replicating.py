"""What the `mirror` commands share: one relay at one gateway, how a client's failures end, and the bar on a terminal.

This module must not know which way rows or events go.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gateway.cli.answer import ANSWER_S_MAX
from gateway.cli.nostrkey import WANTED
from gateway.cli.rowfile import Place, lots_of, read_place, write_place
from gateway.cli.token import AUTH_TOKEN_BYTES
from gateway.cli.worker import Gateway, find_secret, relay_path
from gateway.client.address import NoAddress, addresses, with_token
from gateway.client.clock import SystemClock as ClientClock
from gateway.client.happening import Granted, Lost, Notice
from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.pouring import Lot, pour
from gateway.client.renewing import Renewing
from gateway.client.replica import ReplicaFailed, SubscriptionEnded, TokenRefused
from gateway.client.station import KeyWanted, RequestRefused
from gateway.client.syncing import Side
from gateway.errors import ApiRefused, Unavailable
from gateway.replication.binding import relay_id
from gateway.replication.path import HEX_64
from gateway.replication.registration import INTERNAL
from gateway.replication.signature import canonical
from gateway.serve.clock import SystemClock

cursor_option = click.option(
    "--cursor",
    "cursor_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that keeps the place: the next call goes on there.",
)


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

    def side(self, name: str, state: Mapping[str, Any], *, is_mirror: bool) -> Side:
        """Give one of its two sockets, for a connection with a token of its own each time."""
        where = addresses(state)
        renewing = Renewing(self._granted, ClientClock())

        async def url() -> str:
            if not is_mirror and not where.normal_needs_token:
                return where.normal
            given = await renewing.token()
            return with_token(where.mirror, given.for_mirror) if is_mirror else with_token(where.normal, given.token)

        keep = renewing.keep if is_mirror else None
        return Side(name, url, is_mirror, keep=keep, renews=self._token is None)

    async def _granted(self) -> Granted:
        """Give a token; the one of the options as often as it is asked for: whether it has ended the relay knows."""
        if self._token is not None:
            return Granted(token=self._token)
        try:
            return msgspec.convert({"in": "granted", **await self.provide()}, Granted)
        except OSError as why:
            raise LineLost(NO_CLOSE, str(why)) from None
        except (TokenRefused, msgspec.ValidationError) as why:
            raise RequestRefused(str(why)) from None


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run, and turn the client's failures into those that have an exit code."""
    try:
        return trio.run(main)
    except ReplicaFailed as failed:
        raise ApiRefused(401, str(failed)) from None
    except LineLost as why:
        raise Unavailable(why.reason if why.code == NO_CLOSE else str(why)) from None
    except NoAddress as why:
        raise Unavailable(str(why)) from None
    except KeyWanted as why:
        raise ApiRefused(401, f"{why}; {WANTED}") from None
    except RequestRefused as why:
        raise ApiRefused(400, str(why)) from None
    except SubscriptionEnded as ended:
        hint = "; the cursor file is of another log, or too old" if str(ended).startswith("cursor-unknown") else ""
        raise ApiRefused(400, f"{ended}{hint}") from None


def hashed(named: str) -> str:
    """Give a relayID: as it is, in lower case, or the hash of a name."""
    lower = named.lower()
    return lower if HEX_64.fullmatch(lower) else relay_id(named)


async def publish_lines(side: Side, path: Path | None, cursor_path: Path | None) -> int:
    """Publish a file's events, or its rows where the side is a mirror; say how many, and give how many were refused."""
    start = read_place(cursor_path).bytes
    lots = lots_of(path, start, rows=side.is_mirror)
    total = None if path is None else path.stat().st_size  # noqa: ASYNC240 - once
    read = refused = 0
    with progress("bytes", total, start) as (bar, task):

        async def more() -> Lot | None:
            nonlocal read
            lot = await trio.to_thread.run_sync(next, lots, None)
            read += 0 if lot is None else len(lot.events)
            return lot

        async def settled(end: int, refusals: Mapping[str, str]) -> None:
            nonlocal refused
            refused += len(refusals)
            for name, reason in refusals.items():
                click.echo(f"refused {name}: {reason}", err=True)
            if end >= 0:
                await trio.to_thread.run_sync(write_place, cursor_path, Place(None, end))
                bar.update(task, completed=end)

        await pour(side, more, settled, clock=ClientClock(), tell=say)
    say(f"{read} {'rows' if side.is_mirror else 'events'}, {refused} refused")
    return refused


def say(text: str) -> None:
    """Say a sentence on stderr."""
    click.echo(text, err=True)


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


def own_relay(gateway: str, name: str = "ours") -> Side:
    """Give the normal socket of a gateway's own relay, which is open."""
    base = gateway.rstrip("/").replace("http", "ws", 1)
    return at_url(f"{base}/relay", name)


def at_url(url: str, name: str, *, is_mirror: bool = False) -> Side:
    """Give a relay by its URL, which holds the token where it needs one. click.UsageError where it is none."""
    if not url.startswith(("ws://", "wss://")):
        raise click.UsageError(f"{url} is no URL of a relay: it begins with ws:// or wss://")

    async def same() -> str:
        return url

    return Side(name, same, is_mirror)


def filter_of(text: str | None) -> dict[str, Any]:
    """Read an option that is a filter. click.UsageError where it is none."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.DecodeError as why:
        raise click.UsageError(f"--filter is no JSON object: {why}") from None
