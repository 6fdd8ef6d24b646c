"""Events that were decoded on their way into the log, kept for the fold, which would decode the same bytes again.

Invariant: an event is given for that very payload, the same object and not an equal one, and once; whoever reads
records from the disk, as every start does, finds nothing here and decodes. So the fold stays one of the log alone.
This module must not know what is folded.
"""

from collections.abc import Sequence

from eventlog.sortedruns import Look
from gateway.limits.views import FORESEEN_BYTES_MAX
from gateway.nostr.event import Event

Foresight = tuple[bytes, str, Event, Look | None]
"""A payload, the relay key and event in it, and the look into the index of ids at which it was not there."""


class Foreseen:
    """Events by the payloads that hold them; at ``bytes_max`` of payloads all are let go, and decoded again."""

    def __init__(self, bytes_max: int = FORESEEN_BYTES_MAX) -> None:
        # By the object's number, which is nobody else's while the object is held: hashing its bytes takes longer.
        self._events: dict[int, Foresight] = {}
        self._bytes, self._bytes_max = 0, bytes_max

    def note(
        self, relay_key: str, payloads: Sequence[bytes], events: Sequence[Event], look: Look | None = None
    ) -> None:
        """Keep events that were submitted, and were new at ``look``.

        What a failed log never takes goes at the limit, with the others.
        """
        self._bytes += sum(map(len, payloads))
        if self._bytes > self._bytes_max:
            self.forget()
        else:
            for payload, event in zip(payloads, events, strict=True):
                self._events[id(payload)] = payload, relay_key, event, look

    def take(self, payloads: Sequence[bytes | None]) -> list[Foresight | None]:
        """Give what is known of records' payloads, once."""
        pop = self._events.pop
        found = [pop(id(payload), None) for payload in payloads]
        self._bytes -= sum([len(one[0]) for one in found if one is not None])
        return found

    def forget(self) -> None:
        """Let go of everything."""
        self._events, self._bytes = {}, 0
