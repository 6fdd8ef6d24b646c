"""What the gateway says of itself."""

from eventlog.errors import LogFailed
from eventlog.record import Draft
from gateway.serve.metrics import Metrics
from gateway.serve.status import Status, our_version
from gateway.views.nonces import NoncesView
from tests.fakes import memory_ledger


async def test_the_document_follows_the_log() -> None:
    """Size, last durable seq, root and every view's place are those of the ledger at that moment."""
    async with memory_ledger(NoncesView) as ledger:
        status = Status(ledger, Metrics())
        assert status.document()["log"] == {"size": 0, "root": ledger.log.root.hex(), "durableSeq": -1}
        await ledger.record([Draft("some.thing", b"", 1)] * 3)
        document = status.document()
        assert document["log"]["durableSeq"] == 2
        assert document["views"] == {"nonces": {"position": 3, "lag": 0}}
        assert document["version"] == our_version()
        assert document["relays"] == []


async def test_ready_means_that_new_work_may_come() -> None:
    """Not when the log has failed, not while stopping."""
    async with memory_ledger() as ledger:
        status = Status(ledger, Metrics())
        assert not status.unready()
        status.stopping = True
        assert status.unready() == "shutting down"
        status.failure = LogFailed("no space")
        assert status.unready() == "the log takes no records"


async def test_figures_that_are_read_are_fresh() -> None:
    """The lag of each view, the size and the failure are read when asked for."""
    async with memory_ledger(NoncesView) as ledger:
        metrics = Metrics()
        status = Status(ledger, metrics)
        await ledger.record([Draft("some.thing", b"", 1)])
        status.failure = LogFailed("no space")
        status.refresh()
        value = metrics.registry.get_sample_value
        assert value("gateway_log_size") == 1
        assert value("gateway_log_appends_total") == 1
        assert value("gateway_log_failed") == 1
        assert value("gateway_log_view_lag", {"view": "nonces"}) == 0
        ledger.log.term, ledger.log.reopenings_failed, status.failure = 1, 4, None
        status.refresh()
        status.refresh()
        assert value("gateway_log_failed") == 0
        assert value("gateway_log_reopenings_total", {"result": "ok"}) == 1
        assert value("gateway_log_reopenings_total", {"result": "failed"}) == 4
