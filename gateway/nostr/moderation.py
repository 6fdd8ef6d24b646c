"""Relay management (NIP-86): the methods that change a relay's lists and words, and what each does to them.

Invariant: every change is one (method, value, reason), which the log keeps as a fact; `CHANGES` is the one place that
says what it means, for whoever decides and for the fold. This module must not know HTTP or storage.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from gateway.errors import NostrRefused
from gateway.limits.nostr import KIND_MAX, MODERATION_CHARS_MAX
from gateway.nostr.event import is_hex_64
from gateway.nostr.rules import Rules, network

KEYS_BANNED, KEYS_ALLOWED = "banned pubkeys", "allowed pubkeys"
EVENTS_BANNED, EVENTS_ALLOWED = "banned events", "allowed events"
KINDS_BLOCKED, KINDS_ALLOWED = "disallowed kinds", "allowed kinds"
ADDRESSES_BLOCKED = "blocked ips"
INVITATIONS_USED = "used invitations"
NAME, DESCRIPTION, ICON = "name", "description", "icon"
WORDS = frozenset({NAME, DESCRIPTION, ICON})


class Change(NamedTuple):
    """Put a value on one list, take it off another ("" for none)."""

    onto: str
    off: str = ""


CHANGES: dict[str, Change] = {
    "banpubkey": Change(KEYS_BANNED, KEYS_ALLOWED),
    "unbanpubkey": Change("", KEYS_BANNED),
    "allowpubkey": Change(KEYS_ALLOWED, KEYS_BANNED),
    "unallowpubkey": Change("", KEYS_ALLOWED),
    "banevent": Change(EVENTS_BANNED, EVENTS_ALLOWED),
    "unbanevent": Change("", EVENTS_BANNED),
    "allowevent": Change(EVENTS_ALLOWED, EVENTS_BANNED),
    "unallowevent": Change("", EVENTS_ALLOWED),
    "allowkind": Change(KINDS_ALLOWED, KINDS_BLOCKED),
    "disallowkind": Change(KINDS_BLOCKED, KINDS_ALLOWED),
    "blockip": Change(ADDRESSES_BLOCKED),
    "unblockip": Change("", ADDRESSES_BLOCKED),
    "changerelayname": Change(NAME),
    "changerelaydescription": Change(DESCRIPTION),
    "changerelayicon": Change(ICON),
    "useinvitation": Change(INVITATIONS_USED),
}
OWN = frozenset({"useinvitation"})
"""Changes that the relay makes alone, when somebody joins (NIP-43): no admin asks for them."""

LISTINGS: dict[str, tuple[str, str]] = {
    "listbannedpubkeys": (KEYS_BANNED, "pubkey"),
    "listallowedpubkeys": (KEYS_ALLOWED, "pubkey"),
    "listbannedevents": (EVENTS_BANNED, "id"),
    "listallowedevents": (EVENTS_ALLOWED, "id"),
    "listdisallowedkinds": (KINDS_BLOCKED, ""),
    "listallowedkinds": (KINDS_ALLOWED, ""),
    "listblockedips": (ADDRESSES_BLOCKED, "ip"),
}
"""Method -> the list that it shows, and the name of a value in it ("" where values stand alone, as numbers)."""

METHODS = ("supportedmethods", *(method for method in CHANGES if method not in OWN), *LISTINGS)
Lists = Mapping[str, Mapping[str, str]]  # list -> value -> reason


class Call(msgspec.Struct, frozen=True):
    """A request as it comes in."""

    method: str
    params: list[object] = []


_decoder = msgspec.json.Decoder(Call)


def call_of(body: bytes) -> Call:
    """Read a request; raises NostrRefused."""
    try:
        call = _decoder.decode(body)
    except (ValueError, RecursionError):
        raise NostrRefused('invalid: expected {"method": …, "params": […]}') from None
    if call.method not in METHODS:
        raise NostrRefused(f"unsupported: {call.method[:64]!r} is no method of this relay")
    return call


def change_of(call: Call) -> tuple[str, str]:
    """Give the value and reason of a call that changes something; raises NostrRefused for what cannot be meant."""
    if not call.params:
        raise NostrRefused(f"invalid: {call.method} needs a value")
    value = str(call.params[0]) if isinstance(call.params[0], str | int) else ""
    reason = call.params[1] if len(call.params) > 1 else ""
    what, fits = _shape(call.method)
    if not fits(call.params[0]):
        raise NostrRefused(f"invalid: {call.method} needs {what}")
    if not isinstance(reason, str) or len(reason) > MODERATION_CHARS_MAX:
        raise NostrRefused(f"invalid: a reason is a text of at most {MODERATION_CHARS_MAX} characters")
    return value, reason


def _shape(method: str) -> tuple[str, Callable[[object], bool]]:
    """Say in words and code what a method's value looks like."""
    if method.endswith(("pubkey", "event")):
        return "64 lower-case hex digits", is_hex_64
    if method.endswith("kind"):
        return f"a kind from 0 to {KIND_MAX}", _is_kind
    if method.endswith("ip"):
        return "an address", _is_address
    return f"a text of at most {MODERATION_CHARS_MAX} characters", _is_text


def _is_kind(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= KIND_MAX


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MODERATION_CHARS_MAX


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and network(value) is not None
    except ValueError:
        return False


def listing(method: str, lists: Lists) -> Sequence[object]:
    """Answer a call that shows a list."""
    name, field = LISTINGS[method]
    held = lists.get(name, {})
    if not field:
        return sorted(map(int, held))
    return [{field: value, **({"reason": reason} if reason else {})} for value, reason in sorted(held.items())]


def rules_from(lists: Lists) -> Rules:
    """Read a relay's lists as rules."""

    def kinds(name: str) -> frozenset[int]:
        return frozenset(map(int, lists.get(name, {})))

    return Rules(
        allow_keys=frozenset(lists.get(KEYS_ALLOWED, ())),
        block_keys=frozenset(lists.get(KEYS_BANNED, ())),
        allow_kinds=kinds(KINDS_ALLOWED),
        block_kinds=kinds(KINDS_BLOCKED),
        block_events=frozenset(lists.get(EVENTS_BANNED, ())),
        block_addresses=tuple(map(network, sorted(lists.get(ADDRESSES_BLOCKED, ())))),
    )
