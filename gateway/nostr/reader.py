"""Who reads, and what of it they may see: private kinds (NIP-17, 59, 42) and ended events (NIP-40).

Invariant: what is stored, live and counted passes the same two questions, `Reader.may_read` and `Reader.refusal`, so
that no way of asking shows more than another. A gift wrap is its addressees' alone; any other kind that the operator
calls private is its author's too. This module must not know subscriptions or storage.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.nostr.event import GIFT_WRAP, Event, expiration
from gateway.nostr.filter import Filter

WRAPS = frozenset({GIFT_WRAP, 21_059})
"""Gift wraps and their ephemeral sort: the author is a throw-away key, so only the addressee has a claim (NIP-59)."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One look at the events: the keys that the session has proved (NIP-42), the time, the kinds that are private."""

    keys: frozenset[str]
    now_s: int
    private: frozenset[int]

    def may_read(self, event: Event) -> bool:
        """Tell whether an event that a filter asks for may be shown now."""
        ends = expiration(event)
        if ends is not None and ends <= self.now_s:
            return False
        if event.kind not in self.private:
            return True
        if event.kind not in WRAPS and event.pubkey in self.keys:
            return True
        return any(len(tag) > 1 and tag[0] == "p" and tag[1] in self.keys for tag in event.tags)

    def refusal(self, filters: Iterable[Filter]) -> str | None:
        """Say why a REQ or COUNT is turned down as a whole: a filter that can only match what is not the reader's."""
        for asked in filters:
            if asked.kinds is None or not asked.kinds or not asked.kinds <= self.private:
                continue
            if not self.keys:
                return "auth-required: these kinds are shown only to those they concern"
            if not self._concerned(asked):
                return "restricted: these events concern none of the keys that you have proved"
        return None

    def _concerned(self, asked: Filter) -> bool:
        """Whether what a filter on private kinds asks for could be the reader's."""
        addressees = next((values for letter, values in asked.tags if letter == "p"), None)
        if addressees is None or not addressees.isdisjoint(self.keys):
            return True
        assert asked.kinds is not None
        return not asked.kinds <= WRAPS and (asked.authors is None or not asked.authors.isdisjoint(self.keys))
