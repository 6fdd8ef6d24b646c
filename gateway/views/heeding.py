"""How far the requests to vanish (NIP-62) and to delete (NIP-09) have been heeded in the log's files.

Invariant: what is still to be erased follows from the log alone: requests behind `before_seq`. So a server that was
killed at any point goes on where the last round ended. This module must not know requests.
"""

from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Heeded, fact_of


class HeedingView(TableView):
    """One number: the requests of all records before it were heeded."""

    name: ClassVar[str] = "heeding"
    kinds: ClassVar[frozenset[str]] = frozenset((Heeded.kind,))
    tables: ClassVar[tuple[str, ...]] = ("heeded",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS heeded (one INTEGER PRIMARY KEY CHECK (one = 1), before_seq INTEGER);
    """

    @property
    def before_seq(self) -> int:
        """Where the next round begins to look for requests."""
        row = self.db.execute("SELECT before_seq FROM heeded").fetchone()
        return 0 if row is None else int(row[0])

    def fold(self, record: Record) -> None:
        """Take in one round."""
        fact = fact_of(record)
        if isinstance(fact, Heeded):
            self.db.execute("INSERT OR REPLACE INTO heeded VALUES (1, ?)", (max(self.before_seq, fact.before_seq),))
