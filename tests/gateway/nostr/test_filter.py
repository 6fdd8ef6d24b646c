"""Filters: what is one, and that it matches what a dumb oracle says."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NostrRefused
from gateway.nostr.filter import parse_filter
from tests import oracles
from tests.signing import ALICE, BOB, pubkey, signed, signed_fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KEYS = st.sampled_from([pubkey(ALICE), pubkey(BOB), "0" * 64])
EVENTS = [
    signed_fields(key, kind, "x", tags, created_at)
    for key in (ALICE, BOB)
    for kind in (1, 7)
    for created_at in (10, 20)
    for tags in ([], [["t", "a"]], [["t", "a", "b"], ["p", pubkey(BOB)]], [["T", "a"], ["t", "b"], ["t"]])
]
IDS = st.sampled_from([event["id"] for event in EVENTS] + ["1" * 64])
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "ids": st.lists(IDS, max_size=9),
        "authors": st.lists(KEYS, max_size=2),
        "kinds": st.lists(st.sampled_from([1, 7, 9]), max_size=2),
        "#t": st.lists(st.sampled_from("abc"), max_size=2),
        "#T": st.lists(st.sampled_from("ab"), max_size=2),
        "#p": st.lists(KEYS, max_size=2),
        "since": st.integers(9, 21),
        "until": st.integers(9, 21),
        "limit": st.integers(0, 3),
    },
)


@given(FILTERS)
def test_a_filter_matches_what_the_dumb_oracle_says(asked: dict[str, Any]) -> None:
    compiled = parse_filter(asked)
    for fields in EVENTS:
        event = signed_event(fields)
        assert compiled.matches(event) == oracles.filter_matches(asked, fields)


def signed_event(fields: dict[str, Any]) -> Any:
    return msgspec.convert(fields, type=type(signed()))


@given(JSON)
def test_any_json_is_a_filter_or_a_refusal_with_a_prefix(raw: object) -> None:
    reason = "invalid: "
    try:
        parse_filter(raw)
    except NostrRefused as refusal:
        reason = str(refusal)
    assert reason.split(": ")[0] in ("invalid", "unsupported")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "x",
        {"ids": "x"},
        {"ids": ["ab"]},
        {"ids": ["A" * 64]},
        {"authors": [1]},
        {"kinds": [-1]},
        {"kinds": [65_536]},
        {"kinds": [1.0]},
        {"kinds": [True]},
        {"kinds": 1},
        {"since": -1},
        {"since": True},
        {"until": 2**53},
        {"until": "1"},
        {"limit": -1},
        {"limit": 1.5},
        {"#e": ["short"]},
        {"#p": ["F" * 64]},
        {"#t": [1]},
        {"#t": "x"},
        {"search": 1},
        {"searching": "x"},
        {"#tt": ["x"]},
        {"#ä": ["x"]},
        {"#": ["x"]},
        {"#1": ["x"]},
        {"t": ["x"]},
    ],
)
def test_what_is_not_a_filter_is_refused(raw: object) -> None:
    with pytest.raises(NostrRefused):
        parse_filter(raw)


def test_an_empty_filter_matches_everything_and_an_empty_list_nothing() -> None:
    assert parse_filter({}).matches(signed())
    for name in ("ids", "authors", "kinds", "#t"):
        assert not parse_filter({name: []}).matches(signed(tags=[["t", "a"]]))
