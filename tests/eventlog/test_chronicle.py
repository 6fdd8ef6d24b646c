"""What the log says of itself is read back as it was said, has golden bytes, and excuses exactly what it names."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import chronicle
from eventlog.chronicle import Below, Erased, Excused, Range, Recovered, Retained, entry_of, erasures, ranges_of
from eventlog.errors import Corrupt
from eventlog.limits import ERASED_RANGES_MAX
from eventlog.record import Draft, Record

SAMPLES = {
    Recovered("00000000000000000000.evl", 42, 2000, "torn-0-42.bytes"): (
        "84781830303030303030303030303030303030303030302e65766c182a1907d06f746f726e2d302d34322e6279746573"
    ),
    Erased("operator", "asked", "user", 3, (Range(4, 6), Range(9, 10))): (
        "85686f70657261746f726561736b65646475736572038282040682090a"
    ),
    Retained(100, (Below("push.settled", 90),)): "8218648182" + "6c" + b"push.settled".hex() + "185a",
}


def record(draft: Draft, seq: int = 7) -> Record:
    return Record(seq, draft.schema, draft.ts_ns, draft.kind, draft.subject, b"", draft.payload)


def missing(seq: int, kind: str = "thing.happened") -> Record:
    return Record(seq, 1, 0, kind, b"", b"", None)


@pytest.mark.parametrize("entry", SAMPLES, ids=lambda one: one.kind)
def test_an_entry_has_these_bytes_and_comes_back_from_them(entry: chronicle.AnyEntry) -> None:
    draft = chronicle.draft(entry, 5)
    assert draft.payload.hex() == SAMPLES[entry]
    assert (draft.kind, draft.schema, draft.ts_ns, draft.subject) == (entry.kind, 1, 5, b"")
    assert entry_of(record(draft)) == entry


def test_a_record_of_another_kind_is_no_entry() -> None:
    assert entry_of(missing(1)) is None


@pytest.mark.parametrize(
    "draft",
    [
        Draft("log.danced", b"\x80", 0),
        Draft("log.erased", b"\x80", 0, schema=2),
        Draft("log.erased", b"\x80", 0),
        Draft("log.erased", b"\xff", 0),
    ],
)
def test_what_no_release_wrote_under_log_stops_the_reader(draft: Draft) -> None:
    with pytest.raises(Corrupt):
        entry_of(record(draft))


def test_an_entry_without_its_payload_is_damage() -> None:
    with pytest.raises(Corrupt):
        entry_of(missing(3, "log.erased"))


@given(st.sets(st.integers(0, 60)))
def test_ranges_say_the_same_seqs_as_shortly_as_can_be(seqs: set[int]) -> None:
    ranges = ranges_of(seqs)
    assert [seq for one in ranges for seq in range(one.first, one.end)] == sorted(seqs)
    assert all(before.end < after.first for before, after in pairwise(ranges))


def test_an_erasure_of_very_many_ranges_is_told_in_parts_that_fit() -> None:
    ranges = [Range(2**40 + 2 * n, 2**40 + 2 * n + 1) for n in range(ERASED_RANGES_MAX + 1)]
    parts = erasures("operator", "", "user", ranges)
    assert [len(one.ranges) for one in parts] == [ERASED_RANGES_MAX, 1]
    assert sum(one.count for one in parts) == len(ranges)
    chronicle.draft(parts[0], 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9))), st.integers(0, 40))
def test_exactly_what_an_erasure_names_is_excused(spans: list[tuple[int, int]], below: int) -> None:
    excused = Excused()
    for first, size in spans:
        excused.take(Erased("", "", "", size, (Range(first, first + size),)))
        assert missing(first) in excused
    excused.take(Retained(0, (Below("thing.forgotten", below),)))
    named = {seq for first, size in spans for seq in range(first, first + size)}
    assert {seq for seq in range(60) if missing(seq) in excused} == named
    assert {seq for seq in range(60) if missing(seq, "thing.forgotten") in excused} == named | set(range(below))
