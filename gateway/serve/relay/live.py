"""Live rows: what becomes durable, to the subscriptions that asked for it.

Invariant: every record is told of once, in the log's order, in or behind the turn that folds it; so a subscription that
is opened at the view's position misses nothing and gets nothing twice, and whoever heard of an event and asks for it
finds it. An event that comes alone and that the fold can only keep is told of in that turn before it is folded: its
rows and keys would be a tenth of every listener's wait. All others come by the log's own cursor, behind the views.
What waits for a subscription whose stored rows are still being sent is bounded: at `BACKLOG_BYTES_MAX` its reader is
cut. This module must not know sessions or the wire's verbs.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import trio

from eventlog.record import Record
from gateway.facts import EventStored, event_of
from gateway.limits.nostr import BACKLOG_BYTES_MAX, LIVE_ROWS, LIVE_SOCKETS_AT_ONCE
from gateway.nostr.event import DELETION, Event, expiration, is_plain, stored_event
from gateway.nostr.filter import Filter
from gateway.nostr.matcher import Matcher
from gateway.nostr.reader import Reader
from gateway.serve.ledger import Ledger
from gateway.serve.port.framing import text_frame, text_frames
from gateway.serve.port.socket import SLOW_READER, Socket
from gateway.views.events import EventsView, Standing

_Matched = tuple[Sequence["Subscription"], bytes]  # whom an event is for, and its bytes


class Subscription:
    """One open REQ: ``head`` stands before each row, rows of the log below ``seq_start`` are not its live ones.

    Those below ``seq_live`` are none of them either: they were told already. ``reader`` says who reads, as of now: keys
    that are proved later count from then on.
    """

    __slots__ = ("_backlog", "_backlog_bytes", "head", "reader", "seq_live", "seq_start", "socket")

    def __init__(self, socket: Socket, head: str, seq_start: int, reader: Callable[[], Reader]) -> None:
        self.socket, self.head, self.seq_start, self.reader = socket, head.encode(), seq_start, reader
        self.seq_live = seq_start
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
        self._told = 0  # the seq after the last record that was told of

    def open(
        self, relay_key: str, socket: Socket, head: str, filters: Sequence[Filter], reader: Callable[[], Reader]
    ) -> Subscription:
        """Open a subscription at the view's position: stored rows lie below its ``seq_start``."""
        # What was told ahead of a fold that then failed is told again, to those who ask before it is mended.
        self._told = min(self._told, self._view.position)
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
        self._told = self._view.position
        self._ledger.heralds.append(self._herald)
        task_status.started()
        try:
            async for records in self._ledger.log.follow(self._told):
                await self._ledger.caught_up(records[-1].seq + 1)
                for at in range(max(0, self._told - records[0].seq), len(records), LIVE_ROWS):
                    some = records[at : at + LIVE_ROWS]
                    self._told = some[-1].seq + 1
                    self._tell(some)
                    await trio.lowlevel.checkpoint()
        finally:
            self._ledger.heralds.remove(self._herald)

    def _herald(self, records: Sequence[Record]) -> None:
        """Tell of a record that comes alone, when all before it are told of and the fold can only keep it."""
        record = records[0]
        if len(records) == 1 and record.seq == self._told and record.kind == EventStored.kind and self._relays:
            matched = self._match(record, self._will_stand)
            if matched is not None:
                found, raw = matched
                _tell_one(found, raw)
                for subscription in found:
                    subscription.seq_live = record.seq + 1
                self._told = record.seq + 1

    def deliver(self, relay_key: str, event: Event, raw: bytes) -> None:
        """Send an event that is not in the log (an ephemeral one)."""
        _tell_one(self._readers(relay_key, event), raw)

    def _tell(self, records: Sequence[Record]) -> None:
        """Send a few records; all rows for one socket in one go."""
        rows = [record for record in records if record.kind == EventStored.kind] if self._relays else []
        matched = [found for record in rows if (found := self._match(record, self._stands)) is not None]
        if len(matched) == 1:
            _tell_one(*matched[0])
        else:
            _tell_all(matched)

    def _match(self, record: Record, stands: Callable[[str, Event], bool]) -> _Matched | None:
        """Find whom a record is for, and the event in it; None where the event does not stand."""
        stored = event_of(record)
        if stored is None or stored[0] not in self._relays:
            return (), b""
        relay_key, raw = stored
        event = stored_event(raw)
        found = self._readers(relay_key, event)
        if found and not stands(relay_key, event):
            return None
        return [one for one in found if record.seq >= one.seq_live], raw

    def _readers(self, relay_key: str, event: Event) -> list[Subscription]:
        """Find the subscriptions that ask for an event, of them those whose reader may see it."""
        matcher = self._relays.get(relay_key)
        found = matcher.match(event) if matcher else []
        if not found or (event.kind not in self._private and expiration(event) is None):
            return found
        return [subscription for subscription in found if subscription.reader().may_read(event)]

    def _stands(self, relay_key: str, event: Event) -> bool:
        """Whether the fold kept the event: one that was refused as old or deleted goes to nobody."""
        return self._is_unbarred(event) or self._view.standing(relay_key, event) is Standing.KNOWN

    def _will_stand(self, relay_key: str, event: Event) -> bool:
        """Whether the fold, which has not seen the event, can only keep it."""
        del relay_key
        return event.kind != DELETION and self._is_unbarred(event)

    def _is_unbarred(self, event: Event) -> bool:
        """Whether nothing can have kept an event out: all of its kind is kept, and its author deletes nothing."""
        author = self._view.author(event.pubkey)
        return is_plain(event.kind) and author is not None and not author.deletes


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
