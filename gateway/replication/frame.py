"""Frames of the replication protocol: text from a client to a typed value, and values to text.

Invariant: `decode` is total: any message becomes one of `ClientFrame`, never an exception; an EVENT's object keeps the
bytes in which it came. This module must not know tokens, relays or connections.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

NOT_JSON = "Invalid message payload"
NOT_A_FRAME = "Malformed Nostr frame"
NO_EVENT = "Invalid EVENT payload"
INCOMPLETE = {
    "REQ": "REQ frame missing subscription id",
    "CLOSE": "CLOSE frame missing subscription id",
    "AUTH": "AUTH frame missing its token",
}
TOKEN_REQUIRED = "auth token required for replication"  # noqa: S105 - a sentence, not a secret
FILTERS_REQUIRED = "replication filters required on replication channel"
EVENT_ON_OPEN = "replication token missing; event accepted on open relay"
REQ_ON_OPEN = "replication token missing; REQ accepted on open relay"
VERB_CHARS_MAX = 32


class Publish(msgspec.Struct, frozen=True):
    """EVENT with an object; ``text`` is the object's JSON as sent. ``receipts``: its OK is to say where it stands."""

    fields: dict[str, Any]
    text: bytes
    receipts: bool = False


@dataclass(frozen=True, slots=True)
class PublishMany:
    """EVENTS: rows to be answered together. What is no object in the list is None."""

    rows: tuple[Publish | None, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """REQ with a subscription id that is a string; filters are not looked at yet."""

    sub_id: str
    filters: list[Any]


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE."""

    sub_id: str


@dataclass(frozen=True, slots=True)
class NegOpen:
    """NEG-OPEN: begin to compare a filter's rows with the sender's (NIP-77); ``message`` as hex, not looked at yet."""

    sub_id: str
    filter: object
    message: str


@dataclass(frozen=True, slots=True)
class NegMessage:
    """NEG-MSG: the next message of a comparison."""

    sub_id: str
    message: str


@dataclass(frozen=True, slots=True)
class NegClose:
    """NEG-CLOSE: the sender knows enough."""

    sub_id: str


@dataclass(frozen=True, slots=True)
class Renewal:
    """AUTH with a token that is to take the place of the session's."""

    token: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """Anything else; ``notice`` says what is wrong."""

    notice: str


Comparing = NegOpen | NegMessage | NegClose
ClientFrame = Publish | PublishMany | Request | Close | Comparing | Renewal | Malformed

_frame = msgspec.json.Decoder(list[msgspec.Raw])
_value = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


def decode(message: str | bytes) -> ClientFrame:
    """Read one message; binary ones are refused."""
    if isinstance(message, bytes):
        return Malformed(NOT_JSON)
    try:
        parts = _frame.decode(message)
        values = [_value.decode(part) for part in parts]
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return Malformed(NOT_A_FRAME if _is_json(message) else NOT_JSON)
    return _typed(values, parts)


def _is_json(message: str) -> bool:
    """Tell JSON that is no array from what is no JSON: the array's decoder stops at the first character of both."""
    try:
        _value.decode(message)
    except (ValueError, RecursionError):
        return False
    return True


def _typed(values: list[Any], parts: list[msgspec.Raw]) -> ClientFrame:
    match values:
        case ["EVENT" | "EVENTS", *_]:
            return _publishing(values, parts)
        case ["REQ", str(sub_id), *filters] if sub_id:
            return Request(sub_id, filters)
        case ["CLOSE", str(sub_id)]:
            return Close(sub_id)
        case ["NEG-OPEN" | "NEG-MSG" | "NEG-CLOSE", str(sub_id), *_] if sub_id:
            return _comparing(values)
        case ["AUTH", str(token)]:
            return Renewal(token)
        case ["REQ" | "CLOSE" | "AUTH" as verb, *_]:
            return Malformed(INCOMPLETE[verb])
        case [str(verb), *_]:
            return Malformed(f"unsupported: {verb[:VERB_CHARS_MAX]} frames are not understood here")
        case _:
            return Malformed(NOT_A_FRAME)


def _publishing(values: list[Any], parts: list[msgspec.Raw]) -> ClientFrame:
    match values:
        case ["EVENT", dict(fields), *options]:
            return Publish(fields, bytes(parts[1]), _wants_receipts(options))
        case ["EVENTS", list(rows), *options]:
            return _many(rows, parts[1], receipts=_wants_receipts(options))
        case _:
            return Malformed(NO_EVENT)


def _comparing(values: list[Any]) -> Comparing | Malformed:
    match values:
        case ["NEG-OPEN", sub_id, fields, str(message)]:
            return NegOpen(sub_id, fields, message)
        case ["NEG-MSG", sub_id, str(message)]:
            return NegMessage(sub_id, message)
        case ["NEG-CLOSE", sub_id]:
            return NegClose(sub_id)
        case _:
            return Malformed(NOT_A_FRAME)


def _many(rows: list[Any], text: msgspec.Raw, *, receipts: bool) -> PublishMany:
    """Give each object the bytes in which it came."""
    return PublishMany(
        tuple(
            Publish(fields, bytes(raw), receipts) if isinstance(fields, dict) else None
            for fields, raw in zip(rows, _frame.decode(text), strict=True)
        )
    )


def _wants_receipts(options: list[Any]) -> bool:
    """Read what a client of ours puts behind the row; whatever else is there was never looked at."""
    return bool(options) and isinstance(options[0], dict) and options[0].get("receipts") is True


def ok(row_id: str | None, accepted: bool, reason: str, receipt: Mapping[str, object] | None = None) -> str:
    """Encode the answer to an EVENT, with a receipt where one was asked for."""
    tail = () if receipt is None else (receipt,)
    return _encode(("OK", row_id, accepted, reason, *tail)).decode()


def oks(entries: Sequence[Sequence[object]]) -> str:
    """Encode the answer to EVENTS: ``[id, accepted, reason]`` for each row in its order, a receipt behind it."""
    return _encode(("OKS", entries)).decode()


def eose(sub_id: str, cursor: str | None = None, *, more: bool = False) -> str:
    """Encode the end of stored rows, with the cursor behind them; ``more``: the limit cut them, no live ones come."""
    if cursor is None:
        return _encode(("EOSE", sub_id)).decode()
    return _encode(("EOSE", sub_id, {"cursor": cursor, "more": True} if more else {"cursor": cursor})).decode()


def closed(sub_id: str, reason: str) -> str:
    """Encode a refused subscription."""
    return _encode(("CLOSED", sub_id, reason)).decode()


def notice(text: str) -> str:
    """Encode a sentence; old clients read these alone."""
    return _encode(("NOTICE", text)).decode()


def revoked(reason: str, sequence: int) -> str:
    """Encode what a session hears before its token's revocation closes it."""
    return _encode(("TOKEN", "REVOKED", {"reason": reason, "sequence": sequence})).decode()


def renewed(expires_ms: int) -> str:
    """Encode the answer to a token that was accepted on an open session."""
    return _encode(("TOKEN", "RENEWED", {"expiresAt": expires_ms})).decode()


def row_event(sub_id: str, row: bytes, cursor: str | None = None) -> str:
    """Wrap a row, as it was sent, for a subscriber, with the cursor behind it where it asked by cursor."""
    return f'["EVENT",{_encode(sub_id).decode()},{row.decode()}{_tail(cursor)}'


def row_events(sub_id: str, rows: Sequence[bytes], cursor: str | None) -> str:
    """Wrap rows, each as it was sent, as one batch, with the cursor behind the last of them."""
    return f'["EVENTS",{_encode(sub_id).decode()},[{b",".join(rows).decode()}]{_tail(cursor)}'


def _tail(cursor: str | None) -> str:
    return "]" if cursor is None else f',{{"cursor":"{cursor}"}}]'  # a cursor is plain ASCII without quotes
