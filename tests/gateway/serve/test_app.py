"""The whole server: its own pages, its failures, its end. In this process, and as a process of its own."""

import hmac
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
import trio
from trio_websocket import ConnectionClosed

from eventlog.errors import LogFailed
from gateway.config import Config, Metrics, Push, Registration
from gateway.errors import SocketRefused, Unavailable
from gateway.replication.registration import Relay
from gateway.serve.app import Gateway, opened, presentation
from gateway.serve.clock import SystemClock
from gateway.serve.ledger import Ledger
from gateway.serve.measured import MeasuredDisk
from gateway.serve.metrics import Metrics as Figures
from tests.fakes import MemoryLog
from tests.server import on_free_port, process, running, websocket


def registration(key: str) -> dict[str, object]:
    """A signed registration, as a worker sends it."""
    now_ms = SystemClock().now_ms()
    inner = {"relayKey": key, "nonce": key[:8] + str(now_ms), "issuedAt": now_ms, "peers": [], "metadata": {}}
    text = json.dumps(inner, sort_keys=True, separators=(",", ":"))
    return {"registration": inner, "signature": hmac.new(b"s" * 32, text.encode(), "sha256").hexdigest()}


CONFIG = Config(registration=Registration(secret="s" * 32), push=Push(answer_wait_s=0.1))


@asynccontextmanager
async def client(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as one:
        yield one


async def test_the_own_pages() -> None:
    """Health, readiness, status in the published shape, figures, and the console."""
    async with running(CONFIG) as gateway, client(gateway.url) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get(gateway.url + "//ready")).json() == {"status": "ready"}
        status = (await http.get("/status")).json()
        assert list(status) == ["origin", "version", "uptimeSeconds", "sessions", "log", "views", "relays"]
        assert set(status["log"]) == {"size", "root", "durableSeq"}
        assert status["views"]["devices"] == {"position": status["log"]["size"], "lag": 0}
        own = status["relays"][0]
        assert own["connectionUrl"] == f"{gateway.ws_url}/relay"
        assert own["replicationConnectionUrl"] == f"{gateway.ws_url}/mirror/relay"
        figures = await http.get("/metrics")
        assert figures.headers["content-type"].startswith("text/plain; version=")
        assert 'gateway_log_view_lag{view="tokens"} 0.0' in figures.text
        page = await http.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in page.headers["content-security-policy"]


async def test_the_figures_can_be_elsewhere_or_off() -> None:
    """`metrics.path` and `metrics.enabled` are obeyed."""
    async with running(Config(metrics=Metrics(path="/figures"))) as gateway, client(gateway.url) as http:
        assert [(await http.get(path)).status_code for path in ("/figures", "/metrics")] == [200, 404]
    async with running(Config(metrics=Metrics(enabled=False))) as gateway, client(gateway.url) as http:
        assert (await http.get("/metrics")).status_code == 404


@pytest.mark.parametrize("path", ["/relay", "/public-gateway/hyperbee", "/public-gateway%3Ahyperbee"])
async def test_a_relays_document_is_at_its_socket_paths(path: str) -> None:
    """NIP-11 with its three CORS headers; without the Accept header 426; preflights too."""
    async with running(CONFIG) as gateway, client(gateway.url) as http:
        found = await http.get(path, headers={"Accept": "Application/Nostr+JSON"})
        assert found.headers["content-type"] == "application/nostr+json"
        assert found.headers["access-control-allow-origin"] == "*"
        assert found.json()["name"] == "Heliograph"
        assert (await http.get(path)).status_code == 426
        preflight = await http.options(path, headers={"Access-Control-Request-Method": "GET"})
        assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (204, "*, Authorization")
        wrong = await http.get("/nobody", headers={"Accept": "application/nostr+json"})
        assert (wrong.status_code, wrong.json()) == (404, {"error": "There is nothing at this address."})


async def test_a_mirror_is_told_of_by_no_document() -> None:
    """The NIPs and limits of NIP-11 are the normal socket's."""
    async with running(CONFIG) as gateway, client(gateway.url) as http:
        found = await http.get("/mirror/relay", headers={"Accept": "application/nostr+json"})
        assert (found.status_code, found.headers["content-type"]) == (426, "application/json")
        assert (await http.get("/mirror/nobody")).status_code == 404


