"""A subscription against a made-up gateway, over random cuts: with cursors each row comes once and in order."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.happening import Caught, Effect, Rows
from gateway.client.reading import Reading

SESSIONS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 4), st.booleans()), min_size=1, max_size=12)


def taken(effects: list[Effect]) -> list[Any]:
    return [row["id"] for one in effects if isinstance(one, Rows) for row in one.rows]


@given(SESSIONS)
def test_with_cursors_every_row_comes_once_and_in_order_whatever_is_cut(sessions: list[tuple[int, int, bool]]) -> None:
    """Each session reaches so many rows further, in batches of a size, with cursors on all of them or on EOSE alone."""
    reading, got, size = Reading("s", "mirror", [{"relayID": "r"}], None), list[int](), 0
    for reach, batch, cursors in [*sessions, (0, 3, True)]:
        after = reading.request()[2]["after"]
        at, size = int(after or 0), size + 3
        last = size if (reach, batch, cursors) == (0, 3, True) else min(size, at + reach)
        for start in range(at, last, batch):
            part = list(range(start, min(last, start + batch)))
            rows = [{"id": one} for one in part]
            got += taken(reading.rows(rows, [{"cursor": str(part[-1] + 1)}] if cursors else []))
        if last == size:
            assert reading.eose([{"cursor": str(size)}]) == [Caught("s", str(size))]
    assert got == list(range(size))


def test_what_is_remembered_without_cursors_has_a_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.client.reading.SEEN_CHARS_MAX", 100)
    reading = Reading("s", "normal", [{"kinds": [1]}], None)
    assert taken(reading.rows([{"id": f"{number:08}"} for number in range(1000)], [])) != []
    assert taken(reading.rows([{"id": "00000999"}], [])) == []
    assert taken(reading.rows([{"id": "00000000"}], [])) == ["00000000"]
