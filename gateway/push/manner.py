"""In which manner a notification is pushed: how urgent, how long kept for a device that is away, what it replaces.

Takos notifications are urgent and replace nothing but their own repeats; the operator may say otherwise for a type.
Matrix events say for themselves. Invariant: what replaces another is of the same type, and a repeat always replaces
itself. Must not know what a push service calls these things.
"""

from dataclasses import dataclass
from typing import assert_never

from gateway.config import Push, PushType
from gateway.push.envelope import Notification
from gateway.push.matrix import MatrixEvent, collapse_of
from gateway.push.plan import collapse_key

_SAME = PushType()


@dataclass(frozen=True, slots=True)
class Manner:
    """``device_ttl_s`` is None where nothing is said; ``collapse`` is a key of 32 characters."""

    is_urgent: bool
    device_ttl_s: int | None
    collapse: str


class Manners:
    """The manner of each notification, by the configuration."""

    def __init__(self, push: Push) -> None:
        self._types = push.types

    def of(self, content: Notification | MatrixEvent) -> Manner:
        """How this one is pushed."""
        match content:
            case MatrixEvent():
                return Manner(content.is_urgent, None, collapse_of(content))
            case Notification():
                said = self._types.get(content.type, _SAME)
                return Manner(said.priority == "high", said.device_ttl_s or None, _collapse(content, said.collapse))
            case _:
                assert_never(content)


def _collapse(note: Notification, by: str) -> str:
    # What is not an id begins with a control character, which no id can hold: so it stands for nothing but itself.
    if by == "type":
        return collapse_key(f"\0{note.type}")
    if by == "reference" and note.ref_id:
        return collapse_key(f"\0{note.type}\0{note.ref_type}\0{note.ref_id}")
    return collapse_key(note.id)
