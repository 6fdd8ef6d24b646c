"""Every kind of record that the gateway ever appends, past tense, in one file, with versions and upcasters.

A fact is a frozen struct; its payload is a CBOR array of the fields in order (never a map: fixed order encodes and
decodes three times as fast), behind a 16-byte random salt where the fact is personal (so that a commitment left after
erasure reveals nothing). Fields are only ever appended together with a new schema number and an upcaster.
Invariant: an unknown kind or schema stops a replay with a clear error, never skips; what any release ever wrote is read
for ever, an older schema through its upcasters. Nothing here knows views or I/O.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import cbor2
import msgspec

from eventlog.chronicle import ENTRIES
from eventlog.record import Draft, Record, bytes_head
from gateway.limits.views import FACTS_KEPT_MAX, OUTCOMES_KEPT_MAX, SPELLED_KEPT_MAX

SALT_BYTES = 16


class FactUnknown(Exception):
    """The log holds a kind, a schema or a payload that this release does not know: a newer one wrote it, or nobody."""


class Fact(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What all facts share: a kind, a schema number, and whether the payload is personal (salted, erasable)."""

    kind: ClassVar[str]
    schema: ClassVar[int] = 1
    personal: ClassVar[bool] = False


# -- push (push.md §3–5) --------------------------------------------------------------------------------------------


class Registered(Fact, frozen=True, array_like=True):
    """A device was registered by a signed envelope; the fold decides whether an older one is superseded."""

    kind: ClassVar[str] = "push.registered"
    personal: ClassVar[bool] = True
    tenant: str
    user: str
    target: str
    target_kind: str  # "token" | "fid" | "webpush" | "unifiedpush" | "apns"
    platform: str
    app_id: str
    issued_ms: int
    expires_ms: int
    nonce: str
    devices_max: int  # the limit in force, so that a replay evicts the same devices
    digest: bytes  # SHA-256 of the signed bytes: tells a repeat from another envelope with the same nonce
    signature: str
    body: bytes  # as it arrived


class Deregistered(Fact, frozen=True, array_like=True):
    """A device was deregistered by a signed envelope."""

    kind: ClassVar[str] = "push.deregistered"
    personal: ClassVar[bool] = True
    tenant: str
    user: str
    target: str
    target_kind: str
    issued_ms: int
    expires_ms: int
    nonce: str
    digest: bytes
    signature: str
    body: bytes


class PushTarget(msgspec.Struct, frozen=True, array_like=True):
    """One device that a notification goes to, as it was when the notification was accepted."""

    target: str
    target_kind: str
    app_id: str
    project: str


class Accepted(Fact, frozen=True, array_like=True):
    """A notification was accepted for these targets; what is accepted and not settled is still to do."""

    kind: ClassVar[str] = "push.accepted"
    personal: ClassVar[bool] = True
    tenant: str
    user: str
    notification_id: str
    created_ms: int | None
    forget_ms: int | None  # when its id may be forgotten: a repeat would be stale by then; None = never
    expires_ms: int
    targets: tuple[PushTarget, ...]
    signature: str
    body: bytes


class Answered(Fact, frozen=True, array_like=True):
    """The sender was answered before all targets were settled; a repeat is told the same figures."""

    kind: ClassVar[str] = "push.answered"
    accepted_seq: int
    delivered: int
    queued: int


class Deferred(Fact, frozen=True, array_like=True):
    """An attempt failed in a way that passes; the next is not before ``not_before_ms``."""

    kind: ClassVar[str] = "push.deferred"
    accepted_seq: int
    index: int
    attempt: int
    not_before_ms: int
    reason: str


class Settled(Fact, frozen=True, array_like=True):
    """One target of an accepted notification is done with: outcome delivered | failed | expired | removed."""

    kind: ClassVar[str] = "push.settled"
    accepted_seq: int
    index: int
    outcome: str
    reason: str


class Removed(Fact, frozen=True, array_like=True):
    """FCM said that a device is gone."""

    kind: ClassVar[str] = "push.removed"
    personal: ClassVar[bool] = True
    tenant: str
    user: str
    target: str
    target_kind: str
    reason: str


