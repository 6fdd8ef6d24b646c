"""``heliograph mirror sync``: a relay of ours and another one kept in step, over `gateway.client.syncing`.

Everything is said on stderr. Exit codes: 0 done or interrupted, 1 something was refused and is not deleted there,
2 usage, 3 unreachable.
"""

import signal
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import trio

from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.nostrkey import identity_of, nostr_key_option
from gateway.cli.replicating import Relay, at_url, filter_of, hashed, own_relay, progress, run, say
from gateway.cli.worker import options
from gateway.client.clock import SystemClock
from gateway.client.proving import Identity
from gateway.client.station import first_of
from gateway.client.syncing import Direction, Side, Tally, Wanted, keep_in_step
from gateway.replication.registration import INTERNAL

Pair = tuple[Side, Side, dict[str, Any]]


@click.command()
@click.argument("url", metavar="URL")
@click.option("--once", is_flag=True, help="End when both are in step, and do not follow what comes.")
@click.option(
    "--direction",
    type=click.Choice(["both", "down", "up"]),
    default="both",
    show_default=True,
    help="down: from URL to ours; up: from ours to URL.",
)
@click.option("--filter", "filter_text", metavar="JSON", help="Only what matches this filter (NIP-01).")
@click.option("--ours", metavar="URL", help="Our relay by its own URL, instead of --gateway and --relay.")
@click.option("--relay", "relay_key", default=INTERNAL, show_default=True, metavar="KEY", help="Which relay of ours.")
@click.option(
    "--relay-id", help="Whose rows: 64 hexadecimal digits, or a name to hash (default: the relay's identifier)."
)
@click.option("--token", help="Our relay's token, instead of the worker's secret; it is not renewed.")
@click.option("--ttl", "ttl_s", type=click.IntRange(min=1), help="The life of tokens that are asked for.")
@click.option("--other-token", help="The token for URL's side, where it is a gateway and the secrets differ.")
@nostr_key_option
@options
def sync(
    *,
    url: str,
    once: bool,
    direction: Direction,
    filter_text: str | None,
    ours: str | None,
    relay_key: str,
    relay_id: str | None,
    other_token: str | None,
    nostr_key_file: Path | None,
    **relay: Any,
) -> None:
    """Keep a relay of ours in step with another one: compare, carry what differs, then follow until interrupted.

    \b
    A ws:// or wss:// URL is any relay's: its signed events, found by NIP-77, or in pages where it does not know that.
    One whose path begins with /mirror/ is another Heliograph's mirror (with ?token=): rows of --relay-id.
    A http:// or https:// URL is another Heliograph with the same KEY: its events and its rows, both.

    With --once, exit code 1 says that a relay refused something; not what it has deleted, or has in a newer version.
    A relay that wants a key proved (NIP-42), ours too, is proved the one of --nostr-key-file.

    \b
    Examples:
      heliograph mirror sync wss://relay.example --once
      heliograph mirror sync wss://relay.example --direction down --filter '{"kinds":[0,1,3]}'
      heliograph mirror sync wss://members.example --nostr-key-file nostr.key
      heliograph mirror sync https://other.example --relay KEY --secret-file secret
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss", "http", "https") or not parts.netloc:
        raise click.UsageError(f"{url} is no URL of a relay: it begins with ws://, wss://, http:// or https://")
    asked, tally, identity = filter_of(filter_text), Tally(), identity_of(nostr_key_file)
    pairs = _Pairs(url, ours, relay_key, relay_id, other_token, relay, asked)
    run(partial(_sync, pairs, tally, direction, identity, once=once))
    if tally.missing:
        say(f"{tally.missing} that were told of were not given: deleted meanwhile, or not for us")
    if tally.dropped:
        say(f"{tally.dropped} that were accepted are not there: deleted or replaced meanwhile, or more than it keeps")
    if once and tally.refused:
        raise SystemExit(CHECK_FAILED)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Which sockets are to be in step, as the options name them."""

    url: str
    ours: str | None
    key: str
    relay_id: str | None
    other_token: str | None
    options: dict[str, Any]
    asked: dict[str, Any]

    async def find(self) -> list[Pair]:
        """Ask the gateways where their sockets are. Raises Unavailable, ApiRefused, NoAddress."""
        if urlsplit(self.url).scheme in ("http", "https"):
            return await self._of_two_gateways()
        if urlsplit(self.url).path.startswith("/mirror/"):
            relay, state = await self._our_relay()
            theirs = at_url(self.url, "theirs", is_mirror=True)
            return [(relay.side("ours", state, is_mirror=True), theirs, self._of_rows(state))]
        return [(await self._normal(), at_url(self.url, "theirs"), self.asked)]

    async def _of_two_gateways(self) -> list[Pair]:
        relay, state = await self._our_relay()
        elsewhere = {**self.options, "gateway": self.url, "token": self.other_token}
        other = Relay(relay_key=self.key, **elsewhere)
        there = await other.state()
        pairs = [
            (relay.side("ours", state, is_mirror=rows), other.side("theirs", there, is_mirror=rows))
            for rows in (False, True)
        ]
        return [(*pairs[0], self.asked), (*pairs[1], self._of_rows(state))]

    async def _normal(self) -> Side:
        if self.ours is not None:
            return at_url(self.ours, "ours")
        if self.key == INTERNAL:
            return own_relay(self.options["gateway"])
        relay, state = await self._our_relay()
        return relay.side("ours", state, is_mirror=False)

    async def _our_relay(self) -> tuple[Relay, dict[str, Any]]:
        relay = Relay(relay_key=self.key, **self.options)
        return relay, await relay.state()

    def _of_rows(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**self.asked, "relayID": hashed(self.relay_id or str(state.get("identifier") or self.key))}


async def _sync(pairs: _Pairs, tally: Tally, direction: Direction, identity: Identity | None, *, once: bool) -> None:
    with progress("events") as (bar, task):

        def changed() -> None:
            told = f"{tally}, {tally.rounds} messages compared"
            bar.update(task, description=told, completed=tally.down + tally.up)

        tally.changed = changed
        wanted = Wanted(pairs.asked, direction, SystemClock(), tally, say)
        try:
            async with trio.open_nursery() as nursery:
                if not once:
                    nursery.start_soon(_until_interrupted, nursery.cancel_scope)
                for *sides, asked in await pairs.find():
                    ours, theirs = (replace(side, identity=identity) for side in sides)
                    keep = partial(keep_in_step, ours, theirs, replace(wanted, asked=asked), once=once)
                    nursery.start_soon(keep)
        except BaseExceptionGroup as group:
            raise first_of(group) from None


async def _until_interrupted(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
