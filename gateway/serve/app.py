"""The composition of everything: read `Gateway.__init__` from the top, it is the architecture.

    log ─▶ ledger (views) ─▶ services (push, relays, mirror, nostr) ─▶ HTTP app and sockets ─▶ door
Invariant: what is built first ends last. On SIGTERM the door stops taking and lets go of its peers, then the services
end, then the views are sealed and the log is drained. While the log has failed, reading goes on: /ready and every
write say so until it was reopened, nothing else changes.
This is the only module that knows all the others.
"""

import gc
import logging
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
import trio

from eventlog.disk.log import Log, open_log
from eventlog.disk.store import KEY_DIRECTORY, KEY_FILE
from eventlog.disk.views import open_views
from eventlog.errors import Corrupt, Locked, LogFailed
from eventlog.view import TableView, disk_refused
from gateway import facts
from gateway.config import Config
from gateway.errors import SocketRefused, Unavailable
from gateway.limits.keeping import FAILURE_TOLD_S
from gateway.limits.serve import CONNECTIONS_SPARE, DESCRIPTORS_SPARE, GC_YOUNG_OBJECTS
from gateway.nostr.authentication import path_here
from gateway.nostr.info import Presentation
from gateway.nostr.rules import rules_of
from gateway.replication.path import socket_path
from gateway.replication.registration import INTERNAL, Relay
from gateway.serve.bugs import tell_bug
from gateway.serve.clock import Clock, SystemClock
from gateway.serve.custody.barring import Barring
from gateway.serve.custody.control import Control, Verb
from gateway.serve.custody.erasing import Erasing
from gateway.serve.custody.heeding import Heeding
from gateway.serve.custody.keeping import Keeping
from gateway.serve.custody.transparency import TransparencyService
from gateway.serve.keys import told_as_made, with_registration_secret
from gateway.serve.ledger import Ledger
from gateway.serve.measured import MeasuredDisk
from gateway.serve.metrics import Metrics
from gateway.serve.mirror.service import MirrorService
from gateway.serve.port.asgi import Bodies, Front
from gateway.serve.port.door import TRY_AGAIN, Door
from gateway.serve.port.head import networks
from gateway.serve.port.http import Routed, make_app
from gateway.serve.port.socket import Socket
from gateway.serve.pseudonym import pseudonym
from gateway.serve.push.express import Express
from gateway.serve.push.matrix import MatrixDoor
from gateway.serve.push.service import PushService
from gateway.serve.refusals import Refusals
from gateway.serve.relay.management import ManagementService
from gateway.serve.relay.service import NostrService
from gateway.serve.rereading import Rereading
from gateway.serve.status import Status, our_version
from gateway.serve.stderr import Patient
from gateway.serve.workers.relays import RelayService
from gateway.views.bars import BarsView
from gateway.views.devices import DevicesView
from gateway.views.documents import DocumentsView
from gateway.views.events import EventsView
from gateway.views.heeding import HeedingView
from gateway.views.moderation import ModerationView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView
from gateway.views.pushkeys import PushkeysView
from gateway.views.relays import Registered, RelaysView
from gateway.views.rows import RowsView, writer_mark
from gateway.views.tokens import TokensView
from gateway.views.usage import UsageView

VIEWS: tuple[type[TableView], ...] = (
    DevicesView,
    DocumentsView,
    NoncesView,
    OutboxView,
    PushkeysView,
    UsageView,
    RelaysView,
    TokensView,
    RowsView,
    EventsView,
    ModerationView,
    BarsView,
    HeedingView,
)