class Published(Fact, frozen=True, array_like=True):
    """An instance's document was fetched, verified a request, and is news: other keys, or old ones some hours later.

    Public data; keys are SPKI DER. Where its server cannot be reached later, also after a restart, this one serves.
    """

    kind: ClassVar[str] = "instance.published"
    domain: str
    registration_key: bytes
    webhook_key: bytes
    tenant: str | None
    fetched_ms: int


class Revoked(Fact, frozen=True, array_like=True):
    """An instance's document stands no more: ``reason`` gone (its server has none) or invalid (no key in it)."""

    kind: ClassVar[str] = "instance.revoked"
    domain: str
    reason: str


# -- relays and tokens (relay-and-mirror.md §1–2) ---------------------------------------------------------------------


class RelayRegistered(Fact, frozen=True, array_like=True):
    """A worker registered or renewed a relay; ``registration`` is the signed object as JSON, as it arrived."""

    kind: ClassVar[str] = "relay.registered"
    worker: str
    relay_key: str
    nonce: str
    issued_ms: int
    received_ms: int
    registration: bytes


class RelayUnregistered(Fact, frozen=True, array_like=True):
    """A worker took its relay away."""

    kind: ClassVar[str] = "relay.unregistered"
    worker: str
    relay_key: str
    nonce: str | None
    nonce_issued_ms: int | None


class TokenIssued(Fact, frozen=True, array_like=True):
    """A pair of tokens was issued or refreshed; claims and hashes only, never a usable token or relayAuthToken."""

    kind: ClassVar[str] = "token.issued"
    personal: ClassVar[bool] = True
    worker: str
    relay_key: str
    pubkey: str | None
    scope: str
    sequence: int
    issued_ms: int
    expires_ms: int
    token_hash: bytes
    replication_token_hash: bytes
    refreshed_hash: bytes | None  # the token that was refreshed
    nonce: str | None
    nonce_issued_ms: int | None


class TokenRevoked(Fact, frozen=True, array_like=True):
    """The tokens of a subject, or of a whole relay (``pubkey`` None), were revoked."""

    kind: ClassVar[str] = "token.revoked"
    personal: ClassVar[bool] = True
    worker: str
    relay_key: str
    pubkey: str | None
    sequence: int
    revoked_ms: int
    reason: str
    nonce: str | None
    nonce_issued_ms: int | None


# -- replication rows and nostr events -------------------------------------------------------------------------------


class RowStored(Fact, frozen=True, array_like=True):
    """A replication EVENT was stored in a relay's namespace; ``row`` is the object as sent, always last.

    What rows are found by stands beside it, so that a fold decodes no JSON: ids as their 32 bytes, ``body_hash`` the
    SHA-256 of the object in one spelling. ``is_open``: it came in untokened over the normal socket. ``writer``: the
    token's subject, "" for the relay's own.
    """

    kind: ClassVar[str] = "mirror.stored"
    personal: ClassVar[bool] = True
    relay_key: str
    relay_id: bytes
    row_id: bytes
    row_kind: int
    created_at: int
    body_hash: bytes
    is_open: bool
    writer: str
    row: bytes


class EventStored(Fact, frozen=True, array_like=True):
    """A verified nostr event was stored in a relay's namespace; ``event`` is its JSON, always last."""

    kind: ClassVar[str] = "nostr.stored"
    personal: ClassVar[bool] = True
    relay_key: str
    received_ms: int
    event: bytes


class Vanished(Fact, frozen=True, array_like=True):
    """A key asked to vanish (NIP-62): what it published up to ``until_s`` is gone, and barred from returning.

    ``relay_key`` "" means every relay of this gateway. That the request named this relay was decided when it came, by
    the address that the gateway had then; a replay does not ask again.
    """

    kind: ClassVar[str] = "nostr.vanished"
    personal: ClassVar[bool] = True
    relay_key: str
    pubkey: bytes
    until_s: int


class Moderated(Fact, frozen=True, array_like=True):
    """An admin changed a relay's lists or words by a method of NIP-86; ``by`` is the admin's key."""

    kind: ClassVar[str] = "relay.moderated"
    personal: ClassVar[bool] = True
    relay_key: str
    by: bytes
    method: str
    value: str
    reason: str


