"""The last good document of each instance, kept in the log, so that it outlives this process (push §1).

What is kept was fetched and has verified what was then accepted; it is enqueued before that, so the log holds nothing
that it verified without the key, save where an instance is over its bounds. Invariant: a domain adds at most
`DOCUMENTS_PER_DAY` documents a day to the log, and a revocation for each; strangers' domains are bounded in number.
This module must not know when a document serves (`gateway.serve.push.fetch`), nor wait for anything.
"""

from dataclasses import dataclass

from eventlog.errors import LogFailed
from gateway.facts import Fact, Published, Revoked, draft
from gateway.limits.tenants import DOCUMENT_KEPT_MS, DOCUMENTS_KEPT_MAX, DOCUMENTS_PER_DAY
from gateway.push.es256 import public_der, public_from_der
from gateway.push.instant import DAY_MS
from gateway.push.wellknown import WellKnown
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.views.documents import DocumentsView
from gateway.views.documents import LastGood as Row


@dataclass(frozen=True, slots=True)
class Recalled:
    """A document from before this process began: its keys, and how old it is."""

    keys: WellKnown
    age_s: float
    is_withdrawn: bool


class LastGood:
    """Recalls documents, and records those that are news."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock, self._ledger, self._view = clock, ledger, ledger.view(DocumentsView)

    def recall(self, domain: str) -> Recalled | None:
        """What the log has of a domain; a document that its server called invalid is as none.

        Where the clock stands before the time at which it was fetched, its age is not known: 300 s, so that it is
        fetched anew, are less than a day.
        """
        row = self._view.last_good(domain)
        if row is None or row.revoked == "invalid":
            return None
        keys = WellKnown(public_from_der(row.registration_key), public_from_der(row.webhook_key), row.tenant)
        age_s = (self._clock.now_ms() - row.fetched_ms) / 1000
        return Recalled(keys, age_s if age_s >= 0 else 300.0, row.revoked == "gone")

    def keep(self, domain: str, keys: WellKnown, age_s: float, *, configured: bool) -> bool:
        """Record a document that has verified what is recorded next, if it is news; False where the log is full."""
        now_ms = self._clock.now_ms()
        made = Published(
            domain=domain,
            registration_key=public_der(keys.registration_key),
            webhook_key=public_der(keys.webhook_key),
            tenant=keys.tenant,
            fetched_ms=now_ms - int(age_s * 1000),
        )
        row, day = self._view.last_good(made.domain), now_ms // DAY_MS
        if row is None:
            return (not configured and self._view.count() >= DOCUMENTS_KEPT_MAX) or self._submit(made)
        if _is_same(row, made) and abs(made.fetched_ms - row.fetched_ms) < DOCUMENT_KEPT_MS:
            return True
        if row.day == day and row.recorded >= DOCUMENTS_PER_DAY:
            # One that is not kept must not leave an older one standing: rather none, until tomorrow.
            return self.revoke(made.domain, "invalid")
        return self._submit(made)

    def revoke(self, domain: str, reason: str) -> bool:
        """Record that a domain's document stands no more, where the log has one; False where it takes nothing now."""
        row = self._view.last_good(domain)
        return row is None or row.revoked in (reason, "invalid") or self._submit(Revoked(domain, reason))

    def _submit(self, fact: Fact) -> bool:
        try:
            self._ledger.submit([draft(fact, ts_ns=self._clock.now_ns())])
        except LogFailed:
            return False
        return True


def _is_same(row: Row, made: Published) -> bool:
    theirs = (row.registration_key, row.webhook_key, row.tenant)
    return not row.revoked and theirs == (made.registration_key, made.webhook_key, made.tenant)
