"""Which relays there are: their registrations, owners and names.

Invariant: a name belongs to at most one relay, and a relay that was unregistered has none; an empty list of peers in a
renewal leaves those known before. Whether a worker is online is not kept: it follows from the time and `received_ms`.
This module must not know tokens or rows.
"""

import sqlite3
from dataclasses import dataclass, replace
from typing import ClassVar

import cbor2
import msgspec
from cachetools import LRUCache

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import RelayRegistered, RelayUnregistered, fact_of
from gateway.limits.relays import RELAYS_KEPT_MAX
from gateway.replication.registration import Relay, relay_of


@dataclass(frozen=True, slots=True)
class Registered:
    """A relay as it stands; times in ms since 1970."""

    relay: Relay
    worker: str
    nonce: str
    issued_ms: int
    received_ms: int
    registration: bytes  # the signed object of the last renewal, as JSON


class RelaysView(TableView):
    """Relays by key and by name."""

    name: ClassVar[str] = "relays"
    kinds: ClassVar[frozenset[str]] = frozenset({RelayRegistered.kind, RelayUnregistered.kind})
    tables: ClassVar[tuple[str, ...]] = ("relays", "names")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS relays (
            relay_key TEXT PRIMARY KEY, worker TEXT, nonce TEXT, issued_ms INTEGER, received_ms INTEGER,
            peers BLOB, registration BLOB) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, relay_key TEXT) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS names_of ON names (relay_key);
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        # Every handshake asks for a description; bounded, and nothing that decides reads past what the tables say.
        self._described: LRUCache[str, Registered] = LRUCache(RELAYS_KEPT_MAX)

    def fold(self, record: Record) -> None:
        """Take in a registration or its end."""
        fact = fact_of(record)
        if isinstance(fact, RelayRegistered):
            self._register(fact)
        elif isinstance(fact, RelayUnregistered):
            self._forget(fact.relay_key)

    def relay(self, relay_key: str) -> Registered | None:
        """Give a relay by its key."""
        found = self._described.get(relay_key) or self._read(relay_key)
        if found is not None:
            self._described[relay_key] = found
        return found

    def named(self, name: str) -> Registered | None:
        """Give the relay that answers to a name in the form of `name_form`."""
        found = self.owner_of_name(name)
        return None if found is None else self.relay(found)

    def owner_of_name(self, name: str) -> str | None:
        """Give the key of the relay that has a name."""
        row = self.db.execute("SELECT relay_key FROM names WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def all(self) -> list[Registered]:
        """Give every relay, by key."""
        keys = [key for (key,) in self.db.execute("SELECT relay_key FROM relays ORDER BY relay_key")]
        return [found for key in keys if (found := self.relay(key)) is not None]

    def _register(self, fact: RelayRegistered) -> None:
        payload = msgspec.json.decode(fact.registration)
        relay = relay_of(payload)
        before = self._read(fact.relay_key)
        peers = list(relay.peers) or (list(before.relay.peers) if before else [])
        self._forget(fact.relay_key)
        self.db.execute(
            "INSERT INTO relays VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                fact.relay_key, fact.worker, fact.nonce, fact.issued_ms, fact.received_ms, cbor2.dumps(peers),
                fact.registration,
            ),
        )  # fmt: skip
        self.db.executemany("INSERT INTO names VALUES (?, ?)", [(name, fact.relay_key) for name in sorted(relay.names)])

    def _forget(self, relay_key: str) -> None:
        self._described.pop(relay_key, None)
        self.db.execute("DELETE FROM relays WHERE relay_key = ?", (relay_key,))
        self.db.execute("DELETE FROM names WHERE relay_key = ?", (relay_key,))

    def _read(self, relay_key: str) -> Registered | None:
        row = self.db.execute(
            "SELECT worker, nonce, issued_ms, received_ms, peers, registration FROM relays WHERE relay_key = ?",
            (relay_key,),
        ).fetchone()
        if row is None:
            return None
        worker, nonce, issued_ms, received_ms, peers, registration = row
        relay = relay_of(msgspec.json.decode(registration))
        return Registered(
            replace(relay, peers=tuple(cbor2.loads(peers))), worker, nonce, issued_ms, received_ms, bytes(registration)
        )
