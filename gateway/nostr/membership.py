"""Membership of a closed relay (NIP-43): the events that the relay signs, and the invitations that it gives.

An invitation is a code that the relay's key authenticates: when it ends, and a name, of which nothing is kept until it
is used. Invariant: `Invitations.read` gives back only what `make` made with the same key for the same relay.
This module must not know who is a member, time, or how anything is recorded.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.limits.nostr import INVITATION_CHARS_MAX, MEMBERS_LISTED_MAX
from gateway.nostr.event import Event, is_protected, made
from gateway.nostr.signature import Signer

MEMBERS, ADDED, REMOVED = 13_534, 8_000, 8_001
JOIN, INVITE, LEAVE = 28_934, 28_935, 28_936
REQUESTS = frozenset({JOIN, LEAVE})

_NAME_BYTES = 8
_TIME_BYTES = 5
_MAC_BYTES = 12


class Invitation(NamedTuple):
    """What a code says: until when it lets somebody in, and its name, under which it is noted once it was used."""

    ends_s: int
    name: str


class Invitations:
    """Makes and reads the codes of one relay."""

    def __init__(self, key: str, relay_key: str) -> None:
        self._key = hmac.digest(key.encode(), f"NIP-43 claim of {relay_key}".encode(), hashlib.sha256)

    def make(self, ends_s: int, name: bytes) -> str:
        """Write a code; ``name`` is 8 random bytes."""
        assert len(name) == _NAME_BYTES, name
        body = ends_s.to_bytes(_TIME_BYTES, "big") + name
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def read(self, code: str) -> Invitation | None:
        """Read a code; None where we did not make it."""
        if not code.isascii() or len(code) > INVITATION_CHARS_MAX:
            return None
        try:
            data = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
        except ValueError:
            return None
        body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
        if len(body) != _TIME_BYTES + _NAME_BYTES or not hmac.compare_digest(mac, self._mac(body)):
            return None
        return Invitation(int.from_bytes(body[:_TIME_BYTES], "big"), body[_TIME_BYTES:].hex())

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]


def signed(signer: Signer, kind: int, tags: Sequence[tuple[str, ...]], created_at: int, dice: bytes) -> Event:
    """Make an event of the relay's own, protected as all of these are (NIP-70); ``dice`` are 32 random bytes."""
    event = made(signer.pubkey, kind, (("-",), *tags), created_at, lambda name: signer.sign(name, dice))
    assert is_protected(event)
    return event


def member_tags(members: Iterable[str]) -> list[tuple[str, str]]:
    """List members as tags: in the order of their keys, as many as fit one event."""
    return [("member", pubkey) for pubkey in sorted(members)[:MEMBERS_LISTED_MAX]]
