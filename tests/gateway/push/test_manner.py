"""Manners: urgent and apart, unless the operator says otherwise for a type."""

import pytest

from gateway.config import Push, PushType
from gateway.push.envelope import Notification
from gateway.push.manner import Manner, Manners
from gateway.push.matrix import MatrixEvent
from gateway.push.plan import collapse_key

TYPES = {
    "like": PushType(priority="normal", device_ttl_s=600, collapse="reference"),
    "presence": PushType(collapse="type"),
}


def note(id_: str, type_: str = "like", ref_id: str = "p1") -> Notification:
    return Notification(id_, type_, "text", "bob", "post" if ref_id else "", ref_id, None)


def test_a_type_of_which_nothing_is_said_is_urgent_and_replaces_its_own_repeats_alone() -> None:
    assert Manners(Push()).of(note("n1")) == Manner(True, None, collapse_key("n1"))
    assert Manners(Push(types=TYPES)).of(note("n1", "mention")) == Manner(True, None, collapse_key("n1"))


def test_the_operators_word_holds_for_its_type() -> None:
    told = Manners(Push(types=TYPES)).of(note("n1"))
    assert (told.is_urgent, told.device_ttl_s) == (False, 600)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (note("n1"), note("n2"), True),
        (note("n1"), note("n2", ref_id="p2"), False),
        (note("n1", ref_id=""), note("n2", ref_id=""), False),
        (note("n1", "presence"), note("n2", "presence", "p2"), True),
        (note("n1", "presence"), note("n1", "like"), False),
        (note("n1", "mention"), note("n2", "mention"), False),
    ],
)
def test_what_replaces_what_is_as_its_type_says(one: Notification, other: Notification, same: bool) -> None:
    manners = Manners(Push(types=TYPES))
    assert (manners.of(one).collapse == manners.of(other).collapse) == same
    assert manners.of(one).collapse == manners.of(one).collapse


def test_no_id_can_be_chosen_to_replace_a_type() -> None:
    manners = Manners(Push(types=TYPES))
    assert manners.of(note("presence", "mention")).collapse != manners.of(note("n1", "presence")).collapse


def test_a_matrix_event_says_for_itself() -> None:
    low = MatrixEvent("$1", {"event_id": "$1"}, is_urgent=False)
    assert Manners(Push(types=TYPES)).of(low) == Manner(False, None, collapse_key("$1"))
