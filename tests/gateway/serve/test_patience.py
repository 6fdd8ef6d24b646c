"""Patience: whoever waits too long is told, once, and nobody else."""

import trio
import trio.testing

from gateway.limits.serve import TOLD_LATE_S_MAX
from gateway.serve.patience import Patience


async def test_only_who_has_not_ended_in_time_is_told_and_once(autojump_clock: trio.testing.MockClock) -> None:
    told: dict[str, float] = {}

    def tell(who: str) -> None:
        assert who not in told
        told[who] = trio.current_time()

    patience = Patience(10.0, tell)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        await trio.sleep(25)  # nobody waits
        for who in ("early", "quick", "slow", "late"):
            patience.begin(who)
            await trio.sleep(3)
        await trio.sleep(2)
        patience.end("slow")
        patience.end("quick")  # told by now
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert list(told) == ["early", "quick", "late"]
    for who, due_s in {"early": 35, "quick": 38, "late": 44}.items():
        assert due_s <= told[who] <= due_s + TOLD_LATE_S_MAX


async def test_no_patience_at_all_tells_at_once_and_lets_others_run(autojump_clock: trio.testing.MockClock) -> None:
    told: list[int] = []
    patience = Patience(0.0, told.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(patience.run)
        for number in range(5):
            patience.begin(number)
            await trio.sleep(1)
            assert told == list(range(number + 1))
        nursery.cancel_scope.cancel()


async def test_who_is_told_may_begin_again(autojump_clock: trio.testing.MockClock) -> None:
    told: list[float] = []

    def tell(who: str) -> None:
        told.append(trio.current_time())
        patience.begin(who)

    patience = Patience(5.0, tell)
    patience.begin("x")
    with trio.move_on_after(16):
        await patience.run()
    assert [round(at) for at in told] == [5, 10, 15]
