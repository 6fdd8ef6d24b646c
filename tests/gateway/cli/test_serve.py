"""`heliograph serve` as a process: what it prints, how it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SERVE = [sys.executable, "-m", "gateway.cli.main", "serve", "--bind", "127.0.0.1:0"]


def test_it_says_where_it_listens_on_stdout_and_all_else_as_json_on_stderr(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*SERVE, "--data", str(tmp_path / "data")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        assert server.stderr
        first = server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        rest, errors = server.communicate(timeout=60)
    assert first.startswith("listening on http://127.0.0.1:")
    assert (rest, server.returncode) == ("", 0)
    assert [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("wrong", [{"FCM_SERVER_KEY": "AAAA"}, {"GATEWAY_SERVER_BNID": "127.0.0.1:0"}])
def test_a_configuration_at_fault_is_told_before_anything_is_made(wrong: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    done = subprocess.run([*SERVE, "--data", str(data)], capture_output=True, text=True, check=False, env=wrong)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not data.exists()


def test_data_that_another_server_holds_is_exit_code_3(tmp_path: Path) -> None:
    command = [*SERVE, "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        assert first.stdout
        assert first.stdout.readline().startswith("listening on")
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=60)
    assert second.returncode == 3
    assert str(first.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_a_hangup_while_it_starts_is_a_configuration_to_read_again_and_no_end(tmp_path: Path) -> None:
    file = tmp_path / "heliograph.toml"
    os.mkfifo(file)  # the server waits where it reads its configuration, until there is a writer
    command = [*SERVE, "--config", str(file), "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stderr
        with file.open("w") as once:
            server.send_signal(signal.SIGHUP)
            once.write("")
        assert server.stdout.readline().startswith("listening on")
        with file.open("w") as again:
            again.write("[push]\nblock = ['b.example']\n")
        told = next(line for line in server.stderr if "read again" in line)
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert json.loads(told)["changed"] == ["push.block"]
    assert server.returncode == 0
