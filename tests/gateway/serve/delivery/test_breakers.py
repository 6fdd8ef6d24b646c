"""The breakers of all projects."""

import trio.testing

from gateway.facts import Settled
from gateway.limits.push import BREAKER_FAILURES, RETRY_MS_MIN
from gateway.push.breaker import State
from gateway.push.fcm import Braked, Delivered, Mismatched, Transient, Verdict
from gateway.push.turns import Delivery
from gateway.serve.delivery.breakers import Breakers
from gateway.serve.delivery.settler import Alarms
from gateway.serve.metrics import Metrics
from tests.gateway.serve.delivery.dispatching import BASE_MS, CLOCK


def delivery(seq: int, project: str = "p") -> Delivery:
    return Delivery(seq, 0, "a", project, "t", "token", 0, BASE_MS + 10**9, 1)


class Watched:
    """Breakers, what they say, and a send that gets an answer at once."""

    def __init__(self) -> None:
        self.metrics, self.told = Metrics(), list[State]()
        self.breakers = Breakers(CLOCK, self.metrics, Alarms(), self.told.append)

    def sent(self, seq: int, verdict: Verdict, project: str = "p") -> None:
        assert self.breakers.admits(project, CLOCK.now_ms())
        begun = self.breakers.began(delivery(seq, project), CLOCK.now_ms())
        self.breakers.hear(project, self.breakers.decide(verdict, delivery(seq, project)), begun)

    def figure(self, project: str = "p") -> float | None:
        return self.metrics.registry.get_sample_value("gateway_push_breaker", {"project": project})


async def test_each_project_has_its_own_and_every_change_is_told_and_shown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    w = Watched()
    for _ in range(BREAKER_FAILURES):
        w.sent(1, Transient("unavailable"))
    w.sent(2, Delivered(), "q")
    assert (w.breakers.state("p"), w.breakers.state("q")) == ("open", "closed")
    assert (w.told, w.figure()) == (["open"], 3)
    assert w.breakers.are_open(["p"])
    assert not w.breakers.are_open(["p", "q"])
    assert not w.breakers.are_open(["never sent to"])
    (until_ms,) = w.breakers.next_ms(CLOCK.now_ms())
    await trio.sleep((until_ms - CLOCK.now_ms()) / 1000)
    w.sent(3, Delivered())
    assert (w.told, w.figure()) == (["open", "ramp"], 1)
    await trio.sleep(3600)
    w.breakers.show(CLOCK.now_ms())
    assert w.figure() == 0


async def test_while_one_is_probed_all_wait_but_the_probe(autojump_clock: trio.testing.MockClock) -> None:
    w = Watched()
    w.breakers.stop("p", "no token")
    assert not w.breakers.admits("p", CLOCK.now_ms())
    await trio.sleep(RETRY_MS_MIN / 1000)
    w.breakers.began(delivery(7), CLOCK.now_ms())
    assert w.breakers.are_open(["p"], 6)
    assert not w.breakers.are_open(["p"], 7)


async def test_what_is_known_of_a_project_says_what_its_answers_lead_to(autojump_clock: trio.testing.MockClock) -> None:
    w = Watched()
    outcomes = []
    for verdict in (Mismatched(), Delivered(), Mismatched()):
        fact = w.breakers.decide(verdict, delivery(1)).fact
        assert isinstance(fact, Settled)
        outcomes.append(fact.outcome)
    assert outcomes == ["failed", "delivered", "removed"]
    w.sent(2, Braked("project", "30"))
    assert list(w.breakers.next_ms(CLOCK.now_ms())) == [CLOCK.now_ms() + 30_000]
