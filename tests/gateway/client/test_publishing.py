"""Events on their way, over random orders of sends, answers and cuts: each is answered once, none is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.publishing import Publishing
from gateway.limits.client import PUBLISH_BATCH_CHARS, PUBLISH_BATCH_ROWS

ACTIONS = st.lists(st.one_of(st.integers(0, 5), st.sampled_from(["send", "cut", "answer"])), max_size=60)


@given(ACTIONS)
def test_every_event_is_sent_until_it_is_answered_and_then_no_more(actions: list[int | str]) -> None:
    publishing, published, answered, wire = Publishing(), 0, 0, list[str]()
    for action in [*actions, "send", *["answer"] * 99]:
        if isinstance(action, int):
            assert publishing.add("mirror", {"id": f"e{action}", "relayID": "r"}) is None
            published += 1
        elif action == "send":
            for _, what in publishing.frames("mirror"):
                wire += [one["id"] for one in (what if isinstance(what, list) else [what])]
        elif action == "cut":
            publishing.lost("mirror")
            wire = []  # answers that were on their way are gone with the connection
        elif wire:
            found = publishing.answered("mirror", [wire.pop(0), True, ""])
            assert len(found) == 1
            answered += 1
    assert (answered, len(publishing)) == (published, 0)


def test_batches_are_cut_by_rows_and_by_characters_and_a_large_row_goes_alone() -> None:
    publishing = Publishing()
    large = "A" * (PUBLISH_BATCH_CHARS + 4)
    data = ["AAAA"] * (PUBLISH_BATCH_ROWS + 1) + [large, large, "AAAA"]
    for number, one in enumerate(data):
        publishing.add("mirror", {"id": str(number), "relayID": "r", "eventData": one})
    frames = list(publishing.frames("mirror"))
    sizes = [len(what) if verb == "EVENTS" else 1 for verb, what in frames]
    assert sizes == [PUBLISH_BATCH_ROWS, 1, 1, 1, 1]
    assert list(publishing.frames("mirror")) == []


def test_an_answer_of_the_other_socket_settles_nothing() -> None:
    publishing = Publishing()
    publishing.add("normal", {"id": "e"})
    list(publishing.frames("normal"))
    assert publishing.answered("mirror", ["e", True, ""]) == []
    assert len(publishing) == 1
