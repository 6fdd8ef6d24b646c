"""What each relay holds of nostr events (NIP-01, NIP-09), as index rows that point into the log.

Invariant: the fold alone decides what is replaced and what is deleted, in the order of the log, so a replay ends in the
same rows; a body is never copied here. A deletion is remembered for ever, so that it also bars what arrives after it.
Rows are few and narrow, because what an event costs is the number of trees it is written to: authors and relays are
numbers, a tag is a 16-byte hash, ties are ordered by the first 8 bytes of the id. This module must not know queries.
"""

import enum
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar, NamedTuple

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import EventStored, fact_of
from gateway.limits import AUTHORS_CACHED_MAX
from gateway.nostr.event import (
    DELETION,
    Event,
    Keeping,
    identifier,
    indexed_tags,
    is_hex_64,
    keeping,
    stored_event,
)

TAG_BYTES = 16


class Standing(enum.Enum):
    """How an event stands to what a relay holds already."""

    NEW = "would be stored"
    KNOWN = "is stored"
    SUPERSEDED = "a newer version is stored"
    DELETED = "its author deleted it"


class Place(NamedTuple):
    """Where a version of a replaceable or addressable event belongs: numbers of relay and author, kind, hashed name."""

    relay: int
    author: int
    kind: int
    name: bytes


@dataclass(slots=True)
class Author:
    """What the view knows of a key; ``deletes``: whether some kind 5 of theirs is stored anywhere."""

    number: int
    pseudonym: bytes
    deletes: bool


def tie_of(event_id: bytes) -> int:
    """Order equal times by id, lowest first, as a number that falls as the id rises (a signed 64-bit integer).

    Ids that share 8 bytes may come in either order; making such a pair costs 2^32 hashes and gains nothing.
    """
    return 2**63 - 1 - int.from_bytes(event_id[:8], "big")


def tag_key(relay: int, letter: str, value: str) -> bytes:
    """Hash a tag for one relay's index; 128 bits, so that nobody makes two values meet."""
    return blake2b(f"{relay}{letter}{value}".encode(), digest_size=TAG_BYTES).digest()


