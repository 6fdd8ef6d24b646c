"""The relay information document (NIP-11): the truth of the configuration, and nothing else.

Invariant: a limit is shown exactly where it is enforced, a NIP only if this release does it and the configuration has
not switched it off (`NIPS` is the one place that says so). This module must not know HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.config import Relay
from gateway.limits.nostr import FILTER_VALUES_MAX
from gateway.negentropy import VERSION
from gateway.nostr.event import DELETION, GIFT_WRAP, VANISH
from gateway.nostr.reader import WRAPS
from gateway.nostr.rules import Rules, rules_of

NO_RULES = Rules()


def _always(limits: Relay) -> bool:
    del limits
    return True


NIPS: dict[int, Callable[[Relay], bool]] = {
    1: _always,
    2: _always,  # asks no more of a relay than that kind 3 is replaceable
    9: _always,
    11: _always,
    13: lambda limits: limits.min_pow_difficulty > 0,
    17: lambda limits: set(limits.private_kinds) >= WRAPS,
    40: _always,
    42: _always,
    45: _always,
    50: lambda limits: limits.search_events_max > 0,
    59: lambda limits: set(limits.private_kinds) >= WRAPS,
    62: _always,
    65: _always,  # asks no more than that kind 10002 is replaceable, and taken from whoever may write
    67: _always,
    70: _always,
    77: lambda limits: limits.compare_events_max > 0,
    86: lambda limits: bool(limits.admins),
    98: lambda limits: bool(limits.admins),
}
"""Each NIP that a relay must do something for, and whether this configuration does it."""


KINDS_OF = {2: 3, 9: DELETION, 17: GIFT_WRAP, 59: GIFT_WRAP, 62: VANISH, 65: 10_002}
"""The kind without which a NIP is nothing: where a list keeps it out, the NIP is not done."""


def supported_nips(limits: Relay, moderated: Rules = NO_RULES) -> list[int]:
    """List what this configuration, and what moderators say of the relay, let it do, in order."""
    lists = (rules_of(limits.policy), moderated)
    return [
        nip
        for nip, holds in NIPS.items()
        if holds(limits) and (nip not in KINDS_OF or all(rules.takes(KINDS_OF[nip]) for rules in lists))
    ]


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a relay says of itself; empty fields are left out. ``restricted``: not everybody may write.

    ``self_key`` is there exactly where the relay keeps members (NIP-43), and names that NIP.
    """

    name: str
    description: str = ""
    icon: str = ""
    restricted: bool = False
    self_key: str = ""  # what a closed relay signs with


def document(limits: Relay, relay: Presentation, version: str, moderated: Rules = NO_RULES) -> bytes:
    """Build the JSON document of one relay; ``moderated`` are the lists of its moderators (NIP-86)."""
    restricted = relay.restricted or moderated.is_selective or _is_selective(limits)
    words = {
        "name": relay.name,
        "description": relay.description,
        "icon": relay.icon,
        "pubkey": limits.pubkey,
        "self": relay.self_key,
        "contact": limits.contact,
    }
    return msgspec.json.encode(
        {
            **{name: text for name, text in words.items() if text},
            "supported_nips": sorted([*supported_nips(limits, moderated), *([43] if relay.self_key else [])]),
            "software": "heliograph",
            "version": version,
            **({"negentropy": VERSION - 0x60} if limits.compare_events_max else {}),
            "limitation": _limitation(limits, restricted=restricted),
        }
    )


def _is_selective(limits: Relay) -> bool:
    """Whether writing has a condition that a writer should know of beforehand; NIP-11 counts work among these."""
    return rules_of(limits.policy).is_selective or limits.min_pow_difficulty > 0


def _limitation(limits: Relay, *, restricted: bool) -> dict[str, int | bool]:
    return {
        "max_message_length": limits.message_bytes_max,
        "max_subscriptions": limits.subscriptions_max,
        "max_filters": limits.filters_max,
        "max_filter_values": FILTER_VALUES_MAX,
        "max_subid_length": limits.subid_chars_max,
        "max_limit": limits.limit_max,
        "default_limit": limits.limit_default,
        "max_event_tags": limits.event_tags_max,
        "max_content_length": limits.content_chars_max,
        "min_pow_difficulty": limits.min_pow_difficulty,
        "created_at_upper_limit": limits.created_at_ahead_s_max,
        "auth_required": False,
        "payment_required": False,
        "restricted_writes": restricted,
    }
