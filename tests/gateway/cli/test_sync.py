"""``heliograph mirror sync`` as a process: a gateway of ours, nostr-sdk's relay, and another gateway of ours."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.gateway.client.test_syncing import events
from tests.gateway.client.worker import CONFIG, RELAY_ID, rows
from tests.server import Server, process
from tests.worker import INTERNAL, SECRET, exit_code

WAIT_S = 60
LOCAL_RELAY = Path(__file__).parents[2] / "interop" / "localrelay.py"


def free_port() -> int:
    """A port that was free a moment ago, for a server that cannot choose one itself."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def local_relay(*how: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(LOCAL_RELAY), *how], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with process(tmp_path_factory.mktemp("ours"), CONFIG) as one:
        yield one


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", SECRET)


def lines(some: list[dict[str, object]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in some)


def exported(url: str, path: Path) -> set[str]:
    path.unlink(missing_ok=True)
    assert exit_code(["mirror", "export", url, "--out", str(path)]) == 0
    return {json.loads(line)["id"] for line in path.read_text("utf-8").splitlines()}


def test_ours_and_nostr_sdks_relay_are_brought_in_step_and_kept_so(ours: Server, tmp_path: Path) -> None:
    some, at, source = events(range(120)), ["--gateway", ours.url], tmp_path / "source"
    with local_relay() as theirs:
        source.write_text(lines(some[:60]))
        assert exit_code(["mirror", "import", str(source), *at]) == 0
        source.write_text(lines(some[40:80]))
        assert exit_code(["mirror", "import", str(source), theirs]) == 0
        assert exit_code(["mirror", "sync", theirs, "--once", *at]) == 0
        names = {str(one["id"]) for one in some[:80]}
        assert exported(theirs, tmp_path / "theirs") == names
        assert exported(f"{ours.ws_url}/relay", tmp_path / "ours") == names

        command = [sys.executable, "-m", "gateway.cli.main", "mirror", "sync", theirs, *at]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            while "in step" not in child.stderr.readline():
                assert child.poll() is None
            source.write_text(lines(some[80:100]))
            assert exit_code(["mirror", "import", str(source), theirs]) == 0
            source.write_text(lines(some[100:]))
            assert exit_code(["mirror", "import", str(source), *at]) == 0
            names = {str(one["id"]) for one in some}
            until = time.monotonic() + WAIT_S
            for url in (theirs, f"{ours.ws_url}/relay"):
                while exported(url, tmp_path / "now") != names:
                    assert time.monotonic() < until, "what comes live is not carried"
            child.send_signal(signal.SIGINT)
            assert child.wait(WAIT_S) == 0


def test_a_relay_that_wants_a_key_proved_is_synchronised_with_one_and_without_it_is_told_apart(
    ours: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    some, source, key = events(range(600, 640)), tmp_path / "source", tmp_path / "key"
    source.write_text(lines(some))
    key.write_text("02" * 32)
    known = ["--nostr-key-file", str(key)]
    asked = ["--filter", json.dumps({"since": min(one["created_at"] for one in some)}), "--gateway", ours.url]
    with local_relay("auth") as theirs:
        assert exit_code(["mirror", "import", str(source), theirs, *known]) == 0
        assert exit_code(["mirror", "sync", theirs, "--once", *asked]) == 1
        assert "--nostr-key-file" in capfd.readouterr().err
        assert exit_code(["mirror", "sync", theirs, "--once", *asked, *known]) == 0
    assert {str(one["id"]) for one in some} <= exported(f"{ours.ws_url}/relay", tmp_path / "ours")


def test_another_gateway_of_ours_gets_events_and_rows(ours: Server, tmp_path: Path) -> None:
    some, source = rows(range(50)), tmp_path / "rows"
    source.write_text(lines(some))
    with process(tmp_path, CONFIG) as other:
        assert exit_code(["mirror", "push", INTERNAL, str(source), "--gateway", ours.url]) == 0
        sync = ["mirror", "sync", other.url, "--once", "--gateway", ours.url, "--relay-id", RELAY_ID]
        assert exit_code(sync) == 0
        pulled = tmp_path / "pulled"
        pull = ["mirror", "pull", INTERNAL, "--gateway", other.url, "--relay-id", RELAY_ID, "--out", str(pulled)]
        assert exit_code(pull) == 0
        assert {json.loads(line)["id"] for line in pulled.read_text().splitlines()} == {one["id"] for one in some}
        known = exported(f"{ours.ws_url}/relay", tmp_path / "here")
        assert exported(f"{other.ws_url}/relay", tmp_path / "there") == known


def test_what_is_wrong_has_its_exit_code(ours: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    at = ["--gateway", ours.url]
    assert exit_code(["mirror", "sync", "relay.example", *at]) == 2
    assert exit_code(["mirror", "sync", "ws://127.0.0.1:1", "--once", *at]) == 3
    assert exit_code(["mirror", "sync", "ws://127.0.0.1:1", "--filter", "[]", *at]) == 2
    mirror = f"{ours.ws_url}/mirror/{INTERNAL}"
    capfd.readouterr()
    assert exit_code(["mirror", "sync", mirror, *at]) == 1
    assert capfd.readouterr().err.startswith("heliograph: 4403 ")  # without another try: the URL stays the same
    bad = tmp_path / "bad"
    bad.write_text(lines([{**events(range(500, 501))[0], "sig": "00" * 64}]))
    assert exit_code(["mirror", "import", str(bad), *at]) == 1
    assert "refused" in capfd.readouterr().err
    assert exit_code(["mirror", "import", "-", *at, "--cursor", str(tmp_path / "cursor")]) == 2


@pytest.mark.skipif(shutil.which("strfry") is None, reason="strfry is not installed here")
def test_strfry_and_ours_are_brought_in_step(ours: Server, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    config, url = tmp_path / "strfry.conf", f"ws://127.0.0.1:{free_port()}"
    config.write_text(f'db = "{tmp_path / "db"}"\nrelay {{ bind = "127.0.0.1" port = {url[15:]} nofiles = 0 }}\n')
    with subprocess.Popen(["strfry", f"--config={config}", "relay"]) as child:
        try:
            until = time.monotonic() + WAIT_S
            while exit_code(["mirror", "sync", url, "--once", "--gateway", ours.url]) == 3:
                assert time.monotonic() < until
        finally:
            child.kill()
    found = subprocess.run(["strfry", f"--config={config}", "export"], check=True, capture_output=True, text=True)
    names = {json.loads(line)["id"] for line in found.stdout.splitlines()}
    assert names == exported(f"{ours.ws_url}/relay", tmp_path / "ours")
