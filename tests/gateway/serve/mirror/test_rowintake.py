"""Rows in: what is new, what repeats, what is in flight."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from gateway.replication.row import row_of
from gateway.replication.session import Store
from gateway.serve.mirror.rowintake import CROWDED, DUPLICATE, FAILED, STORED, Answer, RowIntake
from gateway.views.rows import RowsView
from tests.fakes import FakeClock, memory_ledger

RELAY, RELAY_ID = "aa" * 32, "0b" * 32


def store(number: int = 1, kind: int = 1, writer: str = "", *, is_open: bool = False) -> Store:
    fields = {"id": f"{number:064x}", "relayID": RELAY_ID, "kind": kind, "created_at": 1, "eventData": "aaaa"}
    return Store(row_of(fields, msgspec.json.encode(fields)), writer, is_open, "")


@asynccontextmanager
async def intake() -> AsyncIterator[RowIntake]:
    async with memory_ledger(RowsView) as ledger:
        rows = ledger.view(RowsView)
        yield RowIntake(FakeClock(), ledger, rows, b"key")


async def said(at: RowIntake, relay_key: str, stores: Sequence[Store]) -> list[Answer]:
    """The answers, wherever the rows stand."""
    return [msgspec.structs.replace(answer, seq=None) for answer in await at.take(relay_key, stores)]


async def test_a_repeat_in_one_batch_and_in_a_later_one_is_a_duplicate():
    async with intake() as at:
        assert await said(at, RELAY, [store(), store(), store(2)]) == [STORED, DUPLICATE, STORED]
        assert await said(at, RELAY, [store(), store(3)]) == [DUPLICATE, STORED]
        assert at._ledger.log.durable_size == 3


async def test_every_answer_says_where_its_row_stands():
    async with intake() as at:
        first = await at.take(RELAY, [store(), store(), store(2)])
        assert [answer.seq for answer in first] == [0, 0, 1]
        assert [answer.seq for answer in await at.take(RELAY, [store(2), store(3), store()])] == [1, 2, 0]
        flying, _ = at._decide(RELAY, [store(4)])
        again, _ = at._decide(RELAY, [store(4)])
        assert [answer.seq for answer in (*flying, *again)] == [3, 3]


async def test_an_answer_waits_until_the_original_in_flight_is_durable():
    async with intake() as at:
        answers, awaited = at._decide(RELAY, [store()])
        again, awaited_again = at._decide(RELAY, [store()])
        assert [one.result for one in (*answers, *again)] == [STORED.result, DUPLICATE.result]
        assert awaited is awaited_again is not None
        await awaited.wait()


async def test_of_concurrent_repeats_one_is_appended():
    async with intake() as at:
        found = []

        async def take() -> None:
            found.extend(await said(at, RELAY, [store()]))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(take)
        assert sorted(found, key=str) == sorted([STORED] + [DUPLICATE] * 19, key=str)
        assert at._ledger.log.durable_size == 1


async def test_other_bodies_by_other_subjects_are_kept_up_to_four_whether_in_flight_or_not():
    async with intake() as at:
        batch = [store(kind=number, writer=str(number)) for number in range(3)]
        assert await said(at, RELAY, batch) == [STORED] * 3
        more = [store(kind=number, writer=str(number)) for number in range(2, 6)]
        assert await said(at, RELAY, more) == [DUPLICATE, STORED, CROWDED, CROWDED]


async def test_a_subject_has_one_body_under_an_id():
    async with intake() as at:
        assert await said(at, RELAY, [store(kind=1, writer="w"), store(kind=2, writer="w")]) == [STORED, DUPLICATE]


async def test_relays_and_open_rows_are_namespaces_of_their_own():
    async with intake() as at:
        assert await said(at, RELAY, [store(), store(is_open=True)]) == [STORED, STORED]
        assert await said(at, "bb" * 32, [store()]) == [STORED]


async def test_a_failed_log_fails_every_answer_and_nothing_else():
    async with intake() as at:
        assert await said(at, RELAY, [store()]) == [STORED]
        at._ledger.log.break_down()
        assert await said(at, RELAY, [store(2), store()]) == [FAILED, FAILED]


@pytest.mark.parametrize("lost", [True, False])
async def test_a_row_that_was_in_flight_when_the_log_failed_is_decided_anew_after_it_was_reopened(lost: bool):
    async with intake() as at:
        log = at._ledger.log
        submit = log.submit

        def submit_and_fail(drafts):
            first = submit(drafts)
            log.break_down()
            return first

        log.submit = submit_and_fail
        assert await said(at, RELAY, [store()]) == [FAILED]
        log.submit = submit
        log.restore(lost=lost)
        with trio.fail_after(30):
            await at._ledger.restored()
        assert await said(at, RELAY, [store()]) == [STORED if lost else DUPLICATE]


async def test_what_the_view_has_is_no_longer_kept_in_flight():
    async with intake() as at:
        await at.take(RELAY, [store(number) for number in range(50)])
        await at.take(RELAY, [store(99)])
        assert len(at._flying) == len(at._flights) == 1
        await at.take(RELAY, [store(99)])
        assert not at._flying
        assert not at._flights


async def test_a_row_of_a_batch_that_is_in_the_view_by_half_counts_once():
    async with intake() as at:
        at._decide(RELAY, [store(kind=number, writer=str(number)) for number in range(3)])
        records = at._ledger.log.records
        at._rows.apply(records[:2], 2)  # as where a batch is more than one frame
        answers, _ = at._decide(RELAY, [store(kind=3, writer="3")])
        at._rows.restart()
        assert [answer.result for answer in answers] == [STORED.result]