class Barred(Fact, frozen=True, array_like=True):
    """A key was erased: what it made up to ``until_s`` may not come back to ``relay_key`` ("": to any).

    ``mark`` is the key's keyed hash, whose secret stands in no record: so the bar outlives the erasure of the request
    to vanish behind it, and names nobody. The last word on a relay and a mark counts.
    """

    kind: ClassVar[str] = "nostr.barred"
    relay_key: str
    mark: bytes
    until_s: int


class Heeded(Fact, frozen=True, array_like=True):
    """What the ``requests`` to vanish (NIP-62) or delete (NIP-09) in records before ``before_seq`` took away is erased.

    ``erased``: how many payloads the last round took; which ones, the `log.erased` before it says.
    """

    kind: ClassVar[str] = "nostr.heeded"
    before_seq: int
    requests: int
    erased: int


FACTS: dict[str, type[Fact]] = {fact.kind: fact for fact in Fact.__subclasses__()}

# (kind, schema) -> pure function from that schema's list of fields to the next schema's. None is ever removed: a log of
# the first release opens for ever.
UPCASTERS: dict[tuple[str, int], Callable[[list[Any]], list[Any]]] = {}


def unreadable() -> list[tuple[str, int]]:
    """List the (kind, schema) that were written once and could not be read any more, for want of an upcaster."""
    return [
        (kind, schema)
        for kind, fact in FACTS.items()
        for schema in range(1, fact.schema)
        if (kind, schema) not in UPCASTERS
    ]


assert not unreadable(), unreadable()


def draft(fact: Fact, *, ts_ns: int, subject: bytes = b"", salt: bytes = b"") -> Draft:
    """Turn a fact into the record to append; ``salt`` is 16 random bytes exactly where the fact is personal."""
    assert len(salt) == (SALT_BYTES if fact.personal else 0), fact.kind
    payload = salt + cbor2.dumps(msgspec.to_builtins(fact, builtin_types=(bytes,)))
    return Draft(fact.kind, payload, ts_ns, subject, fact.schema)


@lru_cache(FACTS_KEPT_MAX)
def fact_of(record: Record) -> Fact | None:
    """Give the fact back from a record of any known version; None where the payload was erased.

    A notification is asked for by four views and the dispatcher, one after the other: it is decoded once.
    """
    fact = FACTS.get(record.kind)
    if fact is None or not 1 <= record.schema <= fact.schema:
        raise _unknown(record)
    if record.payload is None:
        return None
    try:
        fields = cbor2.loads(record.payload[SALT_BYTES:] if fact.personal else record.payload)
        for schema in range(record.schema, fact.schema):
            fields = _next(record, schema)(fields)
        return msgspec.convert(fields, type=fact, builtin_types=(bytes,))
    except (cbor2.CBORDecodeError, msgspec.ValidationError) as error:
        raise FactUnknown(f"record {record.seq}: the payload is not a {record.kind}: {error}") from error


def _next(record: Record, schema: int) -> Callable[[list[Any]], list[Any]]:
    upcaster = UPCASTERS.get((record.kind, schema))
    if upcaster is None:
        what = f"kind {record.kind!r} schema {schema} has no upcaster"
        raise FactUnknown(f"record {record.seq}: {what}: no released program lacks one")
    return upcaster


def _unknown(record: Record) -> FactUnknown:
    what = f"kind {record.kind!r} schema {record.schema} is not known"
    return FactUnknown(f"record {record.seq}: {what}; a newer release may have written it")


def refuse_unknown(records: Sequence[Record]) -> None:
    """Stop a replay at a kind or schema that neither we nor the log itself have: also one that no view would fold."""
    for record in records:
        known = FACTS.get(record.kind) or ENTRIES.get(record.kind)
        if known is None or not 1 <= record.schema <= known.schema:
            raise _unknown(record)


# -- the short way for events, rows and outcomes, of which thousands a second pass ------------------------------------


def event_draft(relay_key: str, received_ms: int, event: bytes, *, ts_ns: int, subject: bytes, salt: bytes) -> Draft:
    """Draft an `EventStored` as `draft` does, byte for byte."""
    [drafted] = event_drafts(relay_key, received_ms, [event], ts_ns=ts_ns, subjects=[subject], salts=salt)
    return drafted


