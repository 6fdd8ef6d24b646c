"""Reads delegated to a relay's peers: asked side by side, for a moment, for what we may lack (relay-and-mirror §4).

Local rows are sent before anyone is asked, so no peer can hold them up; EOSE follows after `DELEGATION_S_MAX` at the
latest, whatever the peers do. A peer's address is somebody else's choice: what push's rules on addresses demand holds
(wss on port 443, a public name, dialled by `gateway.serve.dialling`), save for peers that the operator trusts. Peers'
rows are given on, not stored: nobody signed for them.
A connection is made for each request; keeping them would be a pool to watch for a path that local rows make rare.
This module must not know sessions or subscriptions.
"""

import ipaddress
import ssl
from collections.abc import Callable, Collection, Sequence
from urllib.parse import SplitResult, urlsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from gateway.errors import PushRefused
from gateway.limits.mirror import DELEGATION_S_MAX, DELEGATIONS_MAX, PEER_BYTES_MAX
from gateway.push.hostname import hostname
from gateway.replication.filter import Filter
from gateway.replication.peers import Gathering, Peers, request
from gateway.replication.row import Row
from gateway.serve.clock import Clock
from gateway.serve.delivery.httpclient import PeerFailed, client_context, secure
from gateway.serve.dialling import Dial, NotPublic, Resolve, connected, dialler, resolver
from gateway.serve.mirror.rowintake import flaw_as_event

OPTION = "delegated"
SUB_ID = "delegated"
FAILURES = (
    *(OSError, NotPublic, PeerFailed, PushRefused, trio.BrokenResourceError),
    *(HandshakeError, ConnectionClosed, ValueError),
)


class Delegation:
    """Asks peers; ``peers_of`` is told by the composition: a relay's peers, where it is online and lets us."""

    def __init__(
        self, trusted: Collection[str], clock: Clock, lookup: Resolve | None = None, dial: Dial | None = None
    ) -> None:
        self._trusted, self._clock = frozenset(trusted), clock
        self._resolve, self._dial = lookup or resolver(), dial or dialler()
        self._peers = Peers()
        self._places = trio.CapacityLimiter(DELEGATIONS_MAX)
        self._context: ssl.SSLContext | None = None
        self.peers_of: Callable[[str], Sequence[str]] = lambda _: ()

    async def rows(self, relay_key: str, filters: Sequence[Filter], seen: Collection[bytes]) -> list[Row]:
        """Give rows beyond those ``seen`` (their ids) that peers have, the newest first; none where nobody answers."""
        gathering = Gathering(filters, frozenset(seen), _room(filters, seen), flaw_as_event)
        urls = self.peers_of(relay_key) if _room(filters, seen) > 0 else ()
        chosen = self._peers.choose([url for url in urls if self._is_allowed(url)], self._clock.now_ms())
        text = request(filters, SUB_ID)
        with trio.move_on_after(DELEGATION_S_MAX):
            async with trio.open_nursery() as nursery:
                for url in chosen:
                    nursery.start_soon(self._ask, url, text, gathering)
        return gathering.rows

    async def _ask(self, url: str, text: str, gathering: Gathering) -> None:
        """Ask one peer; whatever it does is kept in mind, and ends nobody else's answer."""
        began_s, answered = trio.current_time(), False
        try:
            async with self._places:
                answered = await self._exchange(url, text, gathering)
        except* FAILURES:
            pass  # counted below
        finally:
            latency_ms = int((trio.current_time() - began_s) * 1000) if answered else None
            self._peers.ended(url, latency_ms, self._clock.now_ms())

    async def _exchange(self, url: str, text: str, gathering: Gathering) -> bool:
        """Tell whether the peer said that it was done."""
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{f'{parts.query}&' if parts.query else ''}{OPTION}=1"
        stream = await self._stream(parts)
        opening = _Opening(stream)
        try:
            async with trio.open_nursery() as nursery:
                connection = await wrap_client_stream(
                    nursery,
                    trio.StapledStream(stream, opening),  # type: ignore[arg-type] # any stream will do
                    parts.netloc.rpartition("@")[2],
                    target,
                    max_message_size=PEER_BYTES_MAX,
                )
                opening.is_over = True
                await connection.send_message(text)
                answered = await _read(connection, gathering)
                nursery.cancel_scope.cancel()
            return answered
        finally:
            await trio.aclose_forcefully(stream)

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _is_trusted(self, parts: SplitResult) -> bool:
        """Whether the operator lists a peer: by its host, host and port, origin, whole URL, or network."""
        host = parts.hostname or ""
        origin = f"{parts.scheme}://{parts.netloc}"
        if self._trusted & {host, parts.netloc, origin, f"{origin}/", parts.geturl()}:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in map(_network, self._trusted) if network is not None)

    def _is_allowed(self, url: str) -> bool:
        """Refuse by its spelling what may not be dialled: before a look-up, and without counting as a failure."""
        try:
            parts = urlsplit(url)
            port = parts.port
            if self._is_trusted(parts):
                return True
            host = parts.hostname or ""
            return parts.scheme == "wss" and port in (None, 443) and not parts.username and hostname(host) == host
        except (ValueError, PushRefused):
            return False

    async def _stream(self, parts: SplitResult) -> trio.abc.Stream:
        host = parts.hostname or ""
        if not self._is_trusted(parts):
            return await connected(host, self._resolve, self._dial)
        if parts.scheme == "ws":
            return await trio.open_tcp_stream(host, parts.port or 80)
        self._context = self._context or client_context()
        return await secure(await trio.open_tcp_stream(host, parts.port or 443), self._context, host)


class _Opening(trio.abc.ReceiveStream):
    """What a peer sends, whose end is PeerFailed until the handshake `is_over`.

    trio-websocket takes an end for one of an open connection, and waits for the handshake for ever.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream, self.is_over = stream, False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Give some bytes; none at the end."""
        try:
            some = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            some = b""
        if not some and not self.is_over:
            await trio.lowlevel.checkpoint()  # whoever a handshake woke that came just before has now run
            if not self.is_over:
                raise PeerFailed("the peer hung up before its handshake")
        return some

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


async def _read(connection: WebSocketConnection, gathering: Gathering) -> bool:
    left = PEER_BYTES_MAX
    while left > 0:
        message = await connection.get_message()
        left -= len(message)
        if gathering.take(message, SUB_ID):
            return True
    return False


def _room(filters: Sequence[Filter], seen: Collection[bytes]) -> int:
    """How many more rows the limits allow; none where every id that was asked for is there."""
    if all(each.ids is not None and each.ids <= set(seen) for each in filters):
        return 0
    return sum(each.limit for each in filters) - len(seen)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
