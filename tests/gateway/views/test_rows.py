"""The index of rows, against a slow oracle that filters a list."""

import sqlite3
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import chronicle
from eventlog.chronicle import Below, Retained
from eventlog.record import Record
from eventlog.sortedruns import Sizes, SortedRuns
from gateway.errors import Unavailable
from gateway.facts import Fact, RelayUnregistered, RowStored, draft
from gateway.replication.filter import Filter, filter_of
from gateway.views.rows import Kept, RowsView, writer_mark

A, B = "aa" * 32, "bb" * 32
ONE, TWO = "01" * 32, "02" * 32
SALT = b"s" * 16


def stored(number=1, relay_key=A, relay_id=ONE, kind=1, created_at=100, is_open=False, writer="") -> RowStored:
    row_id, relay = bytes([number]) * 32, bytes.fromhex(relay_id)
    return RowStored(relay_key, relay, row_id, kind, created_at, bytes([kind]) * 32, is_open, writer, b"{}")


def folded(facts: list[Fact], batch: int = 1_000) -> RowsView:
    view = RowsView(sqlite3.connect(":memory:"))
    records = []
    for seq, fact in enumerate(facts):
        each = draft(fact, ts_ns=0, salt=SALT if fact.personal else b"")
        records.append(Record(seq, each.schema, each.ts_ns, each.kind, b"", b"", each.payload))
    for at in range(0, len(records), batch):
        part = records[at : at + batch]
        view.apply(part, part[-1].seq + 1)
    return view


def asked(**fields) -> Filter:
    return filter_of({"relayID": [ONE, TWO], **fields}, limit_default=100, limit_max=100)


def test_bodies_under_an_id_are_listed_in_their_order_and_namespace():
    view = folded([stored(kind=1, writer="a"), stored(kind=2, writer="b"), stored(is_open=True), stored(relay_key=B)])
    kept = view.kept(A, bytes.fromhex(ONE), b"\x01" * 32, is_open=False)
    assert kept == [Kept(writer_mark("a"), b"\x01" * 16, 0), Kept(writer_mark("b"), b"\x02" * 16, 1)]
    assert len(view.kept(A, bytes.fromhex(ONE), b"\x01" * 32, is_open=True)) == 1
    assert view.kept(A, bytes.fromhex(TWO), b"\x01" * 32, is_open=False) == []


def test_a_relay_that_was_taken_away_has_no_rows_and_starts_anew():
    facts: list[Fact] = [stored(), stored(2, is_open=True), stored(relay_key=B), RelayUnregistered("w", A, None, None)]
    view = folded(facts)
    assert (view.count(A), view.count(B)) == (0, 1)
    assert view.newest(A, [asked()], {True, False}) == []
    assert view.kept(A, bytes.fromhex(ONE), b"\x01" * 32, is_open=False) == []
    again = folded([*facts, stored(3)])
    assert again.newest(A, [asked()], {True, False}) == [4]
    assert again.count(A) == 1


def test_equal_times_are_ordered_by_id_and_then_by_the_log():
    view = folded([stored(3), stored(1), stored(2), stored(1, kind=2, writer="x")])
    assert view.newest(A, [asked()], {False}) == [1, 3, 2, 0]


def test_a_comparison_under_way_is_broken_off_where_the_index_was_made_anew():
    facts: list[Fact] = [stored(number) for number in range(9)]
    rolled_back, swapped = folded(facts), folded(facts)
    under_way = [view.identities(A, asked(), {False}, 2) for view in (rolled_back, swapped)]
    assert [len(next(pages)) for pages in under_way] == [2, 2]
    rolled_back.restart()
    # Folded without what was erased, the first number is another namespace's.
    swapped.become(folded([stored(number, relay_key=B, created_at=1) for number in range(9)]))
    for pages in under_way:
        with pytest.raises(Unavailable, match="ask again"):
            list(pages)


ROWS = st.builds(
    stored,
    st.integers(1, 4),
    st.sampled_from([A, B]),
    st.sampled_from([ONE, TWO]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.booleans(),
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "relayID": st.sampled_from([ONE, TWO, [ONE, TWO], [TWO, "03" * 32]]),
        "ids": st.lists(st.integers(1, 5).map(lambda n: f"{n:02x}" * 32), max_size=3),
        "kinds": st.lists(st.integers(1, 4), max_size=2),
        "since": st.integers(0, 6),
        "until": st.integers(0, 6),
        "limit": st.integers(0, 6),
        "authors": st.just(["x"]),
    },
)


@given(
    st.lists(ROWS, max_size=30),
    st.lists(FILTERS, min_size=1, max_size=3),
    st.sampled_from([{True}, {False}, {True, False}]),
)
def test_the_index_finds_what_filtering_every_row_finds(rows, fields, visible):
    view, filters = folded(list(rows)), [asked(**each) for each in fields]
    seen = [(seq, row) for seq, row in enumerate(rows) if row.relay_key == A and row.is_open in visible]
    order = {seq: (-row.created_at, row.row_id, row.row_kind, seq) for seq, row in seen}
    newest: set[int] = set()
    for each in filters:
        newest.update(sorted((seq for seq, row in seen if each.matches(row)), key=order.__getitem__)[: each.limit])
    assert view.newest(A, filters, visible) == sorted(newest, key=order.__getitem__)


