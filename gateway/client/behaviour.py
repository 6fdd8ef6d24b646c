"""What a client of a relay's two sockets does: happenings in, effects out, nothing touched (relay-and-mirror §7).

    start ─▶ token (or a report) ─▶ mirror, and the normal socket when it is needed ─▶ lost ─▶ back-off ─▶ again
Invariants: replication goes to the mirror alone and everything else to the normal socket alone; nothing is opened
without a token; a session that the gateway ends with 4403 is given one new token, and a second 4403 before anything
was heard is reported. `behaviour.js` decides the same, and one table holds both to it. This module must not know time,
dice or sockets: it is told.
"""

from collections.abc import Iterator
from typing import Any, TypeGuard, assert_never

from gateway.client.address import Addresses, names_relay, with_token
from gateway.client.happening import (
    Answer,
    Ask,
    Closed,
    Connect,
    Denied,
    Disconnect,
    Due,
    Effect,
    Ended,
    Event,
    Granted,
    Happening,
    Heard,
    Lost,
    Notice,
    Opened,
    Publish,
    Report,
    Say,
    Socket,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    Wake,
)
from gateway.client.publishing import Publishing
from gateway.client.reading import Reading
from gateway.limits.client import (
    RECONNECT_DOUBLINGS_MAX,
    RECONNECT_MS_MAX,
    RECONNECT_MS_MIN,
    REFRESH_MS_MIN,
    SESSION_GOOD_MS,
)

TOKEN_REFUSED, NOT_SERVED, TOO_MANY_ATTEMPTS = 4403, 4404, 4429
TURNED_AWAY = frozenset({TOKEN_REFUSED, NOT_SERVED})  # who comes again at once is told the same
REFRESH = "refresh"
MIXED = "error: a subscription is for replication rows in all of its filters or in none"
STOPPED = "error: the client has stopped"


class _Link:
    """One of the two sockets."""

    def __init__(self, socket: Socket) -> None:
        self.socket: Socket = socket
        self.state = "idle"  # then: connecting, open, waiting (for a timer), tokenless (for a token)
        self.since_ms = -RECONNECT_MS_MIN  # when it was last connected
        self.opened_ms = 0
        self.tries = 0  # that failed, since a session was good
        self.rejected = False  # 4403 came, and a new token was asked for, since a session was good

    def good(self) -> None:
        """The gateway takes this session."""
        self.tries, self.rejected = 0, False


