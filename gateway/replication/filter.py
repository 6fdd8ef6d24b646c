"""Replication filters: ``relayID`` or ``#relay``, then ``ids``, ``kinds``, times, ``limit``, ``after``, ``batch``.

Invariant: a filter matches a stored row exactly where it matches the same row live; times are inclusive at both ends.
Rows have no authors and no tags, so a filter that asks for some matches nothing. ``after`` and ``batch`` say how rows
come, not which. This module must not know sockets, nor what a cursor says.
"""

import re
from dataclasses import dataclass
from typing import Any

from gateway.facts import RowStored
from gateway.limits.mirror import CURSOR_CHARS_MAX, REPLICATION_VALUES_MAX
from gateway.limits.nostr import KIND_MAX

HEX_64 = re.compile(r"[0-9a-f]{64}")


class FilterInvalid(Exception):
    """The object is no replication filter; the text says why."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked filter; ids as their 32 bytes, None: any. ``limit``: how many of the newest stored rows are wanted."""

    relay_ids: frozenset[bytes]
    ids: frozenset[bytes] | None
    kinds: frozenset[int] | None
    since: int | None
    until: int | None
    limit: int
    nothing: bool = False  # asks for what rows do not have
    after: str | None = None  # a cursor: oldest first from there, ``page`` rows at most; "": from the start
    page: int | None = None
    batch: bool = False

    @property
    def takes_all(self) -> bool:
        """Tell whether every row of its relayIDs is asked for."""
        narrowings: tuple[object, ...] = (self.ids, self.kinds, self.since, self.until)
        return not self.nothing and all(each is None for each in narrowings)

    @property
    def value_count(self) -> int:
        """How many values the filter keeps in memory."""
        return len(self.relay_ids) + len(self.ids or ()) + len(self.kinds or ())

    def matches(self, row: RowStored) -> bool:
        """Tell whether a row is asked for (``limit`` aside)."""
        return (
            not self.nothing
            and row.relay_id in self.relay_ids
            and (self.ids is None or row.row_id in self.ids)
            and (self.kinds is None or row.row_kind in self.kinds)
            and (self.since is None or row.created_at >= self.since)
            and (self.until is None or row.created_at <= self.until)
        )


def is_replication(fields: object) -> bool:
    """Tell whether a filter names relayIDs: a non-empty string or list, under either key."""
    return isinstance(fields, dict) and bool(fields.get("relayID") or fields.get("#relay"))


def filter_of(fields: dict[str, Any], *, limit_default: int, limit_max: int) -> Filter:
    """Check a decoded filter that names relayIDs; FilterInvalid else."""
    limit = _whole(fields, "limit")
    kinds = _values(fields, "kinds")
    if kinds is not None and not all(type(kind) is int and 0 <= kind <= KIND_MAX for kind in kinds):
        raise FilterInvalid(f"kinds must be whole numbers from 0 to {KIND_MAX}")
    after, batch = fields.get("after"), fields.get("batch")
    if after is not None and (not isinstance(after, str) or len(after) > CURSOR_CHARS_MAX):
        raise FilterInvalid(f"after must be a string of at most {CURSOR_CHARS_MAX} characters")
    if batch is not None and not isinstance(batch, bool):
        raise FilterInvalid("batch must be true or false")
    return Filter(
        relay_ids=_relay_ids(fields),
        ids=_hexes(fields, "ids"),
        kinds=None if kinds is None else frozenset(kinds),
        since=_whole(fields, "since"),
        until=_whole(fields, "until"),
        limit=limit_default if limit is None else min(limit, limit_max),
        nothing=any(key in ("authors", "search") or (key[:1] == "#" and key != "#relay") for key in fields),
        after=after,
        page=limit if after is not None else None,
        batch=batch is True,
    )


def _relay_ids(fields: dict[str, Any]) -> frozenset[bytes]:
    """Both keys given: what both name."""
    found = []
    for key in ("relayID", "#relay"):
        value = fields.get(key)
        if value:
            found.append(_hexes({key: [value] if isinstance(value, str) else value}, key) or frozenset())
    return frozenset.intersection(*found)


def _values(fields: dict[str, Any], key: str) -> list[Any] | None:
    values = fields.get(key)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) > REPLICATION_VALUES_MAX:
        raise FilterInvalid(f"{key} must be a list of at most {REPLICATION_VALUES_MAX}")
    return values


def _hexes(fields: dict[str, Any], key: str) -> frozenset[bytes] | None:
    values = _values(fields, key)
    if values is not None and not all(isinstance(value, str) and HEX_64.fullmatch(value) for value in values):
        raise FilterInvalid(f"{key} must be 64 lower-case hexadecimal characters")
    return None if values is None else frozenset(map(bytes.fromhex, values))


def _whole(fields: dict[str, Any], key: str) -> int | None:
    value = fields.get(key)
    if value is not None and (type(value) is not int or not 0 <= value < 2**63):
        raise FilterInvalid(f"{key} must be a whole number")
    return value