class Gateway:
    """One gateway over a ledger: `listen`, then `run` until `stop`."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger, metrics: Metrics) -> None:
        self.config, self.ledger, self.metrics = config, ledger, metrics
        self.refusals = Refusals()
        self.status = Status(ledger, metrics)

        self.push = PushService(config, clock, ledger, metrics)
        dispatcher, ways = self.push.dispatcher, self.push.ways
        tenancy = self.push.tenancy
        self.matrix = MatrixDoor(config, clock, ledger, metrics, dispatcher=dispatcher, ways=ways, tenancy=tenancy)
        self.relays = RelayService(config, clock, ledger, metrics)
        self.nostr = NostrService(config, clock, ledger, metrics)
        self.management = ManagementService(config.relay, clock, ledger)
        self.mirror = MirrorService(config, clock, ledger, metrics)
        self.transparency = TransparencyService(config, clock, ledger.log)
        self.barring = Barring(clock, ledger, Path(config.data))
        self._introduce()

        app = make_app(config, self.status, metrics, self._services(), self.describe)
        trusted, hot, bodies = networks(config.server.trusted_proxies), self.push.direct(), Bodies()
        front = Front(app, metrics, trusted, hot, bodies)
        express = Express(hot, bodies, metrics, trusted, clock)
        unread = config.relay.unread_bytes_max
        self.door = Door(config.server, front, self.serve_socket, metrics, unread_bytes_max=unread, express=express)

    def _services(self) -> tuple[Routed, ...]:
        return (self.push, self.matrix, self.relays, self.transparency, self.management)

    def _introduce(self) -> None:
        """Tell the services what they need of each other: here, so that none imports another."""
        self._relays = self.ledger.view(RelaysView)
        self.relays.count_events = self.ledger.view(EventsView).count
        self.mirror.introduce(self.relays.handshakes, self.relays.key)
        self.mirror.delegation.peers_of = self.relays.peers_asked
        self.nostr.replicate, self.nostr.comparisons = self.mirror.replica, self.mirror.comparisons
        self.nostr.introduce(self._is_relays_url)
        self.nostr.intake.barred = self.barring.barred
        self.management.membership = self.nostr.membership
        self.management.names, self.management.named = self._is_relays_url, self._relay_key
        self.status.public_relays = self.relays.public_relays

    def _is_relays_url(self, url: str, relay_key: str) -> bool:
        """Whether a URL names a relay of ours; one without a path names whichever it was sent to."""
        path = path_here(url, self.relays.base_url)
        return path is not None and (not path or self._relay_key(path) == relay_key)

    def _relay_key(self, path: str) -> str | None:
        """The key of the relay that a socket path names."""
        found = self._named(path)
        return None if found is None else found.relay.relay_key

    def _named(self, path: str) -> Registered | None:
        try:
            return self._relays.named(socket_path(path).name)
        except SocketRefused:
            return None

    def reconfigure(self, config: Config) -> None:
        """Go by other instances, lists and quotas from now on; raise ConfigInvalid, and change nothing."""
        rules_of(config.relay.policy)  # judged before anything has changed
        self.push.reconfigure(config)
        self.nostr.reconfigure(config.relay)

    def forget(self) -> None:
        """Let go of what services keep in memory of records that were erased, sessions of erased tokens included."""
        self.push.forget()
        self.nostr.forget()
        pseudonym.cache_clear()
        writer_mark.cache_clear()
        facts.forget()
        self.relays.handshakes.recheck_all()

    async def listen(self) -> str:
        """Take the address, before anything runs: the base of all URLs follows from it. Raises Unavailable."""
        url = await self.door.listen()
        self.relays.base_url = self.config.server.public_url or url
        return url

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop`; started once connections are accepted. `listen` first; the ledger must be running."""
        async with trio.open_nursery() as services:
            services.start_soon(self._watch_log)
            for service in (self.transparency, self.relays, self.nostr, self.mirror, self.push):
                await services.start(service.run)
            async with trio.open_nursery() as door:
                await door.start(self.door.run)
                task_status.started()
            services.cancel_scope.cancel()

    def stop(self) -> None:
        """Begin to end: `run` returns within ``shutdown_s_max`` seconds."""
        self.status.stopping = True
        self.door.stop()

    async def _watch_log(self) -> None:
        """Tell of a disk that failed, again every minute while it lasts, and that it is over."""
        while True:
            self.status.failure = await self.ledger.failed()
            self.metrics.log_failures.inc()
            while self.ledger.failure is not None:
                tries = self.ledger.log.reopenings_failed
                error = str(self.ledger.failure)
                structlog.get_logger().critical("the log takes no records", error=error, reopenings_failed=tries)
                with trio.move_on_after(FAILURE_TOLD_S):
                    await self.ledger.restored()
            self.status.failure = None
            structlog.get_logger().warning("the log takes records again", records=self.ledger.log.durable_size)

    # -- sockets ------------------------------------------------------------------------------------------------------

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

    async def _session(self, socket: Socket) -> None:
        grant = await self.relays.shake(socket)
        service, kind = (self.mirror, "mirror") if grant.mirror else (self.nostr, "relay")
        with self.relays.seated(socket, grant), self._counted(kind):
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

    def describe(self, path: str) -> bytes | None:
        """The NIP-11 document of the relay that a socket path names; None where it names none."""
        found = self._named(path)
        if found is None:
            return None
        shown = presentation(self.config, found.relay)
        return self.nostr.info(found.relay.relay_key, shown, our_version())


def presentation(config: Config, relay: Relay) -> Presentation:
    """What a relay says of itself: its registration's words, the operator's for our own; a private one keeps silent."""
    own = config.relay
    if relay.relay_key == INTERNAL:
        return Presentation(own.name, own.description, own.icon, restricted=relay.requires_auth)
    words = relay.metadata if relay.is_public else {}
    name, text, icon = (str(words.get(key) or "") for key in ("name", "description", "avatarUrl"))
    return Presentation(name or own.name, text, icon, restricted=relay.requires_auth)


