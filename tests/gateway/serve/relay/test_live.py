"""Live rows: each once, none before its time, and no reader may make them pile up."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from eventlog.errors import LogFailed
from eventlog.record import Record
from gateway.facts import EventStored, draft
from gateway.limits.nostr import BACKLOG_BYTES_MAX
from gateway.nostr.event import Event, stored_event, stored_form
from gateway.nostr.filter import Filter, parse_filter
from gateway.nostr.reader import Reader
from gateway.serve.ledger import Ledger
from gateway.serve.port.framing import text_frame
from gateway.serve.relay.live import LiveRows, Subscription
from gateway.views.events import EventsView
from tests.fakes import memory_ledger
from tests.signing import BOB, pubkey, signed

RELAY = "public-gateway:hyperbee"
ALL: Filter = parse_filter({})


class Ear:
    """As much of a socket as live rows use."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.closed: int | None = None

    def send_frames(self, frames: Sequence[bytes]) -> None:
        self.heard += frames

    send_frames_now = send_frames

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code


class Stage:
    """Live rows over a ledger in memory."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self.live = ledger, LiveRows(ledger, [1_059])

    def open(self, ear: Ear, name: str = "x", asked: Filter = ALL, keys: frozenset[str] = frozenset()) -> Subscription:
        reader = Reader(keys, 1_000, frozenset({1_059}))
        return self.live.open(RELAY, ear, f"{name} ", [asked], lambda: reader)  # type: ignore[arg-type]

    async def record(self, *events: Event, relay: str = RELAY) -> None:
        facts = [EventStored(relay, 1, stored_form(event)) for event in events]
        await self.ledger.record([draft(fact, ts_ns=1, subject=b"s" * 16, salt=bytes(16)) for fact in facts])
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    async with memory_ledger(EventsView) as ledger, trio.open_nursery() as nursery:
        made = Stage(ledger)
        await nursery.start(made.live.run)
        yield made
        nursery.cancel_scope.cancel()


def frame(name: str, event: Event) -> bytes:
    return text_frame(f"{name} ".encode(), stored_form(event), b"]")


async def test_rows_wait_until_stored_ones_are_out_and_then_come_in_the_order_of_the_log() -> None:
    async with stage() as at:
        ear, events = Ear(), [signed(content=str(number)) for number in range(3)]
        subscription = at.open(ear)
        await at.record(*events[:2])
        assert ear.heard == []
        assert subscription.catch_up() == [frame("x", event) for event in events[:2]]
        await at.record(events[2])
        assert ear.heard == [frame("x", events[2])]


async def test_what_was_in_the_view_when_it_was_opened_is_not_live() -> None:
    async with stage() as at:
        await at.record(signed())
        ear = Ear()
        at.open(ear).catch_up()
        at.live._tell(list(next(at.ledger.log.read(0))))
        assert ear.heard == []


async def test_only_the_relays_own_rows_and_only_asked_for_ones_come() -> None:
    async with stage() as at:
        ear = Ear()
        at.open(ear, asked=parse_filter({"kinds": [7]})).catch_up()
        await at.record(signed(kind=7), relay="another")
        await at.record(signed(), signed(kind=7))
        assert ear.heard == [frame("x", signed(kind=7))]


async def test_two_subscriptions_of_one_socket_are_served_in_one_go() -> None:
    async with stage() as at:
        ear = Ear()
        for name in ("x", "y"):
            at.open(ear, name).catch_up()
        await at.record(signed())
        assert sorted(ear.heard) == [frame("x", signed()), frame("y", signed())]


async def test_an_event_is_framed_once_for_all_readers_of_the_same_subscription_id() -> None:
    async with stage() as at:
        ears = [Ear() for _ in range(3)]
        for ear, name in zip(ears, ["x", "x", "y"], strict=True):
            at.open(ear, name).catch_up()
        await at.record(signed())
        at.live.deliver(RELAY, signed(kind=20_001), stored_form(signed(kind=20_001)))
        for first, second, other in zip(*(ear.heard for ear in ears), strict=True):
            assert first is second
            assert first != other


async def test_a_version_that_the_fold_refused_goes_to_nobody() -> None:
    async with stage() as at:
        ear = Ear()
        at.open(ear).catch_up()
        new, old = signed(kind=0, created_at=2), signed(kind=0, created_at=1)
        await at.record(new, old)
        assert ear.heard == [frame("x", new)]


async def test_an_ended_event_and_anothers_gift_wrap_go_to_nobody() -> None:
    async with stage() as at:
        ear, addressee = Ear(), Ear()
        at.open(ear).catch_up()
        at.open(addressee, keys=frozenset({pubkey(BOB)})).catch_up()
        wrap = signed(kind=1_059, tags=[["p", pubkey(BOB)]])
        lasting = signed(tags=[["expiration", "1001"]])
        await at.record(wrap, lasting, signed(tags=[["expiration", "1000"]]))
        assert ear.heard == [frame("x", lasting)]
        assert addressee.heard == [frame("x", wrap), frame("x", lasting)]


async def test_one_event_that_the_fold_can_only_keep_is_told_before_the_view_has_it_and_every_other_one_behind() -> (
    None
):
    async with stage() as at:
        view = at.ledger.views["events"]
        assert isinstance(view, EventsView)
        places: list[tuple[int, int]] = []  # (kind, how many records the view had)

        class Watching(Ear):
            def send_frames(self, frames: Sequence[bytes]) -> None:
                super().send_frames(frames)
                places.extend((stored_event(frame[frame.index(b"{") : -1]).kind, view.position) for frame in frames)

            send_frames_now = send_frames

        ear = Watching()
        at.open(ear).catch_up()
        await at.record(signed(content="of an author whom nobody knows"))
        await at.record(signed(content="alone"))
        await at.record(signed(content="in"), signed(content="company"))
        await at.record(signed(kind=0))
        await at.record(signed(content="alone again"))
        await at.record(signed(kind=5))
        await at.record(signed(content="of one who deletes"))
        assert places == [(1, 1), (1, 1), (1, 4), (1, 4), (0, 5), (1, 5), (5, 7), (1, 8)]


async def test_what_was_told_before_a_view_failed_is_told_again_only_to_those_who_asked_before_it_was_mended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with stage() as at:
        view, ear, late = at.ledger.views["events"], Ear(), Ear()
        events = [signed(content=str(number)) for number in range(3)]
        at.open(ear).catch_up()
        await at.record(events[0])
        apply, failures = view.apply, [sqlite3.OperationalError("no room") for _ in range(2)]

        def failing(records: Sequence[Record], position: int) -> None:
            if failures:
                raise failures.pop()
            apply(records, position)

        view.apply = failing  # type: ignore[method-assign]
        with pytest.raises(LogFailed):
            await at.record(events[1])
        assert not failures
        at.open(late).catch_up()
        with trio.fail_after(60):
            await at.ledger.restored()
            await at.record(events[2])
        assert ear.heard == [frame("x", event) for event in events]
        assert late.heard == [frame("x", event) for event in events[1:]]


async def test_a_closed_subscription_hears_nothing_and_is_forgotten() -> None:
    async with stage() as at:
        ear = Ear()
        subscription = at.open(ear)
        subscription.catch_up()
        for _ in range(2):
            at.live.close(RELAY, subscription)
        await at.record(signed())
        assert ear.heard == []
        assert not at.live._relays


async def test_rows_held_back_are_bounded_and_the_reader_is_cut() -> None:
    async with stage() as at:
        ear = Ear()
        subscription = at.open(ear)
        row = b"x" * (BACKLOG_BYTES_MAX // 4 + 1)
        for _ in range(3):
            subscription.offer(row)
        assert ear.closed is None
        subscription.offer(row)
        assert ear.closed == 1013
        assert subscription.catch_up() == []
