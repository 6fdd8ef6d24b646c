"""Instances' last good documents, so that an instance whose server is down while we restart is not shut out (push §1).

Invariant: what was recorded last of a domain, and whether its server has taken it back since; what is too old to serve
is forgotten. Whether a document still serves is decided by whoever fetches (`gateway.serve.push.fetch`).
"""

from dataclasses import dataclass
from typing import ClassVar

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import Published, Revoked, fact_of
from gateway.limits.push import WELLKNOWN_STALE_S
from gateway.push.instant import DAY_MS

_STALE_MS = int(WELLKNOWN_STALE_S * 1000)


@dataclass(frozen=True, slots=True)
class LastGood:
    """The document that a domain was last known by; ``recorded`` counts those of ``day`` (since 1970, UTC)."""

    registration_key: bytes
    webhook_key: bytes
    tenant: str | None
    fetched_ms: int
    revoked: str  # "" | "gone" | "invalid", as `Revoked` says it
    day: int
    recorded: int


class DocumentsView(TableView):
    """One row a domain."""

    name: ClassVar[str] = "documents"
    kinds: ClassVar[frozenset[str]] = frozenset((Published.kind, Revoked.kind))
    tables: ClassVar[tuple[str, ...]] = ("document",)
    schema: ClassVar[str] = """
        CREATE TABLE IF NOT EXISTS document (
            domain TEXT PRIMARY KEY, registration_key BLOB, webhook_key BLOB, tenant TEXT, fetched_ms INTEGER,
            revoked TEXT, day INTEGER, recorded INTEGER) WITHOUT ROWID;
        CREATE INDEX IF NOT EXISTS document_age ON document (fetched_ms);
    """

    def fold(self, record: Record) -> None:
        """Take in one record."""
        match fact_of(record):
            case Published() as fact:
                now_ms = record.ts_ns // 1_000_000
                self._published(fact, now_ms // DAY_MS)
                self.db.execute("DELETE FROM document WHERE fetched_ms < ?", (now_ms - _STALE_MS,))
            case Revoked(domain, reason):
                self.db.execute("UPDATE document SET revoked = ? WHERE domain = ?", (reason, domain))
            case _:
                pass  # erased

    def _published(self, fact: Published, day: int) -> None:
        self.db.execute(
            "INSERT INTO document VALUES (?, ?, ?, ?, ?, '', ?, 1) ON CONFLICT (domain) DO UPDATE SET"
            " registration_key = excluded.registration_key, webhook_key = excluded.webhook_key,"
            " tenant = excluded.tenant, fetched_ms = excluded.fetched_ms, revoked = '',"
            " recorded = CASE day WHEN excluded.day THEN recorded + 1 ELSE 1 END, day = excluded.day",
            (fact.domain, fact.registration_key, fact.webhook_key, fact.tenant, fact.fetched_ms, day),
        )

    def last_good(self, domain: str) -> LastGood | None:
        """The document that was recorded last of a domain."""
        row = self.db.execute(
            "SELECT registration_key, webhook_key, tenant, fetched_ms, revoked, day, recorded FROM document"
            " WHERE domain = ?",
            (domain,),
        ).fetchone()
        return None if row is None else LastGood(*row)

    def count(self) -> int:
        """How many domains have one."""
        return int(self.db.execute("SELECT count(*) FROM document").fetchone()[0])
