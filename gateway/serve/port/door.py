"""The one port: accepts connections, looks at the first head, and hands each to HTTP or to the socket server.

    accept ── TLS? ── head, under a deadline ──┬─ asks for a WebSocket ─▶ `serve_socket` over the same stream
                                               ├─ a webhook ────────────▶ `Express`, until something else is asked
                                           └─ anything else ────────▶ hypercorn over a replaying stream
Invariants: every wait for a peer has a deadline; at most ``connections_max`` connections are served, per address
``connections_per_address_max``; whatever a peer sends, no exception leaves its task. HTTP/1.1 only: HTTP/2 would bring
WebSockets past this door (RFC 8441), and a proxy in front adds it better. At the end of `run` every connection is
closed, also those whose peers do not read.
This module must not know what is served; it is handed an ASGI application and a handler of sockets.
"""

import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.worker_context import WorkerContext

from gateway.config import Server, host_and_port
from gateway.errors import ConfigInvalid, Unavailable
from gateway.limits.serve import ACCEPT_BACKLOG, CONNECTIONS_SPARE, HANDSHAKE_S_MAX, READ_BYTES
from gateway.serve.bugs import tell_bug
from gateway.serve.metrics import Metrics
from gateway.serve.patience import Patience
from gateway.serve.port.conversation import Conversation, hypercorn_config
from gateway.serve.port.head import (
    Head,
    HeadRefused,
    client_address,
    is_trusted,
    networks,
    plain_address,
    read_head,
    split_head,
)
from gateway.serve.port.socket import Socket, serve_socket
from gateway.serve.port.stream import GONE, ReplayStream, linger
from gateway.serve.port.wire import Wire
from gateway.serve.push.express import Express

