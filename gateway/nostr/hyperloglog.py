"""HyperLogLog registers of a count (NIP-45), so that a client can join the counts of several relays.

Invariant: two relays that hold the same events give the same registers, and the maxima of two relays' registers are
those of all their events together. They count authors, not events. This module must not know storage.
"""

import hashlib

from gateway.nostr.filter import Filter

REGISTERS = 256
WINDOW_BITS = 56


def hll_offset(asked: Filter) -> int | None:
    """Give the byte of an author's key to begin at; None for a filter without exactly one tag value to derive it from.

    It depends on what is counted, so that a key mined for one count is worth nothing in the next.
    """
    if len(asked.tags) != 1 or len(asked.tags[0][1]) != 1:
        return None
    [value] = asked.tags[0][1]
    parts = value.split(":")
    candidate = parts[1] if len(parts) > 2 else value
    if len(candidate) != 64 or not set(candidate) <= set("0123456789abcdef"):
        candidate = hashlib.sha256(value.encode()).hexdigest()
    return int(candidate[32], 16) + 8


class HyperLogLog:
    """256 registers at one offset; `add` authors, then read `hex`."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._registers = bytearray(REGISTERS)

    def add(self, pubkey: bytes) -> None:
        """Count an author's 32-byte key: the byte at the offset chooses a register, which keeps the longest zeros."""
        index, start = pubkey[self._offset], self._offset + 1
        word = int.from_bytes(pubkey[start : start + WINDOW_BITS // 8], "big")
        rank = WINDOW_BITS - word.bit_length() + 1
        self._registers[index] = max(self._registers[index], rank)

    @property
    def hex(self) -> str:
        """Give the registers as 512 hex digits."""
        return self._registers.hex()
