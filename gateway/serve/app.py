"""The composition of everything: read `Gateway.__init__` from the top, it is the architecture.

    log ─▶ ledger (views) ─▶ services (push, relays, mirror, nostr) ─▶ HTTP app and sockets ─▶ door
Invariant: what is built first ends last. On SIGTERM the door stops taking and lets go of its peers, then the services
end, then the views are sealed and the log is drained. When the log fails closed, reading goes on: /ready and every
write say so, nothing else changes.
This is the only module that knows all the others.
"""

import importlib
import importlib.util
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import trio

from eventlog.errors import LogFailed
from gateway.config import Config
from gateway.errors import SocketRefused, Unavailable
from gateway.serve.asgi import Front
from gateway.serve.bugs import tell_bug
from gateway.serve.clock import Clock
from gateway.serve.door import TRY_AGAIN, Door
from gateway.serve.head import networks
from gateway.serve.http import make_app
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.refusals import Refusals
from gateway.serve.socket import Socket
from gateway.serve.status import Status


class Gateway:
    """One gateway over a ledger. `run` serves until `stop` is called; ``url`` is known once it has started."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger) -> None:
        self.config, self.ledger = config, ledger
        self.metrics = Metrics()
        self.refusals = Refusals()
        self.status = Status(ledger, self.metrics)
        self.push = _service("push", "PushService", config, clock, ledger, self.metrics)
        self.relays = _service("relays", "RelayService", config, clock, ledger, self.metrics)
        self.mirror = _service("mirror", "MirrorService", config, clock, ledger, self.metrics)
        self.nostr = _service("relay", "NostrService", config, clock, ledger, self.metrics)
        self.services = [one for one in (self.push, self.relays, self.mirror, self.nostr) if one is not None]
        routed = [one for one in self.services if hasattr(one, "routes")]
        app = make_app(config, self.status, self.metrics, routed, self.describe)
        self.door = Door(
            config.server,
            Front(app, self.metrics, networks(config.server.trusted_proxies)),
            self.serve_socket,
            self.metrics,
            unread_bytes_max=config.relay.unread_bytes_max,
        )

    def stop(self) -> None:
        """Begin to end: `run` returns within ``shutdown_s_max`` seconds."""
        self.status.stopping = True
        self.door.stop()

    async def run(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve; starts with the URL once connections are accepted. The ledger must be running."""
        await self.door.listen()
        async with trio.open_nursery() as services:
            services.start_soon(self._watch_log)
            for service in self.services:
                if hasattr(service, "run"):
                    await services.start(service.run)
            async with trio.open_nursery() as door:
                task_status.started(await door.start(self.door.run))
            services.cancel_scope.cancel()

    async def _watch_log(self) -> None:
        self.status.failure = await self.ledger.log.failed()
        structlog.get_logger().critical("the log failed closed", error=str(self.status.failure))

    async def serve_socket(self, socket: Socket) -> None:
        """Shake hands, then serve one session; each kind of failure has its close code."""
        try:
            await self._session(socket)
        except* SocketRefused as refused:
            first = refused.exceptions[0]
            assert isinstance(first, SocketRefused)
            self.refusals.tell(socket.peer, what="socket", path=socket.path, code=first.code, reason=first.reason)
            socket.close(first.code, first.reason)
        except* (LogFailed, Unavailable):
            socket.close(1013, TRY_AGAIN)
        except* Exception as bug:  # noqa: BLE001 - one session's bug must not end the others; it is told
            tell_bug(self.metrics, bug, where="socket", path=socket.path)
            socket.close(1011, "internal error")

    def describe(self, path: str) -> bytes | None:
        """The NIP-11 document of the relay that a socket path names; None where it names none."""
        return None

    async def _session(self, socket: Socket) -> None:
        if self.relays is None:
            raise SocketRefused(4404, "Relay not registered")
        grant = await self.relays.shake(socket)
        service, kind = (self.mirror, "mirror") if grant.mirror else (self.nostr, "relay")
        with self._counted(kind):
            await service.serve(socket, grant)

    @contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        self.status.sessions[kind] += 1
        self.metrics.active_sessions.labels(kind).inc()
        try:
            yield
        finally:
            self.status.sessions[kind] -= 1
            self.metrics.active_sessions.labels(kind).dec()


def _views() -> tuple[Any, ...]:
    names = ("devices", "nonces", "outbox", "relays", "tokens", "rows", "events")
    found = [name for name in names if importlib.util.find_spec(f"gateway.views.{name}")]
    return tuple(getattr(importlib.import_module(f"gateway.views.{n}"), f"{n.title()}View") for n in found)


VIEWS = _views()


def _service(module: str, name: str, *needs: object) -> Any:
    if importlib.util.find_spec(f"gateway.serve.{module}") is None:
        return None
    return getattr(importlib.import_module(f"gateway.serve.{module}"), name)(*needs)


def speak_json() -> None:
    """Send every log line, ours and the libraries', to stderr as one JSON object a line."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    renderer = structlog.processors.JSONRenderer()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


async def stop_on_signal(gateway: Gateway, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Turn the first SIGTERM or SIGINT into `Gateway.stop`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            structlog.get_logger().info("stopping", signal=signal.Signals(number).name)
            gateway.stop()
