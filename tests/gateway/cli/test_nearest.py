"""A name that does not exist is answered with those that do."""

from collections.abc import Sequence

import pytest

from gateway.cli.nearest import nearest

KINDS = ("push.settled", "push.accepted", "relay.registered")


@pytest.mark.parametrize(
    ("name", "known", "says"),
    [
        ("push.setled", KINDS, "did you mean 'push.settled' or 'push.accepted'?"),
        ("typo", KINDS, "known: push.accepted, push.settled, relay.registered"),
        ("typo", (), "known: none"),
        ("typo", [f"{n:02}" for n in range(50)], f"known: {', '.join(f'{n:02}' for n in range(40))} and 10 more"),
    ],
)
def test_the_nearest_are_named_or_all_where_none_is_near(name: str, known: Sequence[str], says: str) -> None:
    assert nearest(name, known) == says
