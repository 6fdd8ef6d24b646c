"""A disk that is full while the server runs: reads go on, writes are refused, and all resumes when there is room.

`RLIMIT_FSIZE` is the full disk here: beyond it a write is short, then fails (EFBIG); it is lowered and raised from
outside, while the server runs.
"""

import resource
import subprocess
import sys
from pathlib import Path

from tests.faults.doors import config_for, doors, instance
from tests.server import process

STOP_S_MAX = 30.0
UNLIMITED = resource.RLIM_INFINITY


def limit_file_size(pid: int, size: int) -> None:
    """Let no file of a process grow beyond ``size`` bytes; the hard limit stays, so that it may be raised again."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))


async def test_a_server_whose_disk_fills_refuses_writes_goes_on_reading_and_resumes(tmp_path: Path) -> None:
    async with instance() as takos:
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                await clients.writes_are_taken()
                segment = next((server.data / "log").glob("*.evl"))
                limit_file_size(server.process.pid, segment.stat().st_size + 20_000)
                while not (refusal := await clients.publish("x" * 3_000)):
                    assert len(clients.kept) < 20
                assert refusal == "error: the log takes no records now"
                for _ in range(3):
                    await clients.writes_are_refused()
                    await clients.reads_are_answered()
                assert await clients.figure("gateway_log_failed") == 1
                limit_file_size(server.process.pid, UNLIMITED)
                await clients.until_ready()
                await clients.writes_are_taken()
                await clients.reads_are_answered()
                assert await clients.figure("gateway_log_failed") == 0
                assert await clients.figure("gateway_log_failures_total") == 1
                assert await clients.figure('gateway_log_reopenings_total{result="ok"}') == 1
                kept = clients.kept
            assert server.stop(STOP_S_MAX) == 0
            assert not [line for line in server.lines if "Traceback" in line]
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                clients.kept |= kept
                await clients.reads_are_answered()


async def test_a_server_that_is_stopped_while_its_disk_is_full_ends_in_good_order(tmp_path: Path) -> None:
    async with instance() as takos:
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                await clients.writes_are_taken()
                limit_file_size(server.process.pid, 1)
                await clients.writes_are_refused()
                await clients.reads_are_answered()
                kept = clients.kept
            assert server.stop(STOP_S_MAX) == 0
            assert not [line for line in server.lines if "Traceback" in line]
        with process(tmp_path, config_for(takos)) as server:
            async with doors(server, takos) as clients:
                clients.kept |= kept
                await clients.reads_are_answered()
                await clients.writes_are_taken()


def test_a_view_that_cannot_be_sealed_is_folded_again_in_memory_and_sealed_when_there_is_room(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.sealing", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
