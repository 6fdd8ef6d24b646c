"""Filters (NIP-01): parsed once into sets, then matched against events.

Invariant: `Filter.matches` is the meaning of a filter; every index (live or stored) only narrows what it is asked of.
Fields are joined by AND, values inside a field and the filters of a REQ by OR. An empty list matches nothing.
This module must not know subscriptions or storage.
"""

import msgspec

from gateway.errors import NostrRefused
from gateway.limits.nostr import INTEGER_MAX, KIND_MAX
from gateway.nostr.event import Event, indexed_tags, is_hex_64
from gateway.nostr.search import score, terms_of

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX_LETTERS = frozenset("ep")


class Filter(msgspec.Struct, frozen=True):
    """What one filter asks; None where a field is absent. ``tags`` pairs a letter with the values that will do."""

    ids: frozenset[str] | None = None
    authors: frozenset[str] | None = None
    kinds: frozenset[int] | None = None
    tags: tuple[tuple[str, frozenset[str]], ...] = ()
    since: int | None = None
    until: int | None = None
    limit: int | None = None
    search: tuple[str, ...] | None = None  # the words of a search (NIP-50)

    @property
    def value_count(self) -> int:
        """Count the values that are listed: what the filter costs to keep. One that lists none counts as one."""
        lists = (self.ids or (), self.authors or (), self.kinds or (), *(values for _, values in self.tags))
        return max(1, sum(map(len, lists)))

    def matches(self, event: Event, tags: set[tuple[str, str]] | None = None) -> bool:
        """Tell whether the event is asked for; ``tags`` are its `indexed_tags` where the caller has them already."""
        if self.ids is not None and event.id not in self.ids:
            return False
        if self.authors is not None and event.pubkey not in self.authors:
            return False
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if not self.in_time(event.created_at) or (self.search is not None and not score(self.search, event.content)):
            return False
        return not self.tags or self.has_tags(indexed_tags(event) if tags is None else tags)

    def in_time(self, created_at: int) -> bool:
        """Check since and until, both inclusive."""
        return (self.since is None or created_at >= self.since) and (self.until is None or created_at <= self.until)

    def has_tags(self, held: set[tuple[str, str]]) -> bool:
        """Check that each tag field has one of its values among the event's tags."""
        # Over the event's tags, not the filter's values: a filter may hold thousands, an event has a few.
        return all(any(letter == name and value in values for letter, value in held) for name, values in self.tags)


def parse_filter(raw: object) -> Filter:
    """Turn decoded JSON into a filter; raises NostrRefused with the reason for CLOSED."""
    if not isinstance(raw, dict):
        raise NostrRefused("invalid: a filter must be an object")
    fields: dict[str, object] = {}
    tags: list[tuple[str, frozenset[str]]] = []
    for name, value in raw.items():
        if name in ("ids", "authors"):
            fields[name] = _hex_values(name, value)
        elif name == "kinds":
            fields[name] = _kinds(value)
        elif name in ("since", "until", "limit"):
            fields[name] = _integer(name, value)
        elif name == "search":
            fields[name] = _search(value)
        elif len(name) == 2 and name[0] == "#" and name[1] in _LETTERS:
            tags.append((name[1], _tag_values(name, value)))
        else:
            # Leaving out what we do not understand would answer another question than was asked.
            raise NostrRefused("unsupported: filter contains unknown elements")
    return msgspec.convert({**fields, "tags": tuple(sorted(tags, key=lambda tag: tag[0]))}, type=Filter, strict=True)


def _list(name: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise NostrRefused(f"invalid: {name} must be a list")
    return value


def _hex_values(name: str, value: object) -> frozenset[str]:
    values = _list(name, value)
    if not all(map(is_hex_64, values)):
        raise NostrRefused(f"invalid: {name} must hold 64 lower-case hex digits each")
    return frozenset(map(str, values))


def _tag_values(name: str, value: object) -> frozenset[str]:
    if name[1] in _HEX_LETTERS:
        return _hex_values(name, value)
    values = _list(name, value)
    if not all(isinstance(item, str) for item in values):
        raise NostrRefused(f"invalid: {name} must hold strings")
    return frozenset(map(str, values))


def _kinds(value: object) -> frozenset[int]:
    kinds = [kind for kind in _list("kinds", value) if isinstance(kind, int) and not isinstance(kind, bool)]
    if len(kinds) != len(_list("kinds", value)) or not all(0 <= kind <= KIND_MAX for kind in kinds):
        raise NostrRefused(f"invalid: kinds must hold integers from 0 to {KIND_MAX}")
    return frozenset(kinds)


def _search(value: object) -> tuple[str, ...]:
    if not isinstance(value, str):
        raise NostrRefused("invalid: search must be a string")
    return terms_of(value)


def _integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= INTEGER_MAX:
        raise NostrRefused(f"invalid: {name} must be an integer from 0 to 2^53 - 1")
    return value
