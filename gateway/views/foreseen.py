"""Events that were decoded on their way into the log, kept for the fold, which would decode the same bytes again.

Invariant: an event is given for that very payload, the same object and not an equal one, and once; whoever reads
records from the disk, as every start does, finds nothing here and decodes. So the fold stays one of the log alone.
This module must not know what is folded.
"""

from collections.abc import Sequence

from gateway.limits.views import FORESEEN_BYTES_MAX
from gateway.nostr.event import Event


class Foreseen:
    """Events by the payloads that hold them; at ``bytes_max`` of payloads all are let go, and decoded again."""

    def __init__(self, bytes_max: int = FORESEEN_BYTES_MAX) -> None:
        # By the object's number, which is nobody else's while the object is held: hashing its bytes takes longer.
        self._events: dict[int, tuple[bytes, tuple[str, Event]]] = {}
        self._bytes, self._bytes_max = 0, bytes_max

    def note(self, relay_key: str, payloads: Sequence[bytes], events: Sequence[Event]) -> None:
        """Keep events that were submitted: what a failed log never takes goes at the limit, with the others."""
        self._bytes += sum(map(len, payloads))
        if self._bytes > self._bytes_max:
            self.forget()
        else:
            kept = [(payload, (relay_key, event)) for payload, event in zip(payloads, events, strict=True)]
            self._events.update(zip(map(id, payloads), kept, strict=True))

    def take(self, payload: bytes | None) -> tuple[str, Event] | None:
        """Give relay key and event of a record's payload, once; None where it is not known."""
        found = self._events.pop(id(payload), None)
        if found is None:
            return None
        self._bytes -= len(found[0])
        return found[1]

    def forget(self) -> None:
        """Let go of everything."""
        self._events, self._bytes = {}, 0
