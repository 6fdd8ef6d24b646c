"""Fast replication over real sockets: cursors, pages, batches, the hand-over, and what no cursor leads to any more."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from eventlog.chronicle import Below, Retained
from eventlog.chronicle import draft as entry_draft
from eventlog.record import Record
from gateway.facts import RowStored, draft
from gateway.replication.audience import Subscription
from gateway.replication.filter import filter_of
from gateway.serve.mirror.pull import Found, Selection, plain_frames, taken
from tests.fakes import MemoryLog
from tests.gateway.serve.mirror.test_service import Client, connected, mirror_url, row, served
from tests.worker import INTERNAL, KEY, NAME, relay_id

RELAY_ID = relay_id(NAME)


async def pulled(client: Client, sub: str, **fields: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """The rows up to EOSE and the EOSE itself; every row or batch has a cursor."""
    await client.send("REQ", sub, {"relayID": RELAY_ID, **fields})
    rows: list[dict[str, Any]] = []
    while (frame := await client.get())[0] in ("EVENT", "EVENTS"):
        assert frame[1] == sub
        assert set(frame[3]) == {"cursor"}
        assert (frame[0] == "EVENTS") == bool(fields.get("batch"))
        rows += [frame[2]] if frame[0] == "EVENT" else frame[2]
    return rows, frame


async def refused(client: Client, **fields: Any) -> str:
    await client.send("REQ", "refused", {"relayID": RELAY_ID, **fields})
    closed, notice = await client.get(), await client.get()
    assert closed[:2] == ["CLOSED", "refused"]
    assert notice == ["NOTICE", closed[2]]
    return str(closed[2])


async def publish_many(client: Client, rows: list[Any], *options: Any) -> list[Any]:
    await client.send("EVENTS", rows, *options)
    frame = await client.get()
    assert frame[0] == "OKS"
    return list(frame[1])


@pytest.mark.parametrize("batch", [False, True])
async def test_a_cursor_brings_what_lies_behind_it_in_the_order_of_the_log_and_then_live_rows(batch):
    async with served() as (_, worker):
        url = await mirror_url(worker)
        async with connected(url) as writer, connected(url) as reader:
            for number in (3, 1, 2):
                await writer.publish(row(number))
            rows, eose = await pulled(reader, "a", after="", batch=batch)
            assert rows == [row(3), row(1), row(2)]
            assert eose[:2] == ["EOSE", "a"]
            cursor = eose[2]["cursor"]

            await writer.publish(row(9))
            live = await reader.get()
            assert live[:3] == (["EVENTS", "a", [row(9)]] if batch else ["EVENT", "a", row(9)])
            again, _ = await pulled(reader, "b", after=cursor, batch=batch)
            assert again == [row(9)]
            nothing, eose = await pulled(reader, "c", after=live[3]["cursor"], batch=batch)
            assert (nothing, eose[2]) == ([], live[3])


async def test_a_cursor_of_any_row_goes_on_right_behind_it():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await publish_many(client, [row(number) for number in range(1, 8)])
        await client.send("REQ", "a", {"relayID": RELAY_ID, "after": ""})
        cursors = [(await client.get())[3]["cursor"] for _ in range(7)]
        assert (await client.get())[0] == "EOSE"
        for at, cursor in enumerate(cursors, 1):
            rows, _ = await pulled(client, "b", after=cursor, kinds=[30078])
            assert rows == [row(number) for number in range(at + 1, 8)]


async def test_a_limit_cuts_a_page_and_says_that_there_is_more():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await publish_many(client, [row(number) for number in range(1, 6)])
        seen, cursor, pages = [], "", 0
        while True:
            rows, eose = await pulled(client, "a", after=cursor, limit=2, batch=True)
            seen += rows
            cursor, pages = eose[2]["cursor"], pages + 1
            if not eose[2].get("more"):
                break
        assert (seen, pages) == ([row(number) for number in range(1, 6)], 3)
        await client.publish(row(6))
        assert (await client.get())[2] == [row(6)]  # the page that was not full goes on live

        rows, eose = await pulled(client, "tail", after="", limit=0)
        assert (rows, eose[2].get("more")) == ([], None)
        assert (await pulled(client, "b", after=eose[2]["cursor"]))[0] == []


async def test_no_row_is_lost_or_repeated_between_a_pull_and_live_rows_across_disconnects():
    """Readers stop at any place, keep the cursor of what they have, and come back, while a writer goes on."""
    total = 400
    async with served() as (_, worker):
        url = await mirror_url(worker)
        async with connected(url) as writer, trio.open_nursery() as nursery:

            async def write() -> None:
                for first in range(1, total + 1, 8):
                    await writer.send("EVENTS", [row(number) for number in range(first, first + 8)])
                    await trio.lowlevel.checkpoint()

            async def read(stop_after: int, batch: bool) -> None:
                seen: list[str] = []
                cursor = ""
                while len(seen) < total:
                    async with connected(url) as reader:
                        await reader.send("REQ", "r", {"relayID": RELAY_ID, "after": cursor, "batch": batch})
                        had = len(seen)
                        while len(seen) < min(total, had + stop_after):
                            frame = await reader.get()
                            if frame[0] == "EOSE":
                                cursor = frame[2]["cursor"]
                                continue
                            rows = frame[2] if batch else [frame[2]]
                            seen += [each["id"] for each in rows]
                            cursor = frame[3]["cursor"]
                assert sorted(seen) == [row(number)["id"] for number in range(1, total + 1)]

            nursery.start_soon(write)
            for stop_after, batch in ((37, False), (1_000, True), (100, True), (1_000, False)):
                nursery.start_soon(read, stop_after, batch)


async def test_another_logs_cursor_and_nonsense_are_refused_and_the_subscription_is_not_open():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await client.publish(row(1))
        other = "0" * 24 + "1"
        assert await refused(client, after=other) == "cursor-unknown: this cursor belongs to another log"
        assert (await refused(client, after="nonsense")).startswith("cursor-unknown: ")
        assert (await refused(client, after=5)).startswith("invalid: after must be a string")
        _, eose = await pulled(client, "a", after="")
        cursor = eose[2]["cursor"]
        assert (await refused(client, after=cursor + "0")).startswith("cursor-unknown: the log is not that long")
        wrong = cursor[:12] + "0" * 12 + cursor[24:]
        assert (await refused(client, after=wrong)).startswith("cursor-unknown: the log went on differently")
        await client.send("CLOSE", "a")
        await client.publish(row(2))
        await client.nothing()


async def test_after_in_one_filter_alone_is_refused():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await client.send("REQ", "a", {"relayID": RELAY_ID, "after": ""}, {"relayID": RELAY_ID})
        assert (await client.get())[2].startswith("invalid: after stands in every filter")


async def test_rows_whose_payload_is_gone_are_passed_over_and_one_older_than_retention_is_refused():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        await publish_many(client, [row(number) for number in range(1, 5)])
        log = gateway.ledger.log
        assert isinstance(log, MemoryLog)
        seqs = [record.seq for record in log.records if record.kind == RowStored.kind]
        log.records[seqs[1]] = erased(log.records[seqs[1]])
        _, eose = await pulled(client, "first", after="", limit=1)
        early = eose[2]["cursor"]
        assert (await pulled(client, "a", after=early))[0] == [row(3), row(4)]

        floor = seqs[2]
        await gateway.ledger.record([entry_draft(Retained(0, (Below(RowStored.kind, floor),)), 0)])
        assert (await refused(client, after=early)).startswith("cursor-unknown: retention")
        rows, eose = await pulled(client, "b", after="")
        assert rows == [row(3), row(4)]
        assert (await pulled(client, "c", after=eose[2]["cursor"]))[0] == []


def erased(record: Record) -> Record:
    return Record(record.seq, record.schema, record.ts_ns, record.kind, record.subject, record.commitment, payload=None)


async def test_a_relay_that_was_taken_away_and_came_again_begins_with_nothing():
    async with served() as (_, worker):
        async with connected(await mirror_url(worker)) as client:
            await publish_many(client, [row(1), row(2)])
            _, eose = await pulled(client, "early", after="", limit=1)
        early = eose[2]["cursor"]
        assert (await worker.unregister()).status_code == 200
        await worker.register(identifier=NAME)
        async with connected(await mirror_url(worker)) as client:
            assert (await pulled(client, "a", after=""))[0] == []
            await client.publish(row(3))
            assert (await client.get())[2] == row(3)
            assert (await pulled(client, "b", after=""))[0] == [row(3)]
            assert (await pulled(client, "c", after=early))[0] == [row(3)], "an old cursor leads to nothing older"


async def test_many_rows_are_answered_together_each_in_its_place():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await client.publish(row(1))
        rows = [row(1), row(2), row(2), row(3, kind="x"), "no object", row(4, relay_id="cd" * 32)]
        assert await publish_many(client, rows) == [
            [row(1)["id"], True, "duplicate: already stored"],
            [row(2)["id"], True, ""],
            [row(2)["id"], True, "duplicate: already stored"],
            [row(3)["id"], False, "invalid-event: kind must be 0 to 65535"],
            [None, False, "invalid-event: not an object"],
            [row(4)["id"], False, "relay-mismatch: this relayID does not belong to the relay"],
        ]
        assert await publish_many(client, []) == []
        await client.send("EVENTS", {"id": "x"})
        assert await client.get() == ["NOTICE", "Invalid EVENT payload"]


async def test_receipts_stand_behind_the_rows_of_a_batch_that_asked_for_them():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        first = await publish_many(client, [row(1), row(2)], {"receipts": True})
        again = await publish_many(client, [row(2), row(3, kind="x")], {"receipts": True})
        assert [line[3]["seq"] for line in first] == [first[0][3]["seq"], first[0][3]["seq"] + 1]
        assert again[0][3] == first[1][3]
        assert len(again[1]) == 3
        assert first[0][3]["log"] == gateway.ledger.log.origin


async def test_a_batch_without_a_cursor_brings_the_newest_first():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        await publish_many(client, [row(number) for number in range(1, 4)])
        await client.send("REQ", "a", {"relayID": RELAY_ID, "batch": True})
        assert await client.get() == ["EVENTS", "a", [row(3), row(2), row(1)]]
        assert await client.get() == ["EOSE", "a"]
        await client.publish(row(4))
        assert await client.get() == ["EVENTS", "a", [row(4)]]


# -- the selection, without sockets -----------------------------------------------------------------------------------


def stored(seq: int, relay_key: str = KEY, relay: str = RELAY_ID, is_open: bool = False, kind: int = 1) -> Record:
    fact = RowStored(relay_key, bytes.fromhex(relay), bytes(32), kind, 5, bytes(32), is_open, "", b"{}")
    made = draft(fact, ts_ns=0, salt=b"s" * 16)
    return Record(seq, made.schema, 0, made.kind, b"", bytes(32), made.payload)


def selected(records: list[Record], visible: frozenset[bool], **fields: Any) -> list[int]:
    asked = filter_of({"relayID": RELAY_ID, "after": "", **fields}, limit_default=9, limit_max=9)
    return [found.record.seq for found in Selection(KEY, [asked], visible).of(records)]


def test_a_selection_holds_the_relays_own_rows_that_may_be_seen():
    records = [
        stored(0), stored(1, INTERNAL), stored(2, relay="0b" * 32), stored(3, is_open=True), stored(4, kind=2),
        erased(stored(5)),
    ]  # fmt: skip
    assert selected(records, frozenset({False})) == [0, 4]
    assert selected(records, frozenset({True, False})) == [0, 3, 4]
    assert selected(records, frozenset({False}), kinds=[2]) == [4]
    assert selected(records, frozenset({False}), authors=["a"]) == []


def test_a_page_takes_no_more_than_is_left_of_it():
    def found() -> Iterator[Found]:
        yield from (Found(b"{}", stored(seq)) for seq in range(5))

    assert [len(taken(found(), count)) for count in (None, 2, 9)] == [5, 2, 5]


def test_batches_are_cut_by_count_and_by_bytes():
    subscription = Subscription(None, "s", (), batch=True)  # type: ignore[arg-type]
    small, large = [b"{}"] * 1_000, [b'"' + b"x" * 200_000 + b'"'] * 3
    assert [len(json.loads(text)[2]) for text in plain_frames(subscription, small)] == [512, 488]
    assert [len(json.loads(text)[2]) for text in plain_frames(subscription, large)] == [1, 1, 1]
