"""Real gateways for integration tests: in this process on a trio nursery, or as a process of their own.

async with running(config) as gateway:                 # the app over a ledger in memory, on a free port
    gateway.url, gateway.ws_url, gateway.gateway
with process(tmp_path, config_text) as server:         # python -m gateway.cli.main serve …, over a real log
    server.url, server.ws_url, server.stop(), server.kill()
"""

import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from gateway.config import Config, Registration
from gateway.serve.app import VIEWS, Gateway
from gateway.serve.clock import Clock, SystemClock
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from tests import secrecy
from tests.fakes import MemoryLog, memory_ledger

ROOT = Path(__file__).parents[1]


@dataclass
class Running:
    """A gateway in this process."""

    url: str
    gateway: Gateway
    ledger: Ledger

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def on_free_port(config: Config) -> Config:
    """The same configuration, at 127.0.0.1 and any free port."""
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, bind="127.0.0.1:0"))


@asynccontextmanager
async def running(
    config: Config | None = None, clock: Clock | None = None, log: MemoryLog | None = None
) -> AsyncIterator[Running]:
    """A whole gateway over a log in memory; hand in the ``log`` of an earlier one to see a restart.

    Without a configuration the registration secret is 32 times ``s``; without a data directory keys go to a new one.
    """
    config = on_free_port(config or Config(registration=Registration(secret="s" * 32)))
    with tempfile.TemporaryDirectory() as data:
        if config.data == Config().data:
            config = msgspec.structs.replace(config, data=data)
        async with memory_ledger(*VIEWS, log=log) as ledger, trio.open_nursery() as nursery:
            gateway = Gateway(config, clock or SystemClock(), ledger, Metrics())
            url = await gateway.listen()
            await nursery.start(gateway.run)
            yield Running(url, gateway, ledger)
            gateway.stop()


@asynccontextmanager
async def websocket(
    url: str, headers: Sequence[tuple[str, str]] = (), tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebSocketConnection]:
    """A client's WebSocket to ``url``.

    trio-websocket alone leaves the descriptor open when the server closed first, which fails some later test.
    """
    parts = urlsplit(url)
    assert parts.hostname
    stream: trio.abc.Stream = await trio.open_tcp_stream(parts.hostname, parts.port or 80)
    if tls is not None:
        stream = trio.SSLStream(stream, tls, server_hostname=parts.hostname, https_compatible=True)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            socket = await wrap_client_stream(nursery, stream, parts.netloc, target, extra_headers=list(headers))
            yield socket
            with trio.move_on_after(2):
                await socket.aclose()
        except Exception as error:  # noqa: BLE001 - raised again below, without the nursery's group around it
            failure = error
        finally:
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@dataclass
class Server:
    """A gateway in a process of its own; ``lines`` is what it has said on stderr so far."""

    process: subprocess.Popen[str]
    url: str
    data: Path
    lines: list[str] = field(default_factory=list)

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, timeout_s: float = 10) -> int:
        """SIGTERM; the exit code. Raises subprocess.TimeoutExpired where it does not end in time."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()


@contextmanager
def process(directory: Path, config: str = "", *options: str, env: dict[str, str] | None = None) -> Iterator[Server]:
    """Start `heliograph serve` on ``directory/data`` with ``config`` (TOML) and wait until it listens.

    Start it again with the same directory to see a restart. At the end it is killed if it still runs, and nothing that
    it printed or exposed may hold a secret (`tests.secrecy`).
    """
    path = directory / "heliograph.toml"
    path.write_text(config, "utf-8")
    command = [sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(path)]
    command += ["--data", str(directory / "data"), "--bind", "127.0.0.1:0", *options]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    lines: list[str] = []
    seen: list[tuple[str, str]] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(child.stderr.readline, "")), daemon=True)
    reader.start()
    try:
        first = child.stdout.readline()
        if not first.startswith("listening on "):
            child.kill()
            reader.join(5)
            raise AssertionError(f"the server did not start: {first!r}\n{''.join(lines)}")
        url = first.split()[-1]
        yield Server(child, url, directory / "data", lines)
        seen += secrecy.pages(url) if child.poll() is None else []
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        reader.join(5)
        seen += [("stdout", child.stdout.read()), ("stderr", "".join(lines))]
        child.stdout.close()
        child.stderr.close()
    secrecy.refuse_leaks(url, config, directory / "data", seen)
