"""After `log erase` nothing under the data directory holds what was erased, and proofs made before still check."""

import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from click.testing import CliRunner
from msgspec import structs

from eventlog.chronicle import ranges_of
from eventlog.disk import audit, compact, snapshots
from eventlog.disk.durable import RealDisk
from eventlog.disk.erase import Job, begin, pending, rewrite_segment
from eventlog.disk.log import Log, open_log
from eventlog.record import Draft
from eventlog.retention import State, expiring
from gateway.cli.demo.instance import Instance
from gateway.cli.demo.wire import Author, wire
from gateway.cli.log.group import command
from gateway.config import Config
from gateway.facts import Moderated, Registered, draft, refuse_unknown
from gateway.nostr.key import npub
from gateway.replication.registration import INTERNAL
from gateway.serve.app import opened
from gateway.serve.clock import SystemClock
from gateway.serve.custody.control import ControlRefused
from gateway.serve.custody.erasing import Asked, Done, Erasing
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.views.devices import DevicesView
from gateway.views.moderation import ModerationView
from gateway.views.subjects import NostrKey, User
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
            assert server.stop(60) == 0
        nursery.cancel_scope.cancel()
    before = audited(data)
    done = await trio.to_thread.run_sync(erase, data, f"nostr:{npub(author.pubkey)}")
    assert done["kinds"] == {"nostr.stored": 2}
    assert files_with(data, author.pubkey, "said by the author") == []
    assert files_with(data, other.pubkey)
    after = audited(data)
    assert after.records == before.records + 2  # the bar against the key's return, and the erasure
    with open_log(data, SystemClock()) as log:
        assert log.root_at(before.records) == before.root
    with process(tmp_path) as server:
        assert await stored(server) == [other.pubkey]
        assert server.stop(60) == 0


def registered(user: str, token: str) -> Registered:
    return Registered("demo.example.com", user, token, "token", "ios", "", 1, 2, user[:1], 9, b"", "", b"{}")


@asynccontextmanager
async def erasing_over(
    data: Path, restate: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
) -> AsyncIterator[tuple[Ledger, Erasing]]:
    """A log and its views, running, without the rest of the server."""
    clock = SystemClock()
    with opened(structs.replace(Config(), data=str(data)), clock, Metrics()) as (log, views):
        ledger = Ledger(log, views)
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            await nursery.start(ledger.run)
            yield ledger, Erasing(log, ledger, clock, data, judge=refuse_unknown, restate=restate)
            nursery.cancel_scope.cancel()


async def test_services_publish_anew_once_something_was_erased_and_not_before(tmp_path: Path) -> None:
    said = list[bool]()

    async def restate() -> None:
        said.append(ledger.log.rewriting.locked())
        await trio.lowlevel.checkpoint()

    async with erasing_over(tmp_path, restate) as (ledger, erasing):
        await ledger.record([draft(registered("alice", "t"), ts_ns=1, subject=b"p" * 16, salt=b"s" * 16)])
        alice, asked = User("demo.example.com", "alice"), Asked("a test", "")
        assert (await erasing.erase(User("demo.example.com", "nobody"), asked)).records == 0
        assert (await erasing.erase(alice, structs.replace(asked, dry_run=True))).records == 1
        assert said == []
        assert (await erasing.erase(alice, asked)).records == 1
        assert said == [False]


def take_away(log: Log, state: State) -> None:
    """Do to the log's first segment what retention does."""
    disk, segments = log.store.disk, log.store.segments
    compact.write_state(disk, segments.directory, state)
    rewrite_segment(disk, segments[0], expiring(state, segments[0].head().salt))
    segments.let_go(0)
    assert log.record(0).payload is None


