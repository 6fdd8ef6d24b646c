"""After `log erase` nothing under the data directory holds what was erased, and proofs made before still check."""

import base64
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import trio
from click.testing import CliRunner

from eventlog.disk import audit
from eventlog.disk.log import open_log
from gateway.cli.demo.instance import Instance
from gateway.cli.demo.wire import Author, wire
from gateway.cli.log.group import command
from gateway.nostr.key import npub
from gateway.serve.clock import SystemClock
from tests.server import Server, process

CONFIG = """
[push]
answer_wait_s = 0.05
[instances."demo.example.com"]
url = "{document}"
"""
USER, TOKEN, TEXT = "alice-of-wonderland", "device-token-of-alice", "a word for alice alone"
OTHER, OTHER_TOKEN = "bob-the-builder", "device-token-of-bob"


def erase(data: Path, subject: str, *options: str) -> dict[str, Any]:
    """Call the command as the shell does; give what it answers."""
    words = ("erase", "--data", str(data), "--subject", subject, "--by", "ticket 17", "--json", *options)
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def spellings(word: str) -> Iterator[bytes]:
    """Spell a word as it may stand in a file: plain, as JSON, as hex, in base64 at any of three offsets."""
    raw = word.encode()
    yield raw
    yield json.dumps(word)[1:-1].encode()
    yield raw.hex().encode()
    for offset in range(3):
        whole = base64.b64encode(b"x" * offset + raw)
        yield whole[(4 if offset else 0) : -4]
    if len(word) == 64:
        yield bytes.fromhex(word)


def files_with(data: Path, *words: str) -> list[tuple[str, str]]:
    return [
        (path.name, word)
        for path in sorted(data.rglob("*"))
        if path.is_file()
        for word in words
        if any(one in path.read_bytes() for one in spellings(word))
    ]


async def used(server: Server, instance: Instance, author: Author, other: Author) -> None:
    """Register two users' devices, notify both, publish events of two keys."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for user, token in ((USER, TOKEN), (OTHER, OTHER_TOKEN)):
            answer = await client.post("/push/register", json=instance.registration(user, token))
            assert answer.status_code == 200, answer.text
            body, headers = instance.notification(user, TEXT if user == USER else "hello bob")
            answer = await client.post("/internal/push/events", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
    async with wire(f"{server.ws_url}/relay") as socket:
        events = [author.event(1, "said by the author"), author.event(0, "{}"), other.event(1, "said by another")]
        assert len(await socket.published(events)) == 3


async def stored(server: Server) -> list[str]:
    """Ask the relay for all there is: the authors."""
    found: list[str] = []
    async with wire(f"{server.ws_url}/relay") as socket:
        await socket.send("REQ", "all", {"kinds": [0, 1]})
        while (frame := await socket.receive())[0] != "EOSE":
            found.append(frame[2]["pubkey"])
    return sorted(found)


def users_with_devices(data: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{data}/views/devices.db?mode=ro", uri=True)) as db:
        return [user for (user,) in db.execute("SELECT user FROM device ORDER BY user")]


def audited(data: Path) -> audit.Report:
    report = audit.verify(str(data), tree=True, jobs=1)
    assert report is not None
    assert report.findings == ()
    return report


async def test_a_user_is_erased_on_a_running_server_and_a_key_on_a_stopped_one(tmp_path: Path) -> None:
    instance, author, other = Instance("demo.example.com"), Author(), Author()
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        with process(tmp_path, CONFIG.format(document=instance.url)) as server:
            data = server.data
            await used(server, instance, author, other)
            assert files_with(data, USER, TOKEN, TEXT)
            subject = f"user:demo.example.com/{USER}"
            counted = await trio.to_thread.run_sync(erase, data, subject, "--dry-run")
            assert counted["kinds"] == {"push.registered": 1, "push.accepted": 1}
            done = await trio.to_thread.run_sync(erase, data, subject)
            assert done["kinds"] == counted["kinds"]
            assert files_with(data, USER, TOKEN, TEXT) == []
            assert files_with(data, OTHER_TOKEN)
            assert users_with_devices(data) == [OTHER]
            assert len(await stored(server)) == 3
            assert server.stop() == 0
        nursery.cancel_scope.cancel()
    before = audited(data)
    done = await trio.to_thread.run_sync(erase, data, f"nostr:{npub(author.pubkey)}")
    assert done["kinds"] == {"nostr.stored": 2}
    assert files_with(data, author.pubkey, "said by the author") == []
    assert files_with(data, other.pubkey)
    after = audited(data)
    assert after.records == before.records + 1
    with open_log(data, SystemClock()) as log:
        assert log.root_at(before.records) == before.root
    with process(tmp_path) as server:
        assert await stored(server) == [other.pubkey]
        assert server.stop() == 0
