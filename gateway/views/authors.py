"""The authors of stored events: a number for each key, its pseudonym in the log, and the kinds that they write.

Invariant: a number is given once, in the order of the log, and never to another key; the pseudonym is that of the
first record of theirs. A kind that an author wrote once in a relay stays among theirs, whatever became of it.
This module must not know events.
"""

import sqlite3
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from gateway.limits.views import AUTHOR_KINDS_CACHED_MAX, AUTHORS_CACHED_MAX

SCHEMA = """
    CREATE TABLE IF NOT EXISTS author (
        number INTEGER PRIMARY KEY, pubkey BLOB UNIQUE, pseudonym BLOB, deletes INTEGER);
    CREATE TABLE IF NOT EXISTS author_kind (
        relay INTEGER, author INTEGER, kind INTEGER, PRIMARY KEY (relay, author, kind)) WITHOUT ROWID;
"""

Writes = tuple[int, int, int]
"""Relay, author, kind: the numbers of who writes what where."""


@dataclass(slots=True)
class Author:
    """What is known of a key; ``deletes``: whether some kind 5 or 62 of theirs is stored anywhere."""

    number: int
    pseudonym: bytes
    deletes: bool


class Authors:
    """Looks authors up, and keeps those asked for last."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._kept: dict[str, Author] = {}
        self._kinds: set[Writes] = set()  # those that are known to be in the table

    def of(self, pubkey: str) -> Author | None:
        """Look an author up by their hex key."""
        known = self._kept.get(pubkey)
        if known is None:
            query = "SELECT number, pseudonym, deletes FROM author WHERE pubkey = ?"
            row = self._db.execute(query, (bytes.fromhex(pubkey),)).fetchone()
            known = self._keep(pubkey, Author(row[0], row[1], bool(row[2]))) if row else None
        return known

    def add(self, pubkey: str, pseudonym: bytes) -> Author:
        """Take in one that is not known."""
        insert = "INSERT INTO author (pubkey, pseudonym, deletes) VALUES (?, ?, 0)"
        number = self._db.execute(insert, (bytes.fromhex(pubkey), pseudonym)).lastrowid
        assert number is not None
        return self._keep(pubkey, Author(number, pseudonym, False))

    def pubkeys(self, numbers: Iterable[int]) -> list[bytes]:
        """Give the keys of authors by their numbers."""
        query = "SELECT pubkey FROM author WHERE number = ?"
        return [bytes(self._db.execute(query, (number,)).fetchone()[0]) for number in numbers]

    def note_deletion(self, author: Author) -> None:
        """Remember that an author deletes: from now on what they bring is held against that."""
        if not author.deletes:
            author.deletes = True
            self._db.execute("UPDATE author SET deletes = 1 WHERE number = ?", (author.number,))

    def note_kinds(self, writes: AbstractSet[Writes]) -> None:
        """Remember what kinds authors write: few are new, so hardly any event costs more than a look into a set."""
        fresh = sorted(writes - self._kinds)
        if fresh:
            self._db.executemany("INSERT OR IGNORE INTO author_kind VALUES (?, ?, ?)", fresh)
            if len(self._kinds) + len(fresh) > AUTHOR_KINDS_CACHED_MAX:
                self._kinds.clear()
            self._kinds.update(fresh)

    def kinds(self, relay: int, author: int, most: int) -> list[int]:
        """List the kinds that an author wrote in a relay, ``most`` at most."""
        query = "SELECT kind FROM author_kind WHERE relay = ? AND author = ? LIMIT ?"
        return [kind for (kind,) in self._db.execute(query, (relay, author, most))]

    def _keep(self, pubkey: str, author: Author) -> Author:
        if len(self._kept) >= AUTHORS_CACHED_MAX:
            self._kept.clear()
        self._kept[pubkey] = author
        return author
