"""The gateway as a process of its own: started, killed as nothing else kills, started again, stopped in order.

Invariant: the process never outlives the block that opened it. This module must not know what the server does.
"""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gateway.errors import Unavailable

START_S_MAX = 60.0  # 1 s when all is in memory; a cold disk or a busy machine takes its time
STOP_S_MAX = 10.0  # what a server has from SIGTERM to its exit
LINE_BYTES_MAX = 4096
TOLD_LINES = 8


class Server:
    """`heliograph serve` with one configuration and one data directory; keeps its port over restarts."""

    def __init__(self, directory: Path, config: str, bind: str = "127.0.0.1:0") -> None:
        self.data, self._config, self._log = directory / "data", directory / "heliograph.toml", directory / "serve.log"
        self._config.write_text(config, "utf-8")
        self._bind, self.url = bind, ""
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int:
        """The process's id; the server must be running."""
        assert self._process
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it accepts connections; raises Unavailable with its last words."""
        assert self._process is None
        options = ["--config", str(self._config), "--data", str(self.data), "--bind", self._bind]
        with self._log.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "gateway.cli.main", "serve", *options], stdout=subprocess.PIPE, stderr=log
            )
        with trio.move_on_after(START_S_MAX):
            line = await self._first_line()
            if line.startswith("listening on "):
                self.url = line.removeprefix("listening on ").strip()
                self._bind = self.url.partition("//")[2]
                return
        code = self._process.poll()
        await self.kill()
        why = f"was silent for {START_S_MAX:.0f} s" if code is None else f"ended with exit code {code}"
        raise Unavailable(f"the server did not start, it {why}:\n{self.last_words()}")

    async def _first_line(self) -> str:
        assert self._process
        assert self._process.stdout
        line = b""
        while not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX:
            more = await self._process.stdout.receive_some(LINE_BYTES_MAX)
            if not more:
                break
            line += more
        return line.decode("utf-8", "replace")

    async def kill(self) -> None:
        """kill -9: no handler runs, no buffer is flushed."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and its exit code; -9 where it had to be killed after all."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        with trio.move_on_after(STOP_S_MAX, shield=True) as waited:
            await process.wait()
        if waited.cancelled_caught:
            process.kill()
            with trio.CancelScope(shield=True):  # a killed process ends at once
                await process.wait()
        if process.stdout:
            await process.stdout.aclose()
        return await process.wait()

    def last_words(self) -> str:
        """The end of its log, for whoever has to find out why."""
        lines = self._log.read_text("utf-8", "replace").splitlines() if self._log.exists() else []
        return "\n".join(lines[-TOLD_LINES:])


@asynccontextmanager
async def never_outliving(server: Server) -> AsyncIterator[Server]:
    """A block at whose end the server's process is gone, however the block ended."""
    try:
        yield server
    finally:
        with trio.CancelScope(shield=True):  # bounded: _end waits STOP_S_MAX at most, then kills
            await server.kill()
