"""Wall time jumps by hours and days, ahead and back: nothing used up becomes usable, nothing waits for a false future.

What is measured by the monotonic clock (rates, caches, deadlines, checkpoints, reopenings) is not here: it never
reads wall time. Records keep the time that the clock showed; their order is the seq alone.
"""

import pytest
import trio

from eventlog.disk.log import Log, open_log
from eventlog.record import Draft
from gateway.errors import ApiRefused
from gateway.facts import Deferred
from gateway.replication.attempts import Attempts
from gateway.replication.token import open_token
from tests.eventlog.logs import at_once, running
from tests.fakes import FakeClock
from tests.gateway.serve.workers.test_tokendesk import ALICE, KEY, RELAY, desk, refused
from tests.gateway.views.test_outbox import NOW, accepted, folded, keys
from tests.sim.disk import SimDisk

HOUR_S, DAY_S = 3_600, 86_400
JUMPS = [HOUR_S, 14 * HOUR_S, DAY_S]
FAR_JUMPS = [*JUMPS, 40 * DAY_S]


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_nonce_stays_used_when_the_clock_runs_ahead_for_a_while_and_is_put_right(jump_s: int) -> None:
    async with desk() as at:
        once = at.once()
        await at.issue(once=once)
        held = await at.issue(pubkey=ALICE)
        at.clock.advance(jump_s)
        await at.issue(once=at.once())  # prunes what is old by this clock
        at.clock.advance(-jump_s)
        assert await at.refresh(held.token), "nor is a token forgotten that is still good"
        assert await refused(at.issue, once=once) == (409, "this nonce was used before")


@pytest.mark.parametrize("jump_s", FAR_JUMPS)
async def test_tokens_of_a_false_future_open_until_they_expire_and_new_ones_are_given(jump_s: int) -> None:
    async with desk() as at:
        at.clock.advance(jump_s)
        ahead = await at.issue(pubkey=ALICE)
        at.clock.advance(-jump_s)
        assert open_token(KEY, ahead.token).expires_at > at.clock.now_ms()
        after = await at.issue(pubkey=ALICE)
        assert after.sequence == ahead.sequence + 1
        assert after.expires_ms == at.clock.now_ms() + after.expires_ms - open_token(KEY, after.token).issued_at
        assert (await at.refresh(ahead.token)).sequence == after.sequence + 1


@pytest.mark.parametrize("jump_s", FAR_JUMPS)
async def test_a_revocation_of_a_false_future_holds_and_does_not_bar_new_tokens(jump_s: int) -> None:
    async with desk() as at:
        before = await at.issue(pubkey=ALICE, once=at.once())
        at.clock.advance(jump_s)
        await at.revoke(pubkey=ALICE)
        await at.revoke()
        at.clock.advance(-jump_s)
        assert await refused(at.refresh, before.token) == (400, "token-revoked")
        after = await at.issue(pubkey=ALICE, once=at.once())
        assert after.sequence > before.sequence
        assert await at.desk.own("w", RELAY, at.clock.now_ms()) is not None
        assert (await at.refresh(after.token)).sequence > after.sequence


async def test_a_revocation_by_a_clock_that_is_right_bars_requests_signed_before_it() -> None:
    async with desk() as at:
        once = at.once()
        at.clock.advance(60)
        await at.revoke(pubkey=ALICE)
        with pytest.raises(ApiRefused, match="token-revoked"):
            await at.issue(pubkey=ALICE, once=once)


@pytest.mark.parametrize("jump_s", FAR_JUMPS)
def test_an_address_is_blocked_no_longer_for_a_clock_that_is_put_back(jump_s: int) -> None:
    attempts, ahead_ms = Attempts(2, 30_000, 120_000), jump_s * 1_000
    assert [attempts.failed("192.0.2.1", ahead_ms) for _ in range(3)] == [False, False, True]
    assert not attempts.failed("192.0.2.1", 0)
    assert not attempts.failed("192.0.2.1", 1)
    assert attempts.failed("192.0.2.1", 2), "failures of now count as ever"


@pytest.mark.parametrize("jump_s", [3 * HOUR_S, *FAR_JUMPS[1:]])
def test_a_push_that_was_put_off_into_a_false_future_is_tried_now(jump_s: int) -> None:
    view = folded(accepted(count=1), Deferred(0, 0, 1, NOW + jump_s * 1_000 + 10_000, "unavailable"))
    assert keys(view) == [(0, 0)]
    assert view.ripe(NOW - 1, NOW) == [("a", "p")]


def test_a_push_that_waits_as_long_as_any_may_waits() -> None:
    view = folded(accepted(count=1), Deferred(0, 0, 1, NOW + HOUR_S * 1_000, "retry-after"))
    assert keys(view) == []
    assert view.ripe(NOW - 1, NOW) == []


async def test_records_keep_the_clocks_time_and_the_logs_order(autojump_clock: trio.testing.MockClock) -> None:
    """A log that was written under a jumping clock is signed once a second, recovers, and has its records by seq."""
    disk, clock, times = SimDisk(), FakeClock(), []

    def opened() -> Log:
        return open_log("/data", clock, disk=disk, hop=at_once, segment_bytes_max=1_000)

    async with running(opened()) as log:
        for jump_s in (0, DAY_S, -2 * DAY_S, HOUR_S, -40 * DAY_S, 41 * DAY_S):
            clock.advance(jump_s)
            times.append(clock.now_ns())
            await log.append_many([Draft("thing.happened", b"x" * 200, clock.now_ns())])
            await trio.sleep(2)
            assert log.store.signed.size == log.durable_size
    disk.lose_power()
    with opened() as log:
        found = [record for piece in log.read(0) for record in piece]
        assert [record.ts_ns for record in found] == times
        assert [record.seq for record in found] == list(range(len(times)))
