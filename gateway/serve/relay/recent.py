"""Payloads that were read last, kept in memory: the same recent events are what most readers ask for.

Two generations: what is read goes to the young one; when that holds its half of the bytes it becomes the old one, and
the former old one goes. So each look-up is one of a dictionary, where a list in order of use would cost as much as the
reading that it saves.
Invariant: what is given is what the log holds, or held until `forget`, which whoever erases calls. Nothing absent is
kept. This module must not know what a payload holds.
"""

from collections.abc import Sequence

from eventlog.disk.log import Readable
from gateway.limits.nostr import RECENT_BYTES_MAX, RECENT_OVERHEAD_BYTES


class RecentPayloads:
    """A log's payloads, through a memory of at most ``bytes_max``."""

    def __init__(self, log: Readable, bytes_max: int = RECENT_BYTES_MAX) -> None:
        self._log, self._half = log, bytes_max // 2
        self._young: dict[int, bytes] = {}
        self._old: dict[int, bytes] = {}
        self._young_bytes = 0

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        """Give payloads as the log does: in the order asked for, None where erased. Absent or Corrupt as there."""
        young = self._young
        found = [young.get(seq) for seq in seqs]
        if None in found:
            others = self._others([seq for seq, payload in zip(seqs, found, strict=True) if payload is None])
            found = [others.get(seq) if payload is None else payload for seq, payload in zip(seqs, found, strict=True)]
        return found

    def forget(self) -> None:
        """Let go of everything: some of it was erased."""
        self._young, self._old, self._young_bytes = {}, {}, 0

    def _others(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """Find what is not young, and make it so."""
        found = {seq: self._old[seq] for seq in seqs if seq in self._old}
        unread = [seq for seq in dict.fromkeys(seqs) if seq not in found]
        read = self._log.payloads(unread) if unread else []
        found |= {seq: payload for seq, payload in zip(unread, read, strict=True) if payload is not None}
        for seq, payload in found.items():
            self._keep(seq, payload)
        return found

    def _keep(self, seq: int, payload: bytes) -> None:
        size = len(payload) + RECENT_OVERHEAD_BYTES
        if self._young_bytes + size > self._half:
            self._young, self._old, self._young_bytes = {}, self._young, 0
        if size <= self._half:
            self._young[seq] = payload
            self._young_bytes += size
