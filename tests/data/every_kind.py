"""A data directory with every kind of record that there is today: how it was made, and what it says.

``python -m tests.data.every_kind MAKE`` runs the real server, its clients and fakes of FCM, Apple and a browser's push
service, kills the server once, and packs what it wrote into ``every-kind/data``, with keys that open nothing. Unlike
the first release's, which is never made again, it is made anew whenever a kind is added before that is released: a test
holds its kinds against the registry. ``… EXPECT`` writes anew what the views say of it (after a view's version was
raised); that the records of a released kind are still read is what the test of an older fixture shows.
"""

import argparse
import base64
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import httpx
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from eventlog import chronicle
from eventlog.chronicle import ENTRIES, AnyEntry, Below, Retained
from eventlog.disk.log import open_log
from gateway.cli.demo.instance import Instance
from gateway.cli.demo.server import Server, never_outliving
from gateway.cli.demo.subscribers import Browser, IPhone
from gateway.cli.demo.wire import Author, wire
from gateway.facts import FACTS, Fact, Revoked, draft
from gateway.serve.clock import SystemClock
from gateway.serve.fakes.fcm import serve_fake, service_account
from tests.crash.memory import RecordingFake
from tests.data import first_release
from tests.data.first_release import SECRET, TENANT, erase, posted, pushes, relays, said, settled, tear, vanishing

HERE = Path(__file__).parent / "every-kind"
KEPT = ("log", "keys/log.pem", "keys/token.key", "keys/bar.key")
HEEDED_S_MAX = 60

CONFIG = (
    first_release.CONFIG
    + """
[webpush]
contact = "mailto:operator@example.com"
local_origins = ["{browser}"]
[apns]
base_url = "{apns}"
ca_file = "fake-apns.pem"
[apns.apps."com.example.app"]
key_file = "apns.p8"
key_id = "KEYKEYKEY1"
team_id = "TEAMTEAM01"
[relay]
admins = ["{admin}"]
erase_gone_s = 1.0
"""
)
# What no client brings about within minutes, and retention that took nothing: with snapshots in it the fixture would be
# twenty times as large, and they hold the views of one release.
RARE: tuple[Fact | AnyEntry, ...] = (Revoked("gone.example.com", "gone"), Retained(0, (Below("push.answered", 0),)))


async def make(directory: Path) -> Path:
    """Let a server write every kind; give its data directory."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    fake, instance, browser, iphone, admin = (
        RecordingFake(key.public_key()),
        Instance(TENANT),
        Browser(),
        IPhone(),
        Author(),
    )
    fake.latency_s = 0.2  # above the server's wait, so that it answers before the outcome
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        await nursery.start(browser.serve)
        await nursery.start(iphone.serve, directory)
        listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(serve_fake, fake, listener)
        fcm = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        (directory / "service-account.json").write_bytes(service_account(key, fcm))
        config = CONFIG.format(
            secret=SECRET,
            fcm=fcm,
            domain=TENANT,
            document=instance.url,
            browser=browser.url,
            apns=iphone.url,
            admin=admin.pubkey,
        )
        async with never_outliving(Server(directory, config)) as server:
            await server.start()
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                await pushes(client, instance)
                await devices(client, instance, browser, iphone)
                await relays(client, server.url.replace("http", "ws", 1))
                await moderation(client, admin)
                await settled(client)
            await server.kill()
            tear(server.data)
            await server.start()
            ws_url = server.url.replace("http", "ws", 1)
            gone = await vanishing(ws_url)
            await heeded(server.data)
            await trio.to_thread.run_sync(erase, server.data, f"nostr:{gone}")
            async with wire(f"{ws_url}/relay") as socket:
                await socket.published([Author().event(1, "after the crash")])
            assert await server.stop() == 0
        nursery.cancel_scope.cancel()
    await append_rare(server.data)
    return server.data


async def devices(client: httpx.AsyncClient, instance: Instance, browser: Browser, iphone: IPhone) -> None:
    """A browser, a UnifiedPush endpoint and an iPhone, each with a notification."""
    key = (await client.get("/push/vapid")).json()["publicKey"]
    for user, target, changes in (
        ("erin", browser.subscribe(key), {"targetKind": "webpush"}),
        ("frank", f"{browser.url}/push/up", {"targetKind": "unifiedpush"}),
        ("grace", iphone.token, {"targetKind": "apns", "appId": "com.example.app"}),
    ):
        await posted(client, "/push/register", instance.registration(user, target, **changes))
        body, headers = instance.notification(user, "hello")
        await posted(client, "/internal/push/events", body, headers)


async def moderation(client: httpx.AsyncClient, admin: Author) -> None:
    """An admin bans a key and names the relay (NIP-86, NIP-98)."""
    url = f"{str(client.base_url).rstrip('/')}/relay"
    for method, *params in (("banpubkey", Author().pubkey, "spam"), ("changerelayname", "A relay of every kind")):
        body = json.dumps({"method": method, "params": params}).encode()
        tags = [["u", url], ["method", "POST"], ["payload", hashlib.sha256(body).hexdigest()]]
        signed = base64.b64encode(json.dumps(admin.event(27_235, "", tags)).encode()).decode()
        headers = {"Content-Type": "application/nostr+json+rpc", "Authorization": f"Nostr {signed}"}
        answer = await client.post(url, content=body, headers=headers)
        assert answer.json() == {"result": True}, answer.text


async def heeded(data: Path) -> None:
    """Wait until the wish to vanish has been heeded in the log's files."""
    with trio.fail_after(HEEDED_S_MAX):
        while b"never mind 0" in b"".join(path.read_bytes() for path in (data / "log").glob("*.evl")):  # noqa: ASYNC110 - another process
            await trio.sleep(0.2)


async def append_rare(data: Path) -> None:
    """Record what no client brings about."""
    clock = SystemClock()
    with open_log(data, clock) as log:
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            now_ns = clock.now_ns()
            await log.append_many(
                [draft(one, ts_ns=now_ns) if isinstance(one, Fact) else chronicle.draft(one, now_ns) for one in RARE]
            )
            nursery.cancel_scope.cancel()


def missing(kinds: set[str]) -> set[str]:
    """Give the kinds of the registry, and of the log itself, that are not among these."""
    return (set(FACTS) | set(ENTRIES)) - kinds


def keep(data: Path) -> None:
    """Keep the log and its keys; views are made from them."""
    for name in KEPT:
        source, target = data / name, HERE / "data" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def expect() -> None:
    """Write what a copy of the fixture says."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(HERE / "data", directory, dirs_exist_ok=True)
        found = said(Path(directory))
    lacks = missing({kind.partition("/")[0] for kind in found["kinds"]})
    assert not lacks, f"nothing in `make` brings about {sorted(lacks)}: add to it, or to RARE"
    (HERE / "expected.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.data.every_kind", description=__doc__)
    parser.add_argument("what", choices=["MAKE", "EXPECT"])
    if parser.parse_args().what == "MAKE":
        with tempfile.TemporaryDirectory() as directory:
            made = trio.run(make, Path(directory))
            shutil.rmtree(HERE, ignore_errors=True)
            keep(made)
    expect()
