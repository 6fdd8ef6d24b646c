"""Nonces: which envelopes were taken in, until they expire (push §3).

Invariant: a nonce is known from the record that used it until its envelope's ``expiresAt``; rows are pruned by the
records' own times, so that a replay prunes alike, and a day later than that: a clock that ran ahead for a while and
was put right must not make a nonce usable again. What has expired may still have a row: ask with the time.
"""

from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Deregistered, Registered, fact_of
from gateway.limits.keeping import CLOCK_JUMP_MS_MAX


class NoncesView(TableView):
    """(tenant, nonce) → the hash of the signed bytes, until the envelope expires."""

    name: ClassVar[str] = "nonces"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset((Registered.kind, Deregistered.kind))
    tables: ClassVar[tuple[str, ...]] = ("nonce",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS nonce (
            tenant TEXT, nonce TEXT, digest BLOB, expires_ms INTEGER,
            PRIMARY KEY (tenant, nonce)) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS nonce_expiry ON nonce (expires_ms);
    """

    def fold(self, record: Record) -> None:
        """Take in one record."""
        oldest_ms = record.ts_ns // 1_000_000 - CLOCK_JUMP_MS_MAX
        self.db.execute("DELETE FROM nonce WHERE expires_ms <= ?", (oldest_ms,))
        match fact_of(record):
            case Registered() | Deregistered() as fact:
                self.db.execute(
                    "INSERT OR REPLACE INTO nonce VALUES (?, ?, ?, ?)",
                    (fact.tenant, fact.nonce, fact.digest, fact.expires_ms),
                )
            case _:
                pass  # erased

    def used(self, tenant: str, nonce: str, now_ms: int) -> bytes | None:
        """The digest of the unexpired envelope that used this nonce; None where it is free."""
        row = self.db.execute(
            "SELECT digest FROM nonce WHERE tenant = ? AND nonce = ? AND expires_ms > ?", (tenant, nonce, now_ms)
        ).fetchone()
        return bytes(row[0]) if row else None
