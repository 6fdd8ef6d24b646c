"""Events (NIP-01): their shape, their id over the canonical form, and how a relay keeps each class of kind.

Invariant: an `Event` that `flaw` has passed is exactly what its author hashed; `stored_form` holds those seven fields
alone, so that duplicate keys, unknown keys and white space of the sender end here. Whether it was signed is the room
`gateway.nostr.signature`'s to say. This module must not know sockets, views or time.
"""

import enum
import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec

from gateway.limits.nostr import INTEGER_MAX, KIND_MAX, KINDS_KEPT, PARSED_KEYS_MAX

Seconds = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
Kind = Annotated[int, msgspec.Meta(ge=0, le=KIND_MAX)]

DELETION = 5
REPOSTS = frozenset({6, 16})
VANISH = 62
GIFT_WRAP = 1_059
AUTHENTICATION = 22_242
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # what tags are named that are indexed

_ASKING = frozenset({"expiration", "-"})

KIND_DIGITS = len(str(KIND_MAX))
_SECONDS_DIGITS = len(str(INTEGER_MAX)) - 1
_encode = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True, gc=False):
    """The seven fields of NIP-01, typed; hex lengths and the id are `flaw`'s to check."""

    id: str
    pubkey: str
    created_at: Seconds
    kind: Kind
    tags: tuple[tuple[str, ...], ...]
    content: str
    sig: str


_decoder = msgspec.json.Decoder(Event)


class Keeping(enum.Enum):
    """What a relay keeps of a kind (NIP-01, "Kinds")."""

    ALL = "regular"
    NEWEST = "replaceable: the newest of an author and kind"
    NEWEST_ADDRESSED = "addressable: the newest of an author, kind and d tag"
    NONE = "ephemeral"


@lru_cache(KINDS_KEPT)
def keeping(kind: int) -> Keeping:
    """Say how a kind is kept."""
    if kind in (0, 3) or 10_000 <= kind < 20_000:
        return Keeping.NEWEST
    if 20_000 <= kind < 30_000:
        return Keeping.NONE
    return Keeping.NEWEST_ADDRESSED if 30_000 <= kind < 40_000 else Keeping.ALL


@lru_cache(KINDS_KEPT)
def is_ephemeral(kind: int) -> bool:
    """Tell a kind of which nothing is kept."""
    return keeping(kind) is Keeping.NONE


@lru_cache(KINDS_KEPT)
def is_plain(kind: int) -> bool:
    """Tell a kind of which all is kept, and nothing but its author's own deletions or requests bars it."""
    return keeping(kind) is Keeping.ALL and kind != GIFT_WRAP


def identifier(event: Event) -> str:
    """Give the ``d`` tag of an addressable event (the first; "" where there is none), "" for every other class."""
    if keeping(event.kind) is not Keeping.NEWEST_ADDRESSED:
        return ""
    return next((tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "d"), "")


def address(value: str, pubkey: str) -> tuple[int, str] | None:
    """Read an ``a`` tag (``kind:pubkey:name``) as kind and name; None unless it names what is replaceable, of this key.

    Where a kind is not addressable the name is "", whatever stands there.
    """
    kind, _, rest = value.partition(":")
    owner, _, name = rest.partition(":")
    if owner != pubkey or not (kind.isascii() and kind.isdecimal() and len(kind) <= KIND_DIGITS):
        return None
    match keeping(int(kind)):
        case Keeping.NEWEST:
            return int(kind), ""
        case Keeping.NEWEST_ADDRESSED:
            return int(kind), name
        case _:
            return None


def is_hex_64(text: object) -> bool:
    """Tell 64 lower-case hex digits, the only form of ids and keys."""
    return isinstance(text, str) and _is_hex(text, 64)


def _is_hex(text: str, digits: int) -> bool:
    """Tell lower-case hex; there and back through bytes takes two thirds of what a regular expression does."""
    try:
        return len(text) == digits and bytes.fromhex(text).hex() == text
    except ValueError:
        return False


