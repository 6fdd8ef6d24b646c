"""What authors asked to be gone: requests to vanish (NIP-62) and to delete (NIP-09), and the events that these name.

Invariant: only what the fold of events has taken away is found, and what that had superseded, which must not come
back; the requests themselves stay, as a proof that they were heeded. Rules as in `gateway.views.events`: an author
deletes their own, and what was wrapped for them (NIP-59). This module must not know how anything is erased.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from eventlog.record import Record
from gateway.facts import EventStored, Vanished, event_of, fact_of
from gateway.nostr.event import (
    DELETION,
    GIFT_WRAP,
    VANISH,
    Event,
    Keeping,
    address,
    identifier,
    indexed_tags,
    is_hex_64,
    keeping,
    stored_event,
)

EVERYWHERE = ""
_DELETION, _WRAP = b'"kind":%d,' % DELETION, b'"kind":%d,' % GIFT_WRAP
_ID, _KEY = slice(7, 71), slice(83, 147)  # where `stored_form` has id and author


class Place(NamedTuple):
    """Where the versions of a replaceable or addressable event stand."""

    relay_key: str
    pubkey: str
    kind: int
    name: str


class Version(NamedTuple):
    """A version of a place: the greater is the newer (NIP-01: at equal times the lowest id)."""

    created_at: int
    tie: int


@dataclass(slots=True)
class Requests:
    """The requests of some records: `take` each record, then ask what they name; ``targets`` is what they cost."""

    vanished: dict[tuple[str, str], int] = field(default_factory=dict)  # (relay, author) -> until
    ids: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)  # (relay, id) -> who deleted it, at seq
    places: dict[Place, int] = field(default_factory=dict)  # -> until
    seqs: list[int] = field(default_factory=list)  # of the requests
    vanishes: int = 0

    @property
    def targets(self) -> int:
        """Count what is held in memory."""
        return len(self.vanished) + len(self.ids) + len(self.places)

    def take(self, record: Record, by: str | None = None) -> None:
        """Note what a record asks for, if it is a request; ``by``: only this author's deletions."""
        if record.kind == Vanished.kind and by is None:
            fact = fact_of(record)
            if isinstance(fact, Vanished):
                who = (fact.relay_key, fact.pubkey.hex())
                self.vanished[who] = max(self.vanished.get(who, -1), fact.until_s)
                self.vanishes += 1
                self.seqs.append(record.seq)
        elif record.kind == EventStored.kind and _DELETION in (record.payload or b""):
            stored = event_of(record)
            assert stored is not None, "it has a payload"
            event = stored_event(stored[1])
            if event.kind == DELETION and by in (None, event.pubkey):
                self.seqs.append(record.seq)
                self._deletion(stored[0], event, record.seq)

    def _deletion(self, relay_key: str, deletion: Event, seq: int) -> None:
        for letter, value in indexed_tags(deletion):
            if letter == "e" and is_hex_64(value):
                self.ids.setdefault((relay_key, value), {}).setdefault(deletion.pubkey, seq)
            elif letter == "a" and (place := _named(relay_key, deletion.pubkey, value)) is not None:
                self.places[place] = max(self.places.get(place, -1), deletion.created_at)

    def until_s(self, relay_key: str, pubkey: str) -> int:
        """Give the time up to which an author wished to vanish from a relay, -1 where they did not."""
        return max(self.vanished.get((relay_key, pubkey), -1), self.vanished.get((EVERYWHERE, pubkey), -1))


class GoneFinder:
    """Finds what requests name: first which versions stood when they were deleted by id, then all of it.

    Whatever such a version had superseded goes too: an older one that came only afterwards stands, and stays.
    """

    passes = 2

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._ids = {event_id for _, event_id in requests.ids}
        self._authors = {pubkey for _, pubkey in requests.vanished} | {place.pubkey for place in requests.places}
        self._superseded: dict[Place, list[tuple[Version, int]]] = {}  # -> (deleted version, seq of the deletion)
        self.found: dict[int, str] = {}

    def take(self, record: Record, turn: int) -> None:
        """Look at one record that has its payload."""
        if record.kind != EventStored.kind:
            return
        stored = event_of(record)
        assert stored is not None, "whoever shows the log passes over what was erased"
        relay_key, raw = stored
        event_id, pubkey = raw[_ID].decode(), raw[_KEY].decode()
        if turn == 0:
            if event_id in self._ids:
                self._supersede(relay_key, stored_event(raw), record.seq)
            return
        may_be = event_id in self._ids or pubkey in self._authors or _WRAP in raw
        if may_be and self._is_gone(relay_key, stored_event(raw), record.seq):
            self.found[record.seq] = record.kind

    def _supersede(self, relay_key: str, event: Event, seq: int) -> None:
        place = _place(relay_key, event)
        deleted_at = self._requests.ids.get((relay_key, event.id), {}).get(event.pubkey, -1)
        if place is not None and seq < deleted_at:
            self._superseded.setdefault(place, []).append((_version(event), deleted_at))
            self._authors.add(event.pubkey)

    def _is_gone(self, relay_key: str, event: Event, seq: int) -> bool:
        if event.kind == VANISH:
            return False
        people = {event.pubkey}
        if event.kind == GIFT_WRAP:
            people |= {value for letter, value in indexed_tags(event) if letter == "p"}
        if any(event.created_at <= self._requests.until_s(relay_key, person) for person in people):
            return True
        if event.kind == DELETION:
            return False
        return not people.isdisjoint(self._requests.ids.get((relay_key, event.id), ())) or self._is_old(
            _place(relay_key, event), event, seq
        )

    def _is_old(self, place: Place | None, event: Event, seq: int) -> bool:
        """Whether a version was deleted by its place, or superseded by one that was deleted."""
        return place is not None and (
            event.created_at <= self._requests.places.get(place, -1)
            or any(seq < until and _version(event) <= version for version, until in self._superseded.get(place, ()))
        )


def _version(event: Event) -> Version:
    return Version(event.created_at, -int(event.id, 16))


def _place(relay_key: str, event: Event) -> Place | None:
    if keeping(event.kind) in (Keeping.NEWEST, Keeping.NEWEST_ADDRESSED):
        return Place(relay_key, event.pubkey, event.kind, identifier(event))
    return None


def _named(relay_key: str, pubkey: str, value: str) -> Place | None:
    named = address(value, pubkey)
    return None if named is None else Place(relay_key, pubkey, *named)
