"""What a reader may see does not depend on how they ask."""

from typing import Any

import pytest

from gateway.nostr.filter import parse_filter
from gateway.nostr.reader import Reader
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed

PRIVATE = frozenset({4, 1_059, 21_059})
A, B = pubkey(ALICE), pubkey(BOB)


def reader(*keys: str) -> Reader:
    return Reader(frozenset(keys), NOW_S, PRIVATE)


@pytest.mark.parametrize(
    ("kind", "readers"),
    [(1, [(), (A,), (B,), (A, B)]), (4, [(A,), (B,), (A, B)]), (1_059, [(B,), (A, B)]), (21_059, [(B,), (A, B)])],
)
def test_a_wrap_is_its_addressees_and_a_message_its_authors_too(kind: int, readers: list[tuple[str, ...]]) -> None:
    event = signed(ALICE, kind, tags=[["p"], ["e", A], ["p", B]])
    assert [keys for keys in ((), (A,), (B,), (A, B)) if reader(*keys).may_read(event)] == readers


def test_an_event_is_seen_until_the_second_in_which_it_ends() -> None:
    assert reader().may_read(signed(tags=[["expiration", str(NOW_S + 1)]]))
    assert not reader().may_read(signed(tags=[["expiration", str(NOW_S)]]))


@pytest.mark.parametrize(
    ("asked", "keys", "prefix"),
    [
        ({"kinds": [1_059]}, (), "auth-required"),
        ({"kinds": [4, 1_059]}, (), "auth-required"),
        ({"kinds": [1, 1_059]}, (), None),
        ({"kinds": []}, (), None),
        ({}, (), None),
        ({"kinds": [1_059]}, (A,), None),
        ({"kinds": [1_059], "#p": [A, B]}, (A,), None),
        ({"kinds": [1_059], "#p": [B]}, (A,), "restricted"),
        ({"kinds": [1_059], "#p": [B], "authors": [A]}, (A,), "restricted"),
        ({"kinds": [4], "#p": [B], "authors": [A]}, (A,), None),
        ({"kinds": [4], "#p": [B]}, (A,), None),
        ({"kinds": [4], "#p": [B], "authors": [B]}, (A,), "restricted"),
    ],
)
def test_who_asks_for_others_events_alone_is_told_so(asked: dict[str, Any], keys: tuple[str, ...], prefix: str) -> None:
    refusal = reader(*keys).refusal([parse_filter({}), parse_filter(asked)])
    assert (refusal and refusal.partition(":")[0]) == prefix
