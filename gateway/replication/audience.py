"""Who hears of a new row: open subscriptions, found by (relay, relayID), so that no session is scanned in vain.

Invariant: a subscription gets a live row exactly when its filters match, its session may see it, and the row is at or
behind the position up to which the stored ones were sent: none twice, none lost.
This module must not know sockets or the log; it is told each row once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.facts import RowStored
from gateway.replication.filter import Filter
from gateway.replication.grant import Grant


class Listener(Protocol):
    """What the audience knows of a session."""

    grant: Grant

    def visible(self, now_ms: int) -> frozenset[bool]: ...


@dataclass(eq=False, slots=True)
class Subscription:
    """One REQ that is open. ``position`` None: stored rows are still being sent; else live from that seq on."""

    session: Listener
    sub_id: str
    filters: tuple[Filter, ...]
    position: int | None = None
    after: str | None = None  # it asked by cursor: its rows come with cursors
    page: int | None = None
    batch: bool = False

    def wants(self, row: RowStored, seq: int, now_ms: int) -> bool:
        """Tell whether to send this row live."""
        return (
            self.position is not None
            and seq >= self.position
            and row.is_open in self.session.visible(now_ms)
            and any(each.matches(row) for each in self.filters)
        )


class Audience:
    """The open subscriptions of all sessions."""

    def __init__(self) -> None:
        self._by_relay_id: dict[tuple[str, bytes], dict[Subscription, None]] = {}

    def add(self, subscription: Subscription) -> None:
        """Let a subscription hear of rows."""
        for key in self._keys(subscription):
            self._by_relay_id.setdefault(key, {})[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        """Let it hear no more; one that is not there is no error."""
        for key in self._keys(subscription):
            listening = self._by_relay_id.get(key, {})
            listening.pop(subscription, None)
            if not listening:
                self._by_relay_id.pop(key, None)

    def of(self, row: RowStored, seq: int, now_ms: int) -> list[Subscription]:
        """List whom to send a row."""
        listening = self._by_relay_id.get((row.relay_key, row.relay_id), ())
        return [each for each in listening if each.wants(row, seq, now_ms)]

    def __bool__(self) -> bool:
        return bool(self._by_relay_id)

    @staticmethod
    def _keys(subscription: Subscription) -> set[tuple[str, bytes]]:
        relay_key = subscription.session.grant.relay_key
        return {(relay_key, relay_id) for each in subscription.filters for relay_id in each.relay_ids}
