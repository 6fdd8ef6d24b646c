"""What each relay holds of nostr events (NIP-01, 09, 40, 62), as index rows that point into the log.

Invariant: the fold alone decides what is replaced, deleted and expired, in the order of the log and by its times, so a
replay ends in the same rows; a body is never copied here. A deletion is remembered for ever, so that it also bars what
arrives after it.
What an event costs is the number and width of the trees it is written to: so authors and relays are numbers, an id is
its first 16 bytes as two of them, a tag a 64-bit hash (whoever reads the event itself checks it), and rows are written
a batch at a time. This module must not know queries.
"""

import enum
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from struct import Struct, pack
from typing import ClassVar, NamedTuple

from eventlog.chronicle import Retained
from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import EventStored, Moderated, RelayUnregistered, Vanished, event_of, fact_of
from gateway.limits.views import AUTHORS_CACHED_MAX, EVENTS_LAG_RECORDS, TAG_KEYS_CACHED_MAX
from gateway.nostr.event import (
    DELETION,
    GIFT_WRAP,
    VANISH,
    Event,
    Keeping,
    expiration,
    identifier,
    indexed_tags,
    is_hex_64,
    keeping,
    stored_event,
)

NAME_BYTES = 16
LOOKUP_IDS = 64
_NUMBERS = Struct(">QQ")
_TOP = 2**63 - 1
_NEVER = 2**63 - 1
_EVERY_RELAY = 0  # stands for all of them in `vanished`: SQLite numbers rows from 1
_UNSEEN = -1


class Standing(enum.Enum):
    """How an event stands to what a relay holds already."""

    NEW = "would be stored"
    KNOWN = "is stored"
    SUPERSEDED = "a newer version is stored"
    DELETED = "its author deleted it"
    VANISHED = "its author, or whom it was wrapped for, asked to vanish"


class Place(NamedTuple):
    """Where a version of a replaceable or addressable event belongs: numbers of relay and author, kind, hashed name."""

    relay: int
    author: int
    kind: int
    name: bytes


@dataclass(slots=True)
class Author:
    """What the view knows of a key; ``deletes``: whether some kind 5 or 62 of theirs is stored anywhere."""

    number: int
    pseudonym: bytes
    deletes: bool


class Mark(NamedTuple):
    """When an event was made, and its id's first 16 bytes as two numbers that fall as it rises.

    The greater mark is the newer version (NIP-01: at equal times the lowest id). Two ids of one mark would take 2^64
    hashes to find, and are then one event to a relay: a loss to nobody but their maker.
    """

    created: int
    tie: int
    half: int


def mark_of(created: int, event_id: str) -> Mark:
    """Give the mark of an event by its time and hex id."""
    tie, half = _NUMBERS.unpack(bytes.fromhex(event_id[:32]))
    return Mark(created, _TOP - tie, _TOP - half)


