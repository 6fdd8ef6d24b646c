"""The relay information document (NIP-11): the truth of the configuration, and nothing else.

Invariant: a limit is shown exactly where it is enforced, a NIP only if this release does it. This module must not know
HTTP: it returns bytes and the headers that NIP-11 demands with them.
"""

from dataclasses import dataclass

import msgspec

from gateway.config import Relay
from gateway.limits import FILTER_VALUES_MAX

MEDIA_TYPE = "application/nostr+json"
HEADERS = {
    "Content-Type": MEDIA_TYPE,
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
}
SUPPORTED_NIPS = (1, 2, 9, 11)
"""01, 09 and 11 are this package; 02 asks no more of a relay than that kind 3 is replaceable."""


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a relay says of itself; empty fields are left out. ``restricted``: writing needs a token."""

    name: str
    description: str = ""
    icon: str = ""
    restricted: bool = False


def document(limits: Relay, relay: Presentation, version: str) -> bytes:
    """Build the JSON document of one relay."""
    words = {
        "name": relay.name,
        "description": relay.description,
        "icon": relay.icon,
        "pubkey": limits.pubkey,
        "contact": limits.contact,
    }
    return msgspec.json.encode(
        {
            **{name: text for name, text in words.items() if text},
            "supported_nips": list(SUPPORTED_NIPS),
            "software": "heliograph",
            "version": version,
            "limitation": _limitation(limits, relay.restricted),
        }
    )


def _limitation(limits: Relay, restricted: bool) -> dict[str, int | bool]:
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
        "min_pow_difficulty": 0,
        "created_at_upper_limit": limits.created_at_ahead_s_max,
        "auth_required": False,
        "payment_required": False,
        "restricted_writes": restricted,
    }
