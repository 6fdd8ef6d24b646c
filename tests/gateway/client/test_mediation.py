"""Two stores that are compared through somebody who holds neither."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client.mediation import Mediator
from gateway.negentropy import FRAME_BYTES_MIN, Item, Items, Malformed, Responder

ROUNDS_MAX = 500


def item(number: int) -> Item:
    return (1_700_000_000 + number % 50, sha256(str(number).encode()).digest())


def compared(ours: set[int], theirs: set[int], frame_bytes: int) -> tuple[set[bytes], set[bytes], int]:
    """What ours lacks, what theirs lacks, and in how many messages."""
    sides = [Responder(Items(map(item, each)), frame_bytes) for each in (ours, theirs)]
    mediator, rounds = Mediator(), 0
    question: bytes | None = Mediator.first()
    ours_lacks: set[bytes] = set()
    theirs_lacks: set[bytes] = set()
    while question is not None:
        assert rounds < ROUNDS_MAX, "it does not end"
        answer = sides[rounds % 2].answer(question)
        following, difference = mediator.hand_on(answer, is_ours=rounds % 2 == 0)
        ours_lacks.update(difference.ours_lacks)
        theirs_lacks.update(difference.theirs_lacks)
        question, rounds = following, rounds + 1
    return ours_lacks, theirs_lacks, rounds


def ids(numbers: set[int]) -> set[bytes]:
    return {item(number)[1] for number in numbers}


@given(
    st.sets(st.integers(0, 400), max_size=300),
    st.sets(st.integers(0, 400), max_size=60),
    st.sets(st.integers(0, 400), max_size=60),
)
def test_what_each_lacks_is_found_whatever_both_hold(shared: set[int], one: set[int], other: set[int]) -> None:
    ours, theirs = shared | one, shared | other
    ours_lacks, theirs_lacks, _ = compared(ours, theirs, 60_000)
    assert ours_lacks == ids(theirs - ours)
    assert theirs_lacks == ids(ours - theirs)


@pytest.mark.parametrize(("ours", "theirs"), [(set(), set(range(2_000))), (set(range(2_000)), set()), (set(), set())])
def test_a_store_that_holds_nothing_learns_of_everything_frame_by_frame(ours: set[int], theirs: set[int]) -> None:
    ours_lacks, theirs_lacks, rounds = compared(ours, theirs, FRAME_BYTES_MIN)
    assert (ours_lacks, theirs_lacks) == (ids(theirs), ids(ours))
    assert rounds > 40 or ours == theirs


@pytest.mark.parametrize("step", [1, 3, 7])
def test_with_small_frames_what_differs_is_found_exactly_though_answers_are_cut(step: int) -> None:
    numbers = set(range(6_000))
    one, other = set(range(1, 6_000, 2 * step)), set(range(2, 6_000, 6 * step))
    ours_lacks, theirs_lacks, _ = compared(numbers - other, numbers - one, FRAME_BYTES_MIN)
    assert ours_lacks == ids(other - one)
    assert theirs_lacks == ids(one - other)


def test_two_that_hold_the_same_are_done_after_two_messages() -> None:
    assert compared(set(range(1_000)), set(range(1_000)), 60_000) == (set(), set(), 2)


def test_what_is_no_message_is_malformed() -> None:
    with pytest.raises(Malformed):
        Mediator().hand_on(b"\x60\x00", is_ours=True)
