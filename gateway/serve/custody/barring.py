"""Bars against the return of what was erased of a key: raised before an erasure, asked about each event afterwards.

    erasure of a key ─▶ `nostr.barred` (its mark, up to when), its lists said anew ─▶ its records go ─▶ every event asks
Invariant: a bar is durable before the first payload goes, so nothing slips in between; it names nobody without the
secret ``data/keys/bar.key``. Where that was lost, bars of erased keys hold no longer, which is told once.
This module must not know how an erasure is carried out.
"""

from collections.abc import Sequence
from pathlib import Path

import structlog

from eventlog.record import Draft
from gateway.facts import SALT_BYTES, Barred, draft
from gateway.nostr.event import GIFT_WRAP, VANISH, Event, indexed_tags, is_hex_64
from gateway.serve.clock import Clock
from gateway.serve.keys import stored_key
from gateway.serve.ledger import Ledger
from gateway.views.bars import EVERYWHERE, BarsView, mark_of
from gateway.views.moderation import ModerationView
from gateway.views.restating import Entry
from gateway.views.subjects import OfKey

SECRET = "bar.key"  # noqa: S105 - a file's name


class Barring:
    """What is barred here; the secret is read when the first bar needs it."""

    def __init__(self, clock: Clock, ledger: Ledger, data: Path) -> None:
        self._clock, self._bars, self._moderation = clock, ledger.view(BarsView), ledger.view(ModerationView)
        self._keys = data / "keys"
        self._secret: bytes | None = None

    def is_barred(self, relay_key: str, event: Event) -> bool:
        """Whether an event may not come (back) to a relay, since its author, or whom it is for, was erased."""
        if self._bars.is_empty or event.kind == VANISH:
            return False
        if event.created_at <= self._until_s(relay_key, event.pubkey):
            return True
        if self.mark(event.pubkey).hex() in self._moderation.rules(relay_key).block_keys:
            return True
        return event.kind == GIFT_WRAP and any(
            event.created_at <= self._until_s(relay_key, value)
            for letter, value in indexed_tags(event)
            if letter == "p" and is_hex_64(value)
        )

    def barred(self, relay_key: str, events: Sequence[Event]) -> frozenset[str]:
        """Give the ids of those that may not come (back); nobody is barred in most logs, which is told at once."""
        if self._bars.is_empty:
            return frozenset()
        return frozenset(event.id for event in events if self.is_barred(relay_key, event))

    def _until_s(self, relay_key: str, pubkey: str) -> int:
        return self._bars.until_s(relay_key, self.mark(pubkey))

    def mark(self, pubkey: str) -> bytes:
        """Give a key's mark. Raises Unavailable where the secret cannot be read or made."""
        if self._secret is None:
            if not self._bars.is_empty and not (self._keys / SECRET).exists():
                structlog.get_logger().critical("the secret of bars is gone: what was barred by erasures may return")
            # Not told: a command may be what makes it, and its output is somebody's input.
            self._secret = bytes.fromhex(stored_key(self._keys, SECRET, self._clock, is_told=False))
        return mark_of(self._secret, pubkey)

    def drafts(self, pubkey: str, found: OfKey) -> list[Draft]:
        """Draft what is to be recorded before a key's records go: its bar, and its lists anew."""
        now_ns, mark = self._clock.now_ns(), self.mark(pubkey)
        until_s = max(now_ns // 1_000_000_000, found.until_s, self._bars.until_s(EVERYWHERE, mark))
        kept = [Entry(relay_key, name, pubkey) for relay_key, name in self._moderation.relays_with(pubkey)]
        return [
            draft(Barred(EVERYWHERE, mark, until_s), ts_ns=now_ns),
            *(
                draft(fact, ts_ns=now_ns, salt=self._clock.random_bytes(SALT_BYTES))
                for fact in found.lists.restated(pubkey, mark, found.names, kept)
            ),
        ]
