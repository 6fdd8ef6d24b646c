"""System calls that fail under the running server: strace makes them, the server must live through them.

Not part of what has to be installed: without strace, or where tracing is forbidden, these tests are skipped, and the
simulated disk and `test_full_disk` stand alone.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest
import trio

from tests.faults.doors import READY_S_MAX, config_for, doors, instance
from tests.server import process

STOP_S_MAX = 60.0


@cache
def why_not() -> str:
    """Why nothing can be traced here; empty where it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed: faults of real system calls are not injected here (apt-get install strace)"
    with tempfile.NamedTemporaryFile() as out:
        command = [strace, "-o", out.name, "-e", "trace=none", "-e", "inject=fdatasync:error=EIO", "true"]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()}"


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it runs")


@contextmanager
def injected(pid: int, what: str, path: Path) -> Iterator[None]:
    """While the block runs, what the process calls on one file fails as told."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(path), "-e", f"trace={what.partition(':')[0]}"]
    command += ["-e", f"inject={what}", "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        while not _is_traced(pid, tracer.pid):
            assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else b""
            time.sleep(0.01)
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=STOP_S_MAX)


def _is_traced(pid: int, tracer: int) -> bool:
    """Whether every thread of a process is the tracer's: it takes them one after the other."""
    found = []
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread ended meanwhile
            found.append(f"TracerPid:\t{tracer}\n" in status.read_text())
    return all(found)


@pytest.mark.parametrize("what", ["fdatasync:error=EIO", "pwrite64:error=ENOSPC", "pwrite64:error=EIO"])
async def test_a_call_that_fails_under_the_server_loses_nothing_and_the_server_resumes(
    tmp_path: Path, what: str
) -> None:
    async with instance() as takos:
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                await clients.writes_are_taken()
                last = max((server.data / "log").glob("*.evl"))
                # Refused once: what it does next is not the tracer's affair.
                with injected(server.process.pid, f"{what}:when=1", last):
                    assert await clients.publish("under a failing call") == "error: the log takes no records now"
                with trio.fail_after(READY_S_MAX):
                    await clients.until_ready()
                await clients.writes_are_taken()
                await clients.reads_are_answered()
                kept = clients.kept
            server.kill()
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                clients.kept |= kept
                await clients.reads_are_answered()
            assert server.stop(STOP_S_MAX) == 0