@given(st.lists(ROWS | st.just(RelayUnregistered("w", A, None, None)), max_size=20), st.integers(1, 5))
def test_the_digest_does_not_depend_on_batches(facts, batch):
    assert folded(facts, batch).digest() == folded(facts).digest()


def test_what_is_asked_of_a_large_namespace_reads_no_more_than_it_answers(monkeypatch):
    """Reading it through would hold up everybody else."""
    few = Sizes(list_keys=16, memory_keys=64, fan=2, page_bytes=512)
    monkeypatch.setattr("gateway.views.rows.SortedRuns", partial(SortedRuns, sizes=few))
    view = folded([stored(number % 200 + 1, created_at=number) for number in range(2_000)], batch=50)
    one = bytes.fromhex(ONE)
    for ask in (
        lambda: view.newest(A, [asked(relayID=ONE, limit=5)], {False}),
        lambda: view.newest(A, [asked(relayID=ONE, since=400, until=410)], {False}),
        lambda: view.newest(A, [asked(relayID=ONE, ids=[TWO])], {False}),
        lambda: view.kept(A, one, one, is_open=False),
    ):
        pages: list[str] = []
        view.db.set_trace_callback(pages.append)
        assert ask()
        view.db.set_trace_callback(None)
        assert len([query for query in pages if "run_page" in query]) < 30


@given(st.lists(ROWS, min_size=1, max_size=40), st.sets(st.integers(0, 39)))
def test_rows_that_are_dropped_leave_what_there_would_be_without_them(rows, gone):
    view = folded(list(rows))
    view.drop([seq for seq in gone if seq < len(rows)])
    left = [seq for seq in range(len(rows)) if seq not in gone]
    found = view.newest(A, [asked()], {True, False}) + view.newest(B, [asked()], {True, False})
    assert sorted(found) == left
    assert view.count(A) + view.count(B) == len(left)


def test_rows_that_retention_took_are_gone_whatever_the_batches():
    facts: list[Fact] = [stored(n, relay_id=ONE if n % 2 else TWO) for n in range(6)]
    views = [folded(facts, batch) for batch in (1, 6)]
    for view in views:
        taken = chronicle.draft(Retained(2, (Below("mirror.stored", 4), Below("nostr.stored", 6))), 0)
        view.apply([Record(6, 1, 0, taken.kind, b"", b"", taken.payload)], 7)
        assert (view.count(A), view.newest(A, [asked()], {False})) == (2, [4, 5])
    assert views[0].digest() == views[1].digest()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(100, 103), st.booleans()), max_size=40), st.integers(1, 7))
def test_identities_come_in_pages_that_hold_every_row_once_newest_first(rows, count):
    view = folded([stored(number, created_at=at, kind=at % 2, is_open=is_open) for number, at, is_open in rows])
    for fields in ({}, {"since": 101}, {"until": 102, "kinds": [0]}):
        pages = list(view.identities(A, asked(**fields), {False}, count))
        assert all(0 < len(page) <= count for page in pages)
        wanted = [(at, bytes([number]) * 32) for number, at, is_open in rows if not is_open]
        if "since" in fields:
            wanted = [one for one in wanted if one[0] >= 101]
        if "until" in fields:
            wanted = [one for one in wanted if one[0] <= 102 and one[0] % 2 == 0]
        assert [one for page in pages for one in page] == sorted(wanted, key=lambda one: (-one[0], one[1]))


def test_a_floor_is_where_a_relay_was_taken_away_or_retention_cut():
    view = folded([stored(), RelayUnregistered("w", A, None, None), stored(2)])
    assert (view.floor(A), view.floor(B), view.retained_floor) == (1, 0, 0)
    entry = Retained(0, (Below(RowStored.kind, 3),))
    each = chronicle.draft(entry, 0)
    view.apply([Record(3, each.schema, 0, each.kind, b"", b"", each.payload)], 4)
    assert (view.floor(A), view.floor(B), view.retained_floor) == (3, 3, 3)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from("abc")), max_size=20), st.booleans())
def test_bodies_under_many_ids_are_those_under_each(rows, more):
    view = folded([stored(number, is_open=is_open, writer=writer) for number, is_open, writer in rows])
    relay, known = bytes.fromhex(ONE), [bytes([number]) * 32 for number in range(10)]
    ids = [*known, *(bytes([number]) * 16 + bytes(16) for number in range(1, 255)), *known] if more else known
    found = view.kept_many(A, relay, ids, is_open=False)
    single = {row_id: view.kept(A, relay, row_id, is_open=False) for row_id in ids}
    assert found == {row_id: kept for row_id, kept in single.items() if kept}
    assert view.kept_many(B, relay, ids, is_open=False) == {}
    assert view.kept_many(A, relay, [], is_open=False) == {}
