"""The keys by which stored events are found: by id, and newest first by time, kind, author and kind, and tag.

A key is its stream's prefix, then the event's order in it: time and id, turned so that what a reader wants first is
lowest, then the record's seq. They hold numbers and hashes alone: of a tag 64 bits, of an id half, so whoever finds an
event by a key holds it against what was asked.
Invariant: of two events in a stream the newer, and of one second the one with the lower id, has the lower key
(NIP-01). This module must not know where keys stand.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct, pack
from typing import NamedTuple

from eventlog.runs import STAMP_BYTES, Shape
from gateway.limits.views import AUTHORS_CACHED_MAX, SECONDS_CACHED_MAX, TAG_KEYS_CACHED_MAX

PREFIX_BYTES = 11
TAG_BYTES = 8
_TIME_BYTES, _ID_BYTES = 7, 8
_LAST = (1 << 8 * _TIME_BYTES) - 1
_TOP = 2**63 - 1
_NUMBERS = Struct(">QQ")
_ID = Struct(">QQ16s").pack
_TIME, _KIND, _AUTHOR = 1, 2, 3
TAG, AFTER_TAG = b"\4", b"\0\0"  # what stands before and behind a tag's hash

ORDERS = Shape(PREFIX_BYTES + _TIME_BYTES + _ID_BYTES + STAMP_BYTES, PREFIX_BYTES)
IDS = Shape(_ID_BYTES + 4 + STAMP_BYTES, _ID_BYTES + 4, hashed=True)
END = b"\xff" * (_TIME_BYTES + _ID_BYTES + STAMP_BYTES)  # is below no order


class Mark(NamedTuple):
    """When an event was made, and its id's first 16 bytes as two numbers that fall as it rises.

    The greater mark is the newer version (NIP-01: at equal times the lowest id). Two ids of one mark would take 2^64
    hashes to find, and are then one event to a relay: a loss to nobody but their maker.
    """

    created: int
    tie: int
    half: int


def mark_of(created: int, event_id: str) -> Mark:
    """Give the mark of an event by its time and hex id."""
    tie, half = _NUMBERS.unpack(bytes.fromhex(event_id[:32]))
    return Mark(created, _TOP - tie, _TOP - half)


def id_of(tie: int, half: int, rest: bytes) -> bytes:
    """Put an id together from its mark's numbers and its last 16 bytes."""
    return _ID(_TOP - tie, _TOP - half, rest)


@lru_cache(TAG_KEYS_CACHED_MAX)
def tag_key(relay: int, letter: str, value: str) -> bytes:
    """Hash a tag for one relay's index; two values may meet, so rows found by it are held against the event."""
    return blake2b(f"{relay}{letter}{value}".encode(), digest_size=TAG_BYTES).digest()


def tag_keys(tags: bytes) -> set[bytes]:
    """Take apart what a row holds of its event's tags: their hashes, back to back."""
    return {tags[at : at + TAG_BYTES] for at in range(0, len(tags), TAG_BYTES)}


def of_id(half: int, relay: int) -> bytes:
    """Give the prefix of a relay's event by the second number of its mark: the first may begin with proof of work."""
    return (_TOP - half).to_bytes(_ID_BYTES, "big") + relay.to_bytes(4, "big")


def of_ids(event_ids: Iterable[str], relay: int) -> list[bytes]:
    """Give the prefixes of events by their hex ids, as `of_id` gives each."""
    behind = relay.to_bytes(4, "big")
    return [bytes.fromhex(event_id[16:32]) + behind for event_id in event_ids]


def time_line(relay: int) -> bytes:
    """Give the prefix of all of a relay's events."""
    return pack(">BI6x", _TIME, relay)


def of_kind(relay: int, kind: int) -> bytes:
    """Give the prefix of those of a kind."""
    return pack(">BIH4x", _KIND, relay, kind)


def of_author(relay: int, author: int) -> bytes:
    """Give what begins the prefixes of an author's."""
    return pack(">BII", _AUTHOR, relay, author)


def of_author_kind(relay: int, author: int, kind: int) -> bytes:
    """Give the prefix of an author's of one kind."""
    return pack(">BIIH", _AUTHOR, relay, author, kind)


def of_tag(key: bytes) -> bytes:
    """Give the prefix of those with a tag."""
    return TAG + key + AFTER_TAG


@lru_cache(AUTHORS_CACHED_MAX)
def streams(relay: int, author: int, kind: int) -> tuple[bytes, bytes, bytes]:
    """Give the prefixes that every event stands under: of its relay, its kind, its author and kind."""
    return time_line(relay), of_kind(relay, kind), of_author_kind(relay, author, kind)


@lru_cache(SECONDS_CACHED_MAX)
def from_time(created: int) -> bytes:
    """Give what the orders of all that is not younger are above."""
    return (_LAST - created).to_bytes(_TIME_BYTES, "big")


def back_to(created: int) -> bytes:
    """Give the last order of what is not older."""
    return from_time(created) + END


def seqs_of(keys: Iterable[bytes]) -> list[int]:
    """Read the seqs from keys or orders."""
    return [int.from_bytes(key[-STAMP_BYTES:], "big") for key in keys]