async def test_a_socket_is_counted_and_refused_with_its_code() -> None:
    """An open session shows in the status; the mirror without a token ends with 4403, an unknown relay with 4404."""
    async with running(CONFIG) as gateway, client(gateway.url) as http:
        async with websocket(gateway.ws_url + "/relay") as socket:
            await socket.send_message('["REQ","s",{"kinds":[1]}]')
            assert json.loads(await socket.get_message()) == ["EOSE", "s", ["finish"]]
            assert (await http.get("/status")).json()["sessions"] == {"relay": 1, "mirror": 0}
        for path, expected in (
            ("/mirror/relay", (4403, "Token required")),
            ("/" + "0" * 64, (4404, "Relay not registered")),
        ):
            with pytest.raises(ConnectionClosed) as caught:
                async with websocket(gateway.ws_url + path) as socket:
                    await socket.get_message()
            assert (caught.value.reason.code, caught.value.reason.reason) == expected
        assert (await http.get("/status")).json()["sessions"]["relay"] == 0


async def test_a_bug_is_loud_here_and_mute_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A handler's exception: 500 without insides, or close 1011; one line with the traceback; a count."""
    async with running(CONFIG) as gateway, client(gateway.url) as http:

        async def broken(*_: object) -> None:
            raise RuntimeError("the secret inside")

        def worse() -> None:
            raise RuntimeError("the secret inside")

        gateway.gateway.status.document = worse
        answer = await http.get("/status")
        assert (answer.status_code, answer.json()["error"]) == (500, "The gateway made a mistake; it is in its log.")
        gateway.gateway.relays.shake = broken
        with pytest.raises(ConnectionClosed) as caught:
            async with websocket(gateway.ws_url + "/relay") as socket:
                await socket.get_message()
        assert caught.value.reason.code == 1011
        value = gateway.gateway.metrics.registry.get_sample_value
        assert value("gateway_bugs_total", {"where": "socket"}) == 1
        assert value("gateway_bugs_total", {"where": "http"}) == 1
    assert "the secret inside" in capsys.readouterr().out


async def test_a_session_that_the_log_fails_is_told_to_come_again() -> None:
    """LogFailed and Unavailable end a socket with 1013, SocketRefused with its own code, in a nursery's group too."""
    async with running(CONFIG) as gateway:
        for failure, code in (
            (LogFailed("gone"), 1013),
            (Unavailable("later"), 1013),
            (SocketRefused(4403, "Token expired"), 4403),
        ):

            async def fail(_: object, failure: Exception = failure) -> None:
                raise ExceptionGroup("a nursery", [failure])

            gateway.gateway.relays.shake = fail
            with pytest.raises(ConnectionClosed) as caught:
                async with websocket(gateway.ws_url + "/relay") as socket:
                    await socket.get_message()
            assert caught.value.reason.code == code


async def test_reading_goes_on_when_the_log_fails_closed() -> None:
    """Health and stored rows as before, /ready 503, writes 503 in the form of their API."""
    log = MemoryLog()
    async with running(CONFIG, log=log) as gateway, client(gateway.url) as http:
        gateway.ledger.log.break_down()
        await trio.sleep(0.05)
        assert (await http.get("/health")).status_code == 200
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()["error"]) == (503, "the log takes no records")
        assert (await http.get("/status")).status_code == 200
        async with websocket(gateway.ws_url + "/relay") as socket:
            await socket.send_message('["REQ","s",{"kinds":[1]}]')
            assert json.loads(await socket.get_message()) == ["EOSE", "s", ["finish"]]


