"""One relay as a synchronisation sees it: events asked for, published, compared and followed over one connection.

Works with any relay: the normal socket's frames (NIP-01, NIP-77), and a mirror's rows where ``is_mirror``, in batches.
Invariant: reading never waits for anybody, so that two relays that wait for each other's answers cannot hang; what is
held is bounded by who asks (a page, a lot of ids, so many live events). Events are carried as the bytes that came.
This module must not know the other relay.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import trio

from gateway.client.behaviour import TOKEN_REFUSED
from gateway.client.bulk import Bulk, open_bulk
from gateway.client.line import NO_CLOSE, LineLost
from gateway.client.proving import REQUIRED, RESTRICTED, Identity, Proving
from gateway.client.publishing import NO_BATCHES
from gateway.client.stored import Stored, batches, stored_of
from gateway.limits.client import (
    SYNC_ANSWER_S_MAX,
    SYNC_FOLLOW_S_MAX,
    SYNC_PAUSE_S,
    SYNC_PAUSE_S_MAX,
    SYNC_PAUSES_MAX,
    SYNC_PROOF_S_MAX,
    SYNC_SUPPORT_S_MAX,
)

LIMITED = "rate-limited:"

_EVENTS = b'["EVENT'
_frame = msgspec.json.Decoder(list[msgspec.Raw])
_value = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class RequestRefused(Exception):
    """The relay does not answer this request; the text is its reason."""


class KeyWanted(RequestRefused):
    """The relay wants a key proved (NIP-42), and there is none."""


class NoComparison(Exception):
    """The relay does not know NIP-77, or has it switched off."""


class TooLarge(Exception):
    """The relay does not compare so many events at once."""


TOO_LARGE_PREFIXES, TOO_LARGE_WORDS = ("blocked:", "rate-limited:"), ("many", "more than", "big")
"""How relays say that: ``blocked: this query is too big`` in NIP-77, ``too many query results`` in strfry,
``rate-limited: too many negentropy items`` in nostr-sdk's relay, ``blocked: more than 50000 match`` in ours."""
TOO_MANY_OPEN = "subscriptions"
"""In nostr-sdk's words for too many comparisons at once."""


Answers = Mapping[str, tuple[bool, str]]
"""By an event's id: whether it was accepted, and the relay's words."""
Take = Callable[[Stored | None, str | None], None]
"""Hears of an event, or of a cursor: a place behind all that was heard of before, where a mirror tells one."""
Found = TypeVar("Found")


@dataclass
class _Asked:
    """A REQ that is open."""

    take: Take
    answered: trio.Event = field(default_factory=trio.Event)  # by EOSE, or by CLOSED in its place
    ended: trio.Event = field(default_factory=trio.Event)  # by CLOSED
    is_stored_sent: bool = False  # some relays close a REQ behind its EOSE, when nothing more can match it
    reason: str | None = None


@dataclass
class _Published:
    """Events of one call that wait for their answers."""

    events: Sequence[Stored]
    left: set[str]
    answers: dict[str, tuple[bool, str]] = field(default_factory=dict)
    done: trio.Event = field(default_factory=trio.Event)

    def answer(self, name: str, answer: tuple[bool, str]) -> None:
        self.answers[name] = answer
        self.left.discard(name)
        if not self.left:
            self.done.set()


