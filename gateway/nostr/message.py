"""Messages (NIP-01): text from a client to a typed value, and values to text for a client.

Invariant: `decode` is total: any text becomes one of `ClientMessage`, never an exception. Well-formed EVENTs take one
typed pass; only what fails it is decoded again, to tell the sender why. A replication frame is recognised here and
left as it came: its meaning is another room's. This module must not know connections or limits of configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gateway.errors import NostrRefused
from gateway.nostr.event import Event, flaw
from gateway.nostr.filter import Filter, parse_filter

NOTICE_NOT_JSON = "Invalid message payload"
NOTICE_NOT_A_FRAME = "Malformed Nostr frame"
NOTICE_NO_EVENT = "Invalid EVENT payload"
NOTICE_NO_SUBSCRIPTION = "REQ frame missing subscription id"


class WireEvent(Event, frozen=True, gc=False):
    """An event as it came in: with `relayID` it is a replication row instead (relay-and-mirror §4)."""

    relayID: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - the wire's name


class Publish(msgspec.Struct, frozen=True, gc=False):
    """EVENT: shape and id are right, the signature is not looked at yet."""

    event: Event


@dataclass(frozen=True, slots=True)
class Request:
    """REQ: any filters, any subscription id that is a string."""

    sub_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """COUNT (NIP-45): as a REQ, but a number is wanted."""

    sub_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Authenticate:
    """AUTH (NIP-42): shape and id are right, nothing is proved yet."""

    event: Event


@dataclass(frozen=True, slots=True)
class Close:
    """CLOSE."""

    sub_id: str


@dataclass(frozen=True, slots=True)
class Replication:
    """An EVENT or REQ of the replication protocol, as it came; ``sub_id`` is a REQ's, "" for an EVENT."""

    text: str
    sub_id: str


@dataclass(frozen=True, slots=True)
class NegOpen:
    """NEG-OPEN (NIP-77): compare what filters find with the sender's; ``filters`` None: rows, the mirror's to compare.

    ``text`` is the frame as it came, here and in the next two: who is meant by an id, the session knows.
    """

    sub_id: str
    filters: tuple[Filter, ...] | None
    message: bytes
    text: str


@dataclass(frozen=True, slots=True)
class NegMessage:
    """NEG-MSG: the next message of a comparison."""

    sub_id: str
    message: bytes
    text: str


@dataclass(frozen=True, slots=True)
class NegClose:
    """NEG-CLOSE: the sender knows enough."""

    sub_id: str
    text: str


@dataclass(frozen=True, slots=True)
class BadComparison:
    """A NEG-OPEN or NEG-MSG that is refused: ``["NEG-ERR", sub_id, reason]``; it ends what is open under its id."""

    sub_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BadEvent:
    """An EVENT that is refused: ``["OK", id, false, reason]``."""

    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A REQ or COUNT that is refused: ``["CLOSED", sub_id, reason]``; a subscription ends only by a REQ's."""

    sub_id: str
    reason: str
    is_count: bool = False


@dataclass(frozen=True, slots=True)
class Malformed:
    """Anything else: ``["NOTICE", notice]``."""

    notice: str


Comparing = NegOpen | NegMessage | NegClose | BadComparison
Bad = BadEvent | BadRequest | Malformed
ClientMessage = Publish | Request | Count | Authenticate | Close | Replication | Comparing | Bad

_typed = msgspec.json.Decoder(tuple[Literal["EVENT"], WireEvent])
_untyped = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_EVENT_HEAD = '["EVENT",'
_OK_HEAD = '["OK","'


def decode(text: str | bytes) -> ClientMessage:
    """Read one message; binary ones are no nostr."""
    if isinstance(text, bytes):
        return Malformed(NOTICE_NOT_JSON)
    if text.startswith(_EVENT_HEAD):
        try:
            event = _typed.decode(text)[1]
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return _slowly(text)
        if event.relayID is msgspec.UNSET:
            return _checked(event)
    return _slowly(text)


def _checked(event: Event) -> ClientMessage:
    found = flaw(event)
    return Publish(event) if found is None else BadEvent(event.id, f"invalid: {found}")


def _slowly(text: str) -> ClientMessage:
    """Decode without a type; what cannot be decoded has no id to answer to."""
    try:
        frame = _untyped.decode(text)
    except (ValueError, RecursionError):
        return Malformed(NOTICE_NOT_JSON)
    match frame:
        case [str(verb), *_] if verb in _READERS:
            return _READERS[verb](frame, text)
        case [str(verb), *_]:
            return Malformed(f"unsupported: {verb[:32]} frames are not understood here")
        case _:
            return Malformed(NOTICE_NOT_A_FRAME)


def _event(frame: list[Any], text: str) -> ClientMessage:
    fields = frame[1] if len(frame) > 1 else None
    if isinstance(fields, dict) and "relayID" in fields:
        return Replication(text, "")  # behind its row may stand options, which are the mirror's to read
    if len(frame) != 2 or not isinstance(fields, dict):
        return Malformed(NOTICE_NO_EVENT)
    return _converted(fields)


def _authenticate(frame: list[Any], _: str) -> ClientMessage:
    if len(frame) != 2 or not isinstance(frame[1], dict):
        return Malformed("AUTH frame missing its signed event")
    message = _converted(frame[1])
    return Authenticate(message.event) if isinstance(message, Publish) else message


def _converted(fields: dict[str, Any]) -> ClientMessage:
    try:
        return _checked(msgspec.convert(fields, type=Event, strict=True))
    except ValueError as error:
        if not isinstance(fields.get("id"), str):
            return Malformed(NOTICE_NO_EVENT)
        return BadEvent(fields["id"], f"invalid: {str(error).replace('`', '').replace('$', 'event')}")


