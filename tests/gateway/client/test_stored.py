"""What is known of an event that is carried, and how rows are cut into frames."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.stored import Stored, batches, stored_of
from gateway.limits.client import BULK_ROWS, PUBLISH_BATCH_CHARS


@pytest.mark.parametrize(
    ("tags", "is_protected"), [([["-"]], True), ([["t", "-"], ["-", "x"]], True), ([["t", "-"]], False), ([[]], False)]
)
def test_a_protected_event_is_known_by_its_tag(tags: list[list[str]], is_protected: bool) -> None:
    raw = json.dumps({"id": "a", "created_at": 1, "content": '[["-"]]', "tags": tags}).encode()
    assert stored_of(raw).is_protected is is_protected


def test_a_row_and_what_has_no_tags_of_nostr_are_not_protected() -> None:
    for tags in ({}, {"tags": "-"}, {"tags": [1]}):
        assert not stored_of(json.dumps({"id": "a", "created_at": 1, **tags}).encode()).is_protected


def test_what_is_no_event_is_refused() -> None:
    for raw in (b"", b"[]", b'{"id":1}', b'{"id":"a"}'):
        with pytest.raises(msgspec.DecodeError):
            stored_of(raw)


@given(st.lists(st.integers(0, PUBLISH_BATCH_CHARS + 1), max_size=40))
def test_every_row_is_in_one_batch_in_order_and_none_but_a_large_one_alone_is_too_large(sizes: list[int]) -> None:
    rows = [Stored(str(number), 1, bytes(size)) for number, size in enumerate(sizes)]
    cut = list(batches(rows))
    assert [one for batch in cut for one in batch] == rows
    assert all(len(one) == 1 or sum(len(row.raw) for row in one) <= PUBLISH_BATCH_CHARS for one in cut)


def test_a_batch_has_no_more_rows_than_one_commit_takes() -> None:
    rows = [Stored(str(number), 1, b"x") for number in range(2 * BULK_ROWS + 1)]
    assert [len(one) for one in batches(rows)] == [BULK_ROWS, BULK_ROWS, 1]
