"""Which tokens were issued, which are revoked, and which nonces are used up.

Invariant: a subject's sequence never falls; what was revoked stays revoked (a token's sequence at or under its
subject's ``revoked_through``) until long after it expired, also when the relay was taken away meanwhile. Rows are
forgotten by the times in the records alone, so that every replay forgets the same ones. No token is held, only hashes.
"""

from dataclasses import dataclass
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import RelayRegistered, RelayUnregistered, TokenIssued, TokenRevoked, fact_of
from gateway.limits.keeping import CLOCK_JUMP_MS_MAX
from gateway.limits.relays import NONCE_KEPT_MS

WHOLE_RELAY = "*"  # no pubkey is spelled so


@dataclass(frozen=True, slots=True)
class Subject:
    """Where a subject (a pubkey, or "" for the relay's own) of a relay stands. ``revoked_ms`` 0: never revoked."""

    sequence: int = 0
    revoked_through: int = -1
    revoked_ms: int = 0


@dataclass(frozen=True, slots=True)
class Issued:
    """An issued token, by its hash."""

    relay_key: str
    subject: str
    sequence: int
    worker: str
    expires_ms: int


class TokensView(TableView):
    """Sequences, revocations and hashes of tokens; nonces of the workers' signed requests."""

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset(
        {TokenIssued.kind, TokenRevoked.kind, RelayRegistered.kind, RelayUnregistered.kind}
    )
    tables: ClassVar[tuple[str, ...]] = ("subjects", "issued", "used")
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS subjects (
            relay_key TEXT, subject TEXT, sequence INTEGER, revoked_through INTEGER, revoked_ms INTEGER,
            PRIMARY KEY (relay_key, subject)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS issued (
            hash BLOB PRIMARY KEY, relay_key TEXT, subject TEXT, sequence INTEGER, worker TEXT, expires_ms INTEGER
            ) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS issued_expires ON issued (expires_ms);
        CREATE INDEX IF NOT EXISTS issued_of ON issued (relay_key, subject);
        CREATE TABLE IF NOT EXISTS used (
            worker TEXT, nonce TEXT, issued_ms INTEGER, PRIMARY KEY (worker, nonce)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS used_issued ON used (issued_ms);
    """

    def fold(self, record: Record) -> None:
        """Take in one fact about tokens or registrations."""
        fact = fact_of(record)
        match fact:
            case RelayRegistered():
                self._use(fact.worker, fact.nonce, fact.issued_ms, fact.received_ms)
            case RelayUnregistered():
                self._use(fact.worker, fact.nonce, fact.nonce_issued_ms, record.ts_ns // 1_000_000)
                self._revoke(fact.relay_key, None, record.ts_ns // 1_000_000)
            case TokenIssued():
                self._issue(fact)
            case TokenRevoked():
                self._use(fact.worker, fact.nonce, fact.nonce_issued_ms, fact.revoked_ms)
                self._revoke(fact.relay_key, fact.pubkey, fact.revoked_ms)
            case _:
                pass  # erased: what it said is gone

    def subject(self, relay_key: str, subject: str) -> Subject:
        """Say where a subject stands; a revocation of the whole relay counts for subjects without tokens too."""
        row = self.db.execute(
            "SELECT sequence, revoked_through, revoked_ms FROM subjects WHERE relay_key = ? AND subject = ?",
            (relay_key, subject),
        ).fetchone()
        found = Subject(*row) if row else Subject()
        whole = self.db.execute(
            "SELECT revoked_ms FROM subjects WHERE relay_key = ? AND subject = ?", (relay_key, WHOLE_RELAY)
        ).fetchone()
        return Subject(found.sequence, found.revoked_through, max(found.revoked_ms, whole[0])) if whole else found

    def revoked(self, relay_key: str, subject: str, sequence: int) -> bool:
        """Tell whether a token of this sequence is revoked."""
        return sequence <= self.subject(relay_key, subject).revoked_through

    def stands(self, relay_key: str, subject: str, sequence: int, expires_ms: int) -> bool:
        """Tell whether a token of these claims was issued, as far as the log still says."""
        query = "SELECT 1 FROM issued WHERE relay_key = ? AND subject = ? AND sequence = ? AND expires_ms = ?"
        return self.db.execute(query, (relay_key, subject, sequence, expires_ms)).fetchone() is not None

    def issued(self, token_hash: bytes) -> Issued | None:
        """Give what is known of a token."""
        row = self.db.execute(
            "SELECT relay_key, subject, sequence, worker, expires_ms FROM issued WHERE hash = ?", (token_hash,)
        ).fetchone()
        return Issued(*row) if row else None

    def has_issued(self, relay_key: str) -> bool:
        """Tell whether a token is remembered that somebody asked for: those in its owner's URLs begin at 0."""
        query = "SELECT 1 FROM issued WHERE relay_key = ? AND sequence > 0 LIMIT 1"
        return self.db.execute(query, (relay_key,)).fetchone() is not None

    def issuers(self, relay_key: str, subject: str) -> set[str]:
        """Name the workers that asked for a subject's tokens."""
        query = "SELECT DISTINCT worker FROM issued WHERE relay_key = ? AND subject = ?"
        return {worker for (worker,) in self.db.execute(query, (relay_key, subject))}

    def top_sequence(self, relay_key: str) -> int:
        """Give the highest sequence of any of a relay's subjects."""
        query = "SELECT max(sequence) FROM subjects WHERE relay_key = ?"
        return int(self.db.execute(query, (relay_key,)).fetchone()[0] or 0)

    def used(self, worker: str, nonce: str) -> bool:
        """Tell whether a worker's nonce is used up."""
        row = self.db.execute("SELECT 1 FROM used WHERE worker = ? AND nonce = ?", (worker, nonce)).fetchone()
        return row is not None

    def _issue(self, fact: TokenIssued) -> None:
        subject = fact.pubkey or ""
        self._use(fact.worker, fact.nonce, fact.nonce_issued_ms, fact.issued_ms)
        oldest_ms = fact.issued_ms - NONCE_KEPT_MS - CLOCK_JUMP_MS_MAX
        self.db.execute("DELETE FROM issued WHERE expires_ms < ?", (oldest_ms,))
        self.db.execute(
            "INSERT INTO subjects VALUES (?, ?, ?, -1, 0) ON CONFLICT DO UPDATE SET sequence = max(sequence, ?)",
            (fact.relay_key, subject, fact.sequence, fact.sequence),
        )
        self.db.executemany(
            "INSERT OR REPLACE INTO issued VALUES (?, ?, ?, ?, ?, ?)",
            [
                (found, fact.relay_key, subject, fact.sequence, fact.worker, fact.expires_ms)
                for found in sorted({fact.token_hash, fact.replication_token_hash})
            ],
        )

    def _revoke(self, relay_key: str, pubkey: str | None, revoked_ms: int) -> None:
        """Revoke every sequence given so far; without a pubkey, of all subjects, and for those to come a mark."""
        subject = WHOLE_RELAY if pubkey is None else pubkey
        self.db.execute(
            "INSERT INTO subjects VALUES (?, ?, 0, 0, ?) ON CONFLICT DO UPDATE SET revoked_ms = max(revoked_ms, ?)",
            (relay_key, subject, revoked_ms, revoked_ms),
        )
        only = "" if pubkey is None else " AND subject = ?"
        values = (revoked_ms, relay_key) if pubkey is None else (revoked_ms, relay_key, subject)
        self.db.execute(
            "UPDATE subjects SET revoked_through = sequence, revoked_ms = max(revoked_ms, ?) "  # noqa: S608 - constants
            f"WHERE relay_key = ?{only}",
            values,
        )

    def _use(self, worker: str, nonce: str | None, issued_ms: int | None, now_ms: int) -> None:
        if nonce:
            oldest_ms = now_ms - NONCE_KEPT_MS - CLOCK_JUMP_MS_MAX  # the clock may be put back
            self.db.execute("DELETE FROM used WHERE issued_ms < ?", (oldest_ms,))
            self.db.execute("INSERT OR IGNORE INTO used VALUES (?, ?, ?)", (worker, nonce, issued_ms))
