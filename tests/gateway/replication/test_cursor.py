"""Cursors: what is written is read, and what was written elsewhere is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.mirror import CURSOR_CHARS_MAX
from gateway.replication.cursor import START, Cursors, CursorUnknown, Place

COMMITMENT = bytes(range(32))


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_cursor_gives_back_the_place_behind_its_record(seq, commitment):
    cursors = Cursors("log.example")
    text = cursors.behind(seq, commitment)
    assert cursors.read(text) == Place(seq + 1, commitment[:6])
    assert cursors.at(cursors.read(text)) == text
    assert len(text) <= CURSOR_CHARS_MAX
    assert text.isalnum()
    assert text.isascii()


def test_the_start_of_a_log_has_a_cursor_too():
    cursors = Cursors("log.example")
    assert cursors.read(cursors.at(Place(0, START))) == Place(0, START)


def test_another_logs_cursor_is_unknown():
    text = Cursors("other.example").behind(5, COMMITMENT)
    with pytest.raises(CursorUnknown, match=r"^cursor-unknown: this cursor belongs to another log$"):
        Cursors("log.example").read(text)


@given(st.text(max_size=60) | st.text("0123456789abcdef", max_size=60))
def test_what_is_no_cursor_is_unknown_or_some_place_of_this_log(text):
    try:
        place = Cursors("log.example").read(text)
    except CursorUnknown as unknown:
        assert str(unknown).startswith("cursor-unknown: ")  # noqa: PT017 - either way is right
    else:
        assert place.seq >= 0
