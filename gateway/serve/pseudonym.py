"""Pseudonyms for the subjects of records: a leaf of the log keeps its subject for ever, so it must say nothing.

Invariant: the same person in the same relay has the same pseudonym, and nobody without the key can tell whose it is.
Derived rather than drawn and remembered: no view is needed, and erasing all of a subject's records needs only its name.
"""

import hashlib
import hmac
from functools import lru_cache

from gateway.limits.mirror import WRITERS_KEPT_MAX

PSEUDONYM_BYTES = 16


@lru_cache(WRITERS_KEPT_MAX)
def pseudonym(key: bytes, relay_key: str, subject: str) -> bytes:
    """Give the pseudonym of a token's subject in a relay, 16 bytes."""
    message = f"subject\0{relay_key}\0{subject}".encode()
    return hmac.new(key, message, hashlib.sha256).digest()[:PSEUDONYM_BYTES]
