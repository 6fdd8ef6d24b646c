"""Every kind of push subject, erased on a running server: no byte is left of it in any file, old proofs still check.

Deliveries lead nowhere here, so each notification waits in the outbox as well as in the log.
"""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from eventlog.disk import audit
from gateway.cli.demo.instance import Instance
from gateway.cli.log.group import command
from gateway.push.es256 import private_pem
from gateway.serve.fakes.fcm import service_account
from gateway.serve.fakes.webpush import Subscriber
from tests.server import Server, process

TENANT, MATRIX_APP, NOWHERE = "demo.example.com", "com.example.matrix", "http://127.0.0.1:9"
CONFIG = """
[push]
answer_wait_s = 0
[instances."{tenant}"]
url = "{document}"
[fcm]
base_url = "{nowhere}"
allow_any_token_uri = true
[fcm.projects.default]
credentials = "account.json"
[matrix.apps."{matrix}"]
way = "fcm"
[webpush]
local_origins = ["{nowhere}"]
[apns]
base_url = "https://127.0.0.1:9"
[apns.apps."com.example.app"]
key_file = "AuthKey.p8"
key_id = "KEYKEYKEY1"
team_id = "TEAMTEAM01"
"""
ENDPOINT, UNIFIED = f"{NOWHERE}/push/of-alice", f"{NOWHERE}/up/of-alice?a=1"
APPLE = bytes(range(64, 96))


@dataclass(frozen=True)
class Case:
    """One device of one user, what an operator calls it, and the words that must be gone with it."""

    user: str
    target: str
    changes: dict[str, str]
    subject: str
    words: tuple[str, ...]


def cases() -> dict[str, Case]:
    browser = Subscriber(ENDPOINT)
    return {
        "a user": Case(
            "alice-of-user", "fcm-of-user-1", {}, f"user:{TENANT}/alice-of-user", ("alice-of-user", "fcm-of-user-1")
        ),
        "a token": Case("alice-of-token", "fcm-of-token-12", {}, "token:fcm-of-token-12", ("fcm-of-token-12",)),
        "a browser": Case(
            "alice-of-web",
            browser.json,
            {"targetKind": "webpush"},
            f"token:{browser.json}",
            (ENDPOINT, browser.endpoint),
        ),
        "a UnifiedPush endpoint": Case(
            "alice-of-up", UNIFIED, {"targetKind": "unifiedpush"}, f"token:{UNIFIED}", (UNIFIED,)
        ),
        "an Apple device, as hex, of one that was given as base64": Case(
            "alice-of-apns",
            base64.b64encode(APPLE).decode(),
            {"targetKind": "apns", "appId": "com.example.app"},
            f"token:{APPLE.hex().upper()}",
            (APPLE.hex(), APPLE.hex().upper()),
        ),
    }


NEIGHBOUR = "fcm-of-token-1"  # the beginning of the erased one, and somebody else's
PUSHKEY, OTHER_PUSHKEY = "pushkey-of-alice-0001", "pushkey-of-alice-000"


def spelled(word: str) -> Iterator[bytes]:
    """A word as it may stand in a file: plain, in JSON, as hex, and in base64 at any offset."""
    raw = word.encode()
    yield from (raw, json.dumps(word)[1:-1].encode(), raw.hex().encode())
    for offset in range(3):
        yield base64.b64encode(b"x" * offset + raw)[(4 if offset else 0) : -4]
    if word == APPLE.hex():
        yield APPLE
        yield base64.b64encode(APPLE)


def files_with(data: Path, words: tuple[str, ...]) -> list[tuple[str, str]]:
    files = {path: path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}
    return [
        (path.name, word)
        for path, content in files.items()
        for word in words
        if any(s in content for s in spelled(word))
    ]


def called(*words: str) -> Any:
    result = CliRunner().invoke(command, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Server, Instance]]:
    account = service_account(rsa.generate_private_key(65537, 2048), NOWHERE)
    (directory / "account.json").write_bytes(account)
    (directory / "AuthKey.p8").write_text(private_pem(ec.generate_private_key(ec.SECP256R1())))
    instance = Instance(TENANT)
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.serve)
        config = CONFIG.format(tenant=TENANT, document=instance.url, nowhere=NOWHERE, matrix=MATRIX_APP)
        with process(directory, config) as server:
            yield server, instance
        nursery.cancel_scope.cancel()


async def notify(client: httpx.AsyncClient, instance: Instance, user: str, actor: str) -> None:
    body, _ = instance.notification(user, "hello")
    body["notification"]["actor_id"] = actor
    answer = await client.post(
        "/internal/push/events", json=body, headers={"X-Push-Signature": instance.signature(body)}
    )
    assert answer.status_code == 200, answer.text


async def fill(server: Server, instance: Instance, devices: dict[str, Case]) -> None:
    """Devices of each kind and their neighbours, a notification to each, and one that each caused to another."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for case in [*devices.values(), Case("bob", NEIGHBOUR, {}, "", ())]:
            envelope = instance.registration(case.user, case.target, **case.changes)
            answer = await client.post("/push/register", json=envelope)
            assert answer.status_code == 200, (case, answer.text)
            await notify(client, instance, case.user, "carol")
        await notify(client, instance, "bob", "alice-of-user")
        for pushkey in (PUSHKEY, OTHER_PUSHKEY):
            device = {"app_id": MATRIX_APP, "pushkey": pushkey, "pushkey_ts": 42}
            event = {"event_id": f"$of-{pushkey}", "room_id": "!r", "type": "m.room.message", "counts": {"unread": 1}}
            answer = await client.post("/_matrix/push/v1/notify", json={"notification": event | {"devices": [device]}})
            assert answer.status_code == 200, answer.text


def audited(data: Path) -> int:
    """Audit a log that nobody serves; give its size."""
    report = audit.verify(str(data), tree=True, jobs=1)
    assert report is not None
    assert report.findings == ()
    return report.records


async def test_nothing_is_left_of_any_kind_of_push_subject_and_old_proofs_still_check(tmp_path: Path) -> None:
    devices = cases()
    matrix = Case("", "", {}, f"token:{PUSHKEY}", (PUSHKEY,))
    async with served(tmp_path) as (server, instance):
        data = server.data
        await fill(server, instance, devices)
        assert server.stop(60) == 0
    size = audited(data)
    kept = []
    for seq in range(size):
        kept.append(tmp_path / f"{seq}.tlog-proof")
        kept[-1].write_bytes(called("prove", str(seq), "--data", str(data)).stdout_bytes)
    key = called("key", "--data", str(data)).stdout.strip()
    everything = {**devices, "a Matrix pushkey": matrix}
    async with served(tmp_path) as (server, _):
        for name, case in everything.items():
            assert files_with(data, case.words), name
            words = ("erase", "--data", str(data), "--subject", case.subject, "--by", "ticket", "--json")
            done = json.loads((await trio.to_thread.run_sync(called, *words)).stdout)
            assert done["records"] >= 1, name
            assert files_with(data, case.words) == [], name
        assert server.stop(60) == 0
    for name, case in everything.items():
        assert files_with(data, case.words) == [], name
    assert {word for _, word in files_with(data, (NEIGHBOUR, OTHER_PUSHKEY))} == {NEIGHBOUR, OTHER_PUSHKEY}
    assert audited(data) > size
    for proof in kept:
        assert '"proven": true' in called("check-proof", str(proof), "--key", key).stdout
