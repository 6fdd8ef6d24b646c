"""Search (NIP-50): what a query asks for, and how well a text answers it.

Invariant: a text without every word of the query scores 0 and is not found; a score depends on query and text alone.
Extensions of the query (``key:value``) are passed over, as the NIP says. There is no index here: whoever searches walks
the newest events that the rest of the filter lets through, so that an index of words, which every event would pay for
and which erasures would have to reach, is not kept. This module must not know storage.
"""

import re

from gateway.errors import NostrRefused
from gateway.limits.nostr import SEARCH_CHARS_MAX, SEARCH_TERMS_MAX

_EXTENSION = re.compile(r"\b[a-z_]+:\S+")
_WORD = re.compile(r"\w+")
WHOLE_WORD = 3
PART_OF_ONE = 1
TIMES_MAX = 4


def terms_of(query: str) -> tuple[str, ...]:
    """Read a query's words, in one case; raises NostrRefused where there are too many."""
    if len(query) > SEARCH_CHARS_MAX:
        raise NostrRefused(f"invalid: a search has at most {SEARCH_CHARS_MAX} characters")
    terms = tuple(dict.fromkeys(_WORD.findall(_EXTENSION.sub(" ", query).casefold())))
    if len(terms) > SEARCH_TERMS_MAX:
        raise NostrRefused(f"invalid: a search has at most {SEARCH_TERMS_MAX} words")
    return terms


def score(terms: tuple[str, ...], text: str) -> int:
    """Say how well a text answers: more for whole words and for several occurrences; 0 where a word is missing."""
    folded = text.casefold()
    if not all(term in folded for term in terms):
        return 0
    words = _WORD.findall(folded)
    total = 1
    for term in terms:
        total += WHOLE_WORD * min(TIMES_MAX, words.count(term)) + PART_OF_ONE * min(TIMES_MAX, folded.count(term))
    return total
