"""What the notifications under way say: kept between acceptance and sending, or read back from the log.

Invariant: what is kept is what the log holds; where something was erased, all of it is let go, and what is gone from
the log is given to nobody. This module must not know how anything is sent.
"""

import msgspec
from cachetools import LRUCache

from gateway.facts import Accepted, fact_of
from gateway.limits.push import TEXTS_MAX
from gateway.push.content import Content, content_of
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger


class Text(msgspec.Struct, frozen=True, gc=False):
    """What a notification's deliveries share."""

    content: Content
    dry_run: bool
    accepted_ms: int
    user: str = ""  # whose it is, where it was read from the log: the device may have changed hands since


class Texts:
    """Texts by the seq of the record that accepted them."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._texts: LRUCache[int, Text] = LRUCache(TEXTS_MAX)

    def keep(self, accepted_seq: int, content: Content, *, dry_run: bool) -> None:
        """Keep at hand what the log holds anyway: it saves reading it back a moment later."""
        self._texts[accepted_seq] = Text(content, dry_run, self._clock.now_ms())

    def forget(self) -> None:
        """Let go of every text: some were erased. The log gives back what it still has."""
        self._texts.clear()

    def of(self, accepted_seq: int) -> Text | None:
        """A notification's text; None where it was erased."""
        found = self._texts.get(accepted_seq)
        if found is None:
            record = self._ledger.log.record(accepted_seq)
            fact = fact_of(record)
            if not isinstance(fact, Accepted):
                return None
            found = self._texts[accepted_seq] = Text(*content_of(fact), record.ts_ns // 1_000_000, fact.user)
        return found

    def user(self, accepted_seq: int) -> str | None:
        """Whom a notification is for; None where it was erased."""
        fact = fact_of(self._ledger.log.record(accepted_seq))
        return fact.user if isinstance(fact, Accepted) else None
