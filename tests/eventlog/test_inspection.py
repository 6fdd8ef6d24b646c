"""A frame's leaves and commitments are what the slow way gives; forged bytes are refused, never stumbled over."""

from collections.abc import Callable
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from eventlog import frame as frames
from eventlog.chronicle import Erased, Range
from eventlog.chronicle import draft as entry_draft
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.inspection import Inspected, _cut, _decoded, inspect
from eventlog.merkle import leaf_hash
from eventlog.record import Draft, encode, leaf_of
from tests.eventlog.logs import draft

SALT = 7


def framed(stored: list[bytes], first_seq: int = 40) -> Frame:
    made = frames.encode(stored, first_seq=first_seq, time_ns=0, epoch=1, root=bytes(32), salt=SALT)
    return frames.decode(b"before" + made, 6, SALT)


@given(st.lists(st.sampled_from([0, 1, 23, 24, 255, 256, 65_535, 65_536]), min_size=1, max_size=5))
def test_leaves_are_those_of_the_slow_way_whatever_the_payloads_sizes(sizes: list[int]) -> None:
    drafts = [draft(n, size) for n, size in enumerate(sizes)]
    stored = encode(drafts).stored
    found = inspect(framed(stored))
    slow = [leaf_hash(leaf_of(one, each.payload)) for one, each in zip(stored, drafts, strict=True)]
    assert found.leaves == slow == encode(drafts).leaves
    assert (found.missing, found.own) == ([], [])


def test_an_erased_payload_is_told_and_its_leaf_is_what_it_was() -> None:
    whole = encode([draft(1), draft(2)])
    bare = whole.stored[1][: -len(draft(2).payload) - 1] + b"\xf6"
    found = inspect(framed([whole.stored[0], bare]))
    assert found.leaves == whole.leaves
    assert found.missing == [("thing.happened", 41)]


def test_what_the_log_wrote_of_itself_is_handed_over() -> None:
    entry = entry_draft(Erased("operator", "asked", "user", 1, (Range(3, 4),)), 1)
    found = inspect(framed(encode([draft(1), entry]).stored))
    assert [(one.seq, one.kind, one.payload) for one in found.own] == [(41, "log.erased", entry.payload)]


def test_a_payload_that_is_not_what_was_committed_to_is_named() -> None:
    stored = encode([draft(1), draft(2)]).stored
    with pytest.raises(Corrupt, match="record 41 does not match its commitment"):
        inspect(framed([stored[0], stored[1][:-1] + b"!"]))


@pytest.mark.parametrize(
    "item",
    [
        1,
        [],
        [1, 2, 3, 4, 5],
        [1, 2, "kind", b"", b"c", "a text"],
        [1, 2, "kind", b"", b"c", 5],
        [1, 2, "kind", b"", b"c", [b""]],
        [1, 2, None, b"", b"c", None],
        [1, 2, ["kind"], b"", b"c", None],
        {1: 2},
        cbor2.CBORTag(0, "no time"),
        cbor2.CBORTag(258, [[]]),
    ],
)
def test_a_forged_frame_of_anything_else_is_refused(item: object) -> None:
    with pytest.raises(Corrupt):
        inspect(framed([*encode([draft(1)]).stored, cbor2.dumps(item)]))


@given(st.binary(min_size=1, max_size=60))
def test_no_bytes_at_all_make_it_stumble(rubbish: bytes) -> None:
    with suppress(Corrupt):
        inspect(framed([rubbish, rubbish]))


# -- both ways --------------------------------------------------------------------------------------------------------


def drafts_of(sizes: list[int]) -> list[Draft]:
    subjects = [b"", b"s" * 16, b"s" * 23]
    return [structs.replace(draft(n, size), subject=subjects[n % 3], schema=1 + n % 20) for n, size in enumerate(sizes)]


def either(frame: Frame, way: Callable[[Frame], Inspected | None]) -> Inspected | None:
    """What one way says; None where it is none of its business, or damage."""
    with suppress(Corrupt, IndexError, ValueError):
        return way(frame)
    return None


@given(st.lists(st.sampled_from([0, 23, 24, 255, 256, 4_000, 5_000, 65_535, 65_536]), min_size=1, max_size=4))
def test_records_of_the_ordinary_shape_are_never_decoded(sizes: list[int]) -> None:
    frame = framed(encode(drafts_of(sizes)).stored)
    assert _cut(frame) == _decoded(frame)


@pytest.mark.parametrize(
    "one", [structs.replace(draft(1), subject=b"s" * 24), structs.replace(draft(1), schema=24), draft(1, kind="k" * 24)]
)
def test_a_record_of_a_rarer_shape_is_decoded(one: Draft) -> None:
    encoded = encode([draft(0), one])
    frame = framed(encoded.stored)
    assert either(frame, _cut) is None
    assert inspect(frame).leaves == encoded.leaves


@settings(max_examples=300)
@given(st.data())
def test_whatever_bytes_were_changed_behind_the_same_root_both_ways_say_the_same(data: st.DataObject) -> None:
    """A record's first byte and the payload's head are under no hash: what is cut must not be laxer there."""
    whole = encode(drafts_of([0, 20, 24, 300]))
    stored, number = list(whole.stored), data.draw(st.integers(0, 3))
    leaf_bytes = len(leaf_of(stored[number], drafts_of([0, 20, 24, 300])[number].payload))
    at = data.draw(st.sampled_from([0, 1, 11, *range(leaf_bytes, len(stored[number]))]))
    changed = bytearray(stored[number])
    changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    stored[number] = bytes(changed)
    frame = framed([one for one in stored if one])
    cut = either(frame, _cut)
    assert cut is None or cut.leaves != whole.leaves or cut == _decoded(frame)


def test_a_payload_without_its_head_is_no_payload() -> None:
    """25 bytes and 258 are what no head and payload take together: with the leaf as it was, only this finds it."""
    for size in (25, 258):
        encoded = encode([draft(1, size)])
        bare = encoded.stored[0][: -size - (2 if size == 25 else 3)] + draft(1, size).payload
        with pytest.raises(Corrupt):
            inspect(framed([bare]))