async def test_a_disk_that_fails_takes_writes_away_and_nothing_else(tmp_path: Path, monkeypatch) -> None:
    """Over the real log: after a failed sync every write is 503, reading and both kinds of socket go on."""
    config = on_free_port(msgspec.structs.replace(CONFIG, data=str(tmp_path)))
    figures = Figures()
    with opened(config, SystemClock(), figures) as (log, views):
        ledger = Ledger(log, views)
        gateway = Gateway(config, SystemClock(), ledger, figures)
        url = await gateway.listen()
        async with trio.open_nursery() as ground, client(url) as http:
            await ground.start(log.run)
            await ground.start(ledger.run)
            await ground.start(gateway.run)
            body = registration("a" * 64)
            assert (await http.post("/api/relays", json=body)).status_code == 200
            before = (await http.get("/status")).json()["log"]

            def broken(*_: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(MeasuredDisk, "datasync", broken)
            for _ in range(2):
                answer = await http.post("/api/relays", json=registration("b" * 64))
                assert (answer.status_code, answer.json()["error"][:14]) == (503, "append-error: ")
                assert int(answer.headers["retry-after"]) > 0
            assert (await http.get("/ready")).status_code == 503
            assert (await http.get("/status")).json()["log"] == before
            assert "gateway_log_failed 1.0" in (await http.get("/metrics")).text
            async with websocket(url.replace("http", "ws") + "/relay") as socket:
                await socket.send_message('["REQ","s",{"kinds":[1]}]')
                assert json.loads(await socket.get_message()) == ["EOSE", "s", ["finish"]]
            gateway.stop()
            await trio.sleep(0.1)
            ground.cancel_scope.cancel()


async def test_readiness_ends_with_the_stop() -> None:
    """While it shuts down, whoever still reaches it is told to go elsewhere."""
    async with running(CONFIG) as gateway:
        assert gateway.gateway.status.unready() == ""
        gateway.gateway.stop()
        assert gateway.gateway.status.unready() == "shutting down"


def test_a_private_relay_says_nothing_of_itself() -> None:
    """Its name stands in no document that anybody may read."""

    def relay(*, public: bool) -> Relay:
        words = {"name": "Friends", "description": "ours", "avatarUrl": None}
        return Relay("a" * 64, words, (), "friends", "friends", (), frozenset(), True, True, "", public)

    assert presentation(CONFIG, relay(public=True)).name == "Friends"
    assert presentation(CONFIG, relay(public=False)).name == "Heliograph"


def test_a_data_directory_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    """A file in its place, or another process in it: one sentence."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(Unavailable, match="cannot be opened"),
        opened(Config(data=str(tmp_path / "file")), SystemClock(), Figures()),
    ):
        pass
    here = Config(data=str(tmp_path / "data"))
    with opened(here, SystemClock(), Figures()), pytest.raises(Unavailable, match="cannot be opened"):  # noqa: SIM117
        with opened(here, SystemClock(), Figures()):
            pass


# -- a process of its own ----------------------------------------------------------------------------------------------

UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def test_it_ends_in_time_whatever_its_peers_do(tmp_path: Path) -> None:
    """SIGTERM with 1,000 idle sockets, idle connections, half a head, and clients that do not read: exit 0 in 10 s."""

    async def besiege(port: int) -> list[trio.SocketStream]:
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(1_020)]
        for stream in streams[:1_000]:
            await stream.send_all(UPGRADE)
        for stream in streams[:1_000]:
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        deaf = streams[1_000:1_005]
        for stream in deaf:
            with trio.move_on_after(0.3):
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3_000)
        for stream in streams[1_005:1_010]:
            with trio.move_on_after(0.3):
                await stream.send_all(UPGRADE + b"\x89\xfd\0\0\0\0" + b"x" * 125 + b"\x89\xfd\0\0\0\0" * 1)
        for stream in streams[1_010:1_015]:
            await stream.send_all(b"GET /relay HTTP/1.1\r\nHo")
        return streams

    with process(tmp_path) as server:

        async def main() -> None:
            streams = await besiege(server.port)
            code = await trio.to_thread.run_sync(server.stop, 25)  # the promise is 10 s, on a machine of its own
            assert code == 0
            for stream in streams[:1_000]:
                last = await stream.receive_some()
                assert b"\x03\xe9" in last or b"\x03\xf5" in last  # close 1001, or 1013 where it had not begun yet
            for stream in streams:
                await trio.aclose_forcefully(stream)

        trio.run(main)
    assert not [line for line in server.lines if "traceback" in line.lower()]


def test_a_restart_finds_what_was_there(tmp_path: Path) -> None:
    """Stopped by SIGINT, started again: the same log, the same keys, no record more."""
    with process(tmp_path) as server:
        before = httpx.get(server.url + "/status", timeout=60).json()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
        keys = {path.name: path.read_bytes() for path in (server.data / "keys").iterdir()}
        assert {path.stat().st_mode & 0o777 for path in (server.data / "keys").iterdir()} == {0o600}
    said = {Path(told["path"]).name for told in map(json.loads, server.lines) if told["event"] == "made a secret"}
    assert said == set(keys)
    assert not any(secret.decode().strip() in line for secret in keys.values() for line in server.lines)
    assert all(json.loads(line)["event"] for line in server.lines)
    with process(tmp_path) as server:
        after = httpx.get(server.url + "/status", timeout=60).json()
    assert (before["origin"], before["log"]) == (after["origin"], after["log"])


def test_what_cannot_start_says_why_and_exits_3(tmp_path: Path) -> None:
    """A port that is taken, and data that another process holds: one sentence each, no traceback."""
    with process(tmp_path) as server:
        for options in (
            ["--data", str(tmp_path / "other"), "--bind", f"127.0.0.1:{server.port}"],
            ["--data", str(server.data)],
        ):
            command = [sys.executable, "-m", "gateway.cli.main", "serve", "--bind", "127.0.0.1:0", *options]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 3, done.stderr
            assert "heliograph: " in done.stderr
            assert "Traceback" not in done.stderr
