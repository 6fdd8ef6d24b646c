"""Nonces: which envelopes were taken in, until they expire (push §3).

Invariant: a nonce is known from the record that used it until its envelope's ``expiresAt``; rows are pruned by the
records' own times, so that a replay prunes alike, and a day later than that: a clock that ran ahead for a while and
was put right must not make a nonce usable again. What has expired may still have a row: ask with the time.
"""

from typing import ClassVar, NamedTuple

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Deregistered, Registered, fact_of
from gateway.limits.keeping import CLOCK_JUMP_MS_MAX


class Used(NamedTuple):
    """The envelope that used a nonce: the hash of its signed bytes, and where in the log it stands."""

    digest: bytes
    seq: int


class NoncesView(TableView):
    """(tenant, nonce) → the hash of the signed bytes and the seq of their record, until the envelope expires."""

    name: ClassVar[str] = "nonces"
    version: ClassVar[int] = 3
    kinds: ClassVar[frozenset[str]] = frozenset((Registered.kind, Deregistered.kind))
    tables: ClassVar[tuple[str, ...]] = ("nonce",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS nonce (
            tenant TEXT, nonce TEXT, digest BLOB, expires_ms INTEGER, seq INTEGER,
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
                    "INSERT OR REPLACE INTO nonce VALUES (?, ?, ?, ?, ?)",
                    (fact.tenant, fact.nonce, fact.digest, fact.expires_ms, record.seq),
                )
            case _:
                pass  # erased

    def used(self, tenant: str, nonce: str, now_ms: int) -> Used | None:
        """The unexpired envelope that used this nonce; None where it is free."""
        row = self.db.execute(
            "SELECT digest, seq FROM nonce WHERE tenant = ? AND nonce = ? AND expires_ms > ?", (tenant, nonce, now_ms)
        ).fetchone()
        return Used(bytes(row[0]), row[1]) if row else None
