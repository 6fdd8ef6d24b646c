"""Inquiries: an instance asks for its own tenant's usage, limits and dead devices (``GET /push/tenant``).

The query is an envelope like a registration's, each field once and a string: ``action`` is ``tenant``, then
``instance``, ``issuedAt``, ``expiresAt``, ``nonce``, and if wanted ``since``, ``after``, ``limit``. X-Push-Signature
covers the canonical JSON of all of them. Its action keeps it apart from what the same key signs elsewhere: a
registration's is another, an event has none. Must not know keys, tenants or who asked before.
"""

import re
from collections.abc import Sequence

from gateway.errors import PushRefused
from gateway.limits.tenants import DEAD_PAGE_MAX
from gateway.push.canonical import canonical
from gateway.push.envelope import UUID, Envelope, judge_lifetime
from gateway.push.instant import instant_ms

ACTION = "tenant"
FIELDS = frozenset(("action", "instance", "issuedAt", "expiresAt", "nonce", "since", "after", "limit"))
_COUNT = re.compile(r"[0-9]{1,15}", re.ASCII)


class Inquiry(Envelope, frozen=True, gc=False):
    """What is asked: dead devices since a time (ms since 1970), behind a seq, at most so many."""

    expires_ms: int
    issued_ms: int
    nonce: str
    since_ms: int
    after_seq: int
    limit: int


def inquiry(pairs: Sequence[tuple[str, str]], header: str, now_ms: int) -> Inquiry:
    """Read the query's pairs; ``header`` is X-Push-Signature. Raise PushRefused 400 or 401."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise PushRefused(400, "duplicate-key", f"{name} is given twice.")
        fields[name] = value
    unknown = sorted(fields.keys() - FIELDS)
    if unknown:
        raise PushRefused(400, "invalid-field", "The query has a field that this gateway does not know.")
    if _needed(fields, "action") != ACTION:
        raise PushRefused(400, "invalid-field", f"action is not {ACTION}.")
    nonce = _needed(fields, "nonce")
    if not UUID.fullmatch(nonce):
        raise PushRefused(400, "invalid-field", "nonce is not a UUID.")
    read = Inquiry(
        names=(_needed(fields, "instance"),),
        user="",
        signature=header,
        canonical=canonical(fields),
        body=b"",
        issued_ms=instant_ms(_needed(fields, "issuedAt"), "issuedAt"),
        expires_ms=instant_ms(_needed(fields, "expiresAt"), "expiresAt"),
        nonce=nonce.lower(),
        since_ms=instant_ms(fields["since"], "since", loose=True) if "since" in fields else 0,
        after_seq=_count(fields, "after", -1),
        limit=min(_count(fields, "limit", DEAD_PAGE_MAX), DEAD_PAGE_MAX),
    )
    judge_lifetime(read.issued_ms, read.expires_ms, now_ms)
    return read


def _needed(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise PushRefused(400, "missing-field", f"{name} is missing.")
    return fields[name]


def _count(fields: dict[str, str], name: str, default: int) -> int:
    if name not in fields:
        return default
    if not _COUNT.fullmatch(fields[name]):
        raise PushRefused(400, "invalid-field", f"{name} is not a number.")
    return int(fields[name])