class Comparison:
    """A comparison that is open on a relay."""

    def __init__(self, station: "Station", name: str, asked: Mapping[str, Any]) -> None:
        self._station, self.name, self._filter = station, name, dict(asked)
        self.news = trio.Event()
        self.answer: bytes | None = None
        self.failure: Exception | None = None
        self.is_open = False
        self.begun = False

    async def ask(self, message: bytes) -> bytes:
        """Ask with one message. Raises NoComparison, TooLarge, RequestRefused, LineLost."""
        if self.begun:
            return await self._ask(message)
        return await self._station.with_proof(lambda: self._ask(message))

    async def _ask(self, message: bytes) -> bytes:
        self.news, self.answer, self.failure = trio.Event(), None, None
        frame = ["NEG-MSG", self.name] if self.begun else ["NEG-OPEN", self.name, self._filter]
        self._station.say([*frame, message.hex()])
        self.is_open = True
        with trio.move_on_after(SYNC_ANSWER_S_MAX if self.begun else SYNC_SUPPORT_S_MAX) as scope:
            await self.news.wait()
        if scope.cancelled_caught and not self.begun:
            raise NoComparison("no answer")
        return self._heard()

    def _heard(self) -> bytes:
        if self.failure is not None:
            raise self.failure
        if self.answer is None:
            raise LineLost(NO_CLOSE, "no answer to a message of a comparison")
        self.begun = True
        return self.answer

    def fail(self, reason: str) -> None:
        """Hear that the relay ends it."""
        self.is_open = False
        too_large = reason.startswith(TOO_LARGE_PREFIXES) and any(word in reason for word in TOO_LARGE_WORDS)
        kind: type[Exception] = RequestRefused if self.begun else NoComparison
        if too_large and TOO_MANY_OPEN not in reason:
            kind = TooLarge
        if reason.startswith((REQUIRED, RESTRICTED)):
            kind = RequestRefused
        self.failure = kind(reason)
        self.news.set()


