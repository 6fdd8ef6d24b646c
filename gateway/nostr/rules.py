"""Who may write what from where: allow and block lists, by key, kind, event and address.

Invariant: what is blocked is blocked whatever allows it; an allow list that names nobody allows everybody. The lists of
the configuration and those of a relay's moderators (NIP-86) have one meaning. This module must not know where lists
come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gateway.config import Policy
from gateway.errors import ConfigInvalid
from gateway.limits.nostr import ADDRESSES_JUDGED_MAX
from gateway.nostr.event import VANISH, Event

Network = IPv4Network | IPv6Network

FROM_ANYBODY = frozenset({10_002, 10_050, VANISH})
"""Kinds that a list of keys does not keep out: where somebody's events and messages are to be sought (NIP-65, 17), and
a request to vanish (NIP-62), which also those may make who may write no longer. That one no list of kinds keeps out
either, save one that blocks it by name."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One set of lists."""

    allow_keys: frozenset[str] = frozenset()
    block_keys: frozenset[str] = frozenset()
    allow_kinds: frozenset[int] = frozenset()
    block_kinds: frozenset[int] = frozenset()
    block_events: frozenset[str] = frozenset()
    allow_addresses: tuple[Network, ...] = ()
    block_addresses: tuple[Network, ...] = ()

    @property
    def is_selective(self) -> bool:
        """Whether not everybody may write (NIP-11 calls that restricted writes)."""
        return bool(self.allow_keys or self.allow_kinds or self.allow_addresses)

    def takes(self, kind: int) -> bool:
        """Tell whether events of a kind are taken from those who may write."""
        if kind in self.block_kinds:
            return False
        return not self.allow_kinds or kind in self.allow_kinds or kind == VANISH

    def refusal(self, event: Event, address: str) -> str | None:
        """Say why an event from an address is turned down, with NIP-01's prefix; None where nothing does."""
        if event.pubkey in self.block_keys:
            return "blocked: this key may not write here"
        if event.id in self.block_events:
            return "blocked: this event is not wanted here"
        if event.kind in self.block_kinds:
            return f"blocked: kind {event.kind} is not wanted here"
        if self.allow_keys and event.pubkey not in self.allow_keys and event.kind not in FROM_ANYBODY:
            return "restricted: only keys on a list may write here"
        if not self.takes(event.kind):
            return f"restricted: kind {event.kind} is not among those that are taken here"
        return self.address_refusal(address)

    def address_refusal(self, address: str) -> str | None:
        """Say why nothing is taken from an address."""
        if not (self.block_addresses or self.allow_addresses):
            return None
        if _is_in(address, self.block_addresses):
            return "blocked: this address may not write here"
        if self.allow_addresses and not _is_in(address, self.allow_addresses):
            return "restricted: only addresses on a list may write here"
        return None


@lru_cache(ADDRESSES_JUDGED_MAX)
def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:  # a peer without one
        return False
    return any(found in network for network in networks)


def network(text: str) -> Network:
    """Read an address or a network (``192.0.2.0/24``); raises ValueError."""
    return ip_network(text, strict=False)


def rules_of(policy: Policy) -> Rules:
    """Read the configuration's lists; raises ConfigInvalid for what is no address."""
    return Rules(
        frozenset(policy.allow_keys),
        frozenset(policy.block_keys),
        frozenset(policy.allow_kinds),
        frozenset(policy.block_kinds),
        frozenset(),
        _networks("allow_addresses", policy.allow_addresses),
        _networks("block_addresses", policy.block_addresses),
    )


def _networks(key: str, texts: Sequence[str]) -> tuple[Network, ...]:
    try:
        return tuple(map(network, texts))
    except ValueError as error:
        raise ConfigInvalid(f"relay.policy.{key}: {error}") from None