@pytest.mark.parametrize("retained", [False, True])
async def test_views_and_snapshots_forget_also_where_retention_took_what_they_came_from(
    tmp_path: Path, retained: bool
) -> None:
    log_directory = str(tmp_path / "log")
    async with erasing_over(tmp_path) as (ledger, erasing):
        drafts = [
            draft(registered(user, token), ts_ns=1, subject=b"p", salt=b"s" * 16)
            for user, token in ((OTHER, OTHER_TOKEN), (USER, TOKEN))
        ]
        log = ledger.log
        assert isinstance(log, Log)
        await ledger.record(drafts[:1])
        log.store.roll()
        await ledger.record(drafts[1:])
        for view in ledger.views.values():
            view.commit(ledger.log.origin, ledger.log.root_at(view.position))
        snapshots.take(log_directory, str(tmp_path / "views"), list(ledger.views), origin=ledger.log.origin)
        if retained:
            take_away(log, State(0, {Registered.kind: 1}))
        assert files_with(tmp_path, USER)
        done = await erasing.erase(User("demo.example.com", USER), Asked("ticket 17", ""))
        assert done.kinds == {Registered.kind: 1}
        assert await erasing.erase(User("demo.example.com", USER), Asked("ticket 17", "")) == Done(0, {}, [], [])
        assert files_with(tmp_path, USER, TOKEN) == []
    assert users_with_devices(tmp_path) == [OTHER]
    assert any(name.startswith("devices-") for name, _ in files_with(tmp_path, OTHER))
    async with erasing_over(tmp_path) as (ledger, _):  # the views are taken as they are
        devices = ledger.view(DevicesView)
        assert [device.target for device in devices.devices("demo.example.com", OTHER)] == [OTHER_TOKEN]


async def test_a_job_that_was_cut_off_is_ended_by_the_next_call(tmp_path: Path) -> None:
    async with erasing_over(tmp_path) as (ledger, erasing):
        await ledger.record([draft(registered(USER, TOKEN), ts_ns=1, subject=b"p", salt=b"s" * 16)])
        job = Job(1, 1, "ticket 16", "", "user", ranges_of([0]), ("views/devices.db",))
        begin(RealDisk(), str(tmp_path), job)
        done = await erasing.erase(User("demo.example.com", "nobody"), Asked("ticket 17", ""))
        assert done.records == 0
        assert files_with(tmp_path, USER, TOKEN) == []
        assert pending(RealDisk(), str(tmp_path)) is None


async def test_ending_a_job_folds_no_view_anew_that_retention_took_records_of(tmp_path: Path) -> None:
    async with erasing_over(tmp_path) as (ledger, erasing):
        log = ledger.log
        assert isinstance(log, Log)
        for user, token in ((OTHER, OTHER_TOKEN), (USER, TOKEN)):
            await ledger.record([draft(registered(user, token), ts_ns=1, subject=b"p", salt=b"s" * 16)])
            log.store.roll()
        take_away(log, State(0, {Registered.kind: 1}))
        begin(RealDisk(), str(tmp_path), Job(1, 2, "ticket 16", "", "user", ranges_of([1]), ()))
        await erasing.erase(User("demo.example.com", "nobody"), Asked("ticket 17", ""))
        assert pending(RealDisk(), str(tmp_path)) is None
        assert [one.target for one in ledger.view(DevicesView).devices("demo.example.com", OTHER)] == [OTHER_TOKEN]


async def test_what_an_erased_moderator_says_during_the_erasure_is_weighed_with_all_that_was_said_before(
    tmp_path: Path,
) -> None:
    alice, bob, carol = "a1" * 32, "b0" * 32, "ca" * 32

    def said(by: str, method: str, value: str) -> Draft:
        return draft(Moderated(INTERNAL, bytes.fromhex(by), method, value, ""), ts_ns=1, salt=b"s" * 16)

    async with erasing_over(tmp_path) as (ledger, erasing):
        await ledger.record([said(carol, "banpubkey", bob), said(alice, "banpubkey", "de" * 32)])
        searched = erasing._search

        def meanwhile(*asked: Any) -> None:
            """Behind the first look Alice lifts Carol's ban."""
            searched(*asked)
            erasing._search = searched  # type: ignore[method-assign]
            trio.from_thread.run(ledger.record, [said(alice, "unbanpubkey", bob)])

        erasing._search = meanwhile  # type: ignore[method-assign]
        done = await erasing.erase(NostrKey(alice), Asked("ticket 17", ""))
        assert done.kinds == {Moderated.kind: 2}
        assert bob not in ledger.view(ModerationView).rules(INTERNAL).block_keys, "a lifted ban stays lifted"


async def test_the_operators_door_asks_for_a_subject(tmp_path: Path) -> None:
    async with erasing_over(tmp_path) as (_, erasing):
        for request in ({}, {"subject": "alice"}, {"subject": "token:x", "by": 5}):
            with pytest.raises(ControlRefused):
                await erasing.answer(request)
        assert (await erasing.answer({"subject": "token:x", "by": "me", "dry_run": True}))["records"] == 0
