"""Erasing payloads from a segment's bytes: what a frame is without some of its payloads.

A record without its payload is the same five fields with ``f6`` (null) behind them. Only what is about bytes changes:
where records end, the body's length, both CRCs. Leaves, roots, seqs, times and epochs stay, so every proof still
checks. Invariant: erasing what is erased changes nothing, so a rewrite that was cut off is simply done again.
This module must not know files, or why something is erased.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from eventlog import frame as frames
from eventlog.chronicle import Range
from eventlog.frame import Frame
from eventlog.index import FrameIndex
from eventlog.record import leaf_of

NULL = b"\xf6"
Change = Callable[[Frame], bytes]  # a checked frame -> the bytes that take its place, of the same records and root


class Gone:
    """The seqs whose payloads are to go, as ranges in order and apart from each other."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        self.ranges = tuple(ranges)
        self._firsts = [one.first for one in ranges]

    def within(self, first: int, end: int) -> list[int]:
        """List those from ``first`` to the one before ``end``."""
        found: list[int] = []
        for one in self.ranges[max(bisect_right(self._firsts, first) - 1, 0) :]:
            if one.first >= end:
                break
            found += range(max(one.first, first), min(one.end, end))
        return found

    def touches(self, first: int, end: int) -> bool:
        """Whether there is any from ``first`` to the one before ``end``."""
        at = bisect_right(self._firsts, end - 1) - 1
        return at >= 0 and self.ranges[at].end > first


def erasing(gone: Gone, salt: int) -> Change:
    """Give the change that takes away the payloads of ``gone``; ``salt`` is what the log's CRCs start from."""

    def change(frame: Frame) -> bytes:
        head = frame.head
        seqs = gone.within(head.first_seq, head.end_seq)
        return without(frame, seqs, salt) if seqs else frame.raw()

    return change


def without(frame: Frame, seqs: Iterable[int], salt: int) -> bytes:
    """Encode a frame anew without the payloads of ``seqs``, all of them within it."""
    head = frame.head
    stored, records = frame.slices(), frame.records()
    for seq in seqs:
        at = seq - head.first_seq
        stored[at] = b"\x86" + leaf_of(stored[at], records[at].payload)[1:] + NULL
    return frames.encode(
        stored, first_seq=head.first_seq, time_ns=head.time_ns, epoch=head.epoch, root=head.root, salt=salt
    )


def rewritten(pieces: Iterable[Sequence[Frame]], change: Change, index: FrameIndex) -> Iterator[bytes]:
    """Change frames one after the other, and note in ``index`` where each now begins."""
    for found in pieces:
        for frame in found:
            data = change(frame)
            index.add(frame.head.first_seq, frame.head.count, len(data))
            yield data