TRY_AGAIN = "Try again later"
GOING = "going away"

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """A server's context for a PEM chain and key: TLS 1.2 or newer, HTTP/1.1 alone. Raises ConfigInvalid."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigInvalid(f"server.tls: {cert} and {key} cannot be used: {error.strerror or error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


class Door:
    """Listens at ``server.bind``. `run` serves until `stop`; both are the app's to call, once."""

    def __init__(
        self,
        server: Server,
        app: Callable[..., Awaitable[None]],
        serve: Callable[[Socket], Awaitable[None]],
        metrics: Metrics,
        *,
        unread_bytes_max: int,
        express: Express | None = None,
    ) -> None:
        self.server, self.metrics = server, metrics
        self._express = express
        self.url = ""
        self._app, self._serve = ASGIWrapper(app), serve
        self._unread_bytes_max = unread_bytes_max
        self._trusted = networks(server.trusted_proxies)
        self._tls = tls_context(server.tls.cert, server.tls.key) if server.tls.cert else None
        self._hypercorn, self._context = hypercorn_config(server), WorkerContext(None)
        self._streams: set[trio.SocketStream] = set()
        self._headless: set[trio.SocketStream] = set()  # of these, those that have not asked for anything yet
        self._rest = Patience[trio.SocketStream](server.idle_s_max, lambda raw: raw.socket.close())
        self._departures = trio.lowlevel.ParkingLot()
        self._sockets: set[Socket] = set()
        self._addresses: Counter[str] = Counter()
        self._stopping = trio.Event()
        self._listeners: list[trio.SocketListener] = []

    def stop(self) -> None:
        """Take no more; `run` then ends within ``shutdown_s_max`` seconds."""
        self._stopping.set()

    async def quiet(self) -> None:
        """Wait until no connection is open."""
        await trio.lowlevel.checkpoint()
        while self._streams:
            await self._departures.park()

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept and serve until `stop`, then close in good order; starts with the URL. `listen` first."""
        async with trio.open_nursery() as connections:
            await connections.start(self._cut_at_the_end)
            connections.start_soon(self._rest.run)
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, self._connection, self._listeners, handler_nursery=connections)
                await accepting.start(serve)
                task_status.started(self.url)
                await self._stopping.wait()
                accepting.cancel_scope.cancel()
            await self._close_all()
            connections.cancel_scope.cancel()

    async def listen(self) -> str:
        """Take the address; the kernel queues connections until `run`. Returns the URL.

        Raises Unavailable where the address cannot be had.
        """
        host, port = host_and_port(self.server.bind)
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=ACCEPT_BACKLOG)
        except OSError as error:
            raise Unavailable(f"cannot listen at {self.server.bind}: {error.strerror or error}") from error
        for extra in listeners[1:] if port == 0 else []:  # a name with two addresses: they would get two ports
            extra.socket.close()
        name = f"[{host}]" if ":" in host else host
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://{name}:{listeners[0].socket.getsockname()[1]}"
        self._listeners = listeners[:1] if port == 0 else listeners
        return self.url

    async def _cut_at_the_end(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """When all else is cancelled, close the descriptors: hypercorn shields its sends from cancellation."""
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            for stream in self._streams:
                stream.socket.close()

    async def _close_all(self) -> None:
        """Let idle connections go, requests finish and sockets say goodbye, half of the time allowed."""
        await self._context.terminated.set()
        for socket in tuple(self._sockets):
            socket.close(1001, GOING)
        for stream in tuple(self._headless):
            stream.socket.close()
        with trio.move_on_after(self.server.shutdown_s_max * 0.5):
            await self.quiet()

    # -- one connection -----------------------------------------------------------------------------------------------

    async def _connection(self, raw: trio.SocketStream) -> None:
        try:
            peer = plain_address(raw.socket.getpeername()[0])
        except OSError:  # gone before we looked
            await trio.aclose_forcefully(raw)
            return
        key = "" if is_trusted(peer, self._trusted) else peer
        with self._counted(key):
            if self._is_over(key, CONNECTIONS_SPARE, len(self._streams) + 1):
                self.metrics.connections_refused.labels("dropped").inc()
            else:
                await self._kept(raw, peer)
        raw.socket.close()

    async def _kept(self, raw: trio.SocketStream, peer: str) -> None:
        self._streams.add(raw)
        self._headless.add(raw)
        self.metrics.connections.set(len(self._streams))
        try:
            await self._converse(raw, peer)
        except* GONE:
            pass  # the peer went away: an ordinary end
        except* Exception as bug:  # noqa: BLE001 - one peer must not end the others' connections; it is told
            tell_bug(self.metrics, bug, where="door")
        finally:
            self._headless.discard(raw)
            self._streams.discard(raw)
            self.metrics.connections.set(len(self._streams))
            self._departures.unpark_all()

    async def _converse(self, raw: trio.SocketStream, peer: str) -> None:
        stream = await self._secured(raw)
        head = await self._head(stream) if stream else None
        self._headless.discard(raw)
        if stream is None or head is None:
            return
        if head.wants_websocket:
            await self._socket(stream, head, peer)
        elif self._is_over(peer, 0, len(self._streams)):
            self.metrics.connections_refused.labels("full").inc()
            await self._answer(stream, 503, "Service Unavailable")
        else:
            await self._http(raw, stream, head, peer)
        if isinstance(stream, trio.SSLStream):
            with trio.move_on_after(1):
                await stream.aclose()  # says close_notify

    async def _http(self, raw: trio.SocketStream, stream: Stream, head: Head, peer: str) -> None:
        data = head.data + head.rest
        if self._express is not None:
            quick = stream if isinstance(stream, trio.SSLStream) else Wire(raw)
            data = await self._express.serve(quick, data, peer, partial(self._rested, raw, quick))
            upgrade = split_head(data)
            if upgrade is not None and upgrade.wants_websocket:
                await self._socket(stream, upgrade, peer)
                return
        if data:
            await self._by_hypercorn(stream, data, peer)

    async def _rested(self, raw: trio.SocketStream, stream: trio.abc.Stream) -> bytes:
        """What a connection that owes nothing says next, nothing where we stop; it is cut if it is silent for too long.

        Cut without a word of TLS, as when we stop: nothing was asked, so nothing is missing.
        """
        if self._stopping.is_set():
            return b""
        self._headless.add(raw)
        self._rest.begin(raw)
        try:
            return bytes(await stream.receive_some(READ_BYTES))
        finally:
            self._rest.end(raw)
            self._headless.discard(raw)

    async def _by_hypercorn(self, stream: Stream, data: bytes, peer: str) -> None:
        replay = ReplayStream(stream, data)
        conversation = Conversation(self._app, self._hypercorn, self._context, replay)
        await conversation
        upgrade = split_head(conversation.taken)
        if upgrade is not None:
            await self._socket(stream, upgrade, peer)

    async def _secured(self, raw: trio.SocketStream) -> Stream | None:
        """Shake hands where we have a certificate; None where the peer could not."""
        if self._tls is None:
            return raw
        stream = trio.SSLStream(raw, self._tls, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(HANDSHAKE_S_MAX):
                await stream.do_handshake()
        except (*GONE, trio.TooSlowError):
            self.metrics.connections_refused.labels("tls").inc()
            return None
        return stream

    async def _head(self, stream: Stream) -> Head | None:
        """Read the first head; what is wrong with one is answered here."""
        try:
            with trio.fail_after(self.server.head_s_max):
                return await read_head(stream, self.server.head_bytes_max)
        except HeadRefused as refused:
            await self._answer(stream, refused.status, refused.reason)
        except trio.TooSlowError:
            await self._answer(stream, 408, "Request Timeout")
        self.metrics.connections_refused.labels("head").inc()
        return None

    async def _answer(self, stream: Stream, status: int, reason: str) -> None:
        """Answer before HTTP has begun, and wait until the peer may have read it."""
        body = b'{"error":"%s"}' % reason.encode()
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{retry}Connection: close\r\n"
        with trio.move_on_after(HANDSHAKE_S_MAX):
            await stream.send_all(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await linger(stream)

    @contextmanager
    def _counted(self, key: str) -> Iterator[None]:
        """Count a connection for an address; ``""`` stands for all trusted proxies and has no limit."""
        self._addresses[key] += 1
        try:
            yield
        finally:
            self._addresses[key] -= 1
            if not self._addresses[key]:
                del self._addresses[key]

    def _is_over(self, key: str, spare: int, connections: int) -> bool:
        """Whether these connections, or those of this address, are more than are served."""
        mine = self._addresses[key] if key else 0
        return (
            connections > self.server.connections_max + spare or mine > self.server.connections_per_address_max + spare
        )

    async def _socket(self, stream: Stream, head: Head, peer: str) -> None:
        """Upgrade; a socket beyond the limit, or one that comes while we stop, is told 1013 at once."""
        client = client_address(peer, head.forwarded, self._trusted)

        async def handler(socket: Socket) -> None:
            if self._stopping.is_set() or self._is_over(client, 0, len(self._streams)):
                self.metrics.connections_refused.labels("full").inc()
                socket.close(1013, TRY_AGAIN)
                return
            self._sockets.add(socket)
            try:
                await self._serve(socket)
            finally:
                self._sockets.discard(socket)

        serve = partial(serve_socket, stream, head.data, handler, rest=head.rest, peer=client)
        with self._counted("" if client == peer else client):  # behind a proxy, each client is counted on its own
            await serve(unread_bytes_max=self._unread_bytes_max)
