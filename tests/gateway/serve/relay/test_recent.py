"""What was read lately is not read again, within a limit, and not after it was erased."""

import random
from collections.abc import Sequence

from gateway.limits.nostr import RECENT_OVERHEAD_BYTES
from gateway.serve.relay.recent import RecentPayloads


class Shelf:
    """As much of a log as is read here: payloads by seq, and which of them were asked for."""

    def __init__(self, payloads: Sequence[bytes | None]) -> None:
        self.held = list(payloads)
        self.asked: list[int] = []

    def payloads(self, seqs: Sequence[int]) -> list[bytes | None]:
        self.asked += seqs
        return [self.held[seq] for seq in seqs]


def recent(shelf: Shelf, count_max: int) -> RecentPayloads:
    """A memory of so many payloads of ten bytes, in each generation."""
    return RecentPayloads(shelf, 2 * count_max * (10 + RECENT_OVERHEAD_BYTES))  # type: ignore[arg-type]


def test_it_gives_what_the_log_holds_in_the_order_asked_for_and_asks_once() -> None:
    shelf = Shelf([b"%010d" % seq for seq in range(50)])
    kept, dice = recent(shelf, 50), random.Random(1)
    for _ in range(20):
        seqs = dice.choices(range(50), k=dice.randrange(30))
        assert kept.payloads(seqs) == [shelf.held[seq] for seq in seqs]
    kept.payloads(range(50))
    assert sorted(shelf.asked) == list(range(50))


def test_what_is_held_never_exceeds_the_limit_and_what_is_used_stays() -> None:
    shelf = Shelf([b"%010d" % seq for seq in range(1_000)])
    kept = recent(shelf, 10)
    for seq in range(1, 1_000):
        kept.payloads([0, seq])
        assert len(kept._young) <= 10
        assert len(kept._old) <= 10
    assert shelf.asked.count(0) == 1
    assert kept.payloads([5]) == [shelf.held[5]]
    assert shelf.asked.count(5) == 2


def test_what_is_larger_than_half_of_it_is_given_and_not_kept() -> None:
    shelf = Shelf([bytes(1_000_000)])
    kept = recent(shelf, 1)
    assert kept.payloads([0, 0]) == [shelf.held[0]] * 2
    assert not kept._young
    assert not kept._old


def test_what_was_erased_is_absent_from_then_on() -> None:
    shelf = Shelf([b"a", b"b"])
    kept = recent(shelf, 10)
    kept.payloads([0, 1])
    shelf.held[0] = None
    kept.forget()
    assert kept.payloads([0, 1]) == [None, b"b"]
    shelf.asked.clear()
    assert kept.payloads([0, 1]) == [None, b"b"]
    assert shelf.asked == [0]