def event_drafts(
    relay_key: str,
    received_ms: int,
    events: Sequence[bytes],
    *,
    ts_ns: int,
    subjects: Sequence[bytes],
    salts: bytes,
) -> list[Draft]:
    """Draft an `EventStored` for each of a batch, at an eighth of the cost; ``salts`` stand back to back."""
    kind, schema, join = EventStored.kind, EventStored.schema, b"".join
    head = b"\x83" + cbor2.dumps(relay_key) + cbor2.dumps(received_ms)
    starts = range(0, len(salts), SALT_BYTES)
    return [
        Draft(kind, join((salts[at : at + SALT_BYTES], head, bytes_head(len(event)), event)), ts_ns, subject, schema)
        for at, event, subject in zip(starts, events, subjects, strict=True)
    ]


def event_of(record: Record) -> tuple[str, bytes] | None:
    """Give relay key and JSON of an `EventStored` as `fact_of` does, at half the cost; None where it was erased."""
    if record.payload is not None and record.schema == EventStored.schema:
        relay_key, _, event = cbor2.loads(record.payload[SALT_BYTES:])
        return relay_key, event
    fact = fact_of(record)
    assert fact is None or isinstance(fact, EventStored), record.kind
    return None if fact is None else (fact.relay_key, fact.event)


def stored_row(record: Record) -> RowStored | None:
    """Give a `RowStored` as `fact_of` does, at half the cost: without its checks; None where it was erased."""
    if record.payload is not None and record.schema == RowStored.schema:
        return RowStored(*cbor2.loads(record.payload[SALT_BYTES:]))
    fact = fact_of(record)
    assert fact is None or isinstance(fact, RowStored), record.kind
    return fact


def row_draft(fact: RowStored, *, ts_ns: int, subject: bytes, salt: bytes) -> Draft:
    """Draft a `RowStored` as `draft` does, byte for byte, at a third of the cost."""
    row = fact.row
    payload = b"".join((
        salt,
        row_prefix(fact.relay_key, fact.relay_id),
        b"\x58\x20",
        fact.row_id,
        _spelled(fact.row_kind),
        _unsigned(fact.created_at),
        b"\x58\x20",
        fact.body_hash,
        _spelled(fact.is_open),
        _spelled(fact.writer),
        bytes_head(len(row)),
        row,
    ))  # fmt: skip
    return Draft(RowStored.kind, payload, ts_ns, subject, RowStored.schema)


def _unsigned(number: int) -> bytes:
    """Encode a number that mostly takes four bytes: a second of this century, a seq."""
    return b"\x1a" + number.to_bytes(4, "big") if 0xFFFF < number <= 0xFFFF_FFFF else cbor2.dumps(number)


@lru_cache(SPELLED_KEPT_MAX, typed=True)
def _spelled(value: str | int) -> bytes:
    """Encode what few values are shared by many facts."""
    return cbor2.dumps(value)


def forget() -> None:
    """Let go of what is kept of facts that were read and written: some may have been erased."""
    fact_of.cache_clear()
    _spelled.cache_clear()


def settled_draft(fact: Settled, *, ts_ns: int) -> Draft:
    """Draft a `Settled` as `draft` does, byte for byte, at a third of the cost."""
    payload = b"\x84" + _unsigned(fact.accepted_seq) + _settled_fields(fact.index, fact.outcome, fact.reason)
    return Draft(Settled.kind, payload, ts_ns, b"", Settled.schema)


@lru_cache(OUTCOMES_KEPT_MAX)
def _settled_fields(index: int, outcome: str, reason: str) -> bytes:
    """Encode what a `Settled` ends with: the same for one place and outcome of any notification."""
    return cbor2.dumps(index) + cbor2.dumps(outcome) + cbor2.dumps(reason)


@lru_cache(SPELLED_KEPT_MAX)
def row_prefix(relay_key: str, relay_id: bytes) -> bytes:
    """Give what the payload of a `RowStored` begins with behind its salt, if it is of this relay and relayID.

    Only for the schema of today: an older one is another array.
    """
    return bytes([0x80 + len(RowStored.__struct_fields__)]) + cbor2.dumps(relay_key) + cbor2.dumps(relay_id)
