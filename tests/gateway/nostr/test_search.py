"""A search finds texts with all its words, the better ones with more."""

import pytest

from gateway.errors import NostrRefused
from gateway.nostr.search import score, terms_of


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("", ()),
        ("Purple  STRASSE straße", ("purple", "strasse")),
        ("cats language:en domain:example.com include:spam", ("cats",)),
        ("東京 タワー", ("東京", "タワー")),
        ('"quoted, words"', ("quoted", "words")),
    ],
)
def test_a_query_is_its_words(query: str, terms: tuple[str, ...]) -> None:
    assert terms_of(query) == terms


@pytest.mark.parametrize("query", ["x" * 2_000, " ".join(f"w{number}" for number in range(99))])
def test_a_query_without_end_is_refused(query: str) -> None:
    with pytest.raises(NostrRefused, match=r"^invalid: "):
        terms_of(query)


def test_whole_words_and_several_count_for_more_and_a_missing_word_for_nothing() -> None:
    terms = ("purple", "cat")
    ranked = ["a purple cat, the purplest cat", "a purple cat", "purplecats", "a purple dog", ""]
    scores = [score(terms, text) for text in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores[:3])) == 3
    assert scores[3:] == [0, 0]
    assert score((), "anything") > 0
