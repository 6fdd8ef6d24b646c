"""Damage valid inputs: one seed, one base, as many different inputs as are wanted, the same ones every time.

Half of the damage is blind (bits, cuts, splices), half knows what tokens look like: a number becomes a string, a member
is doubled, a value is nested a thousand deep. It works on bytes, whatever the format: tokens of JSON, TOML and HTTP
look alike. This module must not know what is fuzzed.
"""

import re
from collections.abc import Iterator
from random import Random

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[A-Za-z0-9_+./%-]+')
MEMBER = re.compile(rb'"[^"]*":(?:"(?:[^"\\]|\\.)*"|[^",{}\[\]]+)')
DEPTH = 3_000  # beyond Python's recursion limit, which is what a naive parser falls over
LONG = 5_000
VALUES = (
    b"null", b"true", b"false", b"0", b"-0", b"-0.0", b"-1", b"1", b"1.5", b"1e400", b"-1e400", b"1e-400", b"1E5",
    b"0.1e1", b"01", b"+1", b"0x10", b"1_000", b"NaN", b"Infinity", b"65536", b"4294967296", b"9007199254740992",
    b"9007199254740993", b"9223372036854775808", b"18446744073709551616", b"1700000000.0", b"9" * LONG,
    b'""', b'" "', b'"0"', b'"null"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\\n"', b'"\xed\xa0\x80"',
    b'"\xff"', b'"\x00"', b'"\x7f"', b'"%00"', b'"../../etc/passwd"', b'"' + b"a" * LONG + b'"',
    '"\u202e\ufeff"'.encode(), '"\u0130\u1e9e\u00df"'.encode(), '"\U0001f600"'.encode(), '"\u0661\u0662"'.encode(),
    b"[]", b"{}", b"[[]]", b"[null]", b'{"a":1,"a":2}', b'{"":""}', b'{"__proto__":{}}', b"[" * DEPTH, b'{"a":' * DEPTH,
    b"[" * DEPTH + b"]" * DEPTH, b"[" + b"0," * LONG + b"0]", b"{" + b'"k":1,' * 500 + b'"z":1}',
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r\n", b"\n",
    b"\r", b" ", b"\t", b'"', b"\\", b"'", b",", b":", b"[", b"]", b"{", b"}", b"%", b"%2", b"%00", b"%ff", b"#", b"?",
    b";", b"=", b"-", b".", b"..", b"//", b"\x7f", b"\x1b", b"\xc2\x85", b"\xe2\x80\xa8", b"\x80", b"\x9f", b"\xbf",
    b"\xd8\x1c", b"\xf9\x7e\x00", b"\xfb", b"\x5f", b"\xc2\x41", b"\xd9\x01\x02", b"\x1b" + b"\xff" * 8,
    b"\x3b" + b"\xff" * 8, b"\x5b" + b"\xff" * 8, b"\x9b" + b"\x7f" * 8,
)  # fmt: skip


class Mutator:
    """An endless supply of damaged copies of ``base``, the same for the same ``seed``; ``others`` are spliced in."""

    def __init__(self, base: bytes, seed: int, others: tuple[bytes, ...] = ()) -> None:
        self._base, self._rng, self._others = base, Random(seed), others or (base,)
        self._tokens = [found.span() for found in TOKEN.finditer(base)]
        self._members = [found.span() for found in MEMBER.finditer(base)]

    def take(self, count: int) -> Iterator[bytes]:
        """Give so many inputs; the first is the base itself."""
        yield self._base
        for _ in range(count - 1):
            yield self.one()

    def one(self) -> bytes:
        """Give the next input."""
        dice = self._rng.random()
        if dice < 0.03:
            return self._rng.randbytes(self._below(64))
        data = self._by_token() if self._tokens and dice < 0.6 else self._by_byte(self._base)
        while self._rng.random() < 0.35:
            data = self._by_byte(data)
        return data

    def _below(self, count: int) -> int:
        return int(self._rng.random() * count)

    def _any(self, choices: tuple[bytes, ...]) -> bytes:
        return choices[self._below(len(choices))]

    def _span(self) -> tuple[int, int]:
        return self._tokens[self._below(len(self._tokens))]

    def _by_token(self) -> bytes:
        """Replace, swap, nest, double or drop something that has a meaning."""
        base, (start, end), dice = self._base, self._span(), self._rng.random()
        if dice < 0.55:
            return base[:start] + self._any(VALUES) + base[end:]
        if dice < 0.7:
            from_, to = self._span()
            return base[:start] + base[from_:to] + base[end:]
        if dice < 0.85 and self._members:
            from_, to = self._members[self._below(len(self._members))]
            member, behind = base[from_:to], b"," * (self._rng.random() < 0.95)
            if self._rng.random() < 0.5:
                return base[:from_] + member + behind + base[from_:]
            return base[:from_] + base[to + 1 :]
        if dice < 0.9:
            depth = self._below(40)
            return base[:start] + b"[" * depth + base[start:end] + b"]" * depth + base[end:]
        return base[:start] + base[end:]

    def _by_byte(self, data: bytes) -> bytes:
        """Flip, cut, repeat or splice without knowing what is there."""
        at, dice = self._below(len(data) + 1), self._rng.random()
        if dice < 0.3 and at < len(data):
            return data[:at] + bytes((data[at] ^ (1 << self._below(8)),)) + data[at + 1 :]
        if dice < 0.4 and at < len(data):
            return data[:at] + bytes((self._below(256),)) + data[at + 1 :]
        if dice < 0.6:
            return data[:at] + self._any(BYTES) + data[at + self._below(2) :]
        if dice < 0.7:
            return data[:at]
        if dice < 0.8:
            return data[:at] + data[at + self._below(16) :]
        if dice < 0.9:
            piece = data[at : at + self._below(64)]
            return data[:at] + piece * self._below(5) + data[at:]
        other = self._any(self._others)
        start = self._below(len(other) + 1)
        return data[:at] + other[start : start + self._below(200)] + data[at:]
