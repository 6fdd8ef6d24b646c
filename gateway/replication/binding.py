"""Which relayIDs belong to a relay: SHA-256 over its public names, as the clients compute it.

Invariant: the relay with accepts-any carries every relayID within its own namespace, every other only its own.
This module must not know tokens or sockets.
"""

import hashlib
from collections.abc import Iterable

PREFIX = "hypertuna-relay-id:"


def relay_id(identifier: str) -> str:
    """Hash an identifier: trimmed, lower-cased, each run of white space one space (relay-and-mirror §4)."""
    return hashlib.sha256((PREFIX + " ".join(identifier.lower().split())).encode("utf-8", "replace")).hexdigest()


def relay_ids(names: Iterable[str]) -> frozenset[str]:
    """Hash every name that a relay goes by."""
    return frozenset(map(relay_id, names))


class Binding:
    """The relayIDs that one relay's sessions may carry."""

    def __init__(self, names: Iterable[str], *, accepts_any: bool) -> None:
        self.own, self.accepts_any = relay_ids(names), accepts_any

    def admits(self, relay_id: str) -> bool:
        """Tell whether rows of this relayID may be written and read here."""
        return self.accepts_any or relay_id in self.own
