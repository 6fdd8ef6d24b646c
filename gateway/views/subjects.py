"""Whose records are whose: the subjects that can be erased, and the records that are about each.

    user    registrations, notifications and removals of one user of a tenant, and what these superseded; notifications
            to others that the user was the actor of
    token   every record that names a push token, notifications to it among others: FCM's, a subscription by its
            endpoint, APNs' in hex or base64, a Matrix pushkey
    nostr   a key's events, what was wrapped for it (NIP-59), its rows, its relay tokens, its wish to vanish (NIP-62),
            what moderators said of it and what it said as one (NIP-86), a relay's lists of members with it (NIP-43);
            or only what its own deletion requests took away (NIP-09)
    gone    what all authors asked to be gone by requests of their own (NIP-62, NIP-09)

Invariant: what is found is closed: without it a fold ends in what stands now, less the subject. So a registration that
the user's own had superseded goes too, and a version of an event that a deleted one had superseded: neither may come
back. This module must not know where records stand, or how they are erased.
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from eventlog.record import Record
from gateway.errors import PushRefused
from gateway.facts import (
    Accepted,
    Deregistered,
    EventStored,
    Fact,
    Moderated,
    Registered,
    RelayUnregistered,
    Removed,
    RowStored,
    TokenIssued,
    TokenRevoked,
    Vanished,
    event_of,
    fact_of,
)
from gateway.nostr.event import GIFT_WRAP, Event, indexed_tags, stored_event
from gateway.nostr.key import npub, public_key
from gateway.nostr.membership import ADDED, MEMBERS, REMOVED
from gateway.push.target import identity, target_text
from gateway.views.gone import GoneFinder, Requests
from gateway.views.restating import Lists


class SubjectUnclear(Exception):
    """The text names no subject; what it says is one sentence for whoever typed it."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of a tenant."""

    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class PushToken:
    """A device's push token, whoever registered it."""

    token: str


@dataclass(frozen=True, slots=True)
class NostrKey:
    """A nostr key, 64 hex digits; ``only_deleted``: only what its deletion requests took away."""

    pubkey: str
    only_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """What these requests of authors name; nobody asks for it in words."""

    requests: Requests


Subject = User | PushToken | NostrKey | Gone
_FOLLOWED_BY = {"user": "TENANT/USERID", "token": "a push token", "nostr": "a key, 64 hex digits or an npub"}


def subject_of(text: str, *, only_deleted: bool = False) -> Subject:
    """Read ``user:TENANT/USERID``, ``token:PUSH-TOKEN``, ``nostr:PUBKEY``, or a bare npub or push token.

    Raises SubjectUnclear. A bare 64-digit word is refused: it may be a key or an id of a user.
    """
    kind, colon, value = text.partition(":")
    tenant, slash, user = value.partition("/")
    key = public_key(value if kind == "nostr" and colon else text)
    match kind if colon else "":
        case "user" if tenant and slash and user:
            found: Subject = User(tenant, user)
        case "token" if value:
            found = PushToken(value)
        case "nostr" if key:
            found = NostrKey(key, only_deleted)
        case _ if text.startswith("npub1") and key:
            found = NostrKey(key, only_deleted)
        case "user" | "nostr" | "token":
            raise SubjectUnclear(f"{kind}: is followed by {_FOLLOWED_BY[kind]}")
        case _ if re.fullmatch(r"[\w:.~%+/=-]{80,}", text) and not key:
            found = PushToken(text)  # FCM's tokens are 140 characters and more; nothing else that we know is so long
        case _:
            raise SubjectUnclear("say what it is: user:TENANT/USERID, token:PUSH-TOKEN or nostr:PUBKEY")
    if only_deleted and not isinstance(found, NostrKey):
        raise SubjectUnclear("only a nostr key has deletion requests")
    return found


def what(subject: Subject) -> str:
    """Name the kind of subject, for the log: never whose."""
    match subject:
        case User():
            return "user"
        case PushToken():
            return "token"
        case NostrKey(only_deleted=only_deleted):
            return "nostr-deleted" if only_deleted else "nostr"
        case Gone():
            return "gone"


def described(subject: Subject) -> str:
    """Say whom a text was taken to mean, for whoever typed it."""
    match subject:
        case User(tenant, user):
            return f"the user {user!r} of the tenant {tenant!r}"
        case PushToken(token):
            return f"the push token {token!r}"
        case NostrKey(pubkey, only_deleted):
            return f"the nostr key {pubkey}" + (", only what it deleted" if only_deleted else "")
        case Gone():
            return "what its authors asked to be gone"


def words(subject: Subject) -> tuple[str, ...]:
    """Give the words that nothing that stays may contain."""
    match subject:
        case User(_, user):
            return (user,)
        case PushToken(token):
            return tuple(spellings(token))
        case NostrKey(pubkey):
            return (pubkey, npub(pubkey))
        case Gone():
            return ()


class Finder(Protocol):
    """Is shown the log, as often as `passes` says at last, and then knows the seqs, and the kind of each."""

    passes: int

    @property
    def found(self) -> dict[int, str]: ...

    def take(self, record: Record, turn: int) -> None: ...


