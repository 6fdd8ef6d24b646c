"""What each relay holds of nostr events (NIP-01, 09, 40, 62), as rows that point into the log.

Invariant: the fold alone decides what is replaced, deleted and expired, in the order of the log and by its times, so a
replay ends in the same rows; a body is never copied here. A deletion is remembered for ever, so that it also bars what
arrives after it.
What an event costs must not grow with how many there are: rows stand in the order of the log, so the table grows at its
end alone, and the keys by which they are found stand in sorted runs (`gateway.views.eventkeys`), which may still hold
those of a row that is gone. Authors and relays are numbers, and rows are written a batch at a time.
This module must not know queries.
"""

import enum
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar

from eventlog.chronicle import Retained
from eventlog.record import Record
from eventlog.sortedruns import Look, Sizes, SortedRuns
from eventlog.view import TableView
from gateway.facts import EventStored, Moderated, RelayUnregistered, Vanished, event_of, fact_of
from gateway.limits.views import WRITE_AHEAD_PAGES
from gateway.nostr.event import (
    DELETION,
    GIFT_WRAP,
    VANISH,
    Event,
    expiration,
    indexed_tags,
    is_ephemeral,
    is_hex_64,
    is_plain,
    stored_event,
)
from gateway.views import authors, deletions, eventkeys, vanishings, versions
from gateway.views.authors import Author, Authors
from gateway.views.deletions import Deletions
from gateway.views.eventkeys import mark_of, tag_key, tag_keys
from gateway.views.foreseen import Foreseen, Foresight
from gateway.views.freshrows import FreshRows, Noted
from gateway.views.keptrows import KeptRows
from gateway.views.vanishings import EVERY_RELAY, Vanishings, addressees
from gateway.views.versions import Place, Versions, named_place, place_of

INSERT_ROWS = 16
LOOKUP_SEQS = (1, 4, 16, 64, 256)
_NEVER = 2**63 - 1
_UNSEEN = 2**32 - 1  # the number of no relay and no author


class Standing(enum.Enum):
    """How an event stands to what a relay holds already."""

    NEW = "would be stored"
    KNOWN = "is stored"
    SUPERSEDED = "a newer version is stored"
    DELETED = "its author deleted it"
    VANISHED = "its author, or whom it was wrapped for, asked to vanish"