class Station:
    """An open connection to one relay; see `open_station`."""

    def __init__(self, bulk: Bulk, proving: Proving, *, is_mirror: bool, renews: bool) -> None:
        self._bulk, self._proving, self.is_mirror, self._renews = bulk, proving, is_mirror, renews
        self._proof_news = trio.Event()
        self._asked: dict[str, _Asked] = {}
        self._comparisons: dict[str, Comparison] = {}
        self._published: dict[str, tuple[_Published, ...]] = {}
        self._names = 0
        self._batches = is_mirror  # until the mirror says that it does not understand them
        self.notice = ""

    def say(self, frame: Sequence[Any]) -> None:
        """Send one frame."""
        self._bulk.send((_encode(frame),))

    async def fetch(self, asked: Mapping[str, Any]) -> list[Stored]:
        """Give what is stored of a filter, as much as the relay gives at a time. Raises RequestRefused, LineLost."""
        pause_s = SYNC_PAUSE_S
        for _ in range(SYNC_PAUSES_MAX):
            try:
                return await self.with_proof(lambda: self._fetch(asked))
            except RequestRefused as refused:
                if not str(refused).startswith(LIMITED):
                    raise
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, SYNC_PAUSE_S_MAX)
        raise RequestRefused(f"{LIMITED} for too long")

    async def _fetch(self, asked: Mapping[str, Any]) -> list[Stored]:
        found: list[Stored] = []

        def take(event: Stored | None, _: str | None) -> None:
            if event is not None:
                found.append(event)

        with self._asking(asked, take) as one, trio.move_on_after(SYNC_ANSWER_S_MAX):
            await one.answered.wait()
        if one.reason is not None and not one.is_stored_sent:
            raise RequestRefused(one.reason)
        if not one.answered.is_set():
            raise LineLost(NO_CLOSE, "no answer to a request")
        return found

    async def follow(
        self,
        asked: Mapping[str, Any],
        take: Take,
        cursor: str | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hand on what comes live, for ever; started once nothing more can come that is not handed on.

        A mirror is asked for cursors, and gives what is stored behind one that it knows. Raises RequestRefused where
        the relay ends it, LineLost where it may be followed on another connection.
        """
        place: dict[str, Any] = {"limit": 0}
        if self.is_mirror:
            place = {"after": "", "limit": 0} if cursor is None else {"after": cursor}
        await self.with_proof(lambda: self._follow({**asked, **place}, take, task_status))

    async def _follow(self, asked: Mapping[str, Any], take: Take, task_status: trio.TaskStatus[None]) -> None:
        with self._asking(asked, take) as one:
            with trio.move_on_after(SYNC_FOLLOW_S_MAX):  # some relays have nothing to say where nothing is asked for
                await one.answered.wait()
            if one.reason is not None and not one.is_stored_sent:
                raise RequestRefused(one.reason)
            task_status.started()
            await one.ended.wait()
        if one.reason is not None and one.reason.startswith(REQUIRED):
            raise LineLost(NO_CLOSE, str(one.reason))  # a token or a proof that has ended: a new session has another
        raise RequestRefused(f"it ends what comes live: {one.reason}")

    def _asking(self, asked: Mapping[str, Any], take: Take) -> "_Open":
        self._names += 1
        name = f"sync-{self._names}"
        fast = {"batch": True} if self.is_mirror else {}
        self._asked[name] = _Asked(take)
        self.say(["REQ", name, {**asked, **fast}])
        return _Open(self, name, self._asked)

    async def publish(
        self, events: Sequence[Stored], settled: Callable[[Answers], None] = lambda _: None
    ) -> dict[str, str]:
        """Have events stored; the refused ones' ids with the reasons. Waits while it is too fast for the relay.

        ``settled`` hears once of each that is answered for good, also of those before a cut. Raises KeyWanted or
        RequestRefused where the relay takes nothing before a key is proved, and none is.
        """
        refused: dict[str, str] = {}
        pause_s, pauses, is_proved = SYNC_PAUSE_S, 0, False
        while events:
            taken = self._proving.taken
            answers = await self._publish(events, settled)
            turned_down = {name: reason for name, (accepted, reason) in answers.items() if not accepted}
            slow = {name for name, reason in turned_down.items() if reason.startswith(LIMITED)}
            if pauses == SYNC_PAUSES_MAX:
                slow = set()
            again = set(slow)
            if not is_proved and (is_proved := await self._is_proved_for(events, turned_down, taken)):
                again |= {name for name, reason in turned_down.items() if reason.startswith((REQUIRED, RESTRICTED))}
            refused |= {name: reason for name, reason in turned_down.items() if name not in again}
            events = [one for one in events if one.id in again]
            settled({name: answer for name, answer in answers.items() if name not in again} if again else answers)
            if slow:
                await trio.sleep(pause_s)
                pause_s, pauses = min(2 * pause_s, SYNC_PAUSE_S_MAX), pauses + 1
        return refused

    async def _is_proved_for(self, events: Sequence[Stored], turned_down: Mapping[str, str], taken: int) -> bool:
        """Whether a key was proved since events were turned down for want of one.

        That they are protected (NIP-70) is theirs alone; where others want a key too, nothing goes on without it.
        """
        reasons = [reason for reason in turned_down.values() if reason.startswith((REQUIRED, RESTRICTED))]
        failure: RequestRefused | None = None
        for reason in [one for one in reasons if self._proving.may_help(taken, one)][:1]:
            try:
                await self._prove(taken, reason)
            except RequestRefused as why:
                failure = why
            else:
                return True
        plain = (turned_down.get(one.id, "").startswith(REQUIRED) and not one.is_protected for one in events)
        if not self._proving.taken and any(plain):
            raise failure or self._unproved(reasons[0])
        return False

    async def with_proof(self, attempt: Callable[[], Awaitable[Found]]) -> Found:
        """Do what the relay may refuse until a key is proved to it (NIP-42), and then once more."""
        taken = self._proving.taken
        try:
            return await attempt()
        except RequestRefused as refused:
            await self._prove(taken, str(refused))
        return await attempt()

    async def _prove(self, taken: int, reason: str) -> None:
        """Wait for a proof that makes good a refusal. Raises the refusal where there is none."""
        proving = self._proving
        with trio.move_on_after(SYNC_PROOF_S_MAX):
            while proving.taken == taken and proving.may_help(taken, reason):
                await self._proof_news.wait()
        if proving.taken == taken:
            raise self._unproved(reason)

    def _unproved(self, reason: str) -> RequestRefused:
        proving = self._proving
        if not proving.has_key and (
            reason.startswith(REQUIRED) or (proving.is_asked and reason.startswith(RESTRICTED))
        ):
            return KeyWanted(f"{proving.relay} wants a key to be proved (NIP-42), and says: {reason}")
        more = f" (the key that was proved is not taken: {proving.refusal})" if proving.refusal else ""
        return RequestRefused(f"{reason}{more}")

    async def introduce(self, asked: Mapping[str, Any]) -> None:
        """Have a key proved, where the relay asks for one at once or with such a filter: it may give others less."""
        if self._proving.has_key and not self.is_mirror:
            with suppress(RequestRefused):  # it is asked again by who needs the answer
                await self._fetch({**asked, "limit": 1})
            with trio.move_on_after(SYNC_PROOF_S_MAX):
                while self._proving.is_under_way:
                    await self._proof_news.wait()

    async def _publish(self, events: Sequence[Stored], settled: Callable[[Answers], None]) -> Answers:
        one = _Published(events, {event.id for event in events})
        alone = (one,)  # for all of them: a list each would have the garbage collector look at every one
        for event in events:
            waiting = self._published.get(event.id)
            self._published[event.id] = alone if waiting is None else (*waiting, one)
        self._send(events)
        try:
            with trio.move_on_after(SYNC_ANSWER_S_MAX):
                await one.done.wait()
        finally:
            for name in one.left:
                self._forget(name, one)
            if one.left:
                settled({name: answer for name, answer in one.answers.items() if _is_for_good(*answer)})
        if one.left:
            raise LineLost(NO_CLOSE, f"no answer to {len(one.left)} of {len(events)} events")
        return one.answers

    def _send(self, events: Sequence[Stored]) -> None:
        if not self._batches:
            self._bulk.send(b'["EVENT",' + event.raw + b"]" for event in events)
            return
        for batch in batches(events):
            self._bulk.send((b'["EVENTS",[' + b",".join(event.raw for event in batch) + b"]]",))

    def _forget(self, name: str, one: _Published) -> None:
        waiting = tuple(other for other in self._published.pop(name, ()) if other is not one)
        if waiting:
            self._published[name] = waiting

    @asynccontextmanager
    async def compare(self, asked: Mapping[str, Any]) -> AsyncIterator[Comparison]:
        """Open a comparison of what matches a filter; `Comparison.ask` does the rest."""
        self._names += 1
        name = f"neg-{self._names}"
        one = self._comparisons[name] = Comparison(self, name, asked)
        try:
            yield one
        finally:
            del self._comparisons[name]
            if one.is_open:  # also where its answer was not waited for, since the other relay refused
                self.say(["NEG-CLOSE", name])

    # -- what comes ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read for ever. Raises LineLost; RequestRefused where the token has ended and there is no other."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._bulk.write)
            while True:
                for message in await self._messages():
                    self._hear(message)

    async def _messages(self) -> list[bytes]:
        try:
            return await self._bulk.receive()
        except LineLost as lost:
            if lost.code == TOKEN_REFUSED and not self._renews:
                raise RequestRefused(str(lost)) from None
            raise

    def _hear(self, message: bytes) -> None:
        try:
            if message.startswith(_EVENTS):
                self._hear_events(message)
            else:
                self._hear_other(message)
        except (ValueError, IndexError, RecursionError):
            self.notice = "a message that is no frame was left out"

    def _hear_events(self, message: bytes) -> None:
        """Take an EVENT or EVENTS, each event in the bytes in which it came."""
        verb, name, events, *tail = _frame.decode(message)
        asked = self._asked.get(str(_value.decode(name)))
        if asked is None:
            return
        for raw in (events,) if _value.decode(verb) == "EVENT" else _frame.decode(events):
            asked.take(stored_of(bytes(raw)), None)
        cursor = _cursor_of([_value.decode(part) for part in tail]) if tail else None
        if cursor is not None:
            asked.take(None, cursor)

    def _hear_other(self, message: bytes) -> None:
        match _value.decode(message):
            case ["OK", str(name), bool(accepted), *reason]:
                self._answered(name, accepted, reason)
            case ["OKS", list(answers)]:
                for answer in answers:
                    self._answered(str(answer[0]), answer[1] is True, answer[2:3])
            case ["EOSE", str(name), *tail] if name in self._asked:
                self._eose(self._asked[name], _cursor_of(tail))
            case ["EVENT" | "EVENTS", *_]:  # in other words than `_EVENTS`, as with a space
                self._hear_events(message)
            case ["AUTH", str(challenge)]:
                self._proof(self._proving.challenged(challenge))
            case ["CLOSED", str(name), *reason]:
                self._closed(name, str(reason[0]) if reason else "closed")
            case ["NEG-MSG", str(name), str(text)] if name in self._comparisons:
                self._comparisons[name].answer = bytes.fromhex(text)
                self._comparisons[name].news.set()
            case ["NEG-ERR", str(name), *reason] if name in self._comparisons:
                self._comparisons[name].fail(str(reason[0]) if reason else "closed")
            case ["NOTICE", str(text)]:
                self._noticed(text)
            case _:
                return  # an answer to what was given up

    @staticmethod
    def _eose(asked: _Asked, cursor: str | None) -> None:
        asked.is_stored_sent = True
        if cursor is not None:
            asked.take(None, cursor)
        asked.answered.set()

    def _proof(self, frame: bytes | None) -> None:
        """Send a proof that is due; whoever waits looks again."""
        if frame is not None:
            self._bulk.send((frame,))
        self._proof_news.set()
        self._proof_news = trio.Event()

    def _answered(self, name: str, accepted: bool, reason: list[Any]) -> None:
        if self._proving.is_proof(name):
            self._proof(self._proving.answered(accepted, str(reason[0]) if reason else ""))
        for one in self._published.pop(name, ()):
            one.answer(name, (accepted, str(reason[0]) if reason else ""))

    def _closed(self, name: str, reason: str) -> None:
        if name in self._asked:
            self._asked[name].reason = reason
            self._asked[name].answered.set()
            self._asked[name].ended.set()
        elif name in self._comparisons:
            self._comparisons[name].fail(reason)

    def _noticed(self, text: str) -> None:
        """A relay without NIP-77 answers its frames with a notice, if at all."""
        self.notice = text
        if self._batches and text.startswith(NO_BATCHES):
            self._batches = False
            for waiting in {id(one): one for each in self._published.values() for one in each}.values():
                self._send([event for event in waiting.events if event.id in waiting.left])
            return
        for one in self._comparisons.values():
            if not one.begun:
                one.fail(text)


Keep = Callable[[Station], Awaitable[None]]


class _Open:
    """Closes a REQ at the end of a block."""

    def __init__(self, station: Station, name: str, asked: dict[str, _Asked]) -> None:
        self._station, self._name, self._asked = station, name, asked

    def __enter__(self) -> _Asked:
        return self._asked[self._name]

    def __exit__(self, *_: object) -> None:
        if not self._asked.pop(self._name).ended.is_set():
            self._station.say(["CLOSE", self._name])


def _is_for_good(accepted: bool, reason: str) -> bool:
    return accepted or not reason.startswith((LIMITED, REQUIRED, RESTRICTED))


def _cursor_of(tail: Sequence[Any]) -> str | None:
    cursor = tail[0].get("cursor") if tail and isinstance(tail[0], dict) else None
    return cursor if isinstance(cursor, str) else None


@asynccontextmanager
async def open_station(
    url: str,
    *,
    is_mirror: bool = False,
    identity: Identity | None = None,
    keep: Keep | None = None,
    renews: bool = False,
) -> AsyncIterator[Station]:
    """Connect to a relay, and prove a key to it when it asks. Raises LineLost, also when the connection ends within.

    ``keep`` runs beside the block, and ends with it. Unless the next URL ``renews`` its token, one that is refused is a
    RequestRefused: another connection would be told the same.
    """
    async with open_bulk(url) as bulk:
        station = Station(bulk, Proving(identity, url), is_mirror=is_mirror, renews=renews)
        failure: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(station.run)
                if keep is not None:
                    nursery.start_soon(keep, station)
                try:
                    yield station
                except BaseException as why:
                    failure = why
                    raise
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # Whoever is cancelled within nurseries of their own, as while dialling, says so in a group.
            if failure is not None and not isinstance(first_of(failure), trio.Cancelled):
                raise failure from None
            raise first_of(group) from None


def first_of(failure: BaseException) -> BaseException:
    """Give what a group of failures came from: a lost connection rather than what it cancelled."""
    while isinstance(failure, BaseExceptionGroup):
        found = [one for one in failure.exceptions if not isinstance(one, trio.Cancelled)]
        failure = found[0] if found else failure.exceptions[0]
    return failure
