"""BIP-340 signatures: the one seam around libsecp256k1.

Invariant: True only for a valid Schnorr signature of the id by the key. Thread-safe, and the library lets go of the
interpreter while it works, so that several threads verify at once. Parsing a key costs an eighth of a verification, so
parsed keys are kept. This module must not know threads or queues.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from coincurve import PrivateKey, PublicKeyXOnly

from gateway.limits.nostr import PARSED_KEYS_MAX


class Claim(NamedTuple):
    """What is claimed: that the holder of ``pubkey`` signed ``id``; all lower-case hex of 32, 32 and 64 bytes."""

    pubkey: str
    id: str
    sig: str


@lru_cache(PARSED_KEYS_MAX)
def _parsed(pubkey: str) -> PublicKeyXOnly | None:
    """Parse a key; None for bytes that are no point's x coordinate (half of all)."""
    try:
        return PublicKeyXOnly(bytes.fromhex(pubkey))
    except ValueError:
        return None


def holds(claim: Claim) -> bool:
    """Verify one signature (about 40 µs)."""
    key = _parsed(claim.pubkey)
    return key is not None and key.verify(bytes.fromhex(claim.sig), bytes.fromhex(claim.id))


class Signer:
    """Signs as one key; ``secret`` is 64 hex digits, any number but 0 and the curve's order or more (ValueError)."""

    def __init__(self, secret: str) -> None:
        self._key = PrivateKey(bytes.fromhex(secret))
        self.pubkey = self._key.public_key_xonly.format().hex()

    def sign(self, event_id: str, dice: bytes) -> str:
        """Sign an id; ``dice`` are 32 random bytes, which keep the signing from telling of the key by its timing."""
        return self._key.sign_schnorr(bytes.fromhex(event_id), dice).hex()


def all_hold(claims: Sequence[Claim]) -> list[bool]:
    """Verify many, in order."""
    return [holds(claim) for claim in claims]
