"""A frame without some of its payloads: the same leaves and root, other bytes, and nothing of the payloads in them."""

from hypothesis import given
from hypothesis import strategies as st

from eventlog import frame as frames
from eventlog.chronicle import Range, ranges_of
from eventlog.erasure import Gone, erasing, rewritten, without
from eventlog.frame import Frame
from eventlog.index import FrameIndex
from eventlog.record import Draft, encode

SALT = 77


def made(payloads: list[bytes], first_seq: int = 5) -> Frame:
    drafts = [Draft("thing.happened", payload, 10**18, subject=b"s" * 16) for payload in payloads]
    data = frames.encode(encode(drafts).stored, first_seq=first_seq, time_ns=9, epoch=3, root=b"r" * 32, salt=SALT)
    return frames.decode(data, 0, SALT)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.sets(st.integers(5, 24)))
def test_only_the_payloads_named_are_gone_and_no_leaf_changes(payloads: list[bytes], wanted: set[int]) -> None:
    frame = made(payloads)
    seqs = {seq for seq in wanted if seq < frame.head.end_seq}
    after = frames.decode(without(frame, seqs, SALT), 0, SALT)
    for before, record in zip(frame.records(), after.records(), strict=True):
        assert record.payload == (None if record.seq in seqs else before.payload)
        assert (record.commitment, record.subject, record.ts_ns) == (before.commitment, before.subject, before.ts_ns)
    assert after.leaves() == frame.leaves()
    named = ("count", "first_seq", "time_ns", "epoch", "root")
    assert [getattr(after.head, name) for name in named] == [getattr(frame.head, name) for name in named]


def test_nothing_of_an_erased_payload_is_left_in_the_bytes() -> None:
    frame = made([b"keep me", b"forget me"])
    after = without(frame, [6], SALT)
    assert b"keep me" in after
    assert b"forget" not in after


def test_erasing_again_changes_nothing() -> None:
    once = without(made([b"a" * 30, b"b" * 30]), [5], SALT)
    assert without(frames.decode(once, 0, SALT), [5], SALT) == once


@given(st.sets(st.integers(0, 40)), st.integers(0, 40), st.integers(1, 20))
def test_what_lies_within_a_span_is_found_as_a_plain_search_finds_it(seqs: set[int], first: int, size: int) -> None:
    gone = Gone(ranges_of(seqs))
    assert gone.within(first, first + size) == sorted(seq for seq in seqs if first <= seq < first + size)
    assert gone.touches(first, first + size) == bool(gone.within(first, first + size))


def test_a_segment_is_changed_frame_by_frame_and_its_index_says_where_each_begins() -> None:
    first, second = made([b"x" * 100, b"y" * 100]), made([b"z" * 100], first_seq=7)
    index = FrameIndex(200, 5)
    parts = list(rewritten([[first], [second]], erasing(Gone([Range(6, 7)]), SALT), index))
    assert parts[0] == without(first, [6], SALT)
    assert parts[1] == second.raw()
    assert index.find(7).offset == 200 + len(parts[0])
    assert (index.end_bytes, index.end_seq) == (200 + sum(map(len, parts)), 8)
