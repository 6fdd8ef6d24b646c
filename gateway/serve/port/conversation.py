"""hypercorn's connection (`TCPServer`), held to what the door promises: HTTP/1.1 alone, and letting go.

    the door's first head, then the rest ─▶ ReplayStream ─▶ hypercorn ─▶ ASGI
Three things are ours, each pinned by a test over hypercorn's own code: offers of HTTP/2 are ignored; a peer that has
gone is forgotten at once (the reader ends, hypercorn's idle timer would hold the task until ``keep_alive_timeout``); a
WebSocket asked for on a used connection, as proxies do, is handed back to the door (``taken``), never to ASGI.
This module must not know what is served.
"""

from collections.abc import Awaitable, Callable

import h11
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from gateway.config import Server
from gateway.serve.port.head import split_head
from gateway.serve.port.stream import ReplayStream

BETWEEN_REQUESTS = (h11.IDLE, h11.DONE)  # the peer has sent its request whole


class HTTP11(H11Protocol):
    """hypercorn's HTTP/1.1 that never becomes anything else."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore an offer to change to HTTP/2 (RFC 9110 §7.8 lets a server do so)."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Give every request to HTTP: one that asks for a WebSocket here came in pieces, and is told so there."""
        if any(name == b"upgrade" for name, _ in request.headers):
            headers = [(name, value) for name, value in request.headers if name != b"connection"]
            request = h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        await super()._create_stream(request)


class Conversation(TCPServer):
    """One connection that speaks HTTP; await it. ``taken`` then holds an upgrade request that ended it, if one did."""

    def __init__(self, app: AppWrapper, config: HypercornConfig, context: WorkerContext, replay: ReplayStream) -> None:
        super().__init__(app, config, context, {}, replay)  # type: ignore[arg-type]  # it asks for less than SSLStream
        self._replay = replay
        self._idle = trio.lowlevel.ParkingLot()

    @property
    def taken(self) -> bytes:
        """The bytes of the upgrade request and whatever came with it; empty without one."""
        return self._replay.taken

    async def _read_data(self) -> None:
        outer = self.protocol
        self._http = HTTP11(
            outer.app,
            outer.config,
            outer.context,
            outer.task_group,
            outer.state,
            outer.ssl,
            outer.client,
            outer.server,
            outer.send,
        )
        outer.protocol = self._http
        self._replay.wanted = self._is_upgrade
        await super()._read_data()
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """As hypercorn does; whoever waits for the end of a request hears of it."""
        await super().protocol_send(event)
        if isinstance(event, Closed) or (isinstance(event, Updated) and event.idle):
            self._idle.unpark_all()

    async def _is_upgrade(self, data: bytes) -> bool:
        """Whether a whole head came that asks for a WebSocket; one that came early waits for the request before it."""
        head = split_head(data)
        if head is None or not head.wants_websocket or self._http.connection.their_state not in BETWEEN_REQUESTS:
            return False
        while self._http.stream is not None:
            await self._idle.park()
        connection = self._http.connection
        return connection.their_state is h11.IDLE and not connection.trailing_data[0]


class Silent:
    """hypercorn's log: nothing. Our own bugs are logged where they are caught, the rest is metrics."""

    def __init__(self, config: HypercornConfig) -> None:
        del config

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        return self._say

    async def _say(self, *args: object) -> None:
        del args


def hypercorn_config(server: Server) -> HypercornConfig:
    """What hypercorn is told: our limits on heads and idle time, no log, no banner."""
    config = HypercornConfig()
    config.h11_max_incomplete_size = server.head_bytes_max
    config.keep_alive_timeout = server.idle_s_max
    config.keep_alive_max_requests = 100_000
    config.include_server_header = False
    config.logger_class = Silent  # type: ignore[assignment]
    return config
