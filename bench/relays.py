"""The relays that are measured: ours as a process, nostr-sdk's in memory, PyPI's nostr-relay, any other by its URL.

nostr-relay wants other versions of the libraries that we use, so it has an environment of its own, ``.venv/relay``,
which ``make bench`` makes. Without it, it is left out by name.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PYPI_RELAY = Path(sys.prefix, "relay", "bin", "nostr-relay")
STARTED = "listening on "
STARTS_S_MAX = 3_600.0  # ours folds its views first, where the directory has none

SDK_RELAY = """
import asyncio
from nostr_sdk import LocalRelayBuilder, RateLimit, uniffi_set_event_loop

async def main():
    uniffi_set_event_loop(asyncio.get_running_loop())
    builder = LocalRelayBuilder().rate_limit(RateLimit(max_reqs=10_000, notes_per_minute=100_000_000))
    relay = builder.max_filter_limit(10_000).max_connections(5_000).build()
    await relay.run()
    print("listening on", await relay.url(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
PYPI_CONFIG = """
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{directory}/nostr.sqlite3
  num_concurrent_reqs: 10
  num_concurrent_adds: 2
  validators: [nostr_relay.validators.is_signed]
verification: {{nip05_verification: disabled}}
gunicorn: {{bind: "127.0.0.1:0", workers: 1, loglevel: info}}
authentication: {{enabled: false}}
message_timeout: 1800
subscription_limit: 32
max_limit: 6000
"""


@dataclass(frozen=True)
class Server:
    """A relay under test; ``pid`` is 0 where it runs elsewhere."""

    pid: int
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def cpu_s(self) -> float:
        """CPU seconds spent so far, by all threads and processes below it and the kernel for them; 0 if elsewhere."""
        return sum(map(_cpu_s, _family(self.pid))) if self.pid else 0.0

    def resident_bytes(self) -> int:
        """Memory of the process."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def server(config: str = "", data: Path | None = None) -> Iterator[Server]:
    """Start ours with a configuration (TOML), on a fresh directory or on ``data``, and end it behind the block."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        file = Path(directory, "heliograph.toml")
        file.write_text(config)
        command = [sys.executable, "-m", "gateway.cli.main", "serve", "--config", str(file)]
        command += ["--data", str(data or Path(directory, "data")), "--bind", "127.0.0.1:0"]
        with process(command, Path(directory)) as (pid, url):
            yield Server(pid, url.replace("http", "ws", 1) + "/relay")


@contextmanager
def sdk_relay() -> Iterator[Server]:
    """nostr-sdk's relay (Rust): events are kept in memory alone."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        process([sys.executable, "-c", SDK_RELAY], Path(directory)) as (pid, url),
    ):
        yield Server(pid, url)


@contextmanager
def pypi_relay() -> Iterator[Server]:
    """PyPI's nostr-relay on SQLite, as its own documentation starts it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        file = Path(directory, "relay.yaml")
        file.write_text(PYPI_CONFIG.format(directory=directory))
        command = [str(PYPI_RELAY), "-c", str(file), "serve"]
        with process(command, Path(directory), "Listening at: ") as (pid, url):
            yield Server(pid, url.replace("http", "ws", 1))


@contextmanager
def process(command: list[str], directory: Path, sign: str = STARTED) -> Iterator[tuple[int, str]]:
    """Start a process, wait for the line in which it says its URL, and end it behind the block."""
    with open(directory / "out", "w+b", buffering=0) as out:
        started = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            yield started.pid, _said(started, directory / "out", sign)
        finally:
            started.terminate()
            started.wait(30)


def _said(started: "subprocess.Popen[bytes]", out: Path, sign: str) -> str:
    deadline = time.monotonic() + STARTS_S_MAX
    while time.monotonic() < deadline and started.poll() is None:
        lines = [line for line in out.read_text(errors="replace").splitlines(keepends=True) if line.endswith("\n")]
        for line in lines:
            if sign in line:
                return line.partition(sign)[2].split()[0].rstrip("/")
        time.sleep(0.05)
    raise RuntimeError(f"{started.args!r} did not start: {out.read_text(errors='replace')[-2000:]}")


@contextmanager
def elsewhere(url: str) -> Iterator[Server]:
    """A relay that runs already."""
    yield Server(0, url)
