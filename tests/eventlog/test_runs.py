"""Sorted keys in memory and in pages: both give the same stretches, and merging is sorting."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from eventlog.runs import SCHEMA, About, Held, Pages, Run, RunWriter, Shape, Source, Span, merged, unpacked

SHAPE = Shape(width=8, prefix=1)
KEYS = st.sets(st.binary(min_size=8, max_size=8), max_size=60).map(sorted)
SPAN = Span(b"", b"\xff" * 8, b"", b"\xff" * 6)


def held(keys: list[bytes]) -> Held:
    return Held(list(keys), SPAN, 0)


def written(keys: list[bytes], page_keys: int, shape: Shape = SHAPE) -> Run:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    pages = Pages(db, shape)
    writer = RunWriter(pages, 7, len(keys), page_keys * shape.width)
    for at in range(0, len(keys), 5):
        writer.write(keys[at : at + 5])
    assert list(writer.end())
    assert writer.count == len(keys)
    assert list(pages.beside(7).fences) == list(writer.beside.fences)
    return Run(pages, About(7, 0, len(keys), SPAN), pages.beside(7))


@given(KEYS.filter(bool), st.integers(1, 9), st.binary(max_size=8), st.binary(max_size=8))
def test_any_stretch_is_what_a_list_would_give(keys: list[bytes], page_keys: int, low: bytes, high: bytes) -> None:
    wanted = [key for key in keys if low < key <= high]
    for source in (held(keys), written(keys, page_keys)):
        assert list(source.between(low, high)) == wanted
        assert [key for chunk in source.chunks() for key in chunk] == keys


@given(st.lists(KEYS, max_size=6), st.integers(1, 9))
def test_merging_is_sorting(lists: list[list[bytes]], page_keys: int) -> None:
    sources: list[Source] = [written(keys, page_keys) if keys else held(keys) for keys in lists]
    pieces = list(merged(sources))
    assert [key for piece in pieces for key in piece] == sorted(key for keys in lists for key in keys)
    assert all(len(piece) <= page_keys * len(lists) for piece in pieces)


def test_a_swept_run_leaves_nothing() -> None:
    run = written([bytes([0, number]) * 4 for number in range(100)], 3)
    db = run._pages.db
    assert db.execute("SELECT count(*) FROM run_page").fetchone() == (34,)
    assert all(cost > 0 for cost in run._pages.sweep(7))
    assert db.execute("SELECT (SELECT count(*) FROM run_page) + (SELECT count(*) FROM run_part)").fetchone() == (0,)


def test_keys_are_cut_alike_however_many() -> None:
    data = bytes(range(256)) * 1024
    assert list(unpacked(data, 8)) == [data[at : at + 8] for at in range(0, len(data), 8)]
    assert list(unpacked(data[:800], 8)) == list(unpacked(data, 8))[:100]
