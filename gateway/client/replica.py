"""A client of a relay's two sockets on trio: carries out what `behaviour` decides.

    async with open_replica(state, provider) as replica:
        async for batch in replica.follow({"relayID": …}, cursor=stored): …   store batch.rows with batch.cursor
        outcome = await replica.publish(row)
Invariant: `Behaviour.take` is called from one place, in the order in which things happen; nothing that failed for good
is waited for. A subscriber that lags holds up the mirror's reading, never the memory. This module decides nothing.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec
import trio

from gateway.client.address import addresses
from gateway.client.behaviour import Behaviour, socket_of
from gateway.client.clock import Clock, SystemClock
from gateway.client.happening import (
    Answer,
    Ask,
    Caught,
    Closed,
    Connect,
    Denied,
    Disconnect,
    Due,
    Effect,
    Ended,
    Granted,
    Happening,
    Heard,
    Lost,
    Notice,
    Opened,
    Publish,
    Report,
    Rows,
    Say,
    Socket,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    Wake,
)
from gateway.client.line import Line, LineLost, open_line
from gateway.limits.client import CLIENT_BATCHES_MAX, CLIENT_BATCHES_WAITING, UNANSWERED_MAX

Row = dict[str, Any]
Provider = Callable[[], Awaitable[Mapping[str, Any]]]
"""Gives a token: the answer of /api/relay-tokens/issue or /refresh, or at least ``{"token": …}``. It raises
`TokenRefused` where asking again is no use, OSError where the world was not there."""

Teller = Callable[[Lost | Notice], None]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Any]).decode


class TokenRefused(Exception):
    """A provider's word that there is no token to be had."""


