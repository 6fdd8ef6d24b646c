"""The figures of the push path, over a ledger in memory."""

from gateway.config import Push
from gateway.facts import Accepted, Deferred, PushTarget, Settled, draft
from gateway.push.target import TARGET_KINDS
from gateway.push.tenantclass import TenantClasses
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.push.figures import LOOKED_MAX, WAYS, PushFigures
from gateway.views.outbox import OutboxView
from tests.fakes import memory_ledger

NOW = 1_763_126_872_000


def figures(ledger: Ledger, metrics: Metrics) -> PushFigures:
    outbox = ledger.view(OutboxView)
    return PushFigures(metrics, outbox, ledger.log, TenantClasses(Push(allow=["known.example"])))


async def accept(ledger: Ledger, tenant: str, count: int, at_ms: int) -> int:
    targets = tuple(PushTarget(f"{tenant}-{n}", "token", "", "p") for n in range(count))
    fact = Accepted(tenant, "alice", f"id-{at_ms}", None, None, at_ms + 10**7, targets, "", b"{}")
    return await ledger.record([draft(fact, ts_ns=at_ms * 1_000_000, salt=b"s" * 16)])


async def test_depth_and_age_are_those_of_each_class_and_fall_to_nothing() -> None:
    metrics = Metrics()
    async with memory_ledger(OutboxView) as ledger:
        seen, value = figures(ledger, metrics), metrics.registry.get_sample_value
        first = await accept(ledger, "x.example", 2, NOW - 9_000)
        await accept(ledger, "y.example", 1, NOW - 5_000)
        await accept(ledger, "known.example", 1, NOW - 2_500)
        seen.sweep(NOW)
        for name, depth, age in (("open", 3, 9.0), ("configured", 1, 2.5), ("matrix", 0, 0.0)):
            assert value("gateway_push_queue_depth", {"tenants": name}) == depth
            assert value("gateway_push_queue_age_seconds", {"tenants": name}) == age
        assert value("gateway_push_queued") == 4
        await ledger.record([draft(Settled(first, index, "delivered", ""), ts_ns=NOW) for index in range(2)])
        seen.sweep(NOW)
        assert value("gateway_push_queue_age_seconds", {"tenants": "open"}) == 5.0
        await ledger.record([draft(Settled(first + n, 0, "expired", ""), ts_ns=NOW) for n in (1, 2)])
        seen.sweep(NOW)
        assert value("gateway_push_queue_depth", {"tenants": "open"}) == 0
        assert value("gateway_push_queue_age_seconds", {"tenants": "open"}) == 0


async def test_the_oldest_of_a_class_behind_many_of_another_is_found_sweep_by_sweep() -> None:
    metrics = Metrics()
    async with memory_ledger(OutboxView) as ledger:
        seen, value = figures(ledger, metrics), metrics.registry.get_sample_value
        for n in range(LOOKED_MAX + 10):
            await accept(ledger, "x.example", 1, NOW - 90_000 + n)
        await accept(ledger, "known.example", 1, NOW - 2_000)
        ages = []
        for _ in range(3):
            seen.sweep(NOW)
            ages.append(value("gateway_push_queue_age_seconds", {"tenants": "configured"}))
        assert ages == [(90_000 - LOOKED_MAX + 1) / 1000, 2.0, 2.0]
        assert value("gateway_push_queue_age_seconds", {"tenants": "open"}) == 90.0


async def test_outcomes_are_counted_with_their_reason_and_waits_apart_from_sends() -> None:
    metrics = Metrics()
    async with memory_ledger(OutboxView) as ledger:
        seen, value = figures(ledger, metrics), metrics.registry.get_sample_value
        seen.accepted("known.example", 3)
        seen.ended(Settled(1, 0, "delivered", ""))
        seen.ended(Settled(1, 1, "failed", "the token dEv1ce is bad"))
        seen.ended(Deferred(1, 2, 1, NOW, "unavailable"))
        seen.waited("known.example", NOW - 4_000, NOW)
        seen.waited("known.example", NOW + 4_000, NOW)
        seen.sent("unifiedpush", 0.2)
        assert value("gateway_push_accepted_total", {"tenants": "configured"}) == 3
        assert value("gateway_push_deliveries_total", {"outcome": "delivered"}) == 1
        assert value("gateway_push_undelivered_total", {"outcome": "failed", "reason": "other"}) == 1
        assert value("gateway_push_undelivered_total", {"outcome": "deferred", "reason": "unavailable"}) == 1
        assert value("gateway_push_waited_seconds_sum", {"tenants": "configured"}) == 4
        assert value("gateway_push_send_seconds_count", {"way": "webpush"}) == 1
        assert value("gateway_push_send_seconds_count", {"way": "fcm"}) == 0
        assert b"dEv1ce" not in metrics.text()


def test_every_kind_of_target_has_a_way() -> None:
    assert set(WAYS) == set(TARGET_KINDS)
