"""Retention takes what the rules say and no more, and every view is the same afterwards, made anew or not."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from msgspec import structs

from eventlog.chronicle import Range, Retained
from eventlog.disk import audit
from eventlog.disk.erase import VERSION, Job, begin
from eventlog.disk.log import Log, open_log
from eventlog.disk.recovery import read_state
from eventlog.disk.views import open_views
from eventlog.record import Draft
from eventlog.retention import DAY_NS
from gateway.config import Config, Retention
from gateway.config import Log as LogConfig
from gateway.errors import ConfigInvalid
from gateway.facts import Accepted, EventStored, PushTarget, Registered, RowStored, Settled, draft
from gateway.nostr.event import stored_form
from gateway.serve.app import VIEWS
from gateway.serve.custody.keeping import Keeping, rules_of
from gateway.serve.ledger import Ledger
from tests.fakes import FakeClock
from tests.signing import signed

SALT, SUBJECT = b"s" * 16, b"p" * 16
START_NS, DAYS, A_DAY = 1_763_126_872_000_000_000, 10, 64  # a segment of 64 records a day


def facts(seq: int, ts_ns: int, *, settle: bool) -> Draft:
    """One record: by turns an event, a row, a registration, and a notification with its end."""
    ms, turn = ts_ns // 1_000_000, seq % 8
    if turn < 3:
        event = signed(content=str(seq), created_at=ts_ns // 10**9)
        return draft(EventStored("default", ms, stored_form(event)), ts_ns=ts_ns, subject=SUBJECT, salt=SALT)
    if turn < 5:
        row = RowStored("aa" * 32, b"1" * 32, seq.to_bytes(32, "big"), 1, seq, bytes(32), False, "w", b"{}")
        return draft(row, ts_ns=ts_ns, subject=SUBJECT, salt=SALT)
    if turn == 5:
        made = (
            "t",
            f"u{seq}",
            f"token {seq}",
            "token",
            "ios",
            "app",
            ms,
            ms + 300_000,
            f"n{seq}",
            9,
            bytes(32),
            "s",
            b"",
        )
        return draft(Registered(*made), ts_ns=ts_ns, subject=SUBJECT, salt=SALT)
    if turn == 6 or not settle:
        target = (PushTarget("token", "token", "app", "default"),)
        accepted = Accepted("t", "u", f"id{seq}", ms, ms + DAYS * 86_400_000, ms + 1000, target, "s", b"the text")
        return draft(accepted, ts_ns=ts_ns, subject=SUBJECT, salt=SALT)
    return draft(Settled(seq - 1, 0, "delivered", ""), ts_ns=ts_ns)


async def fill(log: Log, clock: FakeClock, *, settle: bool = True) -> None:
    for day in range(DAYS):
        log.store.roll()
        clock.now = START_NS + day * DAY_NS
        first = day * A_DAY
        await log.append_many([facts(first + n, clock.now + n, settle=settle) for n in range(A_DAY)])


def config(data: Path, **options: object) -> Config:
    return structs.replace(Config(), data=str(data), log=LogConfig(**options))  # type: ignore[arg-type]


@asynccontextmanager
async def kept(
    data: Path, *, make: bool = False, settle: bool = True, **options: object
) -> AsyncIterator[tuple[Log, Ledger, Keeping]]:
    clock = FakeClock()
    clock.now = START_NS + DAYS * DAY_NS
    with open_log(data, clock) as log:
        views = open_views(log, data / "views", VIEWS, log_directory=data / "log")
        ledger = Ledger(log, views)
        try:
            async with trio.open_nursery() as ground:
                await ground.start(log.run)
                await ground.start(ledger.run)
                if make:
                    await fill(log, clock, settle=settle)
                    await ledger.caught_up(log.durable_size)
                yield log, ledger, Keeping(config(data, **options), clock, log, ledger)
                ground.cancel_scope.cancel()
        finally:
            for view in views.values():
                view.db.close()


async def digests(log: Log, ledger: Ledger) -> dict[str, bytes]:
    await ledger.caught_up(log.durable_size)
    return {name: view.digest() for name, view in ledger.views.items()}


def forget(data: Path, views: Sequence[str] | None = None) -> None:
    for path in (data / "views").iterdir():
        if views is None or path.name.partition(".")[0] in views:
            path.unlink()


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with kept(tmp_path, make=True):
        pass
    return tmp_path


def whole(data: Path) -> None:
    report = audit.verify(str(data), tree=True)
    assert report is not None
    assert report.findings == ()


ALL = {"*": Retention(days=5)}
OLD = 5 * A_DAY  # the records of the first five days


@pytest.mark.parametrize(
    "rules",
    [ALL, {"nostr.stored": Retention(days=5), "push.": Retention(days=3), "mirror.": Retention(bytes_max=5000)}],
)
async def test_every_view_is_the_same_live_from_its_snapshot_and_after_a_start(
    data: Path, rules: dict[str, Retention]
) -> None:
    async with kept(data, retention=rules) as (log, ledger, keeping):
        root, size = log.root, log.durable_size
        found = await keeping.compact()
        assert found["retained"] > 0
        assert log.root_at(size) == root
        live = await digests(log, ledger)
    whole(data)
    async with kept(data) as (log, ledger, _):
        assert await digests(log, ledger) == live
    forget(data)
    async with kept(data) as (log, ledger, _):
        assert await digests(log, ledger) == live
    whole(data)


async def test_what_the_rules_keep_stays_and_the_views_know_what_went(data: Path) -> None:
    async with kept(data, retention=ALL) as (log, ledger, keeping):
        devices = ledger.views["devices"].digest()
        found = await keeping.compact()
        assert found["first_seq"] == OLD
        assert log.record(OLD).payload is not None
        assert (await digests(log, ledger))["devices"] == devices  # who is registered is in the snapshot
        events = ledger.views["events"].db.execute("SELECT min(seq) FROM event").fetchone()
        assert events == (OLD,)


async def test_nothing_goes_without_a_rule_or_beyond_a_total_size(data: Path) -> None:
    async with kept(data) as (_, _, keeping):
        assert (await keeping.compact())["first_seq"] == 0
        assert not (data / "log" / "retention").exists()
    size = sum(path.stat().st_size for path in (data / "log").glob("*.evl"))
    async with kept(data, total_bytes_max=size + 10_000) as (_, _, keeping):
        assert (await keeping.compact())["retained"] == 0


async def test_a_notification_that_is_still_to_be_sent_keeps_its_text(tmp_path: Path) -> None:
    async with kept(tmp_path, make=True, settle=False):
        pass
    async with kept(tmp_path, retention=ALL) as (log, _, keeping):
        assert (await keeping.compact())["first_seq"] == 0
        assert log.record(6).payload is not None


async def test_short_segments_are_put_together_and_the_log_is_whole(data: Path) -> None:
    async with kept(data) as (log, ledger, keeping):
        before = await digests(log, ledger)
        found = await keeping.compact()
        assert found["merged"] == found["segments"][0] - 1
        assert found["segments"][1] == 2
    whole(data)
    forget(data)
    async with kept(data) as (log, ledger, _):
        assert await digests(log, ledger) == before


async def test_what_was_cut_off_is_carried_out_by_the_next_turn(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with kept(data, retention=ALL) as (log, _, keeping):
        monkeypatch.setattr("eventlog.disk.compact.remove_segments", full)
        with pytest.raises(Exception, match="No space left on device"):
            await keeping.compact()
        monkeypatch.undo()
        assert read_state(log.store.disk, str(data / "log")).done is False
    async with kept(data) as (log, _, keeping):
        assert (await keeping.compact())["first_seq"] == OLD
        assert read_state(log.store.disk, str(data / "log")).done
    whole(data)


async def test_the_running_server_keeps_by_itself(data: Path) -> None:
    async with kept(data, retention=ALL, snapshot_records=100) as (log, _, keeping), trio.open_nursery() as nursery:
        await nursery.start(keeping.run)
        with trio.fail_after(60):
            async for records in log.follow(DAYS * A_DAY):
                if any(record.kind == Retained.kind for record in records):
                    break
            async with log.rewriting:  # free once the turn has ended
                assert read_state(log.store.disk, str(data / "log")).done
        assert log.store.segments.first_seq == OLD
        nursery.cancel_scope.cancel()


# -- short segments ---------------------------------------------------------------------------------------------------


def lengths(log: Log) -> list[int]:
    files = list(log.store.segments)
    return [after.first_seq - before.first_seq for before, after in pairwise(files)]


async def test_the_running_server_puts_short_segments_together_by_itself(data: Path) -> None:
    async with kept(data) as (log, ledger, keeping), trio.open_nursery() as nursery:
        before = await digests(log, ledger)
        assert lengths(log) == [A_DAY] * (DAYS - 1)
        await nursery.start(keeping.run)
        with trio.fail_after(60):
            async with log.rewriting:  # free once the first turn has ended
                assert lengths(log) == [A_DAY * (DAYS - 1)]
        assert await digests(log, ledger) == before
        nursery.cancel_scope.cancel()
    whole(data)
    forget(data)
    async with kept(data) as (log, ledger, _):
        assert await digests(log, ledger) == before


async def test_a_turn_puts_one_row_together_and_waits_for_four(data: Path) -> None:
    """A day's file that joined the others each day would have them written anew each day."""
    day_bytes = max(path.stat().st_size for path in (data / "log").glob("*.evl"))
    async with kept(data, segment_bytes_max=4 * day_bytes) as (log, _, keeping):
        for expected in ([4, 1, 1, 1, 1, 1], [4, 4, 1], [4, 4, 1]):
            await keeping._turn()
            assert lengths(log) == [A_DAY * days for days in expected]


