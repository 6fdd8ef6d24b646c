"""A round erases what authors asked to be gone, tells who asked, and goes on wherever the last one was cut off."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from eventlog.chronicle import Erased, entry_of
from eventlog.record import Draft
from gateway.cli.demo.wire import Author, wire
from gateway.cli.log.group import command
from gateway.facts import EventStored, Heeded, Vanished, draft, event_draft
from gateway.nostr.event import stored_form
from gateway.serve.clock import SystemClock
from gateway.serve.custody import erasing, heeding
from gateway.serve.custody.erasing import Asked
from gateway.serve.custody.heeding import Heeding
from gateway.serve.ledger import Ledger
from gateway.views.subjects import Gone
from tests.gateway.serve.custody.test_erasing import audited, erasing_over, files_with
from tests.server import Server, process
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed

RELAY = "public-gateway:hyperbee"
SALT = bytes(16)


def stored(key: object = ALICE, **fields: object) -> Draft:
    event = signed(key, **fields)  # type: ignore[arg-type]
    return event_draft(RELAY, 1, stored_form(event), ts_ns=1, subject=event.pubkey[:8].encode(), salt=SALT)


def wish(key: object = ALICE) -> list[Draft]:
    """A request to vanish, as the intake records it."""
    who = bytes.fromhex(pubkey(key))  # type: ignore[arg-type]
    asked = stored(key, kind=62, tags=[["relay", "ALL_RELAYS"]], created_at=NOW_S)
    return [asked, draft(Vanished("", who, NOW_S), ts_ns=1, subject=who[:8], salt=SALT)]


@asynccontextmanager
async def heeding_over(data: Path) -> AsyncIterator[tuple[Ledger, Heeding]]:
    async with erasing_over(data) as (ledger, erases):
        yield ledger, Heeding(0.01, SystemClock(), ledger.log, ledger, erases)


def left(ledger: Ledger) -> list[int]:
    """The events that still have a payload."""
    return [one.seq for part in ledger.log.read(0) for one in part if one.kind == EventStored.kind and one.payload]


def rounds(ledger: Ledger) -> list[str]:
    return [one.kind for part in ledger.log.read(0) for one in part if one.kind in (Heeded.kind, Erased.kind)]


async def test_a_round_takes_all_requests_since_the_last_and_names_them(tmp_path: Path) -> None:
    async with heeding_over(tmp_path) as (ledger, heeds):
        assert await heeds.round() is None
        note = signed(BOB, content="a slip of the pen")
        await ledger.record(
            [stored(ALICE, content="alice was here"), stored(BOB, content="a slip of the pen"), stored(BOB)]
        )
        assert await heeds.round() is None
        await ledger.record([*wish(), stored(BOB, kind=5, tags=[["e", note.id]])])
        done = await heeds.round()
        assert done is not None
        assert done.records == 2
        assert left(ledger) == [2, 3, 5]
        assert files_with(tmp_path, "alice was here", "a slip of the pen") == []
        assert await heeds.round() is None
        erased = [entry_of(one) for part in ledger.log.read(0) for one in part if one.kind == Erased.kind]
        assert [(one.what, one.reason, one.count) for one in erased if isinstance(one, Erased)] == [
            ("gone", "1 to vanish (NIP-62), 1 to delete (NIP-09): records 4, 5", 2)
        ]
    async with heeding_over(tmp_path) as (ledger, heeds):
        before = ledger.log.durable_size
        assert await heeds.round() is None
        assert ledger.log.durable_size == before
    audited(tmp_path)


async def test_a_round_that_was_cut_off_is_made_again_by_the_next_start(tmp_path: Path) -> None:
    async with heeding_over(tmp_path) as (ledger, heeds):
        await ledger.record([stored(content="alice was here"), *wish()])
        with trio.CancelScope() as scope:
            scope.cancel()
            await heeds.round()
        assert rounds(ledger) == []
    async with heeding_over(tmp_path) as (ledger, heeds):
        assert await heeds.round() is not None
        assert files_with(tmp_path, "alice was here") == []
        assert rounds(ledger) == [Erased.kind, Heeded.kind]


async def test_an_erasure_whose_round_was_not_recorded_is_recorded_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heeding_over(tmp_path) as (ledger, heeds):
        await ledger.record([stored(), *wish()])
        requests = heeding.Requests()
        for part in ledger.log.read(0):
            for one in part:
                requests.take(one)
        await heeds._erasing.erase(Gone(requests), Asked("me", ""))
        done = await heeds.round()
        assert done is not None
        assert done.records == 0
        assert await heeds.round() is None


async def test_more_requests_than_a_round_takes_wait_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heeding, "GONE_TARGETS_MAX", 1)
    async with heeding_over(tmp_path) as (ledger, heeds):
        await ledger.record([stored(ALICE), *wish()])
        await ledger.record([stored(BOB), *wish(BOB)])
        assert [(await heeds.round()) is not None for _ in range(3)] == [True, True, False]
        assert left(ledger) == [1, 4]


async def test_what_does_not_fit_one_erasure_is_taken_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "ERASURE_JOB_RANGES_MAX", 2)
    async with heeding_over(tmp_path) as (ledger, heeds):
        for number in range(5):
            await ledger.record([stored(ALICE, content=str(number)), stored(BOB, content=str(number))])
        await ledger.record(wish())
        done = await heeds.round()
        assert done is not None
        assert done.records == 5
        assert left(ledger) == [1, 3, 5, 7, 9, 10]
        assert rounds(ledger) == [Erased.kind] * 3 + [Heeded.kind]


async def test_a_log_without_requests_is_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heeding, "HEEDED_RECORDS", 2)
    async with heeding_over(tmp_path) as (ledger, heeds):
        await ledger.record([stored(content=str(number)) for number in range(3)])
        assert await heeds.round() is None
        assert rounds(ledger) == [Heeded.kind]
        assert await heeds.round() is None
        assert rounds(ledger) == [Heeded.kind]


async def test_rounds_go_on_by_themselves_and_zero_leaves_it_to_an_operator(tmp_path: Path) -> None:
    async with heeding_over(tmp_path) as (ledger, heeds), trio.open_nursery() as nursery:
        await nursery.start(heeds.run)
        await ledger.record([stored(), *wish()])
        with trio.fail_after(30):
            while left(ledger) != [1]:  # noqa: ASYNC110 - another task's work on a real disk
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    async with heeding_over(tmp_path) as (_, heeds):
        heeds._within_s = 0
        with trio.fail_after(30):
            await heeds.run()


def refused(server: Server, event: dict[str, object]) -> str:
    async def publish() -> str:
        async with wire(f"{server.ws_url}/relay") as socket:
            await socket.send("EVENT", event)
            answer = await socket.receive()
            return "" if answer[2] else str(answer[3])

    return trio.run(publish)


def test_a_server_erases_who_asked_to_vanish_and_goes_on_to_refuse_them_after_an_operator_erased_the_key(
    tmp_path: Path,
) -> None:
    author, word = Author(), "never mind this"
    note = author.event(1, word)

    async def ask(server: Server) -> None:
        async with wire(f"{server.ws_url}/relay") as socket:
            await socket.published([note])
            await socket.published([author.event(62, "", [["relay", "ALL_RELAYS"]])])
            with trio.fail_after(30):
                while files_with(server.data, word):  # noqa: ASYNC110 - another process's files
                    await trio.sleep(0.05)

    with process(tmp_path, "[relay]\nerase_gone_s = 0.2\n") as server:
        trio.run(ask, server)
        assert refused(server, note).startswith("blocked: ")
        words = ["erase", "--data", str(server.data), "--subject", f"nostr:{author.pubkey}", "--by", "t", "--json"]
        result = CliRunner().invoke(command, words, catch_exceptions=False)
        assert json.loads(result.stdout)["kinds"] == {"nostr.stored": 1, "nostr.vanished": 1}
        assert files_with(server.data, author.pubkey, word) == []
        assert refused(server, note).startswith("blocked: ")
        assert server.stop(60) == 0
    audited(server.data)
    assert files_with(server.data, author.pubkey, word) == []
    with process(tmp_path) as server:
        assert refused(server, note).startswith("blocked: ")
        assert server.stop(60) == 0
