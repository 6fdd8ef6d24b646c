"""Deliberately dumb answers to hold clever code against. Nothing here shares code with what it judges."""

from collections.abc import Sequence
from typing import Any


def filter_matches(asked: dict[str, Any], event: dict[str, Any]) -> bool:
    """NIP-01's filter, read aloud."""
    for name, value in asked.items():
        if name == "ids":
            good = event["id"] in value
        elif name == "authors":
            good = event["pubkey"] in value
        elif name == "kinds":
            good = event["kind"] in value
        elif name == "since":
            good = event["created_at"] >= value
        elif name == "until":
            good = event["created_at"] <= value
        elif name == "limit":
            good = True
        else:
            firsts = [tag[1] for tag in event["tags"] if len(tag) >= 2 and tag[0] == name[1:]]
            good = any(first in value for first in firsts)
        if not good:
            return False
    return True


def _family(event: dict[str, Any]) -> tuple[Any, ...] | None:
    """What an event replaces, and is replaced by, the older ones of; None where it is kept for itself."""
    kind = event["kind"]
    if kind in (0, 3) or 10_000 <= kind <= 19_999:
        return (event["pubkey"], kind)
    if 30_000 <= kind <= 39_999:
        ds = [(tag[1] if len(tag) > 1 else None) for tag in event["tags"] if tag and tag[0] == "d"]
        named = [d for d in ds if d is not None]
        return (event["pubkey"], kind, named[0] if named else "")
    return None


def _address(event: dict[str, Any]) -> str | None:
    family = _family(event)
    return None if family is None else ":".join([str(family[1]), family[0], *(family[2:] or ("",))])


def _deleted(event: dict[str, Any], arrived: Sequence[dict[str, Any]]) -> bool:
    if event["kind"] == 5:
        return False
    for deletion in arrived:
        if deletion["kind"] == 5 and deletion["pubkey"] == event["pubkey"]:
            for tag in deletion["tags"]:
                if tag[:1] == ["e"] and tag[1:2] == [event["id"]]:
                    return True
                same = tag[:1] == ["a"] and tag[1:2] == [_address(event)]
                if same and event["created_at"] <= deletion["created_at"]:
                    return True
    return False


def stored(arrived: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a relay holds after these events came in, in any order of arrival (NIP-01 and NIP-09)."""
    held = {event["id"]: event for event in arrived if not 20_000 <= event["kind"] <= 29_999}
    alive = [event for event in held.values() if not _deleted(event, arrived)]
    result = []
    for event in alive:
        family = _family(event)
        rivals = [rival for rival in alive if family is not None and _family(rival) == family]
        if all(_rank(event) <= _rank(rival) for rival in rivals):
            result.append(event)
    return result


def _rank(event: dict[str, Any]) -> tuple[int, str]:
    return (-event["created_at"], event["id"])


def answer(
    filters: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]], limit_default: int, limit_max: int
) -> list[str]:
    """The ids that a REQ gets from stored events, in order."""
    ids: dict[str, tuple[int, str]] = {}
    for asked in filters:
        limit = min(asked.get("limit", limit_default), limit_max)
        for event in sorted((event for event in events if filter_matches(asked, event)), key=_rank)[:limit]:
            ids[event["id"]] = _rank(event)
    return sorted(ids, key=lambda key: ids[key])
