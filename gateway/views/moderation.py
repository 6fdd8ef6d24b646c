"""What moderators have said of each relay (NIP-86): its lists and its words, as they stand.

Invariant: the fold of every `Moderated`, in order; a relay that was unregistered is forgotten. This module must not
know who may say what.
"""

import sqlite3
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Moderated, RelayUnregistered, fact_of
from gateway.nostr.moderation import CHANGES, WORDS, rules_from
from gateway.nostr.rules import Rules

NO_RULES = Rules()


class ModerationView(TableView):
    """(relay, list, value) → reason; rules are kept in memory, since every event asks for them."""

    name: ClassVar[str] = "moderation"
    kinds: ClassVar[frozenset[str]] = frozenset({Moderated.kind, RelayUnregistered.kind})
    tables: ClassVar[tuple[str, ...]] = ("rule",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS rule (
            relay TEXT, list TEXT, value TEXT, reason TEXT, PRIMARY KEY (relay, list, value)) WITHOUT ROWID;
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._rules: dict[str, Rules] = {}
        for (relay_key,) in db.execute("SELECT DISTINCT relay FROM rule").fetchall():
            self._rules[relay_key] = rules_from(self.lists(relay_key))

    def rules(self, relay_key: str) -> Rules:
        """Give what moderators have set for a relay."""
        return self._rules.get(relay_key, NO_RULES)

    def count(self, relay_key: str) -> int:
        """Count the entries of all lists of a relay."""
        return int(self.db.execute("SELECT count(*) FROM rule WHERE relay = ?", (relay_key,)).fetchone()[0])

    def lists(self, relay_key: str) -> dict[str, dict[str, str]]:
        """Give every list of a relay: list -> value -> reason."""
        found: dict[str, dict[str, str]] = {}
        query = "SELECT list, value, reason FROM rule WHERE relay = ? ORDER BY list, value"
        for name, value, reason in self.db.execute(query, (relay_key,)):
            found.setdefault(name, {})[value] = reason
        return found

    def relays_with(self, value: str) -> list[tuple[str, str]]:
        """Name every relay and list that has a value."""
        return self.db.execute("SELECT relay, list FROM rule WHERE value = ? ORDER BY relay, list", (value,)).fetchall()

    def words(self, relay_key: str) -> dict[str, str]:
        """Give the name, description and icon that a moderator has given a relay, as far as one has."""
        lists = self.lists(relay_key)
        return {word: next(iter(lists[word])) for word in WORDS if word in lists}

    def fold(self, record: Record) -> None:
        """Take in one change."""
        match fact_of(record):
            case Moderated(relay_key, _, method, value, reason):
                self._take_in(relay_key, method, value, reason)
                self._rules[relay_key] = rules_from(self.lists(relay_key))
            case RelayUnregistered() as fact:
                self.db.execute("DELETE FROM rule WHERE relay = ?", (fact.relay_key,))
                self._rules.pop(fact.relay_key, None)
            case _:
                pass  # erased

    def _take_in(self, relay_key: str, method: str, value: str, reason: str) -> None:
        change = CHANGES[method]
        if change.onto in WORDS:
            self.db.execute("DELETE FROM rule WHERE relay = ? AND list = ?", (relay_key, change.onto))
        if change.off:
            row = (relay_key, change.off, value)
            self.db.execute("DELETE FROM rule WHERE relay = ? AND list = ? AND value = ?", row)
        if change.onto:
            self.db.execute("INSERT OR REPLACE INTO rule VALUES (?, ?, ?, ?)", (relay_key, change.onto, value, reason))
