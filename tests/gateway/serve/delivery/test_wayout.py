"""Ways out: what the dispatcher does where a kind of target has none, and where one cannot send for now."""

import trio
import trio.testing

from gateway.facts import Settled
from gateway.serve.delivery.fcm import Sender, TokenUnavailable
from gateway.serve.delivery.wayout import NotNow, WayOut
from tests.gateway.serve.delivery.dispatching import Script, world


async def test_a_project_that_a_way_does_not_know_fails_and_one_that_cannot_send_now_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Later(Script):
        async def send(self, *args: object, **named: object) -> object:  # type: ignore[override]
            if trio.current_time() < 25:
                raise NotNow("not yet")
            return await super().send(*args, **named)  # type: ignore[arg-type]

    way = Later()
    async with world(way) as w:
        await w.accept("t1", project="unknown")
        await w.accept("t2")
        await trio.sleep(20)
        assert [(fact.outcome, fact.reason) for fact in w.facts(Settled)] == [("failed", "no-project")]
        await trio.sleep(20)
        assert way.targets == ["t2"]


def test_fcm_is_a_way_out_and_its_missing_token_is_a_not_now() -> None:
    assert WayOut in Sender.__mro__
    assert issubclass(TokenUnavailable, NotNow)
