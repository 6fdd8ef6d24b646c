"""Policy: whether this relay takes a well-formed, signed event, by the limits that it publishes.

Invariant: everything refused here follows from the configuration that NIP-11 shows. A verdict is about the event alone;
what is stored already is the view's to say. This module must not know storage or connections.
"""

from dataclasses import dataclass

import msgspec

from gateway.config import Relay
from gateway.limits.nostr import REPOST_CHARS_MAX
from gateway.nostr.event import (
    AUTHENTICATION,
    REPOSTS,
    VANISH,
    Event,
    asks_something,
    difficulty,
    expiration,
    first_value,
    is_protected,
)
from gateway.nostr.rules import Rules


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends an event: the keys that their session has proved (NIP-42), and their address."""

    keys: frozenset[str] = frozenset()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a verdict depends on besides the event: limits, wall time, who sends it, and the lists that hold."""

    limits: Relay
    now_s: int
    sender: Sender = Sender()
    rules: tuple[Rules, ...] = ()


@dataclass(frozen=True, slots=True)
class Accept:
    """The event may be stored."""


@dataclass(frozen=True, slots=True)
class Reject:
    """The event is refused; the reason has one of NIP-01's prefixes."""

    reason: str


class _Carried(msgspec.Struct):
    """As much as matters of an event inside a repost."""

    tags: list[list[object]]


_carried = msgspec.json.Decoder(_Carried)
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
    reason = (
        (_against_rules(event, context) if context.rules else None)
        or (_too_little_work(event, limits.min_pow_difficulty) if limits.min_pow_difficulty else None)
        or (_unfit_tags(event, context) if event.tags else None)
        or (_unfit_repost(event) if event.kind in REPOSTS else None)
    )
    if event.kind == VANISH and first_value(event, "relay") is None:
        reason = "invalid: a request to vanish names a relay, or ALL_RELAYS (NIP-62)"
    return Reject(reason) if reason else _ACCEPT


def _against_rules(event: Event, context: Context) -> str | None:
    found = (rules.refusal(event, context.sender.address) for rules in context.rules)
    return next(filter(None, found), None)


def _too_little_work(event: Event, wanted: int) -> str | None:
    """Check proof of work (NIP-13): enough zero bits, and no less work committed to than is wanted."""
    found = difficulty(event.id)
    if found < wanted:
        return f"pow: difficulty {found} is less than {wanted}"
    target = next((tag[2] for tag in event.tags if len(tag) > 2 and tag[0] == "nonce"), "")
    # A hash that is good by luck proves less: the target must have been said beforehand.
    if not (target.isascii() and target.isdecimal() and len(target) <= 3 and int(target) >= wanted):
        return f"pow: the nonce tag does not commit to a difficulty of {wanted}"
    return None


def _unfit_tags(event: Event, context: Context) -> str | None:
    """Check what single tags ask for: an end (NIP-40), or that none but the author publishes (NIP-70)."""
    if not asks_something(event):
        return None
    ends = expiration(event)
    if ends is not None and ends <= context.now_s:
        return "invalid: the event has expired"
    if is_protected(event) and event.pubkey not in context.sender.keys:
        if context.sender.keys:
            return "restricted: a protected event is taken from its author alone"
        return "auth-required: a protected event is taken from its author alone"
    return None


def _unfit_repost(event: Event) -> str | None:
    """Refuse a repost that carries a protected event (NIP-70): it would publish it all the same."""
    if len(event.content) > REPOST_CHARS_MAX:
        return f"invalid: a repost's content has at most {REPOST_CHARS_MAX} characters"
    try:
        carried = _carried.decode(event.content)
    except (ValueError, RecursionError):
        return None  # nothing, a note of their own, or no event: then it carries none
    return "blocked: it carries a protected event" if any(tag[:1] == ["-"] for tag in carried.tags) else None
