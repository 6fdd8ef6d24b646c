"""Live rows: what becomes durable, to the subscriptions that asked for it.

Invariant: fed by the log's own cursor, which here never runs ahead of the events view; so a subscription that is opened
at the view's position misses nothing and gets nothing twice. What waits for a subscription whose stored rows are still
being sent is bounded: at `BACKLOG_BYTES_MAX` its reader is cut. This module must not know sessions or the wire's verbs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import trio

from eventlog.record import Record
from gateway.facts import EventStored, event_of
from gateway.limits.nostr import BACKLOG_BYTES_MAX, LIVE_ROWS, LIVE_SOCKETS_AT_ONCE
from gateway.nostr.event import GIFT_WRAP, Event, Keeping, expiration, keeping, stored_event
from gateway.nostr.filter import Filter
from gateway.nostr.matcher import Matcher
from gateway.nostr.reader import Reader
from gateway.serve.ledger import Ledger
from gateway.serve.port.framing import text_frame, text_frames
from gateway.serve.port.socket import SLOW_READER, Socket
from gateway.views.events import EventsView, Standing


class Subscription:
    """One open REQ: ``head`` stands before each row, rows of the log below ``seq_start`` are not its live ones.

    ``reader`` says who reads, as of now: keys that are proved later count from then on.
    """

    __slots__ = ("_backlog", "_backlog_bytes", "head", "reader", "seq_start", "socket")

    def __init__(self, socket: Socket, head: str, seq_start: int, reader: Callable[[], Reader]) -> None:
        self.socket, self.head, self.seq_start, self.reader = socket, head.encode(), seq_start, reader
        self._backlog: list[bytes] | None = []
        self._backlog_bytes = 0

    def frame(self, raw: bytes) -> bytes:
        """Put a stored event, byte for byte, into a WebSocket frame."""
        return text_frame(self.head, raw, b"]")

    def frames(self, raws: Iterable[bytes]) -> bytes:
        """Put stored events, one after another, into frames of their own."""
        return text_frames(self.head, raws, b"]")

    def offer(self, frame: bytes) -> bool:
        """Ask whether a live row's frame goes out now; while stored rows are still on their way, it is kept."""
        if self._backlog is None:
            return True
        self._backlog.append(frame)
        self._backlog_bytes += len(frame)
        if self._backlog_bytes > BACKLOG_BYTES_MAX:
            self._backlog.clear()
            self.socket.close(1013, SLOW_READER)
        return False

    def catch_up(self) -> list[bytes]:
        """Give the frames that came while stored rows were sent; from now on rows go out at once."""
        held, self._backlog = self._backlog or [], None
        return held


class LiveRows:
    """Every open subscription, by relay; ``private`` are the kinds that not every reader may see."""

    def __init__(self, ledger: Ledger, private: Sequence[int]) -> None:
        self._ledger, self._view, self._private = ledger, ledger.view(EventsView), frozenset(private)
        self._relays: dict[str, Matcher[Subscription]] = {}

    def open(
        self, relay_key: str, socket: Socket, head: str, filters: Sequence[Filter], reader: Callable[[], Reader]
    ) -> Subscription:
        """Open a subscription at the view's position: stored rows lie below its ``seq_start``."""
        subscription = Subscription(socket, head, self._view.position, reader)
        self._relays.setdefault(relay_key, Matcher()).add(subscription, filters)
        return subscription

    def close(self, relay_key: str, subscription: Subscription) -> None:
        """End a subscription; one that is not open is no error."""
        matcher = self._relays.get(relay_key)
        if matcher is not None:
            matcher.remove(subscription)
            if not len(matcher):
                del self._relays[relay_key]

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the log for ever."""
        follower = self._ledger.log.follow(self._view.position)
        task_status.started()
        async for records in follower:
            await self._ledger.caught_up(records[-1].seq + 1)
            for at in range(0, len(records), LIVE_ROWS):
                self._tell(records[at : at + LIVE_ROWS])
                await trio.lowlevel.checkpoint()

    def deliver(self, relay_key: str, event: Event, raw: bytes) -> None:
        """Send an event that is not in the log (an ephemeral one)."""
        _tell_one(self._readers(relay_key, event), raw)

    def _tell(self, records: Sequence[Record]) -> None:
        """Send a few records; all rows for one socket in one go."""
        rows = [record for record in records if record.kind == EventStored.kind] if self._relays else []
        if len(rows) == 1:
            _tell_one(*self._match(rows[0]))
        else:
            _tell_all(map(self._match, rows))

    def _match(self, record: Record) -> tuple[Sequence[Subscription], bytes]:
        """Find whom a record is for, and the event in it."""
        stored = event_of(record)
        if stored is None or stored[0] not in self._relays:
            return (), b""
        relay_key, raw = stored
        event = stored_event(raw)
        found = self._readers(relay_key, event)
        if not found or not self._stands(relay_key, event):
            return (), b""
        return [one for one in found if record.seq >= one.seq_start], raw

    def _readers(self, relay_key: str, event: Event) -> list[Subscription]:
        """Find the subscriptions that ask for an event, of them those whose reader may see it."""
        matcher = self._relays.get(relay_key)
        found = matcher.match(event) if matcher else []
        if not found or (event.kind not in self._private and expiration(event) is None):
            return found
        return [subscription for subscription in found if subscription.reader().may_read(event)]

    def _stands(self, relay_key: str, event: Event) -> bool:
        """Whether the fold kept the event: one that was refused as old or deleted goes to nobody."""
        author = self._view.author(event.pubkey)
        plain = keeping(event.kind) is Keeping.ALL and author is not None and not author.deletes
        if event.kind == GIFT_WRAP:  # whom it is for may have vanished, which its throw-away author does not show
            plain = False
        return plain or self._view.standing(relay_key, event) is Standing.KNOWN


class _Framed(dict[bytes, bytes]):
    """An event's frames, by what stands before it: a hundred readers who chose the same subscription id share one."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def __missing__(self, head: bytes) -> bytes:
        frame = self[head] = text_frame(head, self._raw, b"]")
        return frame


def _tell_one(found: Iterable[Subscription], raw: bytes) -> None:
    """Send one event: the first reader has it while the last is still being looked at."""
    framed = _Framed(raw)
    for number, subscription in enumerate(found):
        frame = framed[subscription.head]
        if subscription.offer(frame):
            _send(subscription.socket, (frame,), number)


def _tell_all(matched: Iterable[tuple[Iterable[Subscription], bytes]]) -> None:
    """Send some events: each socket gets all of its rows in one go."""
    out: dict[Socket, list[bytes]] = defaultdict(list)
    for found, raw in matched:
        framed = _Framed(raw)
        for subscription in found:
            frame = framed[subscription.head]
            if subscription.offer(frame):
                out[subscription.socket].append(frame)
    for number, (socket, frames) in enumerate(out.items()):
        _send(socket, frames, number)


def _send(socket: Socket, frames: Sequence[bytes], number: int) -> None:
    """Hand frames to the socket at once, if it is among the first: beyond, others have waited long enough."""
    if number < LIVE_SOCKETS_AT_ONCE:
        socket.send_frames_now(frames)
    else:
        socket.send_frames(frames)