class EventsView(TableView):
    """The index: answers how an event stands, and holds the rows that `gateway.views.eventscan` reads."""

    name: ClassVar[str] = "events"
    kinds: ClassVar[frozenset[str]] = frozenset({EventStored.kind})
    tables: ClassVar[tuple[str, ...]] = ("relay", "author", "event", "tag", "address", "gone_id", "gone_address")
    schema: ClassVar[str] = """
        PRAGMA cache_size = -65536;
        CREATE TABLE IF NOT EXISTS relay (number INTEGER PRIMARY KEY, key TEXT UNIQUE, events INTEGER);
        CREATE TABLE IF NOT EXISTS author (
            number INTEGER PRIMARY KEY, pubkey BLOB UNIQUE, pseudonym BLOB, deletes INTEGER);
        CREATE TABLE IF NOT EXISTS event (
            seq INTEGER PRIMARY KEY, relay INTEGER, author INTEGER, kind INTEGER, created INTEGER, tie INTEGER,
            id BLOB, tags BLOB);
        CREATE UNIQUE INDEX IF NOT EXISTS event_id ON event (id, relay);
        CREATE INDEX IF NOT EXISTS event_time ON event (relay, created, tie);
        CREATE INDEX IF NOT EXISTS event_kind ON event (relay, kind, created, tie);
        CREATE INDEX IF NOT EXISTS event_author ON event (relay, author, created, tie);
        CREATE INDEX IF NOT EXISTS event_author_kind ON event (relay, author, kind, created, tie);
        CREATE TABLE IF NOT EXISTS tag (
            key BLOB, created INTEGER, tie INTEGER, seq INTEGER, PRIMARY KEY (key, created, tie, seq)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS address (
            relay INTEGER, author INTEGER, kind INTEGER, name BLOB, seq INTEGER,
            PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS gone_id (
            relay INTEGER, author INTEGER, id BLOB, PRIMARY KEY (relay, author, id)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS gone_address (
            relay INTEGER, author INTEGER, kind INTEGER, name BLOB, until INTEGER,
            PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._relays: dict[str, int] = dict(db.execute("SELECT key, number FROM relay"))
        self._authors: dict[str, Author] = {}
        self._counts: Counter[int] = Counter()  # changes of this batch

    # -- what others ask ----------------------------------------------------------------------------------------------

    def standing(self, relay_key: str, event: Event) -> Standing:
        """Say how an event stands now; records of the log that are not applied yet do not count."""
        relay = self._relays.get(relay_key)
        author = self.author(event.pubkey)
        if relay is None or author is None:
            return Standing.NEW
        raw_id = bytes.fromhex(event.id)
        if self.db.execute("SELECT 1 FROM event WHERE id = ? AND relay = ?", (raw_id, relay)).fetchone():
            return Standing.KNOWN
        place = _place(relay, author, event)
        if author.deletes and self._is_gone(relay, author, event, place):
            return Standing.DELETED
        if place is not None and self._is_superseded(place, event.created_at, raw_id):
            return Standing.SUPERSEDED
        return Standing.NEW

    def relay(self, relay_key: str) -> int | None:
        """Give a relay's number; None while nothing was stored for it."""
        return self._relays.get(relay_key)

    def count(self, relay_key: str) -> int:
        """Count the events that a relay holds."""
        row = self.db.execute("SELECT events FROM relay WHERE key = ?", (relay_key,)).fetchone()
        return int(row[0]) if row else 0

    def author(self, pubkey: str) -> Author | None:
        """Look an author up; ``pseudonym`` is the subject that the next record of theirs must carry."""
        known = self._authors.get(pubkey)
        if known is None:
            row = self.db.execute(
                "SELECT number, pseudonym, deletes FROM author WHERE pubkey = ?", (bytes.fromhex(pubkey),)
            ).fetchone()
            known = self._remember(pubkey, Author(row[0], row[1], bool(row[2]))) if row else None
        return known

    # -- the fold -----------------------------------------------------------------------------------------------------

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold, and then write what the batch changed in the counts: one row a relay instead of one an event."""
        super().apply(records, position)
        self.db.executemany(
            "UPDATE relay SET events = events + ? WHERE number = ?",
            [(change, relay) for relay, change in self._counts.items()],
        )
        self._counts.clear()

    def fold(self, record: Record) -> None:
        """Take in one stored event; one that is known, superseded, deleted, erased or ephemeral changes nothing."""
        fact = fact_of(record)
        if not isinstance(fact, EventStored):
            return
        event = stored_event(fact.event)
        if keeping(event.kind) is Keeping.NONE:
            return
        relay = self._relay(fact.relay_key)
        author = self.author(event.pubkey) or self._new_author(event.pubkey, record.subject)
        place = _place(relay, author, event)
        raw_id = bytes.fromhex(event.id)
        if author.deletes and self._is_gone(relay, author, event, place):
            return
        if place is not None and self._is_superseded(place, event.created_at, raw_id):
            return
        if self._insert(record.seq, relay, author.number, event, raw_id):
            if place is not None:
                self._supersede(place, record.seq)
            if event.kind == DELETION:
                self._delete(relay, author, event)

    def _insert(self, seq: int, relay: int, author: int, event: Event, raw_id: bytes) -> bool:
        """Write the row and its tags; False where the relay holds the id already."""
        keys = [tag_key(relay, letter, value) for letter, value in sorted(indexed_tags(event))]
        created, tie = event.created_at, tie_of(raw_id)
        added = self.db.execute(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, relay, author, event.kind, created, tie, raw_id, b"".join(keys)),
        ).rowcount
        if added:
            self._counts[relay] += 1
            if keys:
                self.db.executemany("INSERT INTO tag VALUES (?, ?, ?, ?)", [(key, created, tie, seq) for key in keys])
        return bool(added)

    def _drop(self, seq: int) -> None:
        """Take a row and its tags away; its place in `address` may dangle, since nothing is read through it alone."""
        row = self.db.execute("SELECT relay, created, tie, tags FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return
        relay, created, tie, tags = row
        self.db.execute("DELETE FROM event WHERE seq = ?", (seq,))
        self.db.executemany(
            "DELETE FROM tag WHERE key = ? AND created = ? AND tie = ? AND seq = ?",
            [(key, created, tie, seq) for key in split_tags(tags)],
        )
        self._counts[relay] -= 1

    # -- versions -----------------------------------------------------------------------------------------------------

    def _is_superseded(self, place: Place, created: int, raw_id: bytes) -> bool:
        """Whether a version is stored that is newer, or as old with a lower id, or the same."""
        row = self.db.execute(
            "SELECT e.created, e.id FROM address a JOIN event e ON e.seq = a.seq "
            "WHERE a.relay = ? AND a.author = ? AND a.kind = ? AND a.name = ?",
            place,
        ).fetchone()
        return row is not None and (row[0] > created or (row[0] == created and row[1] <= raw_id))

    def _supersede(self, place: Place, seq: int) -> None:
        old = self._current(place)
        if old is not None:
            self._drop(old)
        self.db.execute("INSERT OR REPLACE INTO address VALUES (?, ?, ?, ?, ?)", (*place, seq))

    def _current(self, place: Place) -> int | None:
        row = self.db.execute(
            "SELECT seq FROM address WHERE relay = ? AND author = ? AND kind = ? AND name = ?", place
        ).fetchone()
        return row[0] if row else None

    # -- deletions (NIP-09) -------------------------------------------------------------------------------------------

    def _is_gone(self, relay: int, author: Author, event: Event, place: Place | None) -> bool:
        if event.kind == DELETION:
            return False
        by_id = (relay, author.number, bytes.fromhex(event.id))
        if self.db.execute("SELECT 1 FROM gone_id WHERE relay = ? AND author = ? AND id = ?", by_id).fetchone():
            return True
        if place is None:
            return False
        row = self.db.execute(
            "SELECT until FROM gone_address WHERE relay = ? AND author = ? AND kind = ? AND name = ?", place
        ).fetchone()
        return row is not None and event.created_at <= row[0]

    def _delete(self, relay: int, author: Author, deletion: Event) -> None:
        """Carry out a kind 5: what it names of its own author's, now and in future."""
        if not author.deletes:
            author.deletes = True
            self.db.execute("UPDATE author SET deletes = 1 WHERE number = ?", (author.number,))
        for letter, value in sorted(indexed_tags(deletion)):
            if letter == "e" and is_hex_64(value):
                self._delete_id(relay, author.number, bytes.fromhex(value))
            elif letter == "a":
                place = _named_place(relay, author.number, deletion.pubkey, value)
                if place is not None:
                    self._delete_address(place, deletion.created_at)

    def _delete_id(self, relay: int, author: int, raw_id: bytes) -> None:
        self.db.execute("INSERT OR IGNORE INTO gone_id VALUES (?, ?, ?)", (relay, author, raw_id))
        row = self.db.execute(
            "SELECT seq FROM event WHERE id = ? AND relay = ? AND author = ? AND kind != ?",
            (raw_id, relay, author, DELETION),
        ).fetchone()
        if row:
            self._drop(row[0])

    def _delete_address(self, place: Place, until: int) -> None:
        self.db.execute(
            "INSERT INTO gone_address VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            (*place, until),
        )
        current = self._current(place)
        row = self.db.execute("SELECT created FROM event WHERE seq = ?", (current,)).fetchone()
        if current is not None and row and row[0] <= until:
            self._drop(current)

    # -- numbers ------------------------------------------------------------------------------------------------------

    def _relay(self, key: str) -> int:
        number = self._relays.get(key)
        if number is None:
            number = self.db.execute("INSERT INTO relay (key, events) VALUES (?, 0)", (key,)).lastrowid
            assert number is not None
            self._relays[key] = number
        return number

    def _new_author(self, pubkey: str, pseudonym: bytes) -> Author:
        number = self.db.execute(
            "INSERT INTO author (pubkey, pseudonym, deletes) VALUES (?, ?, 0)", (bytes.fromhex(pubkey), pseudonym)
        ).lastrowid
        assert number is not None
        return self._remember(pubkey, Author(number, pseudonym, False))

    def _remember(self, pubkey: str, author: Author) -> Author:
        if len(self._authors) >= AUTHORS_CACHED_MAX:
            self._authors.clear()
        self._authors[pubkey] = author
        return author


def split_tags(tags: bytes) -> Iterator[bytes]:
    """Cut a row's ``tags`` into its keys."""
    return (tags[at : at + TAG_BYTES] for at in range(0, len(tags), TAG_BYTES))


def _place(relay: int, author: Author, event: Event) -> Place | None:
    if keeping(event.kind) in (Keeping.NEWEST, Keeping.NEWEST_ADDRESSED):
        return Place(relay, author.number, event.kind, _hashed(identifier(event)))
    return None


def _named_place(relay: int, author: int, pubkey: str, value: str) -> Place | None:
    """Read an ``a`` tag (``kind:pubkey:name``); None unless it names something replaceable of the same author."""
    kind, _, rest = value.partition(":")
    owner, _, name = rest.partition(":")
    if owner != pubkey or not (kind.isascii() and kind.isdecimal() and len(kind) <= 5):
        return None
    match keeping(int(kind)):
        case Keeping.NEWEST:
            return Place(relay, author, int(kind), _hashed(""))
        case Keeping.NEWEST_ADDRESSED:
            return Place(relay, author, int(kind), _hashed(name))
        case _:
            return None


def _hashed(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=TAG_BYTES).digest()
