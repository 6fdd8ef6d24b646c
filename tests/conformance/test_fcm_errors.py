"""Each row of the table of FCM's errors (push §5), over a socket: what is recorded, what waits, which devices go.

The key is what the fake answers, in FCM's own form; the row is what the table says the gateway does.
What takes time (a time-out of 10 s or more, doubled waits, the end of ``push.ttl``) is held on a simulated clock in
tests/gateway/serve/delivery/test_dispatch.py and tests/gateway/push/test_settle.py.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog.testing
import trio

from gateway.facts import Deferred, Fact, Removed, Settled, fact_of
from gateway.serve.fakes.fcm import FAILURES
from gateway.views.devices import DevicesView
from tests.gateway.serve.push.test_service import TAKOS, Gateway, gateway, now


@dataclass(frozen=True)
class Row:
    """What the gateway does: the outcome, or how long it waits (s); whether the device stays; what the operator hears.

    Where the wait is so short that a slow machine may be past it, the breaker ("") and the tries (0) are not looked at.
    """

    outcome: str = ""
    reason: str = ""
    waits_s: tuple[float, float] = (0, 0)
    stays: bool = True
    alarm: str = ""
    breaker: str = "closed"
    tries: int = 1


TABLE = {
    "unregistered": Row("removed", "unregistered", stays=False),
    "not-found": Row("failed", "http-404", alarm="http-404"),
    "html": Row("failed", "http-404", alarm="http-404"),
    "sender-id-mismatch": Row("removed", "sender-id-mismatch", stays=False),
    "forbidden": Row(reason="permission-denied", waits_s=(60, 75), alarm="permission-denied", breaker="open"),
    "invalid-argument": Row("failed", "invalid-argument"),
    "invalid-token": Row("removed", "invalid-token", stays=False),
    "third-party-auth": Row("failed", "third-party-auth-error", alarm="third-party-auth-error"),
    "unauthenticated": Row(
        reason="unauthenticated", waits_s=(60, 75), alarm="unauthenticated", breaker="open", tries=2
    ),
    "quota": Row(reason="quota-exceeded", waits_s=(60, 75), breaker="open"),
    "quota-soon": Row(reason="quota-exceeded", waits_s=(2, 2), breaker="", tries=0),
    "quota-device": Row(reason="device-quota-exceeded", waits_s=(60, 75)),
    "internal": Row(reason="internal", waits_s=(10, 12.5)),
    "unavailable": Row(reason="unavailable", waits_s=(10, 12.5)),
    "unavailable-soon": Row(reason="unavailable", waits_s=(10, 10)),
    "bad-gateway": Row(reason="http-502", waits_s=(10, 12.5)),
    "unspecified": Row("failed", "unspecified-error"),
    "reset": Row(reason="unreachable", waits_s=(10, 12.5), tries=2),  # the kept connection, then a fresh one
}


def facts(g: Gateway) -> list[Fact]:
    kinds = (Settled.kind, Deferred.kind, Removed.kind)
    return [fact for record in g.log.records if record.kind in kinds and (fact := fact_of(record))]


@pytest.mark.parametrize("failure", TABLE)
async def test_what_fcm_says_leads_to_what_the_table_says(tmp_path: Path, failure: str) -> None:
    row = TABLE[failure]
    async with gateway(tmp_path) as g:
        await g.register(token="fine")
        assert (await g.notify())[1]["delivered"] == 1  # something of this project got through
        await g.register(userId="bob", token=f"{failure}:x")
        seen = len(facts(g))
        with structlog.testing.capture_logs() as lines:
            asked_ms = now()
            await g.notify(TAKOS.event(now(), userId="bob") | {"userId": "bob"})
            with trio.fail_after(30):
                while len(facts(g)) == seen:  # noqa: ASYNC110 - the log tells nobody
                    await trio.sleep(0.005)
        (outcome, *removed) = facts(g)[seen:]
        if row.outcome:
            assert isinstance(outcome, Settled)
            assert (outcome.outcome, outcome.reason) == (row.outcome, row.reason)
        else:
            assert isinstance(outcome, Deferred)
            assert (outcome.reason, outcome.attempt) == (row.reason, 1)
            least, most = row.waits_s
            assert asked_ms + least * 1000 <= outcome.not_before_ms <= now() + most * 1000 + 1000
        devices = g.ledger.view(DevicesView)
        assert (devices.holder(TAKOS.domain, "token", f"{failure}:x") == "bob") == row.stays
        assert [type(fact) for fact in removed] == ([] if row.stays else [Removed])
        alarms = [line["reason"] for line in lines if line["event"] == "push alarm"]
        assert (row.alarm in alarms) == bool(row.alarm)
        assert row.breaker in ("", g.service.dispatcher.breakers.state("default"))
        tries = [sent for sent in g.fake.sent if sent["message"].get("token") == f"{failure}:x"]
        assert row.tries in (0, len(tries))


def test_the_table_holds_every_error_that_the_fake_knows() -> None:
    assert set(FAILURES) - set(TABLE) == {"timeout"}
