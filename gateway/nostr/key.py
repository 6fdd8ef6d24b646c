"""Keys as people write them: 64 hex digits, ``npub1…`` or ``nsec1…`` (NIP-19: bech32 as of BIP-173 over the 32 bytes).

Invariant: a key that is given back is 64 lowercase hex digits, and one whose checksum fails is none.
This module must not know what a key is looked up for.
"""

import re

_HEX = re.compile("[0-9a-fA-F]{64}")
_WRITTEN = re.compile("(npub|nsec)1([02-9ac-hj-np-z]{58})")
_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def public_key(text: str) -> str | None:
    """Read a public key in either spelling; None where it is neither."""
    return _read(text, "npub")


def secret_key(text: str) -> str | None:
    """Read a secret key in either spelling; None where it is neither."""
    return _read(text, "nsec")


def npub(key: str) -> str:
    """Write a key of 64 hex digits as an npub."""
    bits = int(key, 16) << 4  # 256 bits in 52 groups of five, padded with zeros
    values = [bits >> shift & 31 for shift in range(255, -1, -5)]
    check = _checksum([*_expanded("npub"), *values, 0, 0, 0, 0, 0, 0]) ^ 1
    return "npub1" + "".join(
        _CHARSET[value] for value in (*values, *(check >> shift & 31 for shift in range(25, -1, -5)))
    )


def _read(text: str, prefix: str) -> str | None:
    if _HEX.fullmatch(text):
        return text.lower()
    found = _WRITTEN.fullmatch(text)
    if found is None or found[1] != prefix:
        return None
    values = [_CHARSET.index(char) for char in found[2]]
    return _bytes(values[:-6]) if _checksum(_expanded(prefix) + values) == 1 else None


def _expanded(prefix: str) -> list[int]:
    return [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]


def _bytes(values: list[int]) -> str | None:
    bits = 0
    for value in values:
        bits = bits << 5 | value
    return None if bits & 15 else f"{bits >> 4:064x}"


def _checksum(values: list[int]) -> int:
    """BIP-173's polymod."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for at, generator in enumerate(_GENERATORS):
            check ^= generator if top >> at & 1 else 0
    return check
