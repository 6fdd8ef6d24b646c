"""The token of an open socket is renewed in time, and what cannot be had now is asked for again."""

from collections.abc import Sequence
from typing import Any, cast

import trio
import trio.testing

from gateway.client.happening import Granted
from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.renewing import Renewing
from gateway.client.station import RequestRefused, Station

START_MS = 1_800_000_000_000


class Now:
    """Trio's time as wall time, and dice that always show nought."""

    def now_ms(self) -> int:
        return START_MS + int(trio.current_time() * 1000)

    def roll(self) -> float:
        return 0.0


class Heard:
    """A station that notes when it was told what."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, Sequence[Any]]] = []

    def say(self, frame: Sequence[Any]) -> None:
        self.frames.append((round(trio.current_time()), frame))


async def kept(answers: Sequence[Granted | Exception]) -> list[tuple[float, Sequence[Any]]]:
    """Renew with these answers in turn, from a clock that begins at nought; what the socket was told when."""
    left, heard, begun = list(answers), Heard(), trio.current_time()

    async def ask() -> Granted:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    renewing = Renewing(ask, Now())
    await renewing.token()
    await renewing.keep(cast("Station", heard))
    assert not left
    return [(round(at - begun), frame) for at, frame in heard.frames]


def granted(name: str, refresh_s: int | None) -> Granted:
    refresh_ms = None if refresh_s is None else START_MS + 1000 * refresh_s
    return Granted(token=name, replication_token=f"{name} for rows", refresh_after=refresh_ms)


async def test_each_token_is_renewed_when_it_is_time(autojump_clock: trio.testing.MockClock) -> None:
    last = granted("c", None)
    told = await kept([granted("a", 100), granted("b", 300), last])
    assert told == [(100, ["AUTH", "b for rows"]), (300, ["AUTH", "c for rows"])]


async def test_what_cannot_be_had_now_is_asked_for_again(autojump_clock: trio.testing.MockClock) -> None:
    gone = LineLost(NO_CLOSE, "the gateway starts anew")
    told = await kept([granted("a", 100), gone, gone, granted("b", None)])
    assert told == [(102, ["AUTH", "b for rows"])]


async def test_where_none_is_given_the_old_one_serves_until_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    assert await kept([granted("a", 100), RequestRefused("no")]) == []
    assert await kept([Granted(token="given")]) == []  # nobody knows when it ends