@lru_cache(TAG_KEYS_CACHED_MAX)
def tag_key(relay: int, letter: str, value: str) -> int:
    """Hash a tag for one relay's index; two values may meet, so rows found by it are held against the event."""
    digest = blake2b(f"{relay}{letter}{value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


class EventsView(TableView):
    """The index: answers how an event stands, and holds the rows that `gateway.views.eventscan` reads."""

    name: ClassVar[str] = "events"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset(
        {EventStored.kind, Moderated.kind, RelayUnregistered.kind, Vanished.kind}
    )
    tables: ClassVar[tuple[str, ...]] = (
        "relay",
        "author",
        "event",
        "tag",
        "address",
        "gone_id",
        "gone_address",
        "vanished",
    )
    schema: ClassVar[str] = """
        PRAGMA cache_size = -65536;
        PRAGMA wal_autocheckpoint = 8192;
        CREATE TABLE IF NOT EXISTS relay (number INTEGER PRIMARY KEY, key TEXT UNIQUE, events INTEGER);
        CREATE TABLE IF NOT EXISTS author (
            number INTEGER PRIMARY KEY, pubkey BLOB UNIQUE, pseudonym BLOB, deletes INTEGER);
        CREATE TABLE IF NOT EXISTS event (
            seq INTEGER PRIMARY KEY, relay INTEGER, author INTEGER, kind INTEGER, created INTEGER, tie INTEGER,
            half INTEGER, tags BLOB, expires INTEGER);
        CREATE UNIQUE INDEX IF NOT EXISTS event_id ON event (tie, half, relay);
        CREATE INDEX IF NOT EXISTS event_time ON event (relay, created, tie);
        CREATE INDEX IF NOT EXISTS event_kind ON event (relay, kind, created, tie);
        CREATE INDEX IF NOT EXISTS event_author_kind ON event (relay, author, kind, created, tie);
        CREATE INDEX IF NOT EXISTS event_expires ON event (expires) WHERE expires IS NOT NULL;
        CREATE TABLE IF NOT EXISTS tag (
            key INTEGER, created INTEGER, tie INTEGER, seq INTEGER, PRIMARY KEY (key, created, tie, seq)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS address (
            relay INTEGER, author INTEGER, kind INTEGER, name BLOB, seq INTEGER,
            PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS gone_id (
            relay INTEGER, author INTEGER, id BLOB, PRIMARY KEY (relay, author, id)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS gone_address (
            relay INTEGER, author INTEGER, kind INTEGER, name BLOB, until INTEGER,
            PRIMARY KEY (relay, author, kind, name)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS vanished (
            relay INTEGER, pubkey BLOB, until INTEGER, PRIMARY KEY (relay, pubkey)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._relays: dict[str, int] = dict(db.execute("SELECT key, number FROM relay"))
        self._authors: dict[str, Author] = {}
        self._rows: list[tuple[int | bytes | None, ...]] = []  # of this batch, not written yet
        self._tags: list[tuple[int, int, int, int]] = []
        self._counts: Counter[int] = Counter()
        self._next_expiry_s = self._earliest_expiry()
        self._vanishes = db.execute("SELECT 1 FROM vanished").fetchone() is not None

    # -- what others ask ----------------------------------------------------------------------------------------------

    def standing(self, relay_key: str, event: Event) -> Standing:
        """Say how one event stands now."""
        return self.standings(relay_key, [event])[0]

    def standings(self, relay_key: str, events: Sequence[Event]) -> list[Standing]:
        """Say how events stand now; records of the log that are not applied yet do not count."""
        relay = self._relays.get(relay_key, _UNSEEN)
        if relay == _UNSEEN and not self._vanishes:
            return [Standing.NEW] * len(events)
        marks = [mark_of(event.created_at, event.id) for event in events]
        known = self._known(relay, marks)
        return [
            Standing.KNOWN if mark[1:] in known else self._standing(relay, event, mark)
            for event, mark in zip(events, marks, strict=True)
        ]

    def _known(self, relay: int, marks: Sequence[Mark]) -> set[tuple[int, ...]]:
        """Find which ids are stored: many to a statement, since each statement costs as much as several ids."""
        found: set[tuple[int, ...]] = set()
        for at in range(0, len(marks), LOOKUP_IDS):
            ties = [mark.tie for mark in marks[at : at + LOOKUP_IDS]]
            ties += ties[:1] * ((1 if len(ties) == 1 else LOOKUP_IDS) - len(ties))  # two statements, both prepared once
            places = ", ".join("?" * len(ties))
            # SQLite has no statistics here, and would walk the relay's whole time line for the sake of ``relay``.
            query = f"SELECT tie, half FROM event INDEXED BY event_id WHERE tie IN ({places}) AND relay = ?"  # noqa: S608
            found.update(self.db.execute(query, (*ties, relay)))
        return found

    def _standing(self, relay: int, event: Event, mark: Mark) -> Standing:
        author = self.author(event.pubkey)
        if self._may_have_vanished(author, event) and self._has_vanished(relay, event):
            return Standing.VANISHED
        if any(self._deleted_id(relay, one, event) for one in self._addressees(event) if one.deletes):
            return Standing.DELETED
        if author is None:
            return Standing.NEW
        place = _place(relay, author, event)
        if author.deletes and self._is_gone(relay, author, event, place):
            return Standing.DELETED
        if place is not None and self._is_superseded(place, mark):
            return Standing.SUPERSEDED
        return Standing.NEW

    def relay(self, relay_key: str) -> int | None:
        """Give a relay's number; None while nothing was stored for it."""
        return self._relays.get(relay_key)

    def count(self, relay_key: str) -> int:
        """Count the events that a relay holds."""
        row = self.db.execute("SELECT events FROM relay WHERE key = ?", (relay_key,)).fetchone()
        return int(row[0]) if row else 0

    def pubkeys(self, numbers: Iterable[int]) -> list[bytes]:
        """Give the keys of authors by their numbers."""
        found = (
            self.db.execute("SELECT pubkey FROM author WHERE number = ?", (number,)).fetchone() for number in numbers
        )
        return [bytes(row[0]) for row in found]

    def author(self, pubkey: str) -> Author | None:
        """Look an author up; ``pseudonym`` is the subject that the next record of theirs must carry."""
        known = self._authors.get(pubkey)
        if known is None:
            row = self.db.execute(
                "SELECT number, pseudonym, deletes FROM author WHERE pubkey = ?", (bytes.fromhex(pubkey),)
            ).fetchone()
            known = self._remember(pubkey, Author(row[0], row[1], bool(row[2]))) if row else None
        return known

    @property
    def due(self) -> bool:
        """Whether to seal: later than other views, since here a seal rewrites a page for nearly every event."""
        return self._position - self._sealed >= EVENTS_LAG_RECORDS

    # -- the fold -----------------------------------------------------------------------------------------------------

    def apply(self, records: Sequence[Record], position: int) -> None:
        """Fold, write the batch's plain rows together, then what it changed in the counts: one row a relay."""
        super().apply(records, position)
        self._flush()
        if self._counts:
            self.db.executemany(
                "UPDATE relay SET events = events + ? WHERE number = ?",
                [(change, relay) for relay, change in self._counts.items()],
            )
            self._counts.clear()

    def fold(self, record: Record) -> None:
        """Take in one stored event; one that is known, superseded, deleted, erased or ephemeral changes nothing."""
        if record.kind == RelayUnregistered.kind:
            self._forget(record)
            return
        if record.kind == Vanished.kind:
            self._vanish(record)
            return
        if record.kind == Moderated.kind:
            self._moderate(record)
            return
        now_s = record.ts_ns // 1_000_000_000
        if now_s >= self._next_expiry_s:
            self._expire(now_s)
        found = event_of(record)
        if found is None:
            return
        relay_key, raw = found
        event = stored_event(raw)
        kept, expires = keeping(event.kind), expiration(event)
        if kept is Keeping.NONE or (expires is not None and expires <= now_s):
            return
        relay = self._relay(relay_key)
        author = self.author(event.pubkey) or self._new_author(event.pubkey, record.subject)
        if kept is Keeping.ALL and event.kind != DELETION and not self._may_have_vanished(author, event):
            self._add(record.seq, relay, author.number, event)
        else:
            self._fold_alone(record.seq, relay, author, event)

    def _forget(self, record: Record) -> None:
        """Let a relay go: who registers its key next starts empty.

        Its number loses the key and is never given again, so its rows are out of reach at once; deleting them here
        would hold up everybody for as long as the relay was large.
        """
        fact = fact_of(record)
        assert isinstance(fact, RelayUnregistered)
        self.db.execute("UPDATE relay SET key = NULL WHERE key = ?", (fact.relay_key,))
        self._relays.pop(fact.relay_key, None)

    def retained(self, entry: Retained) -> None:
        """Drop the rows of events that are gone: at most as many as one step of retention takes."""
        self._flush()
        gone = self.db.execute("SELECT seq FROM event WHERE seq < ?", (entry.floor(EventStored.kind),)).fetchall()
        for (seq,) in gone:
            self._drop(seq)

    def _fold_alone(self, seq: int, relay: int, author: Author, event: Event) -> None:
        """Take in an event that others act upon, or that acts upon others: all before it must be written."""
        self._flush()
        mark = mark_of(event.created_at, event.id)
        if mark[1:] in self._known(relay, [mark]) or self._standing(relay, event, mark) is not Standing.NEW:
            return
        self._add(seq, relay, author.number, event)
        self._flush()
        place = _place(relay, author, event)
        if place is not None:
            self._supersede(place, seq)
        if event.kind == DELETION:
            self._delete(relay, author, event)

    def _add(self, seq: int, relay: int, author: int, event: Event) -> None:
        """Note an event's row and its tags' for the next `_flush`."""
        created, tie, half = mark_of(event.created_at, event.id)
        keys = sorted({tag_key(relay, letter, value) for letter, value in indexed_tags(event)})
        packed = pack(f">{len(keys)}q", *keys)
        expires = expiration(event)
        if expires is not None:
            self._next_expiry_s = min(self._next_expiry_s, expires)
        self._rows.append((seq, relay, author, event.kind, created, tie, half, packed, expires))
        self._tags += [(key, created, tie, seq) for key in keys]

    def _flush(self) -> None:
        """Write what was noted; an id that its relay holds already is passed over, and so are its tags."""
        if not self._rows:
            return
        rows, tags = self._rows, self._tags
        self._rows, self._tags = [], []
        added = self.db.executemany("INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows).rowcount
        if added < len(rows):
            span = (rows[0][0], rows[-1][0])
            there = {seq for (seq,) in self.db.execute("SELECT seq FROM event WHERE seq BETWEEN ? AND ?", span)}
            rows, tags = [row for row in rows if row[0] in there], [tag for tag in tags if tag[3] in there]
        self.db.executemany("INSERT INTO tag VALUES (?, ?, ?, ?)", tags)
        self._counts.update(row[1] for row in rows if isinstance(row[1], int))

    def _drop(self, seq: int) -> None:
        """Take a row and its tags away; its place in `address` may dangle, since nothing is read through it alone."""
        row = self.db.execute("SELECT relay, created, tie, tags FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return
        relay, created, tie, tags = row
        self.db.execute("DELETE FROM event WHERE seq = ?", (seq,))
        self.db.executemany(
            "DELETE FROM tag WHERE key = ? AND created = ? AND tie = ? AND seq = ?",
            [(key, created, tie, seq) for key in tag_keys(tags)],
        )
        self._counts[relay] -= 1

    # -- expirations (NIP-40) -----------------------------------------------------------------------------------------

    def _earliest_expiry(self) -> int:
        found = self.db.execute("SELECT min(expires) FROM event WHERE expires IS NOT NULL").fetchone()[0]
        return _NEVER if found is None else int(found)

    def _expire(self, now_s: int) -> None:
        """Drop what has ended by a record's own time; whoever reads meanwhile holds rows against the clock besides."""
        self._flush()
        for (seq,) in self.db.execute("SELECT seq FROM event WHERE expires <= ?", (now_s,)).fetchall():
            self._drop(seq)
        self._next_expiry_s = self._earliest_expiry()

    # -- requests to vanish (NIP-62) ----------------------------------------------------------------------------------

    def vanishing(self, relay_key: str, pubkey: str, until_s: int) -> list[int]:
        """List the seqs of what a request to vanish takes away: the author's up to then, and wraps addressed to them.

        ``relay_key`` "" means every relay. The requests themselves stay, as a proof that they were heeded.
        """
        author = self.author(pubkey)
        return [
            seq
            for relay in ([self._relays.get(relay_key, _UNSEEN)] if relay_key else self._relays.values())
            for seq in self._vanishing_here(relay, author, pubkey, until_s)
        ]

    def _vanishing_here(self, relay: int, author: Author | None, pubkey: str, until_s: int) -> list[int]:
        seqs = self.db.execute(
            "SELECT seq FROM event WHERE relay = ? AND author = ? AND created <= ? AND kind != ?",
            (relay, author.number if author else _UNSEEN, until_s, VANISH),
        ).fetchall()
        seqs += self.db.execute(
            "SELECT e.seq FROM tag t JOIN event e ON e.seq = t.seq WHERE t.key = ? AND t.created <= ? AND e.kind = ?",
            (tag_key(relay, "p", pubkey), until_s, GIFT_WRAP),
        ).fetchall()
        return sorted({seq for (seq,) in seqs})

    def _vanish(self, record: Record) -> None:
        """Drop an author's rows and bar their return. What it costs was paid by whoever stored them."""
        fact = fact_of(record)
        if fact is None:
            return
        assert isinstance(fact, Vanished)
        self._flush()
        pubkey, relay = fact.pubkey.hex(), self._relay(fact.relay_key) if fact.relay_key else _EVERY_RELAY
        for seq in self.vanishing(fact.relay_key, pubkey, fact.until_s):
            self._drop(seq)
        self.db.execute(
            "INSERT INTO vanished VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
            (relay, fact.pubkey, fact.until_s),
        )
        self._vanishes = True
        author = self.author(pubkey)
        if author is not None and not author.deletes:
            author.deletes = True
            self.db.execute("UPDATE author SET deletes = 1 WHERE number = ?", (author.number,))

    def _may_have_vanished(self, author: Author | None, event: Event) -> bool:
        return (author is not None and author.deletes) or any(one.deletes for one in self._addressees(event))

    def _addressees(self, event: Event) -> list[Author]:
        """Give those that a gift wrap is for, as far as they are known: it is theirs to delete (NIP-59)."""
        if event.kind != GIFT_WRAP:
            return []
        keys = sorted(value for letter, value in indexed_tags(event) if letter == "p" and is_hex_64(value))
        return [author for author in map(self.author, keys) if author is not None]

    def _has_vanished(self, relay: int, event: Event) -> bool:
        if not self._vanishes or event.kind == VANISH:
            return False
        people = {event.pubkey}
        if event.kind == GIFT_WRAP:
            people |= {value for letter, value in indexed_tags(event) if letter == "p" and is_hex_64(value)}
        return any(event.created_at <= self._vanished_until(relay, pubkey) for pubkey in sorted(people))

    def _vanished_until(self, relay: int, pubkey: str) -> int:
        row = self.db.execute(
            "SELECT max(until) FROM vanished WHERE relay IN (?, ?) AND pubkey = ?",
            (_EVERY_RELAY, relay, bytes.fromhex(pubkey)),
        ).fetchone()
        return -1 if row[0] is None else int(row[0])

    # -- bans (NIP-86) ------------------------------------------------------------------------------------------------

    def _moderate(self, record: Record) -> None:
        """Drop what a ban takes away. That it stays away, until the ban is lifted, is the rules' to see to."""
        fact = fact_of(record)
        if fact is None:
            return
        assert isinstance(fact, Moderated)
        self._flush()
        relay = self._relays.get(fact.relay_key, _UNSEEN)
        rows: list[tuple[int]] = []
        if fact.method == "banevent":
            place = (*mark_of(0, fact.value)[1:], relay)
            rows = self.db.execute("SELECT seq FROM event WHERE tie = ? AND half = ? AND relay = ?", place).fetchall()
        elif fact.method == "banpubkey" and (author := self.author(fact.value)) is not None:
            of_author = (relay, author.number)
            rows = self.db.execute("SELECT seq FROM event WHERE relay = ? AND author = ?", of_author).fetchall()
        for (seq,) in rows:
            self._drop(seq)

    # -- versions -----------------------------------------------------------------------------------------------------

    def _is_superseded(self, place: Place, mark: Mark) -> bool:
        """Whether a version is stored that is newer, or as old with a lower id, or the same."""
        row = self.db.execute(
            "SELECT e.created, e.tie, e.half FROM address a JOIN event e ON e.seq = a.seq "
            "WHERE a.relay = ? AND a.author = ? AND a.kind = ? AND a.name = ?",
            place,
        ).fetchone()
        return row is not None and row >= mark

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
        if event.kind in (DELETION, VANISH):
            return False
        if self._deleted_id(relay, author, event):
            return True
        if place is None:
            return False
        row = self.db.execute(
            "SELECT until FROM gone_address WHERE relay = ? AND author = ? AND kind = ? AND name = ?", place
        ).fetchone()
        return row is not None and event.created_at <= row[0]

    def _deleted_id(self, relay: int, author: Author, event: Event) -> bool:
        by_id = (relay, author.number, bytes.fromhex(event.id))
        query = "SELECT 1 FROM gone_id WHERE relay = ? AND author = ? AND id = ?"
        return self.db.execute(query, by_id).fetchone() is not None

    def _delete(self, relay: int, author: Author, deletion: Event) -> None:
        """Carry out a kind 5: what it names of its own author's, now and in future."""
        if not author.deletes:
            author.deletes = True
            self.db.execute("UPDATE author SET deletes = 1 WHERE number = ?", (author.number,))
        for letter, value in sorted(indexed_tags(deletion)):
            if letter == "e" and is_hex_64(value):
                self._delete_id(relay, author.number, value, tag_key(relay, "p", deletion.pubkey))
            elif letter == "a":
                place = _named_place(relay, author.number, deletion.pubkey, value)
                if place is not None:
                    self._delete_address(place, deletion.created_at)

    def _delete_id(self, relay: int, author: int, event_id: str, addressed: int) -> None:
        """Take away and bar what an author names of their own, or of what was wrapped for them."""
        self.db.execute("INSERT OR IGNORE INTO gone_id VALUES (?, ?, ?)", (relay, author, bytes.fromhex(event_id)))
        row = self.db.execute(
            "SELECT seq, author, kind, tags FROM event WHERE tie = ? AND half = ? AND relay = ?",
            (*mark_of(0, event_id)[1:], relay),
        ).fetchone()
        if row is None or row[2] in (DELETION, VANISH):
            return
        if row[1] == author or (row[2] == GIFT_WRAP and addressed in tag_keys(row[3])):
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


def tag_keys(tags: bytes) -> tuple[int, ...]:
    """Unpack a row's ``tags``."""
    return Struct(f">{len(tags) // 8}q").unpack(tags)


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
    return blake2b(name.encode(), digest_size=NAME_BYTES).digest()
