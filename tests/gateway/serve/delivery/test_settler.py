"""The settler: outcomes are handed on when they are durable, and outlast a log that takes nothing."""

import trio
import trio.testing

from gateway.facts import Accepted, Deferred, PushTarget, Removed, Settled, draft, fact_of
from gateway.push.tenantclass import TenantClasses
from gateway.push.turns import Delivery
from gateway.serve.delivery.settler import Alarms, Ended, Settler
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.push.figures import PushFigures
from gateway.views.devices import DevicesView
from gateway.views.outbox import OutboxView
from tests.fakes import FakeClock, memory_ledger


def figures(ledger: Ledger) -> PushFigures:
    outbox = ledger.view(OutboxView)
    return PushFigures(Metrics(), outbox, ledger.log, TenantClasses())


def delivery(index: int, tenant: str = "a") -> Delivery:
    return Delivery(0, index, tenant, "p", f"t{index}", "token", 0, 10**15, index)


async def test_all_that_ended_meanwhile_is_recorded_in_one_batch_and_then_handed_on() -> None:
    async with memory_ledger(DevicesView, OutboxView) as ledger, trio.open_nursery() as nursery:
        targets = tuple(PushTarget(f"t{n}", "token", "", "p") for n in range(3))
        fact = Accepted("a", "alice", "n", None, None, 10**15, targets, "", b"{}")
        await ledger.record([draft(fact, ts_ns=1, salt=b"s" * 16)])
        settler, handed = Settler(ledger, FakeClock(), figures(ledger), Alarms()), list[list[Ended]]()
        nursery.start_soon(settler.run, lambda ended: handed.append(list(ended)))
        for index, outcome in enumerate([Settled(0, 0, "delivered", ""), Deferred(0, 1, 1, 5, "x")]):
            settler.end(delivery(index), outcome, remove=False)
        assert settler.unsettled == 2
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert settler.unsettled == 0
        assert [[one.key for one, _ in batch] for batch in handed] == [[(0, 0), (0, 1)]]
        outbox = ledger.view(OutboxView)
        assert outbox.queued("a") == 2
        nursery.cancel_scope.cancel()


async def test_the_device_of_a_matrix_pushkey_is_removed_under_its_own_name_and_a_strangers_is_not() -> None:
    async with memory_ledger(DevicesView, OutboxView) as ledger, trio.open_nursery() as nursery:
        settler = Settler(ledger, FakeClock(), figures(ledger), Alarms())
        nursery.start_soon(settler.run, lambda _ended: None)
        settler.end(delivery(1, "matrix:app"), Settled(0, 1, "removed", "unregistered"), remove=True)
        settler.end(delivery(2, "a"), Settled(0, 2, "removed", "unregistered"), remove=True)
        await trio.testing.wait_all_tasks_blocked(0.01)
        facts = [fact_of(record) for records in ledger.log.read(0) for record in records]
        assert [(one.tenant, one.user) for one in facts if isinstance(one, Removed)] == [("matrix:app", "t1")]
        nursery.cancel_scope.cancel()
