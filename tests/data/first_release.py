"""The data directory that the first release left behind: how it was made, and what it says.

``python -m tests.data.first_release MAKE`` runs the real server, its clients and a fake FCM, kills the server once, and
packs what it wrote into ``first-release/data``: every kind of record, and keys that open nothing. It is made once and
never again, since a log that a later release writes proves nothing; ``… EXPECT`` writes anew what the views say of it
(after a view's version was raised).
"""

import argparse
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from eventlog.chronicle import entry_of
from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from gateway.cli.demo.instance import Instance
from gateway.cli.demo.server import Server, never_outliving
from gateway.cli.demo.wire import Author, replication_row, wire
from gateway.cli.demo.worker import Worker
from gateway.facts import fact_of, refuse_unknown
from gateway.replication.binding import relay_id
from gateway.replication.registration import INTERNAL
from gateway.replication.signature import sign
from gateway.serve.app import VIEWS
from gateway.serve.clock import SystemClock
from gateway.serve.fakes.fcm import serve_fake, service_account
from tests.crash.memory import RecordingFake

HERE = Path(__file__).parent / "first-release"
KEPT = ("log", "keys/log.pem", "keys/token.key")
TENANT, SECRET = "demo.example.com", "s" * 32
SETTLED_S_MAX = 60

CONFIG = """
[registration]
secret = "{secret}"
[log]
segment_bytes_max = 32768
[push]
answer_wait_s = 0.05
[fcm]
base_url = "{fcm}"
allow_any_token_uri = true
[fcm.projects.default]
credentials = "service-account.json"
[instances."{domain}"]
url = "{document}"
"""


async def make(directory: Path) -> Path:
    """Let a server write a little of everything; give its data directory."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake, instance = RecordingFake(key.public_key()), Instance(TENANT)
    fake.latency_s = 0.2  # above the server's wait, so that it answers before the outcome
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_fake, fake, listener)
        fcm = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        (directory / "service-account.json").write_bytes(service_account(key, fcm))
        config = CONFIG.format(secret=SECRET, fcm=fcm, domain=TENANT, document=instance.url)
        async with never_outliving(Server(directory, config)) as server:
            await server.start()
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                await pushes(client, instance)
                await relays(client, server.url.replace("http", "ws", 1))
                await settled(client)
            await server.kill()
            tear(server.data)
            await server.start()
            async with wire(f"{server.url.replace('http', 'ws', 1)}/relay") as socket:
                await socket.published([Author().event(1, "after the crash")])
            erase(server.data, "nostr:" + await vanishing(server.url.replace("http", "ws", 1)))
            assert await server.stop() == 0
        nursery.cancel_scope.cancel()
    return server.data


async def posted(client: httpx.AsyncClient, path: str, body: Any, headers: Any = None) -> None:
    """Post what must be taken."""
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, (path, answer.text)


async def pushes(client: httpx.AsyncClient, instance: Instance) -> None:
    """Devices come and go; one is unregistered, one is refused twice, one belongs to a user who is erased later."""
    for user, token in (
        ("alice", "device-alice"),
        ("bob", "unregistered:device-bob"),
        ("carol", "unavailable*2:device-carol"),
        ("dave", "device-dave"),
    ):
        await posted(client, "/push/register", instance.registration(user, token))
    await posted(client, "/push/register", instance.registration("dave", "device-dave", "deregister"))
    for user in ("alice", "bob", "carol", "dave"):
        for number in range(3):
            body, headers = instance.notification(user, f"message {number}")
            await posted(client, "/internal/push/events", body, headers)


async def relays(client: httpx.AsyncClient, ws_url: str) -> None:
    """Relays, their tokens and rows, one relay that goes again; events with versions and a deletion."""
    worker, gone = Worker(client, SECRET, "kept"), Worker(client, SECRET, "gone")
    for each in (worker, gone):
        await each.register()
        tokens = await each.issue(Author().pubkey)
        async with wire((await each.issue())["replicationConnectionUrl"]) as socket:
            await socket.published([replication_row(relay_id(each.identifier), f"row {n}") for n in range(20)])
        await each.refresh(tokens["token"])
    await worker.revoke(reason="the first release ends")
    signature = sign(SECRET, {"relayKey": gone.relay_key})
    answer = await client.delete(f"/api/relays/{gone.relay_key}", headers={"x-signature": signature})
    assert answer.status_code == 200, answer.text
    author = Author()
    async with wire(f"{ws_url}/relay") as socket:
        notes = [author.event(1, f"note {n} " + secrets.token_hex(300)) for n in range(40)]
        await socket.published(notes)
        await socket.published([author.event(0, '{"name":"first"}'), author.event(30000, "a list", [["d", "x"]])])
        await socket.published([author.event(5, "", [["e", notes[0]["id"]]])])


async def vanishing(ws_url: str) -> str:
    """An author publishes, and asks to vanish (NIP-62); their key."""
    author = Author()
    async with wire(f"{ws_url}/relay") as socket:
        await socket.published([author.event(1, f"never mind {n}") for n in range(5)])
        await socket.published([author.event(62, "", [["relay", "ALL_RELAYS"]])])
    return author.pubkey


async def settled(client: httpx.AsyncClient) -> None:
    """Wait until what FCM was to be told is told, the refused ones aside."""
    with trio.fail_after(SETTLED_S_MAX):
        while "gateway_push_queued 3.0" not in (text := (await client.get("/metrics")).text):
            if "gateway_push_queued 0.0" in text:
                return
            await trio.sleep(0.5)


def tear(data: Path) -> None:
    """Leave half a frame at the log's end, as a power loss does."""
    last = max((data / "log").glob("*.evl"))
    with last.open("ab") as file:
        file.write(b"\x83\x58\x50EVLF\x01 and no more")