async def test_where_something_expires_by_age_no_more_than_a_week_is_put_together(data: Path) -> None:
    """The first segment was made before the clock of this test was set back; it is of the same day as the second."""
    async with kept(data, retention={"push.": Retention(days=100)}) as (log, _, keeping):
        await keeping._turn()
        assert lengths(log) == [A_DAY * days for days in (8, 1)]


async def test_nothing_is_put_together_while_an_erasure_has_not_ended(data: Path) -> None:
    async with kept(data) as (log, _, keeping):
        begin(log.store.disk, str(data), Job(VERSION, 0, "operator", "asked", "user", (Range(0, 1),), ()))
        await keeping._turn()
        assert lengths(log) == [A_DAY] * (DAYS - 1)
        (data / "log" / "erasing").unlink()
        await keeping._turn()
        assert lengths(log) == [A_DAY * (DAYS - 1)]


def test_a_kind_that_no_record_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigInvalid, match=r'log\.retention\."nostr\.store": no record is of this kind; known: .*nostr\.'
    ):
        rules_of(LogConfig(retention={"nostr.store": Retention(days=1)}))
    assert not rules_of(LogConfig())
    assert rules_of(LogConfig(retention={"push.": Retention(days=1)})).of("push.accepted").age_ns_max == DAY_NS


async def test_segments_that_end_while_others_are_counted_wait_for_the_next_turn(data: Path) -> None:
    async with kept(data) as (log, ledger, _):
        clock, first = FakeClock(), log.next_seq
        clock.now = START_NS + DAYS * DAY_NS

        async def hop(call: Callable[[], None]) -> None:
            call()
            if log.next_seq < first + 3:
                log.store.roll()
                await log.append_many([facts(log.next_seq, clock.now, settle=True)])

        keeping = Keeping(config(data, retention={"mirror.": Retention(bytes_max=5000)}), clock, log, ledger, hop=hop)
        found = await keeping.compact()
        assert found["retained"] > 0
        assert log.next_seq > first
    whole(data)