class EventsView(TableView):
    """The index: answers how an event stands, and holds the rows that `gateway.views.eventscan` reads."""

    name: ClassVar[str] = "events"
    version: ClassVar[int] = 4
    kinds: ClassVar[frozenset[str]] = frozenset(
        {EventStored.kind, Moderated.kind, RelayUnregistered.kind, Vanished.kind}
    )
    tables: ClassVar[tuple[str, ...]] = (
        "relay",
        "author",
        "author_kind",
        "event",
        "address",
        "gone_id",
        "gone_address",
        "vanished",
    )
    schema: ClassVar[str] = (
        f"PRAGMA wal_autocheckpoint = {WRITE_AHEAD_PAGES};"
        """
        PRAGMA cache_size = -65536;
        CREATE TABLE IF NOT EXISTS relay (number INTEGER PRIMARY KEY, key TEXT UNIQUE, events INTEGER);
        CREATE TABLE IF NOT EXISTS event (
            seq INTEGER PRIMARY KEY, relay INTEGER, author INTEGER, kind INTEGER, created INTEGER, tie INTEGER,
            half INTEGER, tags BLOB, expires INTEGER, rest BLOB);
        CREATE INDEX IF NOT EXISTS event_expires ON event (expires) WHERE expires IS NOT NULL;
        """ + authors.SCHEMA + versions.SCHEMA + deletions.SCHEMA + vanishings.SCHEMA
    )
    sizes: ClassVar[Sizes] = Sizes()

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self.orders = SortedRuns(db, "order", eventkeys.ORDERS, self.sizes)
        self._ids = SortedRuns(db, "id", eventkeys.IDS, self.sizes)
        self._authors, self._versions = Authors(db), Versions(db)
        self._deletions, self._vanishings = Deletions(db), Vanishings(db)
        self._relays: dict[str, int] = dict(db.execute("SELECT key, number FROM relay WHERE key IS NOT NULL"))
        self.foreseen = Foreseen()  # told by whoever submits
        self.kept: KeptRows[Any] = KeptRows()  # whoever takes rows away tells it; what its rows are, their reader knows
        self._noted: list[Noted] = []
        self._looks: list[Look | None] = []  # at which these were not there; None for one that nobody looked for
        self._counts: Counter[int] = Counter()
        self._next_expiry_s = self._earliest_expiry()

    # -- what others ask ----------------------------------------------------------------------------------------------

    def standing(self, relay_key: str, event: Event) -> Standing:
        """Say how one event stands now."""
        return self.standings(relay_key, [event])[0]

    def standings(self, relay_key: str, events: Sequence[Event]) -> list[Standing]:
        """Say how events stand now; records of the log that are not applied yet do not count."""
        relay = self._relays.get(relay_key, _UNSEEN)
        if relay == _UNSEEN and not self._vanishings.any:
            return [Standing.NEW] * len(events)
        if not self._ids.found(eventkeys.of_ids([event.id for event in events], relay)):
            deleting, new = self.deleting(events), Standing.NEW
            return [
                new if is_plain(event.kind) and event.pubkey not in deleting else self._standing(relay, event)
                for event in events
            ]
        marks = [mark_of(event.created_at, event.id) for event in events]
        known = self._known([(relay, tie, half) for _, tie, half in marks])
        return [
            Standing.KNOWN if (relay, mark.tie, mark.half) in known else self._standing(relay, event)
            for event, mark in zip(events, marks, strict=True)
        ]

    def _standing(self, relay: int, event: Event) -> Standing:
        """Say how an event stands that is not known."""
        author = self.author(event.pubkey)
        if self._may_have_vanished(author, event) and self._vanishings.bars(relay, event):
            return Standing.VANISHED
        if event.kind == GIFT_WRAP and self._is_deleted_by_whom_it_is_for(relay, event):
            return Standing.DELETED
        if author is None:
            return Standing.NEW
        place = place_of(relay, author.number, event)
        if author.deletes and self._is_gone(relay, author, event, place):
            return Standing.DELETED
        if place is not None and self._versions.is_superseded(place, mark_of(event.created_at, event.id)):
            return Standing.SUPERSEDED
        return Standing.NEW

    def look(self) -> Look:
        """Say until when the `standings` hold that are given now: the fold of an event looks only for what came since.

        Half of what a look costs over ten million events, which is a filter a run.
        """
        return self._ids.look()

    def relay(self, relay_key: str) -> int | None:
        """Give a relay's number; None while nothing was stored for it."""
        return self._relays.get(relay_key)

    def count(self, relay_key: str) -> int:
        """Count the events that a relay holds."""
        row = self.db.execute("SELECT events FROM relay WHERE key = ?", (relay_key,)).fetchone()
        return int(row[0]) if row else 0

    def pubkeys(self, numbers: Iterable[int]) -> list[bytes]:
        """Give the keys of authors by their numbers."""
        return self._authors.pubkeys(numbers)

    def author(self, pubkey: str) -> Author | None:
        """Look an author up; ``pseudonym`` is the subject that the next record of theirs must carry."""
        return self._authors.of(pubkey)

    def deleting(self, events: Sequence[Event]) -> set[str]:
        """Give those of the events' authors who deleted something, or asked to vanish: theirs may be barred."""
        found = {pubkey: self.author(pubkey) for pubkey in {event.pubkey for event in events}}
        return {pubkey for pubkey, author in found.items() if author is not None and author.deletes}

    def kinds_of(self, relay: int, author: int, most: int) -> list[int]:
        """List the kinds that an author wrote in a relay, ``most`` at most, whether or not any is left of each."""
        return self._authors.kinds(relay, author, most)

    def select(self, columns: str, seqs: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Give ``columns`` (constant SQL) of the rows that are there, in any order: many to a statement."""
        at = 0
        while at < len(seqs):
            count = next((size for size in LOOKUP_SEQS if size >= len(seqs) - at), LOOKUP_SEQS[-1])
            some = [*seqs[at : at + count]]
            some += some[:1] * (count - len(some))  # few statements, each prepared once
            at += count
            query = f"SELECT {columns} FROM event WHERE seq IN ({', '.join('?' * count)})"  # noqa: S608 - constants
            yield from self.db.execute(query, some)

    def with_id(self, relay: int, ids: Iterable[str]) -> list[int]:
        """Give the seqs of a relay's events with these hex ids."""
        marks = [mark_of(0, event_id) for event_id in ids]
        known = self._known([(relay, tie, half) for _, tie, half in marks])
        return [known[wanted] for _, tie, half in marks if (wanted := (relay, tie, half)) in known]

    def _known(self, wanted: Collection[tuple[int, int, int]]) -> dict[tuple[int, int, int], int]:
        """Find which (relay, tie, half) are stored, with their seqs."""
        keys = self._ids.found([eventkeys.of_id(half, relay) for relay, _, half in wanted])
        found = self.select("relay, tie, half, seq", eventkeys.seqs_of(keys)) if keys else ()
        return {(relay, tie, half): seq for relay, tie, half, seq in found}

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

    def fold_all(self, records: Sequence[Record]) -> None:
        """Take in records, in order; of events as long a row as there is together."""
        at = 0
        for end, record in enumerate(records):
            if record.kind != EventStored.kind:
                self._fold_events(records[at:end])
                self._flush()
                super().fold_all((record,))
                at = end + 1
        self._fold_events(records[at:] if at else records)

    def _fold_events(self, records: Sequence[Record]) -> None:
        """Take in stored events; one that is known, superseded, deleted, erased or ephemeral changes nothing."""
        relays, authors, note, looks = self._relays, self._authors, self._noted.append, self._looks
        foreseen = self.foreseen.take([record.payload for record in records])
        for record, known in zip(records, foreseen, strict=True):
            now_s = record.ts_ns // 1_000_000_000
            if now_s >= self._next_expiry_s:
                self._expire(now_s)
            found = known or _decoded(record)
            if found is None:
                continue
            _, relay_key, event, look = found
            expires = expiration(event)
            if is_ephemeral(event.kind) or (expires is not None and expires <= now_s):
                continue
            relay = relays.get(relay_key) or self._relay(relay_key)
            author = authors.of(event.pubkey) or authors.add(event.pubkey, record.subject)
            if expires is not None:
                self._next_expiry_s = min(self._next_expiry_s, expires)
            if self._stands_alone(author, event):
                note((record.seq, relay, author.number, event, expires))
                if not looks or looks[-1] is not look:
                    looks.append(look)
            else:
                self._fold_alone((record.seq, relay, author.number, event, expires), author)

    def fold(self, record: Record) -> None:
        """Take in one fact; all events before it must be written."""
        match fact_of(record):
            case RelayUnregistered() as fact:
                self._forget(fact.relay_key)
            case Vanished() as fact:
                self._vanish(fact)
            case Moderated() as fact:
                self._moderate(fact)
            case _:
                pass  # erased

    def _forget(self, relay_key: str) -> None:
        """Let a relay go: who registers its key next starts empty.

        Its number loses the key and is never given again, so its rows are out of reach at once; deleting them here
        would hold up everybody for as long as the relay was large.
        """
        self.db.execute("UPDATE relay SET key = NULL WHERE key = ?", (relay_key,))
        self._relays.pop(relay_key, None)

    def retained(self, entry: Retained) -> None:
        """Drop the rows of events that are gone: at most as many as one step of retention takes."""
        self._flush()
        floor = entry.floor(EventStored.kind)
        gone = self.db.execute("SELECT relay, count(*) FROM event WHERE seq < ? GROUP BY relay", (floor,))
        self._counts.subtract(dict(gone.fetchall()))
        self.db.execute("DELETE FROM event WHERE seq < ?", (floor,))
        self.kept.clear()
        for keys in (self.orders, self._ids):
            keys.forget_below(floor)

    def erase(self, seqs: Iterable[int], author: Author | None) -> None:
        """Take rows away, and all of an author's, with every key that led to them; blocks, and the counts are stale.

        For where the log can no longer say what the rest came from.
        """
        own = self.db.execute("SELECT seq FROM event WHERE author = ?", (author.number if author else _UNSEEN,))
        self._drop([*seqs, *(seq for (seq,) in own.fetchall())])
        for keys in (self.orders, self._ids):
            keys.purge()

    def _stands_alone(self, author: Author, event: Event) -> bool:
        """Whether an event neither acts upon others nor may be barred or replaced by one."""
        kind = event.kind
        if author.deletes or kind == DELETION:
            return False
        return is_plain(kind) or (kind == GIFT_WRAP and not self._may_have_vanished(author, event))

    def _fold_alone(self, noted: Noted, author: Author) -> None:
        """Take in an event that others act upon, or that acts upon others: all before it must be written."""
        self._flush()
        seq, relay, _, event, _ = noted
        mark = mark_of(event.created_at, event.id)
        known = self._known([(relay, mark.tie, mark.half)])
        if known or self._standing(relay, event) is not Standing.NEW:
            return
        self._write(FreshRows([noted]))
        place = place_of(relay, author.number, event)
        if place is not None:
            self._supersede(place, seq)
        if event.kind == DELETION:
            self._delete(relay, author, event)

    def _flush(self) -> None:
        """Write what was noted; an id that its relay holds already is passed over."""
        if not self._noted:
            return
        fresh, looks = FreshRows(self._noted[:]), self._looks[:]
        self._noted.clear()
        self._looks.clear()
        if len(set(fresh.prefixes)) < len(fresh.prefixes) or self._ids.found(fresh.prefixes, looks):
            fresh = fresh.without(self._known(fresh.names))
        self._write(fresh)

    def _write(self, fresh: FreshRows) -> None:
        """Write rows of events that are new, and the keys by which they are found."""
        rows = fresh.rows
        if rows:
            many = len(rows) - len(rows) % INSERT_ROWS
            some = (list(chain(*rows[at : at + INSERT_ROWS])) for at in range(0, many, INSERT_ROWS))
            self.db.executemany(_insert(INSERT_ROWS), some)
            self.db.executemany(_insert(1), rows[many:])
            self._authors.note_kinds(fresh.writes)
            self._ids.add(fresh.ids, fresh.prefixes)
            self.orders.add(fresh.keys, fresh.orders)
            self._counts.update([row[1] for row in rows])

    def _drop(self, seqs: Iterable[int]) -> None:
        """Take rows away; what `address` says of them may dangle, since nothing is read through it alone."""
        delete = "DELETE FROM event WHERE seq = ? RETURNING relay, seq"
        gone = [row for seq in seqs for row in self.db.execute(delete, (seq,)).fetchall()]
        self._counts.subtract([relay for relay, _ in gone])
        self.kept.forget(seq for _, seq in gone)
        for keys in (self.orders, self._ids):
            keys.forget(seq for _, seq in gone)

    # -- expirations (NIP-40) -----------------------------------------------------------------------------------------

    def _earliest_expiry(self) -> int:
        found = self.db.execute("SELECT min(expires) FROM event WHERE expires IS NOT NULL").fetchone()[0]
        return _NEVER if found is None else int(found)

    def _expire(self, now_s: int) -> None:
        """Drop what has ended by a record's own time; whoever reads meanwhile holds rows against the clock besides."""
        self._flush()
        ended = self.db.execute("SELECT seq FROM event WHERE expires <= ?", (now_s,)).fetchall()
        self._drop(seq for (seq,) in ended)
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
        wrapped = eventkeys.of_tag(tag_key(relay, "p", pubkey))
        found = self.select(
            "seq, created, kind", self._under(wrapped + eventkeys.from_time(until_s), wrapped + eventkeys.back_to(0))
        )
        seqs = {seq for seq, _, kind in found if kind == GIFT_WRAP}
        if author is not None:
            own = self.select("seq, created, kind", self._by_author(relay, author))
            seqs |= {seq for seq, created, kind in own if created <= until_s and kind != VANISH}
        return sorted(seqs)

    def _by_author(self, relay: int, author: Author) -> list[int]:
        prefix = eventkeys.of_author(relay, author.number)
        return self._under(prefix, prefix)

    def _under(self, low: bytes, high: bytes) -> list[int]:
        return eventkeys.seqs_of(self.orders.under(low, high))

    def _vanish(self, fact: Vanished) -> None:
        """Drop an author's rows and bar their return. What it costs was paid by whoever stored them."""
        pubkey, relay = fact.pubkey.hex(), self._relay(fact.relay_key) if fact.relay_key else EVERY_RELAY
        self._drop(self.vanishing(fact.relay_key, pubkey, fact.until_s))
        self._vanishings.add(relay, fact.pubkey, fact.until_s)
        author = self.author(pubkey)
        if author is not None:
            self._authors.note_deletion(author)

    def _may_have_vanished(self, author: Author | None, event: Event) -> bool:
        if author is not None and author.deletes:
            return True
        return event.kind == GIFT_WRAP and any(one.deletes for one in self._addressees(event))

    def _addressees(self, event: Event) -> list[Author]:
        """Give those that a gift wrap is for, as far as they are known."""
        if event.kind != GIFT_WRAP:
            return []
        return [author for author in map(self.author, addressees(event)) if author is not None]

    # -- bans (NIP-86) ------------------------------------------------------------------------------------------------

    def _moderate(self, fact: Moderated) -> None:
        """Drop what a ban takes away. That it stays away, until the ban is lifted, is the rules' to see to."""
        relay = self._relays.get(fact.relay_key, _UNSEEN)
        if fact.method == "banevent":
            self._drop(self.with_id(relay, [fact.value]))
        elif fact.method == "banpubkey" and (author := self.author(fact.value)) is not None:
            self._drop(self._by_author(relay, author))

    # -- versions and deletions (NIP-01, NIP-09) ----------------------------------------------------------------------

    def _supersede(self, place: Place, seq: int) -> None:
        old = self._versions.current(place)
        if old is not None:
            self._drop([old])
        self._versions.put(place, seq)

    def _is_deleted_by_whom_it_is_for(self, relay: int, event: Event) -> bool:
        whom = (one.number for one in self._addressees(event) if one.deletes)
        return any(self._deletions.bars_id(relay, number, event.id) for number in whom)

    def _is_gone(self, relay: int, author: Author, event: Event, place: Place | None) -> bool:
        if event.kind in (DELETION, VANISH):
            return False
        return self._deletions.bars_id(relay, author.number, event.id) or (
            place is not None and self._deletions.bars_address(place, event.created_at)
        )

    def _delete(self, relay: int, author: Author, deletion: Event) -> None:
        """Carry out a kind 5: what it names of its own author's, now and in future."""
        self._authors.note_deletion(author)
        for letter, value in sorted(indexed_tags(deletion)):
            if letter == "e" and is_hex_64(value):
                self._delete_id(relay, author.number, value, tag_key(relay, "p", deletion.pubkey))
            elif letter == "a":
                place = named_place(relay, author.number, deletion.pubkey, value)
                if place is not None:
                    self._delete_address(place, deletion.created_at)

    def _delete_id(self, relay: int, author: int, event_id: str, addressed: bytes) -> None:
        """Take away and bar what an author names of their own, or of what was wrapped for them."""
        self._deletions.bar_id(relay, author, event_id)
        found = self.select("seq, author, kind, tags", self.with_id(relay, [event_id]))
        self._drop([seq for seq, *row in found if _is_theirs_to_delete(author, addressed, *row)])

    def _delete_address(self, place: Place, until: int) -> None:
        self._deletions.bar_address(place, until)
        current = self._versions.current(place)
        if current is not None:
            self._drop([seq for seq, created in list(self.select("seq, created", [current])) if created <= until])

    # -- relays -------------------------------------------------------------------------------------------------------

    def _relay(self, key: str) -> int:
        number = self._relays.get(key)
        if number is None:
            number = self.db.execute("INSERT INTO relay (key, events) VALUES (?, 0)", (key,)).lastrowid
            assert number is not None
            self._relays[key] = number
        return number


def _insert(rows: int) -> str:
    """Give the statement for so many rows: with sixteen a row costs two thirds of what it costs alone."""
    return f"INSERT INTO event VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'] * rows)}"  # noqa: S608 - constants


def _is_theirs_to_delete(author: int, addressed: bytes, by: int, kind: int, tags: bytes) -> bool:
    if kind in (DELETION, VANISH):
        return False
    return by == author or (kind == GIFT_WRAP and addressed in tag_keys(tags))


def _decoded(record: Record) -> Foresight | None:
    found = event_of(record)
    return None if found is None else (record.payload or b"", found[0], stored_event(found[1]), None)
