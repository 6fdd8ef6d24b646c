"""Policy: whether this relay takes a well-formed, signed event, by the limits that it publishes.

Invariant: everything refused here follows from the configuration that NIP-11 shows. A verdict is about the event alone;
what is stored already is the view's to say. This module must not know storage or connections.
"""

from dataclasses import dataclass

from gateway.config import Relay
from gateway.nostr.event import AUTHENTICATION, Event


@dataclass(frozen=True, slots=True)
class Context:
    """What a verdict depends on besides the event: the relay's limits and wall time."""

    limits: Relay
    now_s: int


@dataclass(frozen=True, slots=True)
class Accept:
    """The event may be stored."""


@dataclass(frozen=True, slots=True)
class Reject:
    """The event is refused; the reason has one of NIP-01's prefixes."""

    reason: str


Verdict = Accept | Reject
_ACCEPT = Accept()


def judge(event: Event, context: Context) -> Verdict:
    """Hold an event against the limits."""
    limits = context.limits
    if event.created_at > context.now_s + limits.created_at_ahead_s_max:
        return Reject(f"invalid: created_at is more than {limits.created_at_ahead_s_max} seconds ahead")
    if len(event.tags) > limits.event_tags_max:
        return Reject(f"invalid: more than {limits.event_tags_max} tags")
    if len(event.content) > limits.content_chars_max:
        return Reject(f"invalid: content has more than {limits.content_chars_max} characters")
    if event.kind == AUTHENTICATION:
        # A captured one would open another relay to whoever reads it here (NIP-42).
        return Reject(f"invalid: kind {AUTHENTICATION} answers a challenge and is never published")
    return _ACCEPT
