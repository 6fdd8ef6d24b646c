"""A segment says where it belongs; a tail is cut only where a crash can have left it."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import segment
from eventlog.errors import Corrupt, Torn
from eventlog.segment import Cut, Head, Keep, Refuse, judge_tail

HEAD = Head("log.example", 3, 7, 2, 0xDEADBEEF, (b"\x01" * 32, b"\x02" * 32))


def test_golden_bytes_of_version_1() -> None:
    inner = cbor2.dumps(["evl", 1, "log.example", 3, 7, 2, 0xDEADBEEF, [b"\x01" * 32, b"\x02" * 32]])
    data = segment.encode_head(HEAD)
    assert data[:4] == b"\x82\x59" + len(inner).to_bytes(2, "big")
    assert data[4 : 4 + len(inner)] == inner
    assert data[4 + len(inner) :].hex() == "1acb852c05"
    assert cbor2.loads(data)[0] == inner


def test_a_head_is_read_back_and_says_where_frames_begin() -> None:
    data = segment.encode_head(HEAD)
    assert segment.decode_head(data + b"frames") == (HEAD, len(data))


def test_cuts_are_torn_and_flips_are_corrupt() -> None:
    data = segment.encode_head(HEAD)
    for size in range(len(data)):
        with pytest.raises(Torn):
            segment.decode_head(data[:size])
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        with pytest.raises(Corrupt):
            segment.decode_head(bytes(flipped))


@given(st.binary(max_size=100))
def test_any_bytes_are_a_head_or_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        segment.decode_head(b"\x82\x59" + data)


def test_a_frontier_that_does_not_fit_the_seq_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="contradicts"):
        segment.decode_head(segment.encode_head(Head("a", 1, 0, 0, 0, ())))


def test_names_sort_as_seqs() -> None:
    assert segment.name_of(42) == "00000000000000000042.evl"
    assert segment.first_seq_of(segment.name_of(42)) == 42
    assert segment.first_seq_of("42.evl") is None
    assert segment.first_seq_of("checkpoint") is None


# good bytes, file bytes, last, later frame, size, checkpoint size -> verdict
TAILS = [
    (100, 100, True, None, 5, 5, Keep),
    (100, 100, False, None, 5, 5, Keep),
    (100, 130, True, None, 5, 5, Cut),
    (100, 130, True, None, 5, 0, Cut),
    (100, 130, False, None, 5, 0, Refuse),  # only the last segment can be torn
    (100, 130, True, 120, 5, 0, Refuse),  # a good frame behind: a flipped bit, not a crash
    (100, 130, True, None, 5, 6, Refuse),  # acknowledged records would be cut
    (100, 100, True, None, 5, 6, Refuse),  # rolled back at a frame's end
]


@pytest.mark.parametrize(("good", "size", "last", "later", "records", "vouched", "verdict"), TAILS)
def test_a_torn_tail_is_told_from_damage(
    good: int, size: int, last: bool, later: int | None, records: int, vouched: int, verdict: type
) -> None:
    found = judge_tail(
        good_bytes=good, file_bytes=size, last=last, later_frame=later, size=records, checkpoint_size=vouched
    )
    assert type(found) is verdict
    if isinstance(found, Cut | Refuse):
        assert found.offset == good