_is_key = lru_cache(PARSED_KEYS_MAX)(is_hex_64)  # authors come again and again


def canonical(event: Event) -> bytes:
    """Serialise what the id is the hash of (NIP-01): UTF-8 JSON without white space, the seven named escapes.

    Every other control character is written as a lower-case ``\\u00xx``, where the letter of NIP-01 says verbatim:
    every client and relay in use does so, and its JSON could not carry them otherwise.
    """
    return _encode((0, event.pubkey, event.created_at, event.kind, event.tags, event.content))


def event_id(event: Event) -> str:
    """Hash the canonical form, as lower-case hex."""
    return hashlib.sha256(canonical(event)).hexdigest()


def made(pubkey: str, kind: int, tags: Sequence[tuple[str, ...]], created_at: int, sign: Callable[[str], str]) -> Event:
    """Make an event without content; ``sign`` gives the signature of its id."""
    blank = Event("", pubkey, created_at, kind, tuple(tags), "", "")
    name = event_id(blank)
    return Event(name, pubkey, created_at, kind, blank.tags, "", sign(name))


def flaw(event: Event) -> str | None:
    """Say what is wrong with a decoded event apart from its signature, or None."""
    if event.id != event_id(event):
        return "event id does not match the SHA-256 of its canonical form"
    if not _is_key(event.pubkey):
        return "pubkey must be 64 lower-case hex digits"
    if not _is_hex(event.sig, 128):
        return "sig must be 128 lower-case hex digits"
    return None


def stored_form(event: Event) -> bytes:
    """Encode the seven fields as compact JSON: what is logged, and sent to subscribers byte for byte.

    Of an event off the wire too, whose eighth is unset: one that has it is a replication row, and never gets here.
    """
    return _encode(event)


def stored_event(raw: bytes) -> Event:
    """Decode what `stored_form` encoded."""
    return _decoder.decode(raw)


def first_value(event: Event, name: str) -> str | None:
    """Give the value of the first tag of a name; None where no such tag has one."""
    for tag in event.tags:  # a loop: a generator costs three times as much, and four tags are many
        if tag and tag[0] == name and len(tag) > 1:
            return tag[1]
    return None


def asks_something(event: Event) -> bool:
    """Whether an event has a tag that `expiration` or `is_protected` looks for: one pass, and hardly any has."""
    for tag in event.tags:  # noqa: SIM110 - a loop as in `first_value`
        if tag and tag[0] in _ASKING:
            return True
    return False


def expiration(event: Event) -> int | None:
    """Read when an event ends (NIP-40), in Unix seconds; None where it never does, or says so in no number."""
    for tag in event.tags:  # as `first_value`, without a call for each event that there is
        if tag and tag[0] == "expiration" and len(tag) > 1:
            return _seconds(tag[1])
    return None


def _seconds(value: str) -> int | None:
    if not (value.isascii() and value.isdecimal()):
        return None
    return int(value[:_SECONDS_DIGITS]) if len(value) <= _SECONDS_DIGITS else INTEGER_MAX


def is_protected(event: Event) -> bool:
    """Tell an event that only its author may publish (NIP-70): one with the tag ``["-"]``."""
    for tag in event.tags:  # noqa: SIM110 - a loop as in `first_value`
        if tag and tag[0] == "-":
            return True
    return False


def difficulty(event_id: str) -> int:
    """Count the leading zero bits of an id: the work that it proves (NIP-13)."""
    return 4 * len(event_id) - int(event_id, 16).bit_length()


def indexed_tags(event: Event) -> set[tuple[str, str]]:
    """Collect (letter, first value) of every single-letter tag: what ``#x`` filters look at."""
    return {(tag[0], tag[1]) for tag in event.tags if len(tag) > 1 and tag[0] in LETTERS}
