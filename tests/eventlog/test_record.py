"""A record's bytes are fixed: what was written once is read the same for ever."""

from hashlib import sha256

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import Corrupt
from eventlog.limits import PAYLOAD_BYTES_MAX
from eventlog.record import Draft, Record, bytes_head, decode, encode, leaf_of, records_of

DRAFTS = st.builds(
    Draft,
    kind=st.from_regex(r"[a-z.]{1,64}", fullmatch=True),
    payload=st.binary(max_size=300),
    ts_ns=st.integers(0, 2**63 - 1),
    subject=st.binary(max_size=32),
    schema=st.integers(0, 0xFFFF),
)


def test_golden_bytes_of_schema_1() -> None:
    draft = Draft("push.settled", b"\x01\x02", 1_763_126_872_000_000_000, b"\xaa" * 16, 1)
    commitment = sha256(b"\x01\x02").hexdigest()
    fields = "01" + "1b1877e28c73817000" + "6c707573682e736574746c6564" + "50" + "aa" * 16 + "5820" + commitment
    found = encode([draft])
    assert found.stored[0].hex() == "86" + fields + "420102"
    assert found.leaves[0] == sha256(bytes.fromhex("00" + "85" + fields)).digest()
    assert leaf_of(found.stored[0], b"\x01\x02").hex() == "85" + fields


@given(DRAFTS)
def test_what_is_encoded_is_decoded_and_in_the_shortest_form(draft: Draft) -> None:
    found = encode([draft])
    record = decode(7, found.stored[0])
    assert record == Record(
        7, draft.schema, draft.ts_ns, draft.kind, draft.subject, sha256(draft.payload).digest(), draft.payload
    )
    fields = [draft.schema, draft.ts_ns, draft.kind, draft.subject, found.commitments[0], draft.payload]
    assert found.stored[0] == cbor2.dumps(fields)
    assert leaf_of(found.stored[0], draft.payload) == cbor2.dumps(fields[:5])
    assert found.leaves[0] == sha256(b"\x00" + cbor2.dumps(fields[:5])).digest()


def test_an_erased_payload_leaves_the_leaf_as_it_was() -> None:
    stored = encode([Draft("a.b", b"secret" * 50, 5)]).stored[0]
    record = decode(0, stored)
    erased = cbor2.dumps([record.schema, record.ts_ns, record.kind, record.subject, record.commitment, None])
    assert decode(0, erased).payload is None
    assert leaf_of(erased, None) == leaf_of(stored, record.payload)


@pytest.mark.parametrize(
    "draft",
    [
        Draft("", b"", 0),
        Draft("ü", b"", 0),
        Draft("a" * 65, b"", 0),
        Draft("a", b"", -1),
        Draft("a", b"", 2**63),
        Draft("a", b"", 0, b"s" * 33),
        Draft("a", b"", 0, b"", -1),
        Draft("a", b"", 0, b"", 65_536),
        Draft("a", bytes(PAYLOAD_BYTES_MAX + 1), 0),
    ],
)
def test_a_draft_out_of_bounds_is_refused_whole(draft: Draft) -> None:
    with pytest.raises(ValueError, match=r"payload|kind|subject|schema"):
        encode([Draft("fine", b"", 0), draft])


def test_drafts_are_encoded_together_as_each_alone() -> None:
    drafts = [
        Draft(kind, payload, ts_ns, subject, schema)
        for kind in ("a.b", "a.c")
        for ts_ns in (7, 2**32 - 1, 2**32, 10**18)
        for subject, payload in ((b"", b"x" * 300), (b"s" * 16, b""))
        for schema in (1, 1, 300)
    ]
    for order in (drafts, drafts[::2] + drafts[1::2]):
        together = encode(order)
        alone = [encode([draft]) for draft in order]
        assert together.stored == [one.stored[0] for one in alone]
        assert together.leaves == [one.leaves[0] for one in alone]
        assert together.commitments == [one.commitments[0] for one in alone]


@given(st.binary(max_size=80))
def test_any_bytes_decode_to_a_record_or_are_corrupt(data: bytes) -> None:
    try:
        record = decode(0, data)
    except Corrupt:
        return
    assert isinstance(record, Record)


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535, 65_536])
def test_heads_are_the_shortest(size: int) -> None:
    assert cbor2.dumps(bytes(size)).startswith(bytes_head(size))
    assert len(bytes_head(size)) + size == len(cbor2.dumps(bytes(size)))


def test_an_array_of_another_length_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="array of six"):
        records_of(3, [[1, 2, 3]])