def finder(subject: Subject) -> Finder:
    """Give what finds a subject's records."""
    match subject:
        case User():
            return _OfUser(subject)
        case PushToken(token):
            return _OfToken(token)
        case NostrKey(pubkey, only_deleted):
            return _Deleted(pubkey) if only_deleted else OfKey(pubkey)
        case Gone(requests):
            return GoneFinder(requests)


PUSH_KINDS = frozenset((Registered.kind, Deregistered.kind, Accepted.kind, Removed.kind))
TARGET_KINDS = frozenset((Registered.kind, Deregistered.kind, Removed.kind))
KEY_KINDS = frozenset((EventStored.kind, RowStored.kind, TokenIssued.kind, TokenRevoked.kind, Vanished.kind))
TOLD_BY_RELAY = frozenset((ADDED, REMOVED, MEMBERS))  # a relay's own events about its members (NIP-43)
Target = tuple[str, str, str]


@dataclass(slots=True)
class _Standing:
    """How a target came to stand: the last ``issuedAt``, and the records of others that are behind it."""

    issued_ms: int = -1
    superseded: dict[int, str] = field(default_factory=dict)


class _OfUser:
    """First a user's own records and targets, then what of others' these superseded."""

    passes = 2

    def __init__(self, subject: User) -> None:
        self._subject = subject
        self.found: dict[int, str] = {}
        self._standing: dict[Target, _Standing] = defaultdict(_Standing)
        self._targets: dict[Target, bytes] = {}
        self._user = subject.user.encode()

    def take(self, record: Record, turn: int) -> None:
        if record.kind not in PUSH_KINDS or (turn == 1 and record.kind not in TARGET_KINDS):
            return
        # A text stands in CBOR as its UTF-8: what does not hold it need not be decoded, nine parts of the work.
        assert record.payload is not None, "whoever shows the log passes over what was erased"
        if not any(word in record.payload for word in (self._targets.values() if turn else (self._user,))):
            return
        fact = fact_of(record)
        if turn == 0 and isinstance(fact, Registered | Deregistered | Accepted | Removed) and self._is_own(fact):
            self.found[record.seq] = record.kind
            if not isinstance(fact, Accepted):
                # Of a subscription, which is JSON, its spelling proves nothing: then every record is looked at.
                key = _key(fact)
                self._targets[key] = key[2].encode() if key[2] == fact.target else b""
        elif turn == 1 and isinstance(fact, Registered | Deregistered | Removed):
            self._weigh(fact, record.seq)

    def _is_own(self, fact: Registered | Deregistered | Accepted | Removed) -> bool:
        if fact.tenant != self._subject.tenant:
            return False
        acted = isinstance(fact, Accepted) and actor_of(fact.body) == self._subject.user
        return fact.user == self._subject.user or acted

    def _weigh(self, fact: Registered | Deregistered | Removed, seq: int) -> None:
        """Follow one target as the devices view does: what is older than an effective record of the user's goes."""
        key = _key(fact)
        if key not in self._targets:
            return
        standing = self._standing[key]
        if not isinstance(fact, Removed):
            if fact.issued_ms < standing.issued_ms:
                return
            standing.issued_ms = fact.issued_ms
        if self._is_own(fact):
            self.found.update(standing.superseded)
            standing.superseded.clear()
        else:
            standing.superseded[seq] = fact.kind


def _key(fact: Registered | Deregistered | Removed) -> Target:
    return fact.tenant, fact.target_kind, identity(fact.target_kind, fact.target)


class _OfToken:
    """Whatever names a push token in any of its spellings, also inside a body."""

    passes = 1

    def __init__(self, token: str) -> None:
        self._spellings = spellings(token)
        self._bytes = [spelling.encode() for spelling in self._spellings]
        # Whole words: a token may be the beginning of another's, as endpoints with numbers are.
        words = "|".join(map(re.escape, self._spellings))
        self._word = re.compile(rf"(?<![{WITHIN}])(?:{words})(?![{WITHIN}])")
        self.found: dict[int, str] = {}

    def take(self, record: Record, turn: int) -> None:
        del turn
        if record.kind not in PUSH_KINDS or record.payload is None:
            return
        # What stands in a body as JSON may spell it otherwise, but then the fact beside it has it in plain text.
        if any(word in record.payload for word in self._bytes) and self._is_named(fact_of(record)):
            self.found[record.seq] = record.kind

    def _is_named(self, fact: Fact | None) -> bool:
        match fact:
            case Accepted(user=user, targets=targets, body=body):
                named = any(self._is_meant(to.target_kind, to.target) for to in targets)
                return named or user in self._spellings or self._stands_in(body)
            case (
                Registered(target=target, target_kind=kind, body=body)
                | Deregistered(target=target, target_kind=kind, body=body)
            ):
                return self._is_meant(kind, target) or self._stands_in(body)
            case Removed(user=user, target=target, target_kind=kind):
                return user in self._spellings or self._is_meant(kind, target)
            case _:
                return False

    def _is_meant(self, target_kind: str, target: str) -> bool:
        return target in self._spellings or identity(target_kind, target) in self._spellings

    def _stands_in(self, body: bytes) -> bool:
        return self._word.search(body.decode("utf-8", "replace").replace("\\/", "/")) is not None