class Behaviour:
    """The state of one client; `take` is all there is to do with it."""

    def __init__(self, where: Addresses) -> None:
        self._where = where
        self._links: dict[Socket, _Link] = {"normal": _Link("normal"), "mirror": _Link("mirror")}
        self._grant: Granted | None = None
        self._asking = False
        self._denials = 0
        self._readings: dict[str, Reading] = {}
        self._publishing = Publishing()
        self.stopped = False

    @property
    def unanswered(self) -> int:
        """How many published events wait for their answers."""
        return len(self._publishing)

    def take(self, what: Happening, now_ms: int) -> list[Effect]:
        """Decide what to do about one happening; once stopped, only that nothing more is done."""
        return list(self._after_the_end(what) if self.stopped else self._decide(what, now_ms))

    def _decide(self, what: Happening, now_ms: int) -> Iterator[Effect]:
        match what:
            case Start():
                yield from self._ask()
            case Granted():
                yield from self._granted(what, now_ms)
            case Denied():
                yield from self._denied(what, now_ms)
            case Opened(socket):
                yield from self._opened(self._links[socket], now_ms)
            case Closed():
                yield from self._closed(what, now_ms)
            case Heard(socket, frame):
                yield from self._heard(self._links[socket], frame)
            case Due(timer):
                yield from self._due(timer, now_ms)
            case Publish(events):
                yield from self._publish(events, now_ms)
            case Subscribe():
                yield from self._subscribe(what, now_ms)
            case Unsubscribe(sub):
                yield from self._unsubscribe(sub)
            case Stop():
                yield from self._stop()
            case _:
                assert_never(what)

    def _after_the_end(self, what: Happening) -> Iterator[Effect]:
        match what:
            case Publish(events):
                yield from (Answer(socket_of(event), str(event.get("id")), False, STOPPED) for event in events)
            case Subscribe(sub):
                yield Ended(sub, STOPPED)
            case _:
                return

    # -- tokens -------------------------------------------------------------------------------------------------------

    def _ask(self) -> Iterator[Effect]:
        if not self._asking:
            self._asking = True
            yield Ask()

    def _granted(self, grant: Granted, now_ms: int) -> Iterator[Effect]:
        self._asking = False
        if not grant.token and not grant.replication_token:
            yield from self._denied(Denied("the provider gave no token"), now_ms)
            return
        first, self._grant, self._denials = self._grant is None, grant, 0
        if grant.refresh_after is not None:
            yield Wake(REFRESH, refresh_at(grant, now_ms))
        mirror = self._links["mirror"]
        if first:
            yield from self._connect(mirror, now_ms)
        elif mirror.state == "open":
            yield Say("mirror", ["AUTH", grant.for_mirror])
        for link in self._links.values():
            if link.state == "tokenless":
                yield from self._connect_soon(link, now_ms)

    def _denied(self, denied: Denied, now_ms: int) -> Iterator[Effect]:
        self._asking = False
        if self._grant is None:
            yield from self._report("token-required", denied.reason)
        elif denied.final and any(link.state == "tokenless" for link in self._links.values()):
            yield from self._report("auth-failed", denied.reason)
        else:
            yield Notice("mirror", f"no new token: {denied.reason}")
            if not denied.final:  # else the one that we have serves until it ends, and then it is asked once more
                yield Wake(REFRESH, now_ms + back_off_ms(self._denials, denied.roll))
                self._denials += 1

    # -- sockets ------------------------------------------------------------------------------------------------------

    def _connect(self, link: _Link, now_ms: int) -> Iterator[Effect]:
        assert self._grant is not None
        link.state, link.since_ms = "connecting", now_ms
        if link.socket == "mirror":
            yield Connect("mirror", with_token(self._where.mirror, self._grant.for_mirror))
        else:
            token = self._grant.token if self._where.normal_needs_token else ""
            yield Connect("normal", with_token(self._where.normal, token))

    def _connect_soon(self, link: _Link, now_ms: int) -> Iterator[Effect]:
        """Connect at once, but not more often than the shortest back-off lets."""
        at = link.since_ms + RECONNECT_MS_MIN
        if at <= now_ms:
            yield from self._connect(link, now_ms)
        else:
            link.state = "waiting"
            yield Wake(link.socket, at)

    def _wanted(self, socket: Socket, now_ms: int) -> Iterator[Effect]:
        """Open the normal socket when it is first needed; the mirror is opened with the first token."""
        link = self._links[socket]
        if socket == "normal" and link.state == "idle":
            if self._grant is None:
                link.state = "tokenless"
            else:
                yield from self._connect(link, now_ms)

    def _opened(self, link: _Link, now_ms: int) -> Iterator[Effect]:
        link.state, link.opened_ms = "open", now_ms
        for reading in self._readings.values():
            if reading.socket == link.socket:
                yield Say(link.socket, reading.request())
        yield from self._flush(link)

    def _closed(self, closed: Closed, now_ms: int) -> Iterator[Effect]:
        link = self._links[closed.socket]
        was, link.state = link.state, "idle"
        if was == "open" and now_ms - link.opened_ms >= SESSION_GOOD_MS:
            link.good()
        self._publishing.lost(link.socket)
        if closed.code == TOKEN_REFUSED and link.rejected:
            yield from self._report("auth-failed", closed.reason)
            return
        yield Lost(closed.socket, closed.code, closed.reason)
        if closed.code == TOKEN_REFUSED:
            link.rejected, link.state = True, "tokenless"
            yield from self._ask()
            return
        link.state = "waiting"
        pause_ms = RECONNECT_MS_MAX if closed.code == TOO_MANY_ATTEMPTS else back_off_ms(link.tries, closed.roll)
        link.tries += 1
        yield Wake(link.socket, now_ms + pause_ms)

    def _due(self, timer: str, now_ms: int) -> Iterator[Effect]:
        if timer == REFRESH:
            yield from self._ask()
            return
        link = self._links["mirror" if timer == "mirror" else "normal"]
        if link.state != "waiting":
            return
        expires_ms = self._grant.expires_at if self._grant else None
        if expires_ms is not None and expires_ms <= now_ms and not link.rejected:
            link.state = "tokenless"
            yield from self._ask()
        else:
            yield from self._connect(link, now_ms)

    # -- frames -------------------------------------------------------------------------------------------------------

    def _heard(self, link: _Link, frame: list[object]) -> Iterator[Effect]:
        verb = frame[0] if frame else None
        if verb == "NOTICE" or frame[:2] == ["TOKEN", "REVOKED"]:
            yield from self._noticed(link, frame)
            return
        link.good()
        match frame:
            case ["EVENT", str(sub), dict(row), *tail] if sub in self._readings:
                yield from self._readings[sub].rows([row], tail)
            case ["EVENTS", str(sub), list(rows), *tail] if sub in self._readings:
                yield from self._readings[sub].rows([row for row in rows if isinstance(row, dict)], tail)
            case ["EOSE", str(sub), *tail] if sub in self._readings:
                yield from self._readings[sub].eose(tail)
            case ["CLOSED", str(sub), str(reason), *_] if sub in self._readings:
                yield from self._sub_closed(link, sub, reason)
            case ["OK", *answer]:
                yield from self._publishing.answered(link.socket, answer)
            case ["OKS", list(answers)]:
                for answer in filter(_is_list, answers):
                    yield from self._publishing.answered(link.socket, answer)
            case _:
                return  # TOKEN RENEWED, an AUTH challenge, a row of a subscription that was just ended

    def _noticed(self, link: _Link, frame: list[object]) -> Iterator[Effect]:
        text = str(frame[1]) if frame[0] == "NOTICE" and len(frame) > 1 else "token revoked"
        if link.socket == "mirror" and self._publishing.noticed(text):
            yield from self._flush(link)
            return
        yield Notice(link.socket, text)
        if link.socket == "mirror" and text.startswith("token refused"):
            yield Disconnect("mirror")  # another subject's, perhaps: a new session may have it

    def _sub_closed(self, link: _Link, sub: str, reason: str) -> Iterator[Effect]:
        if reason.startswith("auth-required"):
            return  # the token has just ended: 4403 follows, and the next session asks again
        ended = self._readings[sub].closed(reason)
        if ended is None:
            yield Say(link.socket, self._readings[sub].request())
        else:
            del self._readings[sub]
            yield from ended

    # -- the caller ---------------------------------------------------------------------------------------------------

    def _publish(self, events: list[Event], now_ms: int) -> Iterator[Effect]:
        used: dict[Socket, None] = {}
        for event in events:
            socket = socket_of(event)
            refused = self._publishing.add(socket, event)
            if refused is not None:
                yield refused
            used[socket] = None
        for socket in used:
            yield from self._wanted(socket, now_ms)
            yield from self._flush(self._links[socket])

    def _flush(self, link: _Link) -> Iterator[Effect]:
        if link.state == "open":
            yield from (Say(link.socket, frame) for frame in self._publishing.frames(link.socket))

    def _subscribe(self, asked: Subscribe, now_ms: int) -> Iterator[Effect]:
        kinds = {names_relay(one) for one in asked.filters}
        if len(kinds) != 1:
            yield Ended(asked.sub, MIXED)
            return
        socket: Socket = "mirror" if kinds.pop() else "normal"
        yield from self._unsubscribe(asked.sub)  # a used name replaces
        reading = Reading(asked.sub, socket, asked.filters, asked.cursor)
        self._readings[asked.sub] = reading
        yield from self._wanted(socket, now_ms)
        if self._links[socket].state == "open":
            yield Say(socket, reading.request())

    def _unsubscribe(self, sub: str) -> Iterator[Effect]:
        reading = self._readings.pop(sub, None)
        if reading is not None and self._links[reading.socket].state == "open":
            yield Say(reading.socket, ["CLOSE", sub])

    def _report(self, error: str, reason: str) -> Iterator[Effect]:
        yield Report(error, reason)
        yield from self._stop()

    def _stop(self) -> Iterator[Effect]:
        self.stopped = True
        for link in self._links.values():
            if link.state in ("connecting", "open"):
                yield Disconnect(link.socket)


def socket_of(event: Event) -> Socket:
    """Say which socket an event goes to: what names a relayID is replication."""
    return "mirror" if event.get("relayID") else "normal"


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def back_off_ms(tries: int, roll: float) -> int:
    """Give the time until the next try: between the shortest and twice, four times … it, so that crowds spread."""
    longest_ms = min(RECONNECT_MS_MAX, RECONNECT_MS_MIN << (1 + min(tries, RECONNECT_DOUBLINGS_MAX)))
    return RECONNECT_MS_MIN + int(roll * (longest_ms - RECONNECT_MS_MIN))


def refresh_at(grant: Granted, now_ms: int) -> int:
    """Give the time to renew: as told, or half-way through a life that is shorter than the gateway's window."""
    assert grant.refresh_after is not None
    if grant.refresh_after > now_ms:
        return grant.refresh_after
    left_ms = (grant.expires_at or now_ms) - now_ms
    return now_ms + max(REFRESH_MS_MIN, left_ms // 2)
