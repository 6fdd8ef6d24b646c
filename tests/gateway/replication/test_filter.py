"""Replication filters."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.facts import RowStored
from gateway.replication.filter import FilterInvalid, filter_of, is_replication

A, B = "0a" * 32, "0b" * 32
BYTES = {A: bytes.fromhex(A), B: bytes.fromhex(B)}


def read(**fields):
    return filter_of(fields, limit_default=500, limit_max=1_000)


def stored(relay_id=A, row_id=B, kind=1, created_at=100):
    return RowStored("relay", BYTES[relay_id], BYTES[row_id], kind, created_at, b"", False, "", b"")


@pytest.mark.parametrize("key", ["relayID", "#relay"])
@pytest.mark.parametrize("value", [A, [A], [A, A]])
def test_both_keys_take_a_string_or_a_list(key, value):
    found = read(**{key: value})
    assert found.relay_ids == {BYTES[A]}
    assert is_replication({key: value})


def test_both_keys_together_name_what_both_name():
    assert read(relayID=[A, B], **{"#relay": [B]}).relay_ids == {BYTES[B]}


@pytest.mark.parametrize(
    "fields", [{}, {"relayID": ""}, {"relayID": []}, {"relayID": None}, {"#relay": []}, [], "x", None]
)
def test_without_a_relayid_it_is_an_ordinary_filter(fields):
    assert not is_replication(fields)


def test_the_limit_is_the_newest_n_up_to_a_maximum():
    assert [read(relayID=A, **more).limit for more in ({}, {"limit": 0}, {"limit": 7}, {"limit": 10**6})] == [
        500, 0, 7, 1_000,
    ]  # fmt: skip


def test_times_are_inclusive_at_both_ends():
    found = read(relayID=A, since=100, until=200)
    assert [found.matches(stored(created_at=at)) for at in (99, 100, 200, 201)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("more", "matching"),
    [
        ({}, True), ({"ids": [B]}, True), ({"ids": [A]}, False), ({"ids": []}, False), ({"kinds": [1]}, True),
        ({"kinds": [2]}, False), ({"relayID": B}, False), ({"authors": [A]}, False), ({"#h": ["x"]}, False),
        ({"search": "x"}, False), ({"unknown": 1}, True),
    ],
)  # fmt: skip
def test_every_condition_counts(more, matching):
    assert read(**{"relayID": A, **more}).matches(stored()) is matching


@pytest.mark.parametrize(
    "fields",
    [
        {"relayID": "x"}, {"relayID": A.upper()}, {"relayID": [5]}, {"relayID": 5}, {"relayID": {"a": 1}},
        {"relayID": A, "ids": "x"}, {"relayID": A, "ids": ["x"]}, {"relayID": A, "kinds": ["1"]},
        {"relayID": A, "kinds": [True]}, {"relayID": A, "since": "1"}, {"relayID": A, "until": -1},
        {"relayID": A, "limit": 1.5}, {"relayID": A, "limit": -1}, {"relayID": A, "ids": [A] * 1025},
        {"relayID": A, "since": 2**63}, {"relayID": A, "after": 5}, {"relayID": A, "after": "a" * 129},
        {"relayID": A, "batch": 1},
    ],
)  # fmt: skip
def test_what_is_not_right_is_refused(fields):
    with pytest.raises(FilterInvalid):
        filter_of(fields, limit_default=1, limit_max=1)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.just(A),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["relayID", "#relay", "ids", "kinds", "since", "limit", "#x"]), VALUES))
def test_any_object_is_a_filter_or_refused(fields):
    if is_replication(fields):
        with suppress(FilterInvalid):
            assert filter_of(fields, limit_default=1, limit_max=1).limit <= 1