def erase(data: Path, subject: str) -> None:
    """Have the running server erase a subject."""
    command = [sys.executable, "-m", "gateway.cli.main", "log", "erase", "--data", str(data), "--subject", subject]
    subprocess.run([*command, "--by", "the first release", "--reason", "asked to vanish"], check=True)


def keep(data: Path) -> None:
    """Keep the log and its keys; views are made from them."""
    for name in KEPT:
        source, target = data / name, HERE / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def said(directory: Path) -> dict[str, Any]:
    """Open a copy of the fixture as the server does, and say what it holds: in figures, and as digests by version."""
    with open_log(directory, SystemClock()) as log, ExitStack() as stack:
        views = open_views(log, directory / "views", VIEWS, refuse_unknown, log_directory=directory / "log")
        for view in views.values():
            stack.enter_context(closing(view.db))
        records = [record for piece in log.read(0) for record in piece]
        for record in records:
            assert entry_of(record) or fact_of(record) or record.payload is None, record.seq
        kinds = Counter(f"{record.kind}/{record.schema}" for record in records)
        return {
            "size": len(records),
            "root": log.root.hex(),
            "kinds": dict(sorted(kinds.items())),
            "state": state(views),
            "digests": {name: [view.version, view.digest().hex()] for name, view in sorted(views.items())},
            "erased": [record.seq for record in records if record.payload is None],
        }


def assert_said(directory: Path, expected: dict[str, Any]) -> None:
    """Hold a copy of a fixture against what was written down; the digests of views that are still of that version."""
    found = json.loads(json.dumps(said(directory)))
    digests, versions = found.pop("digests"), expected["digests"]
    assert found == {name: value for name, value in expected.items() if name != "digests"}
    same = [name for name in versions if digests[name][0] == versions[name][0]]
    assert {name: digests[name] for name in same} == {name: versions[name] for name in same}


def state(views: Any) -> dict[str, Any]:
    """What can be asked of the views, whatever their tables are."""
    users = ("alice", "bob", "carol", "dave")
    registered = sorted(each.relay.relay_key for each in views["relays"].all())
    return {
        "devices": {user: [each.target for each in views["devices"].devices(TENANT, user)] for user in users},
        "queued": views["outbox"].queued_all(),
        "relays": registered,
        "rows": {key: views["rows"].count(key) for key in registered},
        "events": views["events"].count(INTERNAL),
        "revoked": {key: views["tokens"].revoked(key, "", 1) for key in registered},
    }


def expect() -> None:
    """Write what a copy of the fixture says."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(HERE / "data", directory, dirs_exist_ok=True)
        found = said(Path(directory))
    (HERE / "expected.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.data.first_release", description=__doc__)
    parser.add_argument("what", choices=["MAKE", "EXPECT"])
    if parser.parse_args().what == "MAKE":
        assert not HERE.exists(), f"{HERE} is there: what the first release wrote is not made twice"
        with tempfile.TemporaryDirectory() as directory:
            keep(trio.run(make, Path(directory)))
    expect()
