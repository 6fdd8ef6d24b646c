"""An index finds what a scan would find, and is thrown away when in doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import index as indexes
from eventlog.errors import Corrupt
from eventlog.index import FrameIndex, Place

COUNTS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 10_000)), min_size=1, max_size=30)


def filled(counts: list[tuple[int, int]], first_seq: int = 100) -> FrameIndex:
    index = FrameIndex(40, first_seq)
    for count, size in counts:
        index.add(index.end_seq, count, size)
    return index


@given(COUNTS)
def test_every_seq_is_found_where_it_lies(counts: list[tuple[int, int]]) -> None:
    index = indexes.decode(indexes.encode(filled(counts)), 100)
    seq, offset = 100, 40
    for count, size in counts:
        for at in range(seq, seq + count):
            assert index.find(at) == Place(offset, seq, count)
            assert index.ending_at(at) == (None if at != seq or seq == 100 else index.find(seq - 1))
        seq, offset = seq + count, offset + size
    assert (index.end_seq, index.end_bytes) == (seq, offset)
    assert index.ending_at(seq) == index.find(seq - 1)
    assert index.ending_at(seq + 1) is None


def test_golden_bytes() -> None:
    data = indexes.encode(filled([(2, 3)]))
    assert data[:-4].hex() == "45564c58" + "00000001" + f"{43:016x}{102:016x}{1:016x}{100:016x}{40:016x}"


def test_flips_cuts_and_other_segments_are_refused() -> None:
    data = indexes.encode(filled([(2, 3), (1, 9)]))
    for at in range(len(data)):
        with pytest.raises(Corrupt):
            indexes.decode(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], 100)
        with pytest.raises(Corrupt):
            indexes.decode(data[:at], 100)
    with pytest.raises(Corrupt, match="another segment"):
        indexes.decode(data, 99)
