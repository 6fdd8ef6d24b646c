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


def _deletes(deletion: dict[str, Any], event: dict[str, Any]) -> bool:
    if deletion["kind"] != 5 or event["kind"] == 5:
        return False
    wrapped_for = event["kind"] == 1_059 and any(tag[:2] == ["p", deletion["pubkey"]] for tag in event["tags"])
    if deletion["pubkey"] != event["pubkey"] and not wrapped_for:
        return False
    for tag in deletion["tags"]:
        if tag[:2] == ["e", event["id"]]:
            return True
        if tag[:2] == ["a", _address(event)] and event["created_at"] <= deletion["created_at"]:
            return True
    return False


def stored(arrived: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a relay holds after these events came in, in this order (NIP-01 and NIP-09)."""
    held: list[dict[str, Any]] = []
    deletions: list[dict[str, Any]] = []
    for event in arrived:
        family = _family(event)
        rivals = [old for old in held if family is not None and _family(old) == family]
        unwanted = (
            20_000 <= event["kind"] <= 29_999
            or any(old["id"] == event["id"] for old in held)
            or any(_deletes(deletion, event) for deletion in deletions)
            or any(_rank(old) < _rank(event) for old in rivals)
        )
        if unwanted:
            continue
        held = [old for old in held if old not in rivals and not _deletes(event, old)] + [event]
        deletions += [event] if event["kind"] == 5 else []
    return held


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
