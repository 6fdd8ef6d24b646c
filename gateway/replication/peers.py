"""Peers that reads are delegated to: which of them to ask, and what of their answers to believe.

Invariants: a peer has at most `PEER_IN_FLIGHT_MAX` requests; after `PEER_FAILURES_MAX` failures in a row it is left
alone for `PEER_REST_MS`, and then asked by one request first. A peer's row is given on only if it passes every check
of a row that is stored, was asked for, and was not sent already; nothing of it is kept. At most `PEERS_KEPT_MAX` peers
are remembered, the least recent is a stranger again. This module must not know sockets, addresses or the clock.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import msgspec
from cachetools import LRUCache

from gateway.limits.mirror import (
    PEER_FAILURES_MAX,
    PEER_IN_FLIGHT_MAX,
    PEER_LATENCY_MS,
    PEER_REST_MS,
    PEERS_ASKED_MAX,
    PEERS_KEPT_MAX,
)
from gateway.replication.filter import Filter
from gateway.replication.row import Row, RowInvalid, row_of, stored

_frame = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(slots=True)
class _Standing:
    """How a peer has done so far; ``latency_ms`` is a moving average."""

    latency_ms: float = PEER_LATENCY_MS
    in_flight: int = 0
    failures: int = 0
    rests_until_ms: int = 0


class Peers:
    """The standing of peers, by URL."""

    def __init__(self) -> None:
        self._known: LRUCache[str, _Standing] = LRUCache(PEERS_KEPT_MAX)

    def choose(self, urls: Sequence[str], now_ms: int) -> list[str]:
        """Give whom to ask, the most promising first; each must be told `ended` of."""
        found = [url for url in dict.fromkeys(urls) if self._may(self._of(url), now_ms)]
        chosen = sorted(found, key=lambda url: self._score(self._of(url)))[:PEERS_ASKED_MAX]
        for url in chosen:
            self._of(url).in_flight += 1
        return chosen

    def ended(self, url: str, latency_ms: int | None, now_ms: int) -> None:
        """Hear that a request has ended, after how many ms; None: without an answer."""
        standing = self._of(url)
        standing.in_flight = max(standing.in_flight - 1, 0)
        if latency_ms is not None:
            standing.failures = standing.rests_until_ms = 0
            standing.latency_ms += (latency_ms - standing.latency_ms) / 4
            return
        standing.failures += 1
        if standing.failures >= PEER_FAILURES_MAX:
            standing.rests_until_ms = now_ms + PEER_REST_MS

    def _of(self, url: str) -> _Standing:
        found = self._known.get(url)
        if found is None:
            found = self._known[url] = _Standing()
        return found

    @staticmethod
    def _may(standing: _Standing, now_ms: int) -> bool:
        if standing.rests_until_ms:
            # Wall time may be put back: a rest lasts no longer than it was meant to. After it, one request tries.
            rests = now_ms < standing.rests_until_ms <= now_ms + PEER_REST_MS
            return not rests and standing.in_flight == 0
        return standing.in_flight < PEER_IN_FLIGHT_MAX

    @staticmethod
    def _score(standing: _Standing) -> float:
        return standing.latency_ms * (1 + standing.in_flight) * (1 + standing.failures)


class Gathering:
    """Gathers what peers have more than was sent: ``seen`` are the ids of that, ``room`` how many more may come."""

    def __init__(
        self, filters: Sequence[Filter], seen: AbstractSet[bytes], room: int, flaw: Callable[[Row], str | None]
    ) -> None:
        self._filters, self._seen, self._room, self._flaw = filters, seen, room, flaw
        self._found: dict[bytes, Row] = {}

    @property
    def rows(self) -> list[Row]:
        """What was gathered, the newest first, as many as there is room for."""
        return sorted(self._found.values(), key=lambda row: (-row.created_at, row.id))[: self._room]

    def take(self, message: str | bytes, sub_id: str) -> bool:
        """Take in a peer's message; tell whether it was the peer's last on this subscription."""
        try:
            parts = _frame.decode(message)
            verb, sub = (msgspec.json.decode(part) for part in parts[:2])
        except (ValueError, RecursionError):
            return False
        if sub != sub_id:
            return False
        if verb == "EVENT" and len(parts) > 2:
            self._consider(bytes(parts[2]))
        return verb in ("EOSE", "CLOSED")

    def _consider(self, text: bytes) -> None:
        try:
            fields = msgspec.json.decode(text)
            row = row_of(fields if isinstance(fields, dict) else {}, text)
        except (RowInvalid, ValueError, RecursionError):
            return
        fact = stored(row, "", "", is_open=False)
        if (
            fact.row_id in self._seen
            or fact.row_id in self._found
            or not any(one.matches(fact) for one in self._filters)
        ):
            return
        if not row.signed or self._flaw(row) is None:
            self._found[fact.row_id] = row


def request(filters: Sequence[Filter], sub_id: str) -> str:
    """Write the REQ that asks a peer for what was asked of us."""
    return msgspec.json.encode(("REQ", sub_id, *map(_fields, filters))).decode()


def _fields(asked: Filter) -> dict[str, object]:
    fields: dict[str, object] = {"relayID": sorted(map(bytes.hex, asked.relay_ids)), "limit": asked.limit}
    if asked.ids is not None:
        fields["ids"] = sorted(map(bytes.hex, asked.ids))
    if asked.kinds is not None:
        fields["kinds"] = sorted(asked.kinds)
    bounds = {"since": asked.since, "until": asked.until}
    return {**fields, **{name: bound for name, bound in bounds.items() if bound is not None}}
