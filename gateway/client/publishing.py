"""What a client has yet to see stored: kept in order, sent anew on each new connection, answered once. Pure.

Invariant: an event leaves only by its OK; the gateway knows duplicates, so sending again is harmless. At most
`UNANSWERED_MAX` wait, one more is refused on the spot. `behaviour.js` does the same. This module must not know tokens.
"""

from collections.abc import Iterator
from typing import Any

from gateway.client.happening import Answer, Event, Socket
from gateway.limits.client import PUBLISH_BATCH_CHARS, PUBLISH_BATCH_ROWS, UNANSWERED_MAX

FULL = "error: too many events wait for their answers"
NO_BATCHES = "unsupported: EVENTS"


class _Waiting:
    """One event on its way."""

    def __init__(self, socket: Socket, event: Event) -> None:
        self.socket, self.event, self.sent = socket, event, False


class Publishing:
    """The events of both sockets that wait for an OK."""

    def __init__(self) -> None:
        self._waiting: dict[_Waiting, None] = {}  # in the order in which they came
        self._by_id: dict[str, list[_Waiting]] = {}
        self._unsent: dict[Socket, list[_Waiting]] = {"normal": [], "mirror": []}
        self._batches = True  # until the gateway says that it does not understand them

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, socket: Socket, event: Event) -> Answer | None:
        """Keep an event; an answer where there is no room."""
        name = str(event.get("id"))
        if len(self._waiting) >= UNANSWERED_MAX:
            return Answer(socket, name, False, FULL)
        one = _Waiting(socket, event)
        self._waiting[one] = None
        self._by_id.setdefault(name, []).append(one)
        self._unsent[socket].append(one)
        return None

    def frames(self, socket: Socket) -> Iterator[list[Any]]:
        """Give the frames that send what was not sent on this connection; they count as sent."""
        unsent, self._unsent[socket] = self._unsent[socket], []
        for one in unsent:
            one.sent = True
        size = PUBLISH_BATCH_ROWS if socket == "mirror" and self._batches else 1
        for batch in _batches([one.event for one in unsent], size):
            yield ["EVENT", batch[0]] if len(batch) == 1 else ["EVENTS", batch]

    def answered(self, socket: Socket, answer: list[Any]) -> list[Answer]:
        """Take ``[id, accepted, reason]``; nothing for an id that does not wait."""
        name, accepted, reason = [*answer, None, None, ""][:3]
        waiting = self._by_id.get(str(name), [])
        found = next((one for one in waiting if one.socket == socket and one.sent), None)
        if found is None:
            return []
        waiting.remove(found)
        del self._waiting[found]
        if not waiting:
            del self._by_id[str(name)]
        return [Answer(socket, str(name), accepted is True, str(reason or ""))]

    def lost(self, socket: Socket) -> None:
        """The connection is gone: what it carried is sent again on the next."""
        mine = [one for one in self._waiting if one.socket == socket]
        for one in mine:
            one.sent = False
        self._unsent[socket] = mine

    def noticed(self, text: str) -> bool:
        """Take a NOTICE; True where it says that batches are not understood: then all is sent again, one by one."""
        if not text.startswith(NO_BATCHES) or not self._batches:
            return False
        self._batches = False
        self.lost("mirror")
        return True


def _batches(events: list[Event], rows_max: int) -> Iterator[list[Event]]:
    """Cut a list where a batch has enough rows or characters."""
    batch: list[Event] = []
    chars = 0
    for event in events:
        size = len(event.get("eventData") or "")
        if batch and (len(batch) >= rows_max or chars + size > PUBLISH_BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(event)
        chars += size
    if batch:
        yield batch