WITHIN = r"\w-"  # what a word goes on with


def spellings(token: str) -> frozenset[str]:
    """Give every way in which a push token may be written down: as given, and as devices are kept.

    Of a subscription the endpoint; of an Apple device token hex and base64, since either is taken.
    """
    found = {token}
    for target_kind in ("webpush", "apns"):
        with suppress(PushRefused):
            found.add(identity(target_kind, target_text(target_kind, token, leaving=True)))
    for spelling in tuple(found):
        if re.fullmatch("(?:[0-9a-f]{2}){32,100}", spelling):
            raw = bytes.fromhex(spelling)
            found |= {spelling.upper(), b64encode(raw).decode(), urlsafe_b64encode(raw).decode()}
            found |= {one.rstrip("=") for one in tuple(found)}
    return frozenset(found)


def actor_of(body: bytes) -> object:
    """Give who caused a notification, as its body says; None where it says nothing, or is another door's."""
    try:
        notification = msgspec.json.decode(body)["notification"]
        return notification.get("actor_id")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class OfKey:
    """Everything of a nostr key; where moderators had a say, a look for whose events they named, then for their words.

    ``until_s``: the latest time on an event of the key or in its requests to vanish. ``lists``: see `restating`.
    """

    passes = 1

    def __init__(self, pubkey: str) -> None:
        self._pubkey, self._raw = pubkey, bytes.fromhex(pubkey)
        self._words = words(NostrKey(pubkey))
        self._moderated: set[str] = set()  # ids of events that moderators named
        self._own: set[str] = set()  # those of them that are the key's
        self.found: dict[int, str] = {}
        self.until_s = 0
        self.lists = Lists()

    def names(self, text: str) -> bool:
        """Whether a text names the key."""
        return text in self._own or any(word in text for word in self._words)

    def take(self, record: Record, turn: int) -> None:
        """Look at one record that has its payload."""
        if record.kind in (Moderated.kind, RelayUnregistered.kind):
            self._weigh(record, turn)
        elif record.kind in KEY_KINDS and turn < 2 and self._is_of_key(record, turn):
            self.found[record.seq] = record.kind

    def _weigh(self, record: Record, turn: int) -> None:
        fact = fact_of(record)
        if isinstance(fact, RelayUnregistered) and turn == 2:
            self.lists.unregister(fact.relay_key)
        elif isinstance(fact, Moderated) and turn == 0:
            self.passes = 3
            self._moderated.add(fact.value)
        elif isinstance(fact, Moderated) and turn == 2:
            goes = fact.by == self._raw or self.names(fact.value) or self.names(fact.reason)
            self.lists.take(fact, goes=goes)
            if goes:
                self.found[record.seq] = record.kind

    def _is_of_key(self, record: Record, turn: int) -> bool:
        if record.kind == EventStored.kind:
            assert record.payload is not None
            if self._pubkey.encode() not in record.payload:  # events are stored in their canonical form
                return False
            stored = event_of(record)
            return stored is not None and self._wrote(stored_event(stored[1]))
        return turn == 0 and self._is_named(fact_of(record))

    def _is_named(self, fact: Fact | None) -> bool:
        match fact:
            case TokenIssued(pubkey=pubkey) | TokenRevoked(pubkey=pubkey):
                return pubkey == self._pubkey
            case Vanished(pubkey=key, until_s=until_s) if key == self._raw:
                self.until_s = max(self.until_s, until_s)
                return True
            case RowStored(writer=writer, row=row):
                return writer == self._pubkey or _author_of(row) == self._pubkey
            case _:
                return False

    def _wrote(self, event: Event) -> bool:
        if event.id in self._moderated and event.pubkey == self._pubkey:
            self._own.add(event.id)
        if event.pubkey == self._pubkey:
            self.until_s = max(self.until_s, event.created_at)
            return True
        if event.kind in TOLD_BY_RELAY:
            return any(self._pubkey in tag[1:] for tag in event.tags)
        return event.kind == GIFT_WRAP and ("p", self._pubkey) in indexed_tags(event)


def _author_of(row: bytes) -> object:
    try:
        return msgspec.json.decode(row).get("pubkey")
    except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, RecursionError):
        return None  # rows are others' objects, kept as they came


class _Deleted:
    """What a key's own deletion requests took away: first the requests, then what they name."""

    passes = 1 + GoneFinder.passes

    def __init__(self, pubkey: str) -> None:
        self._pubkey, self._requests = pubkey, Requests()
        self._finder: GoneFinder | None = None

    @property
    def found(self) -> dict[int, str]:
        return {} if self._finder is None else self._finder.found

    def take(self, record: Record, turn: int) -> None:
        if turn == 0:
            self._requests.take(record, self._pubkey)
            return
        if self._finder is None:
            self._finder = GoneFinder(self._requests)
        self._finder.take(record, turn - 1)