def speak_json() -> None:
    """Send every log line, ours and the libraries', to stderr as one JSON object a line."""
    stderr = cast("TextIO", Patient(sys.stderr))
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stderr)
    renderer = structlog.processors.JSONRenderer()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


async def run(config: Config, clock: Clock | None = None, read: Callable[[], Config] | None = None) -> None:
    """Run the whole server until SIGTERM or SIGINT; says where it listens on stdout, everything else on stderr.

    ``read`` gives the configuration anew, at SIGHUP and where the operator asks for it.
    Raises Unavailable (the address, the data or a key cannot be had) and ConfigInvalid before it listens.
    """
    speak_json()
    take_descriptors(config.server.connections_max)
    clock, loaded = clock or SystemClock(), config
    config = with_registration_secret(config, clock)
    metrics = Metrics()
    with opened(config, clock, metrics) as (log, views):
        ledger = Ledger(log, views)
        gateway = Gateway(config, clock, ledger, metrics)
        url = await gateway.listen()
        collect_seldom()
        async with trio.open_nursery() as ground:
            await ground.start(log.run)
            await ground.start(ledger.run)
            await ground.start(stop_on_signal, gateway)
            keeping = Keeping(config, clock, log, ledger)
            erasing = Erasing(
                log,
                ledger,
                clock,
                Path(config.data),
                judge=facts.refuse_unknown,
                forget=gateway.forget,
                restate=gateway.nostr.restate,
            )
            rereading = Rereading(loaded, read or (lambda: loaded), gateway.reconfigure)
            await ground.start(rereading.run)
            await ground.start(operators_door(config, gateway, keeping, erasing, rereading).run)
            await ground.start(keeping.run)
            await ground.start(Heeding(config.relay.erase_gone_s, clock, log, ledger, erasing).run)
            async with trio.open_nursery() as serving:
                await serving.start(gateway.run)
                print(f"listening on {url}", flush=True)  # noqa: T201 - the one line that belongs on stdout
            ground.cancel_scope.cancel()
    structlog.get_logger().info("stopped", records=log.durable_size)


def operators_door(
    config: Config, gateway: Gateway, keeping: Keeping, erasing: Erasing, rereading: Rereading
) -> Control:
    """Make the door that commands use beside a running server: each verb is one entry."""
    verbs: dict[str, Verb] = {"erase": erasing.answer, "tenants": gateway.push.tenants, "reload": rereading.answer}
    return Control(Path(config.data), verbs | {"compact": keeping.compact, "snapshot": keeping.snapshot})


@contextmanager
def opened(config: Config, clock: Clock, metrics: Metrics) -> Iterator[tuple[Log, dict[str, TableView]]]:
    """Open (or make, recover, catch up) log and views under the data directory; blocks. Raises Unavailable."""
    data, limits = Path(config.data), config.log
    key = data / KEY_DIRECTORY / KEY_FILE
    is_new = not key.exists()
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = open_log(
            data,
            clock,
            segment_bytes_max=limits.segment_bytes_max,
            queue_records_max=limits.queue_records_max,
            queue_bytes_max=limits.queue_bytes_max,
            disk=MeasuredDisk(metrics),
        )
    except (Locked, Corrupt, OSError) as error:
        raise Unavailable(f"the log cannot be opened: {error}") from error
    if is_new:
        told_as_made(key)
    with log:
        views: dict[str, TableView] = {}
        try:
            views = open_views(log, data / "views", VIEWS, facts.refuse_unknown, log_directory=data / "log")
            yield log, views
        except Corrupt as error:
            raise Unavailable(f"the log is damaged: {error}") from error
        except sqlite3.OperationalError as error:
            if not disk_refused(error):
                raise
            raise Unavailable(f"the views cannot be written: {error}") from error
        finally:
            for view in views.values():
                view.db.close()


def collect_seldom() -> None:
    """Spare the garbage collector what lives as long as the process, and let it look at the rest less often.

    Python's defaults look every 700 allocations: with thousands of requests in flight, none of which leaves a cycle
    behind, that was an eighth of the CPU of the push path.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS, 20, 20)


def take_descriptors(connections_max: int) -> None:
    """Raise this process's limit on open files as far as it may go, and say so when that is too few."""
    wanted = connections_max + CONNECTIONS_SPARE + DESCRIPTORS_SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            structlog.get_logger().warning("few descriptors", open_files_max=soft, connections_max=connections_max)


async def stop_on_signal(gateway: Gateway, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Turn the first SIGTERM or SIGINT into `Gateway.stop`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            structlog.get_logger().info("stopping", signal=signal.Signals(number).name)
            gateway.stop()
