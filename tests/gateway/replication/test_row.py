"""Rows and what is no row."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.row import RowInvalid, row_of, stored

ID, RELAY_ID = "0a" * 32, "0b" * 32
FIELDS = {"id": ID, "relayID": RELAY_ID, "kind": 30078, "created_at": 1_700_000_000, "eventData": "aGVsaW8="}
DATA = "invalid-event: eventData must be standard base64 with padding"
KIND = "invalid-event: kind must be 0 to 65535"
CREATED = "invalid-event: created_at must be seconds since 1970, a whole number below 2^53"


def read(**change):
    fields = {**FIELDS, **change}
    return row_of(fields, json.dumps(fields).encode())


def test_a_row_keeps_the_bytes_in_which_it_came():
    text = b'{ "unknown" : [1.10, {"x":null}] }'
    row = row_of(FIELDS, text)
    assert (row.id, row.relay_id, row.kind, row.created_at, row.text) == (ID, RELAY_ID, 30078, 1_700_000_000, text)
    assert not row.signed


def test_equal_objects_have_one_body_hash():
    shuffled = dict(reversed(FIELDS.items()))
    assert row_of(shuffled, b"1").body_hash == row_of(FIELDS, b"2").body_hash != read(kind=1).body_hash


@pytest.mark.parametrize("key", ["pubkey", "sig"])
def test_a_row_that_claims_an_author_is_signed(key):
    assert read(**{key: "x"}).signed


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "invalid-event-id"),
        ({"id": "xyz"}, "invalid-event-id"),
        ({"id": ID.upper()}, "invalid-event-id"),
        ({"id": 5}, "invalid-event-id"),
        ({"relayID": "x"}, "invalid-event: relayID must be 64 lower-case hexadecimal characters"),
        ({"relayID": [RELAY_ID]}, "invalid-event: relayID must be 64 lower-case hexadecimal characters"),
        ({"kind": -1}, KIND),
        ({"kind": 65_536}, KIND),
        ({"kind": 1.0}, KIND),
        ({"kind": True}, KIND),
        ({"kind": "1"}, KIND),
        ({"created_at": -1}, CREATED),
        ({"created_at": 2**53}, CREATED),
        ({"created_at": 1.5}, CREATED),
        ({"created_at": None}, CREATED),
        ({"eventData": None}, DATA),
        ({"eventData": ""}, DATA),
        ({"eventData": "aGVsaW8"}, DATA),
        ({"eventData": "aGVs_W8="}, DATA),
        ({"eventData": "aGVs\nbG8="}, DATA),
        ({"eventData": "aGVsbG8=aGVs"}, DATA),
        ({"eventData": "éééé"}, DATA),
        ({"eventData": {}}, DATA),
        ({"fileKey": 5}, "invalid-event: fileKey must be a string"),
        ({"driveKey": None}, "invalid-event: driveKey must be a string"),
    ],
)
def test_what_is_not_right_is_refused_with_its_reason(change, reason):
    with pytest.raises(RowInvalid) as refused:
        read(**change)
    assert refused.value.reason == reason


@pytest.mark.parametrize("change", [{"kind": 0}, {"kind": 65_535}, {"created_at": 0}, {"created_at": 2**53 - 1}])
def test_the_bounds_are_inside(change):
    assert read(**change)


def test_the_fact_holds_the_row_and_what_it_is_found_by():
    fact = stored(read(), "relay", "writer", is_open=True)
    assert (fact.relay_key, fact.relay_id.hex(), fact.row_id.hex()) == ("relay", RELAY_ID, ID)
    assert (fact.row_kind, fact.created_at, fact.is_open, fact.writer) == (30078, 1_700_000_000, True, "writer")
    assert json.loads(fact.row) == FIELDS


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "fileKey", "sig", "x"]), VALUES), st.booleans())
def test_any_object_is_a_row_or_refused(fields, complete):
    with suppress(RowInvalid):
        assert row_of({**FIELDS, **fields} if complete else fields, b"{}").text == b"{}"
