"""The dispatcher over a ledger in memory, a scripted FCM, and a clock that jumps: hours pass in milliseconds."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from eventlog.record import Draft
from gateway.facts import (
    Deferred,
    Deregistered,
    Fact,
    Registered,
    Removed,
    Settled,
    draft,
)
from gateway.limits.push import TAKEN_ALONG
from gateway.push import allowance
from gateway.push.fcm import Braked, Delivered, Failed, Forbidden, Gone, Mismatched, Transient, Verdict
from gateway.serve.delivery.dispatch import Dispatcher
from gateway.serve.metrics import Metrics
from gateway.views.devices import DevicesView
from gateway.views.nonces import NoncesView
from gateway.views.outbox import OutboxView
from tests.fakes import MemoryLog, memory_ledger
from tests.gateway.serve.delivery.dispatching import BASE_MS, CLOCK, HOUR_MS, Script, World, kind_of, world


async def test_what_is_accepted_is_sent_and_settled_once(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script()) as w:
        await w.accept("t1", "t2")
        await trio.sleep(1)
        assert sorted(w.fcm.targets) == ["t1", "t2"]
        assert [fact.outcome for fact in w.facts(Settled)] == ["delivered", "delivered"]
        assert w.queued == 0
        await trio.sleep(10_000)
        assert len(w.fcm.sent) == 2


async def test_a_failure_that_passes_is_tried_at_growing_intervals_until_it_works(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers = [Transient("unavailable"), Transient("unavailable"), Transient("unavailable", "100"), Delivered()]
    fcm = Script(lambda _: answers[len(fcm.sent) - 1])
    async with world(fcm) as w:
        await w.accept("t1")
        await trio.sleep(500)
        times = [at for at, _ in fcm.sent]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert [round(gap) for gap in gaps] == [10, 20, 100]
        assert [fact.attempt for fact in w.facts(Deferred)] == [1, 2, 3]
        assert w.queued == 0


async def test_what_never_works_is_settled_as_expired_after_its_time(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script(lambda _: Transient("internal"))) as w:
        await w.accept("t1")
        await trio.sleep(5000)
        (settled,) = w.facts(Settled)
        assert settled.outcome == "expired"
        assert max(at for at, _ in w.fcm.sent) <= 3600
        assert w.queued == 0


async def test_a_retry_survives_a_restart_and_still_waits_for_its_time(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script(lambda _: Transient("internal"))) as w:
        await w.accept("t1")
        await trio.sleep(1)
        log = w.log
    async with world(Script(), log) as w:
        await trio.sleep(5)
        assert not w.fcm.sent
        await trio.sleep(10)
        assert w.fcm.targets == ["t1"]
        log = w.log
    async with world(Script(), log) as w:
        await trio.sleep(10_000)
        assert not w.fcm.sent, "what was settled is never sent again"


async def test_a_send_in_flight_at_a_crash_is_sent_again_and_one_accepted_and_not_begun_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world(Script(latency_s=1000)) as w:
        await w.accept("t1")
        await trio.sleep(1)
        log = w.log
    async with world(Script(), log) as w:
        await trio.sleep(1)
        assert w.fcm.targets == ["t1"]


async def test_a_replay_alone_sends_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script()) as w:
        await w.accept("t1", "t2")
        await trio.sleep(1)
        log = w.log
    fcm = Script()
    async with memory_ledger(DevicesView, NoncesView, OutboxView, log=log):
        await trio.sleep(100)
    assert not fcm.sent


async def test_a_dead_device_is_removed_and_a_failed_one_stays(autojump_clock: trio.testing.MockClock) -> None:
    verdicts = {"dead": Gone("unregistered"), "bad": Failed("invalid-argument"), "odd": Mismatched(), "ok": Delivered()}
    async with world(Script(lambda target: verdicts[target])) as w:
        await w.ledger.record([registered(target) for target in verdicts])
        await w.accept("odd")
        await trio.sleep(1)
        await w.accept("ok", "dead", "bad")
        await trio.sleep(1)
        await w.accept("odd")
        await trio.sleep(1)
        assert [(fact.target, fact.user) for fact in w.facts(Removed)] == [("dead", "alice"), ("odd", "alice")]
        reasons = [(fact.outcome, fact.reason) for fact in w.facts(Settled)]
        assert reasons[0] == ("failed", "sender-id-mismatch"), "nothing had got through yet"
        assert reasons[-1] == ("removed", "sender-id-mismatch")
        devices = w.ledger.view(DevicesView)
        assert devices.holder("a", "token", "bad") == "alice"
        assert devices.holder("a", "token", "dead") is None


async def test_a_braked_project_waits_and_another_does_not(autojump_clock: trio.testing.MockClock) -> None:
    fcm = Script(lambda target: Braked("project", "30") if target == "first" else Delivered())
    async with world(fcm) as w:
        await w.accept("first")
        await trio.sleep(1)
        await w.accept("second")
        await w.accept("other", project="q")
        await trio.sleep(20)
        assert fcm.targets == ["first", "other"]
        await trio.sleep(15)
        assert "second" in fcm.targets


async def test_a_forbidden_project_is_left_alone_and_its_pushes_expire_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(lambda _: Forbidden("permission-denied"))
    async with world(fcm, slots=1) as w:
        for number in range(5):
            await w.accept(f"t{number}", ttl_ms=30_000)
        await trio.sleep(100)
        assert len(fcm.sent) == 1
        assert w.queued == 0
        assert {fact.outcome for fact in w.facts(Settled)} == {"expired"}


async def test_without_an_oauth_token_nothing_is_recorded_and_all_is_sent_once_there_is_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script()
    fcm.no_token = True
    async with world(fcm) as w:
        await w.accept("t1", "t2", "t3")
        await trio.sleep(25)
        assert len(w.log.records) == 1
        fcm.no_token = False
        await trio.sleep(15)
        assert sorted(fcm.targets) == ["t1", "t2", "t3"]


async def test_one_device_gets_240_in_any_minute_and_the_rest_later(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script()) as w:
        for _ in range(500):
            await w.accept("t1")
        await trio.sleep(59)
        assert len(w.fcm.sent) == 240
        await trio.sleep(120)
        times = [time_s for time_s, _ in w.fcm.sent]
        assert len(times) == 500
        assert all(later - first >= 60 for first, later in zip(times, times[240:], strict=False))
        assert w.queued == 0
        assert {fact.attempt for fact in w.facts(Deferred)} == {0}


async def test_one_device_gets_5_000_in_any_hour_and_the_rest_later(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "DEVICE_PER_HOUR", 50)  # a hundredth, as fast as a hundred times
    async with world(Script()) as w:
        for _ in range(60):
            await w.accept("t1", ttl_ms=3 * HOUR_MS)
        await trio.sleep(3_590)
        assert len(w.fcm.sent) == 50
        await trio.sleep(120)
        assert len(w.fcm.sent) == 60


async def test_a_backlog_of_100_000_delays_another_tenants_push_by_less_than_a_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world(Script(latency_s=0.1)) as w:
        drafts = [w.accepted(*(f"t{n}-{m}" for m in range(100)), tenant="big") for n in range(1000)]
        await w.ledger.record(drafts)
        await trio.sleep(1)
        assert w.queued > 90_000
        began = trio.current_time()
        await w.accept("lonely", tenant="small")
        await trio.sleep(1.5)
        (arrived,) = [at for at, target in w.fcm.sent if target == "lonely"]
        assert arrived - began < 1


async def test_a_tenant_whose_sends_hang_leaves_room_for_others(autojump_clock: trio.testing.MockClock) -> None:
    fcm = Script()
    fcm.latency_s = 1000
    async with world(fcm, slots=8) as w:
        await w.accept(*(f"t{n}" for n in range(50)), tenant="big")
        await trio.sleep(1)
        fcm.latency_s = 0.1
        await w.accept("lonely", tenant="small")
        await trio.sleep(1)
        assert fcm.targets == ["lonely"]


async def test_a_backlog_beyond_memory_is_sent_whole_and_none_twice(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script(), slots=50) as w:
        await w.ledger.record([w.accepted(*(f"t{n}-{m}" for m in range(20))) for n in range(100)])
        await trio.sleep(10)
        assert w.queued == 0
        assert len(w.fcm.sent) == len(set(w.fcm.targets)) == 2000


async def test_a_project_that_is_no_longer_configured_fails_its_pushes(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script()) as w:
        await w.accept("t1", project="unknown")
        await trio.sleep(1)
        assert [(fact.outcome, fact.reason) for fact in w.facts(Settled)] == [("failed", "no-project")]


async def test_when_the_log_fails_nothing_more_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    fcm = Script()
    async with world(fcm, slots=1) as w:
        await w.accept("t1", "t2", "t3", "t4")
        await trio.sleep(0.005)
        w.log.break_down()
        await trio.sleep(1000)
        assert len(fcm.sent) <= 2


async def test_when_the_log_is_reopened_the_rest_is_sent_and_what_was_sent_is_settled_and_not_sent_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(latency_s=1)
    async with world(fcm, slots=1) as w:
        await w.accept("t1", "t2", "t3")
        await trio.sleep(0.5)
        w.log.break_down()
        await trio.sleep(100)
        assert fcm.targets == ["t1"], "what was in flight ends, nothing is begun"
        assert not w.facts(Settled)
        w.log.restore()
        await trio.sleep(100)
        assert fcm.targets == ["t1", "t2", "t3"]
        assert [fact.outcome for fact in w.facts(Settled)] == ["delivered"] * 3


async def test_at_the_end_a_send_in_flight_is_settled_and_none_is_begun(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script(latency_s=1), slots=1) as w:
        await w.accept("t1", "t2")
        await trio.sleep(0.5)
    assert w.fcm.targets == ["t1"]
    assert [fact.outcome for fact in w.facts(Settled)] == ["delivered"]


async def test_at_the_end_a_send_that_hangs_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async with world(Script(latency_s=1000)) as w:
        await w.accept("t1")
        await trio.sleep(0.5)
        began = trio.current_time()
    assert trio.current_time() - began < 2
    assert not w.facts(Settled)


def registered(target: str, user: str = "alice", issued_ms: int = BASE_MS) -> Draft:
    return envelope(Registered, target, user, issued_ms, platform="", app_id="", devices_max=9)


def deregistered(target: str, user: str = "alice") -> Draft:
    return envelope(Deregistered, target, user, BASE_MS + 1)


def envelope(kind: type[Fact], target: str, user: str, issued_ms: int, **changes: Any) -> Draft:
    fields: dict[str, Any] = {
        "tenant": "a",
        "user": user,
        "target": target,
        "target_kind": kind_of(target),
        "issued_ms": issued_ms,
        "expires_ms": issued_ms,
        "nonce": target,
        "digest": b"",
        "signature": "",
        "body": b"",
    }
    return draft(kind(**fields | changes), ts_ns=CLOCK.now_ns(), subject=b"x", salt=b"s" * 16)


async def test_a_dead_device_is_found_dead_once_and_takes_along_all_that_waits_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(lambda target: Gone("unregistered") if target == "dead" else Delivered(), latency_s=1)
    async with world(fcm) as w:
        await w.ledger.record([registered("dead"), registered("alive")])
        await w.ledger.record([w.accepted("dead", "alive") for _ in range(TAKEN_ALONG + 500)])
        await w.accept("dead", tenant="b")
        await trio.sleep(5)
        assert fcm.targets.count("dead") == 2, "once for each tenant: to the other it is another device"
        await trio.sleep(10_000)
        assert w.queued == 0
        assert fcm.targets.count("dead") == 2
        assert fcm.targets.count("alive") == TAKEN_ALONG + 500
        outcomes = Counter((fact.outcome, fact.reason) for fact in w.facts(Settled))
        assert outcomes[("removed", "unregistered")] == TAKEN_ALONG + 501
        assert [fact.target for fact in w.facts(Removed)] == ["dead"]


async def test_a_device_that_comes_back_while_its_queue_is_taken_along_gets_what_is_new(
    autojump_clock: trio.testing.MockClock,
) -> None:
    verdicts: dict[str, Verdict] = {"t": Gone("unregistered")}
    fcm = Script(lambda target: verdicts[target])
    async with world(fcm) as w:
        await w.ledger.record([registered("t")])
        await w.accept("t")
        await trio.sleep(1)
        verdicts["t"] = Delivered()
        await w.ledger.record([registered("t")])
        await w.accept("t")
        await trio.sleep(1)
        assert [fact.outcome for fact in w.facts(Settled)] == ["removed", "delivered"]


@asynccontextmanager
async def two_waiting() -> AsyncIterator[World]:
    """Two devices of one user, the first with two notifications; each was tried once while FCM was away."""
    async with world(Script(lambda _: Transient("unavailable"))) as w:
        await w.ledger.record([registered("t"), registered("other")])
        await w.accept("t", "other")
        await w.accept("t")
        await trio.sleep(1)
        assert sorted(w.fcm.targets) == ["other", "t"]
        yield w


async def test_what_waits_for_a_device_that_is_deregistered_is_not_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_waiting() as w:
        await w.ledger.record([deregistered("t")])
        w.fcm.verdict = lambda _: Delivered()
        await trio.sleep(60)
        assert sorted(w.fcm.targets) == ["other", "other", "t"]
        outcomes = Counter((fact.outcome, fact.reason) for fact in w.facts(Settled))
        assert outcomes == {("removed", "deregistered"): 2, ("delivered", ""): 1}


async def test_what_waits_for_one_user_is_not_sent_to_the_next_who_logs_in_on_the_device(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_waiting() as w:
        await w.accept("t", user="bob")  # accepted for bob, who had it before
        await w.ledger.record([registered("t", user="bob")])
        w.fcm.verdict = lambda _: Delivered()
        await w.accept("t", user="bob")
        await trio.sleep(60)
        assert sorted(w.fcm.targets) == ["other", "other", "t", "t", "t"]
        outcomes = Counter((fact.outcome, fact.reason) for fact in w.facts(Settled))
        assert outcomes == {("removed", "moved"): 2, ("delivered", ""): 3}
        assert w.queued == 0


async def test_whoever_registers_again_gets_what_waits_also_where_an_older_envelope_comes_late(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(lambda _: Transient("unavailable"))
    async with world(fcm) as w:
        await w.ledger.record([registered("t", issued_ms=BASE_MS + 5)])
        await w.accept("t")
        await trio.sleep(1)
        fcm.verdict = lambda _: Delivered()
        await w.ledger.record([registered("t", user="bob"), registered("t", issued_ms=BASE_MS + 6)])
        await trio.sleep(60)
        assert fcm.targets == ["t", "t"]
        assert [fact.outcome for fact in w.facts(Settled)] == ["delivered"]


async def test_after_a_crash_nothing_is_sent_to_a_device_that_its_user_had_left_by_then(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with world(Script(lambda _: Transient("unavailable"))) as w:
        await w.ledger.record([registered("moved"), registered("stays"), registered("closed")])
        await w.accept("moved", "stays", "closed", "never registered")
        await trio.sleep(1)
        log = w.log
    # What the crash left behind: the registrations are durable, and that nothing waits any more is not.
    left = MemoryLog(log.records)
    left.submit([registered("moved", user="bob"), deregistered("closed")])
    left.durable_size = left.next_seq
    async with world(Script(), left) as w:
        await trio.sleep(60)
        assert sorted(w.fcm.targets) == ["never registered", "stays"]
        outcomes = Counter((fact.outcome, fact.reason) for fact in w.facts(Settled))
        assert outcomes == {("removed", "moved"): 2, ("delivered", ""): 2}


async def test_a_subscription_deregistered_by_its_endpoint_takes_along_what_waits_with_its_keys(
    autojump_clock: trio.testing.MockClock,
) -> None:
    endpoint, others = "https://push.example/one", "https://push.example/another"
    whole, renewed, another = (
        f'{{"endpoint":"{one}","keys":{{"auth":"{auth}","p256dh":"p"}}}}'
        for one, auth in ((endpoint, "a"), (endpoint, "b"), (others, "a"))
    )
    fcm = Script(lambda _: Transient("unavailable"))
    async with world(fcm) as w:
        await w.ledger.record([registered(whole), registered(another)])
        await w.accept(whole, another)
        await w.accept(whole)
        await w.accept(renewed)
        await trio.sleep(1)
        assert sorted(fcm.targets) == sorted([whole, another])  # one at a time of each device
        await w.ledger.record([deregistered(endpoint)])
        fcm.verdict = lambda _: Delivered()
        await trio.sleep(60)
        assert sorted(fcm.targets) == sorted([whole, another, another])
        outcomes = Counter((fact.outcome, fact.reason) for fact in w.facts(Settled))
        assert outcomes == {("removed", "deregistered"): 3, ("delivered", ""): 1}


async def test_a_breaker_that_opens_wakes_whoever_waits_and_leaves_nothing_to_wait_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(lambda _: Braked("project", "600"), latency_s=1)
    async with memory_ledger(DevicesView, NoncesView, OutboxView) as ledger:
        dispatcher = Dispatcher(ledger, {"token": fcm}, CLOCK, Metrics(), slots=1)
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            w = World(ledger, fcm)
            await w.accept("first")
            await w.accept("second")
            second = w.log.durable_size - 1
            assert not dispatcher.is_resting(second)
            with trio.fail_after(5):
                await dispatcher.waiting.progress(second)
            assert dispatcher.is_resting(second)
            assert dispatcher.breakers.are_open(["p"])
            assert not dispatcher.breakers.are_open(["p", "q"])
            assert fcm.targets == ["first"]
            nursery.cancel_scope.cancel()


async def test_a_project_without_an_oauth_token_is_shown_as_stopped_and_nobody_waits_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    metrics, fcm = Metrics(), Script(latency_s=1)
    fcm.no_token = True
    async with memory_ledger(DevicesView, NoncesView, OutboxView) as ledger:
        dispatcher = Dispatcher(ledger, {"token": fcm}, CLOCK, metrics, slots=1)
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            w = World(ledger, fcm)
            await w.accept("t")
            with trio.fail_after(5):
                await dispatcher.waiting.progress(w.log.durable_size - 1)
            assert dispatcher.breakers.are_open(["p"])
            assert metrics.registry.get_sample_value("gateway_push_breaker", {"project": "p"}) == 3
            nursery.cancel_scope.cancel()


async def test_the_figure_of_a_breaker_follows_it_back_to_closed_also_where_nothing_more_is_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    metrics, fcm = Metrics(), Script(lambda _: Braked("project", "30"))
    async with memory_ledger(DevicesView, NoncesView, OutboxView) as ledger:
        dispatcher = Dispatcher(ledger, {"token": fcm}, CLOCK, metrics, slots=1)
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            await World(ledger, fcm).accept("t")
            shown = []
            for wait_s in (10, 35, 90):
                await trio.sleep(wait_s)
                shown.append(metrics.registry.get_sample_value("gateway_push_breaker", {"project": "p"}))
                fcm.verdict = lambda _: Delivered()
            assert shown == [3, 1, 0]
            nursery.cancel_scope.cancel()


async def test_while_a_project_is_probed_only_the_probe_is_worth_waiting_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers = iter([Braked("project", "60")])
    fcm = Script(lambda _: next(answers, Delivered()), latency_s=5)
    async with memory_ledger(DevicesView, NoncesView, OutboxView) as ledger:
        dispatcher = Dispatcher(ledger, {"token": fcm}, CLOCK, Metrics(), slots=10)
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            w = World(ledger, fcm)
            await w.accept("refused")
            await trio.sleep(10)
            await w.accept("waits")
            waits = w.log.durable_size - 1
            await trio.sleep(58)  # the brake ends 60 s after the answer of the 5th; a probe takes 5 s too
            assert len(fcm.begun) == 2
            probe, other = (0, waits) if fcm.begun[1][1] == "refused" else (waits, 0)
            assert dispatcher.breakers.state("p") == "probing"
            assert not dispatcher.breakers.are_open(["p"], probe)
            assert dispatcher.breakers.are_open(["p"], other)
            nursery.cancel_scope.cancel()


async def test_a_probe_that_expired_unsent_does_not_open_the_way_for_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fcm = Script(lambda _: Braked("project", "3"), latency_s=1)
    async with world(fcm, slots=10) as w:
        await w.accept("braked")
        await trio.sleep(1.5)
        await w.accept("expires", ttl_ms=1_500)  # before the brake ends at 4 s, and the outbox is searched at 5 s only
        for target in ("probe", "second", "third"):
            await w.accept(target)
        await trio.sleep(3)
        assert [fact.outcome for fact in w.facts(Settled)] == ["expired"]
        assert [target for _, target in fcm.begun] == ["braked", "probe"]


async def test_a_tenant_whose_sends_are_refused_uses_up_its_own_share_of_the_quota_and_no_more(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allowance, "TENANT_ERRORS_PER_MINUTE", 60)
    fcm = Script(lambda target: Failed("invalid-argument") if target.startswith("bad") else Delivered())
    async with world(fcm, slots=10) as w:
        await w.ledger.record([w.accepted(*(f"bad{n}" for n in range(400)), tenant="evil")])
        await w.ledger.record([w.accepted(*(f"good{n}" for n in range(400)), tenant="fine")])
        await w.ledger.record([w.accepted("elsewhere", tenant="evil", project="q")])
        await trio.sleep(60)
        refused = [at for at, target in fcm.sent if target.startswith("bad")]
        assert 100 <= len(refused) <= 140, "60 at once, and one a second"
        assert {"elsewhere", *(f"good{n}" for n in range(400))} <= set(fcm.targets)
        assert max(at for at, target in fcm.sent if target.startswith("good")) < 10
        await trio.sleep(600)
        assert w.queued == 0, "nothing is lost but time"
        quiet_until = trio.current_time()
        await w.ledger.record([w.accepted(*(f"bad{n}" for n in range(400)), tenant="evil")])
        await trio.sleep(60)
        assert len([at for at, _ in fcm.sent if at >= quiet_until]) <= 140, "quiet minutes are not saved up"