def _request(frame: list[Any], text: str) -> ClientMessage:
    if len(frame) < 2 or not isinstance(frame[1], str):
        return Malformed(NOTICE_NO_SUBSCRIPTION)
    if any(isinstance(raw, dict) and ("relayID" in raw or "#relay" in raw) for raw in frame[2:]):
        return Replication(text, frame[1])
    try:
        return Request(frame[1], tuple(map(parse_filter, frame[2:])))
    except NostrRefused as refusal:
        return BadRequest(frame[1], str(refusal))


def _count(frame: list[Any], _: str) -> ClientMessage:
    if len(frame) < 2 or not isinstance(frame[1], str):
        return Malformed("COUNT frame missing subscription id")
    try:
        return Count(frame[1], tuple(map(parse_filter, frame[2:])))
    except NostrRefused as refusal:
        return BadRequest(frame[1], str(refusal), is_count=True)


def _close(frame: list[Any], _: str) -> ClientMessage:
    match frame:
        case [_, str(sub_id)]:
            return Close(sub_id)
        case _:
            return Malformed("CLOSE frame missing subscription id")


def _compare(frame: list[Any], text: str) -> ClientMessage:
    """Read a NEG-OPEN; NDK sends a list of filters, and strfry's older clients an id's size before the message."""
    match frame:
        case [_, str(sub_id), (dict() | list()) as asked, str(hexed)]:
            pass
        case [_, str(sub_id), (dict() | list()) as asked, int(), str(hexed)]:
            pass
        case [_, str(sub_id), *_]:
            return BadComparison(sub_id, "invalid: NEG-OPEN needs a filter and a message")
        case _:
            return Malformed("NEG-OPEN frame missing subscription id")
    try:
        if isinstance(asked, dict) and ("relayID" in asked or "#relay" in asked):
            return NegOpen(sub_id, None, b"", text)
        filters = tuple(map(parse_filter, asked if isinstance(asked, list) else [asked]))
        return NegOpen(sub_id, filters, _unhexed(hexed), text)
    except NostrRefused as refusal:
        return BadComparison(sub_id, str(refusal))


def _compare_on(frame: list[Any], text: str) -> ClientMessage:
    match frame:
        case [_, str(sub_id), str(hexed)]:
            pass
        case [_, str(sub_id), *_]:
            return BadComparison(sub_id, "invalid: NEG-MSG needs a message")
        case _:
            return Malformed("NEG-MSG frame missing subscription id")
    try:
        return NegMessage(sub_id, _unhexed(hexed), text)
    except NostrRefused as refusal:
        return BadComparison(sub_id, str(refusal))


def _compare_end(frame: list[Any], text: str) -> ClientMessage:
    match frame:
        case [_, str(sub_id), *_]:
            return NegClose(sub_id, text)
        case _:
            return Malformed("NEG-CLOSE frame missing subscription id")


def _unhexed(hexed: str) -> bytes:
    try:
        return bytes.fromhex(hexed)
    except ValueError:
        raise NostrRefused("invalid: the message is not hexadecimal") from None


_READERS: dict[str, Callable[[list[Any], str], ClientMessage]] = {
    "EVENT": _event,
    "REQ": _request,
    "COUNT": _count,
    "AUTH": _authenticate,
    "CLOSE": _close,
    "NEG-OPEN": _compare,
    "NEG-MSG": _compare_on,
    "NEG-CLOSE": _compare_end,
}


def ok(event_id: str, accepted: bool, reason: str = "") -> str:
    """Encode the answer to an EVENT."""
    return _encode(("OK", event_id, accepted, reason)).decode()


def ok_around(accepted: bool, reason: str) -> tuple[bytes, bytes]:
    """Give what stands in such an answer before and behind the id of an event that `decode` has passed: it is hex."""
    whole = _encode(("OK", "", accepted, reason))
    return whole[: len(_OK_HEAD)], whole[len(_OK_HEAD) :]


def eose(sub_id: str, *hints: str) -> str:
    """Encode the end of stored events; hints say whether they were all of them (NIP-67)."""
    return _encode(("EOSE", sub_id, hints) if hints else ("EOSE", sub_id)).decode()


def counted(sub_id: str, number: int, *, approximate: bool, hll: str | None) -> str:
    """Encode the answer to a COUNT; ``hll`` are HyperLogLog registers in hex."""
    more: dict[str, object] = {"approximate": True} if approximate else {}
    if hll is not None:
        more["hll"] = hll
    return _encode(("COUNT", sub_id, {"count": number, **more})).decode()


def auth(challenge: str) -> str:
    """Encode the challenge that an AUTH event answers."""
    return _encode(("AUTH", challenge)).decode()


def closed(sub_id: str, reason: str) -> str:
    """Encode a refused or ended subscription."""
    return _encode(("CLOSED", sub_id, reason)).decode()


def close(sub_id: str) -> str:
    """Encode a CLOSE, for the mirror's side of a connection."""
    return _encode(("CLOSE", sub_id)).decode()


def neg_close(sub_id: str) -> str:
    """Encode a NEG-CLOSE, for the mirror's side of a connection."""
    return _encode(("NEG-CLOSE", sub_id)).decode()


def notice(text: str) -> str:
    """Encode a sentence for people."""
    return _encode(("NOTICE", text)).decode()


def reason_of(text: str) -> str:
    """Read why an answer refuses: the last text in an OK, CLOSED, NEG-ERR or NOTICE of ours."""
    return next(part for part in reversed(_untyped.decode(text)) if isinstance(part, str))


def event_head(sub_id: str) -> str:
    """Encode what stands before an event's stored form; ``]`` goes behind it."""
    return f"{_EVENT_HEAD}{_encode(sub_id).decode()},"
