"""Rows: the replication EVENT's object, checked, and kept exactly as it was sent (relay-and-mirror §4).

Invariant: a `Row` has passed every check but that of its relay; its bytes are those that came. It is not a nostr
event: the id belongs to the event inside ``eventData``, so nothing here can verify it.
This module must not know tokens, subscriptions or the log.
"""

import binascii
import hashlib
import re
from typing import Any

import msgspec

from gateway.facts import RowStored

HEX_64 = re.compile(r"[0-9a-f]{64}")
CREATED_MAX = 2**53


class RowInvalid(Exception):
    """The object is no row: ``reason`` is the OK's text (``invalid-event-id`` or ``invalid-event: …``)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row; ids in hex. ``body_hash`` is equal for equal objects, however they were spelled."""

    id: str
    relay_id: str
    kind: int
    created_at: int
    text: bytes
    body_hash: bytes
    signed: bool  # has ``sig`` or ``pubkey``: must also hold as a NIP-01 event


def stored(row: Row, relay_key: str, writer: str, *, is_open: bool) -> RowStored:
    """Turn a row into the fact that it was stored in a relay's namespace."""
    return RowStored(
        relay_key=relay_key,
        relay_id=bytes.fromhex(row.relay_id),
        row_id=bytes.fromhex(row.id),
        row_kind=row.kind,
        created_at=row.created_at,
        body_hash=row.body_hash,
        is_open=is_open,
        writer=writer,
        row=row.text,
    )


def row_of(fields: dict[str, Any], text: bytes) -> Row:
    """Check a decoded object; ``text`` is its JSON as sent. RowInvalid with the first thing that is wrong."""
    # Spelled out, since thousands of rows a second pass here: a call for each check would cost as much as the checks.
    row_id, relay_id = fields.get("id"), fields.get("relayID")
    if not (isinstance(row_id, str) and HEX_64.fullmatch(row_id)):
        raise RowInvalid("invalid-event-id")
    if not (isinstance(relay_id, str) and HEX_64.fullmatch(relay_id)):
        raise RowInvalid("invalid-event: relayID must be 64 lower-case hexadecimal characters")
    kind, created_at = fields.get("kind"), fields.get("created_at")
    if not (type(kind) is int and 0 <= kind <= 65_535):
        raise RowInvalid("invalid-event: kind must be 0 to 65535")
    if not (type(created_at) is int and 0 <= created_at < CREATED_MAX):
        raise RowInvalid("invalid-event: created_at must be seconds since 1970, a whole number below 2^53")
    if not _base64(fields.get("eventData")):
        raise RowInvalid("invalid-event: eventData must be standard base64 with padding")
    for key in ("fileKey", "driveKey"):
        if not isinstance(fields.get(key, ""), str):
            raise RowInvalid(f"invalid-event: {key} must be a string")
    return Row(
        id=row_id,
        relay_id=relay_id,
        kind=kind,
        created_at=created_at,
        text=text,
        body_hash=hashlib.sha256(_one_spelling(fields)).digest(),
        signed="pubkey" in fields or "sig" in fields,
    )


def _one_spelling(fields: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields, order="sorted")
    except (RecursionError, ValueError, OverflowError) as error:
        # What could just be decoded may not be encoded: the stack is deeper here.
        raise RowInvalid("invalid-event: nested too deeply, or a number is out of range") from error


def _base64(value: object) -> bool:
    if not isinstance(value, str) or not value or len(value) % 4:
        return False
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:  # binascii.Error, and non-ASCII
        return False
    return True
