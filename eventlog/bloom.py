"""A filter that says of most keys that a run does not hold them, in one look at memory.

Ids are spread evenly, so nothing says in which run one stands; without this every run would have to be read for every
new id. A Bloom filter with all bits of a key in one word: a look is a shift, a table and a comparison, a tenth of a
microsecond. Invariant: a key that was added passes; one that was not passes once in 400 times or more seldom.
It takes the first eight bytes of a key as its hash, so these must be a hash, or a part of one.
"""

import sys
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from struct import unpack

HASH_BYTES = 8
KEYS_A_WORD = 2  # at most, of three bits each: 32 to 64 bits a key
_LOW = 0xFFF
MASKS = [
    1 << (low & 63) | 1 << (low >> 6) | 1 << ((low & 63) * 5 + (low >> 6) * 11 + 17 & 63) for low in range(_LOW + 1)
]

Ask = tuple[bytes, int, int]


def asks(prefixes: Iterable[bytes]) -> list[Ask]:
    """Prepare what is looked for, once for however many filters: (prefix, hash, mask)."""
    names = list(prefixes)
    return [(name, number, MASKS[number & _LOW]) for name, number in zip(names, _hashes(names), strict=True)]


def _hashes(keys: Sequence[bytes]) -> tuple[int, ...]:
    """Read the hashes of many keys at once: a third of what one call for each costs."""
    return unpack(f">{len(keys)}Q", b"".join([key[:HASH_BYTES] for key in keys]))


class Bloom:
    """A filter for at most ``count`` keys: 4 to 8 bytes of memory each."""

    def __init__(self, count: int) -> None:
        bits = max(1, -(-count // KEYS_A_WORD) - 1).bit_length()
        self._shift = 64 - bits
        self._words = array("Q", bytes(8 << bits))

    def add(self, keys: Sequence[bytes]) -> None:
        """Take keys in."""
        words, shift, masks = self._words, self._shift, MASKS
        for number in _hashes(keys):
            words[number >> shift] |= masks[number & _LOW]

    def passing(self, wanted: Collection[Ask]) -> list[bytes]:
        """Give the prefixes that may be there."""
        words, shift = self._words, self._shift
        return [prefix for prefix, number, mask in wanted if words[number >> shift] & mask == mask]

    def parts(self, size: int) -> Iterator[bytes]:
        """Give what `load` takes, in parts of ``size`` bytes (a multiple of eight)."""
        for at in range(0, len(self._words), size // 8):
            yield _little(self._words[at : at + size // 8]).tobytes()

    @classmethod
    def load(cls, data: bytes) -> "Bloom":
        """Read what `parts` gave, joined."""
        made = cls(1)
        made._words = _little(array("Q", data))
        made._shift = 64 - (len(made._words).bit_length() - 1)
        return made


def _little(words: "array[int]") -> "array[int]":
    """Turn words into the order of bytes that is written, or back: a file may move to another kind of machine."""
    if sys.byteorder == "big":
        words.byteswap()
    return words