class ReplicaFailed(Exception):
    """The client has stopped: ``error`` is ``token-required`` or ``auth-failed``, ``reason`` says more."""

    def __init__(self, error: str, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error, self.reason = error, reason


class SubscriptionEnded(Exception):
    """The gateway ended a subscription; the text is its reason, as ``cursor-unknown: …``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the gateway said to a published event."""

    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows, and where to go on: store both together. ``caught_up``: nothing more was stored when this came."""

    rows: Sequence[Row]
    cursor: str | None
    caught_up: bool = False


class _Asked:
    """A published event that somebody waits for."""

    def __init__(self) -> None:
        self.done, self.outcome = trio.Event(), Outcome(False, "")


@dataclass
class _Inbox:
    """What a subscriber has not taken yet."""

    batches: deque[Batch] = field(default_factory=deque)
    news: trio.Event = field(default_factory=trio.Event)
    ended: str | None = None

    def tell(self) -> None:
        """Wake whoever waits."""
        self.news.set()
        self.news = trio.Event()


class Replica:
    """An open client; see `open_replica`."""

    def __init__(
        self, behaviour: Behaviour, provider: Provider, clock: Clock, tell: Teller, nursery: trio.Nursery
    ) -> None:
        self._behaviour, self._provider, self._clock, self._tell = behaviour, provider, clock, tell
        self._nursery = nursery
        self._lines: dict[Socket, trio.CancelScope] = {}
        self._outgoing: dict[Socket, trio.MemorySendChannel[str]] = {}
        self._timers: dict[str, trio.CancelScope] = {}
        self._inboxes: dict[str, _Inbox] = {}
        self._asked: dict[tuple[Socket, str], deque[_Asked]] = {}
        self._drained, self._answered = trio.Event(), trio.Event()
        self._subs = 0
        self._granted = trio.Event()
        self.failure: ReplicaFailed | None = None

    # -- for the caller -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get a token, then connect in the background. Raises ReplicaFailed without one."""
        self._take(Start())
        await self._granted.wait()
        self._check()

    async def publish(self, event: Row) -> Outcome:
        """Have one event or row stored; waits through reconnects. Cancelled, it may have been stored nevertheless."""
        return (await self.publish_all([event]))[0]

    async def publish_all(self, events: Sequence[Row]) -> list[Outcome]:
        """Have many stored, in order; an outcome for each. Raises ReplicaFailed. At most `UNANSWERED_MAX` at a time:
        it waits for others' answers until there is room. Cancelled, they may have been stored nevertheless.
        """
        assert len(events) <= UNANSWERED_MAX
        while self._behaviour.unanswered + len(events) > UNANSWERED_MAX:
            await self._answered.wait()
        self._check()
        asked = [_Asked() for _ in events]
        for event, one in zip(events, asked, strict=True):
            self._asked.setdefault((socket_of(event), str(event.get("id"))), deque()).append(one)
        self._take(Publish(list(events)))
        self._drained.set()  # whoever held up reading must now read on for the answers
        for one in asked:
            await one.done.wait()
        self._check()
        return [one.outcome for one in asked]

    async def follow(self, *filters: Mapping[str, Any], cursor: str | None = None) -> AsyncGenerator[Batch, None]:
        """Give what matches, stored and then live, from behind a stored cursor, through reconnects.

        Replication filters (they name ``relayID``) go to the mirror, others to the normal socket. Close the iterator
        (`contextlib.aclosing`) to end the subscription. Raises SubscriptionEnded and ReplicaFailed.
        """
        self._check()
        self._subs += 1
        name, inbox = f"replica-{self._subs}", _Inbox()
        self._inboxes[name] = inbox
        try:
            self._take(Subscribe(name, [dict(one) for one in filters], cursor))
            while True:
                while inbox.batches:
                    batch = inbox.batches.popleft()
                    self._drained.set()
                    yield batch
                if inbox.ended is not None:
                    raise SubscriptionEnded(inbox.ended)
                self._check()
                await inbox.news.wait()
        finally:
            del self._inboxes[name]
            self._drained.set()
            self._take(Unsubscribe(name))

    # -- what happens, and what is done about it ----------------------------------------------------------------------

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _take(self, what: Happening) -> None:
        for effect in self._behaviour.take(what, self._clock.now_ms()):
            self._carry_out(effect)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Ask():
                self._nursery.start_soon(self._ask)
            case Connect(socket, url):
                self._lines[socket] = trio.CancelScope()
                self._nursery.start_soon(self._serve, socket, url, self._lines[socket])
            case Disconnect(socket):
                self._lines[socket].cancel()
            case Say(socket, frame):
                self._say(socket, frame)
            case Wake(timer, at):
                self._wake(timer, at)
            case Rows(sub, rows, cursor):
                self._give(sub, Batch(rows, cursor))
            case Caught(sub, cursor):
                self._give(sub, Batch((), cursor, caught_up=True))
            case Ended(sub, reason):
                self._end(sub, reason)
            case Answer():
                self._answer(effect)
            case Lost() | Notice():
                self._tell(effect)
            case Report(error, reason):
                self._fail(ReplicaFailed(error, reason))
            case _:
                assert_never(effect)

    def _give(self, sub: str, batch: Batch) -> None:
        inbox = self._inboxes.get(sub)
        if inbox is not None:
            inbox.batches.append(batch)
            inbox.tell()

    def _end(self, sub: str, reason: str) -> None:
        inbox = self._inboxes.get(sub)
        if inbox is not None:
            inbox.ended = reason
            inbox.tell()

    def _answer(self, answer: Answer) -> None:
        key = (answer.socket, answer.id)
        one = self._asked[key].popleft()
        if not self._asked[key]:
            del self._asked[key]
        self._answered.set()
        self._answered = trio.Event()
        one.outcome = Outcome(answer.accepted, answer.reason)
        one.done.set()

    def _fail(self, failure: ReplicaFailed) -> None:
        """Let nobody wait for what will not come."""
        self.failure = failure
        self._granted.set()
        self._answered.set()
        for waiting in self._asked.values():
            for one in waiting:
                one.done.set()
        for inbox in self._inboxes.values():
            inbox.tell()

    # -- the world ----------------------------------------------------------------------------------------------------

    async def _ask(self) -> None:
        try:
            granted = msgspec.convert({"in": "granted", **await self._provider()}, Granted)
        except TokenRefused as why:
            self._take(Denied(str(why), final=True))
        except OSError as why:
            self._take(Denied(str(why), final=False, roll=self._clock.roll()))
        except msgspec.ValidationError as why:
            self._take(Denied(f"the provider's answer is no token: {why}", final=True))
        else:
            self._take(granted)
            self._granted.set()

    def _wake(self, timer: str, at_ms: int) -> None:
        if timer in self._timers:
            self._timers[timer].cancel()
        self._timers[timer] = trio.CancelScope()
        self._nursery.start_soon(self._sleep, timer, at_ms, self._timers[timer])

    async def _sleep(self, timer: str, at_ms: int, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(max(0, at_ms - self._clock.now_ms()) / 1000)
            del self._timers[timer]
            self._take(Due(timer))

    def _say(self, socket: Socket, frame: list[Any]) -> None:
        """Put a frame on its way; on a socket that is ending it is lost, and said again on the next."""
        with suppress(trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._outgoing[socket].send_nowait(_encode(frame).decode())

    async def _serve(self, socket: Socket, url: str, scope: trio.CancelScope) -> None:
        """Hold one connection until it ends, and say how it did."""
        lost = LineLost(1000, "closed by us")
        with scope:
            try:
                async with open_line(url) as line:
                    await self._converse(socket, line)
            except LineLost as why:
                lost = why
        self._take(Closed(socket, lost.code, lost.reason, self._clock.roll()))

    async def _converse(self, socket: Socket, line: Line) -> None:
        # What says more at once than fits is sent again after the next reconnect, as anything that was lost.
        self._outgoing[socket], outgoing = trio.open_memory_channel[str](UNANSWERED_MAX)
        lost: LineLost | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(line.watch, self._lags)
                nursery.start_soon(_write, line, outgoing)
                self._take(Opened(socket))
                while True:
                    await self._room(socket)
                    self._hear(socket, await line.receive())
        except* LineLost as group:
            lost = _first(group)
        assert lost is not None, "the loop above ends by an exception alone"
        raise lost

    def _hear(self, socket: Socket, message: str | bytes) -> None:
        try:
            frame = _decode(message)
        except ValueError:
            self._tell(Notice(socket, "a message that is no frame was left out"))
            return
        self._take(Heard(socket, frame))

    def _waiting_batches(self) -> int:
        return max((len(inbox.batches) for inbox in self._inboxes.values()), default=0)

    def _lags(self) -> bool:
        return self._waiting_batches() >= CLIENT_BATCHES_WAITING

    async def _room(self, socket: Socket) -> None:
        """Wait while a subscriber lags; but read on for the OKs of publishes, or one that publishes too would hang."""
        while self._lags():
            if self._behaviour.unanswered and self._waiting_batches() < CLIENT_BATCHES_MAX:
                return
            if self._behaviour.unanswered:
                raise LineLost(1000, f"a subscriber lags by {CLIENT_BATCHES_MAX} batches on the {socket} socket")
            self._drained = trio.Event()
            await self._drained.wait()

    def stop(self) -> None:
        """Close both sockets; nothing is waited for."""
        self._take(Stop())


async def _write(line: Line, outgoing: trio.MemoryReceiveChannel[str]) -> None:
    async with outgoing:
        async for text in outgoing:
            await line.send(text)


def _first(group: BaseExceptionGroup[LineLost]) -> LineLost:
    """Give one of the ways in which a connection was seen to end."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _silent(_: Lost | Notice) -> None:
    """Nobody wants to hear."""


@asynccontextmanager
async def open_replica(
    state: Mapping[str, Any], provider: Provider, *, clock: Clock | None = None, tell: Teller = _silent
) -> AsyncIterator[Replica]:
    """Open a client of the relay whose state this is, and close it at the end.

    ``tell`` hears of lost sockets and of the gateway's notices. Raises NoAddress, and ReplicaFailed without a token;
    what the block raises comes out alone. Cancelled, both sockets are cut.
    """
    where = addresses(state)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            replica = Replica(Behaviour(where), provider, clock or SystemClock(), tell, nursery)
            try:
                await replica.start()
                yield replica
                replica.stop()
            except Exception as why:  # noqa: BLE001 - raised again below, without the nursery's group around it
                failure = why
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _alone(group) from group.__cause__
    if failure is not None:
        raise failure


def _alone(failure: BaseException) -> BaseException:
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    return failure
