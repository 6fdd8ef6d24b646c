"""What is stored, replaced and deleted, held against a dumb oracle over any history."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog import chronicle
from eventlog.chronicle import Below, Retained
from eventlog.record import Record
from eventlog.sortedruns import Sizes
from gateway.facts import (
    EventStored,
    Fact,
    FactUnknown,
    Moderated,
    RelayUnregistered,
    Vanished,
    draft,
    event_draft,
    event_of,
)
from gateway.nostr.event import Event, stored_form
from gateway.views.eventkeys import mark_of, seqs_of
from gateway.views.events import EventsView, Standing
from tests import oracles
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed, signed_fields

RELAY = "public-gateway:hyperbee"


KNOWN: dict[tuple[int, ...], str] = {}


def records_of(events: list[tuple[str, Event]], start: int = 0) -> list[Record]:
    made = []
    for seq, (relay, event) in enumerate(events, start):
        KNOWN[mark_of(0, event.id)[1:]] = event.id
        subject = event.pubkey[:32].encode()
        one = draft(EventStored(relay, 1, stored_form(event)), ts_ns=1, subject=subject, salt=bytes(16))
        made.append(Record(seq, one.schema, one.ts_ns, one.kind, one.subject, b"", one.payload))
    return made


class TinyRuns(EventsView):
    """A view that merges after a handful of keys, so that most of what it finds stands in runs."""

    sizes = Sizes(list_keys=4, lists=2, fan=2, memory_keys=8, rate=20, page_bytes=100, dead_share=4)


BOTH = pytest.mark.parametrize("kind", [EventsView, TinyRuns])


def view_of(*events: Event, relay: str = RELAY, kind: type[EventsView] = EventsView, batch: int = 512) -> EventsView:
    view = kind(sqlite3.connect(":memory:"))
    records = records_of([(relay, event) for event in events])
    for at in range(0, len(records), batch):
        view.apply(records[at : at + batch], min(at + batch, len(records)))
    return view


def held(view: EventsView) -> list[str]:
    """The ids of the stored events; the view knows only marks, so they are looked up among all that tests sign."""
    return sorted(KNOWN[row] for row in view.db.execute("SELECT tie, half FROM event"))


def test_an_event_is_new_then_known_and_only_in_its_own_relay() -> None:
    view = view_of(signed())
    assert view.standing(RELAY, signed()) is Standing.KNOWN
    assert view.standing(RELAY, signed(content="other")) is Standing.NEW
    assert view.standing("another", signed()) is Standing.NEW
    assert (view.count(RELAY), view.count("another")) == (1, 0)


def test_the_same_event_twice_in_the_log_is_one_row() -> None:
    assert view_of(signed(), signed()).count(RELAY) == 1


def test_the_newest_version_of_a_replaceable_event_stays_whatever_comes_first() -> None:
    old, new = signed(kind=0, created_at=1), signed(kind=0, created_at=2)
    for order in ((old, new), (new, old)):
        view = view_of(*order)
        assert held(view) == [new.id]
        assert view.standing(RELAY, old) is Standing.SUPERSEDED
        assert view.count(RELAY) == 1


def test_of_versions_of_one_second_the_lowest_id_stays() -> None:
    one, two = sorted((signed(kind=10_002, content="a"), signed(kind=10_002, content="b")), key=lambda event: event.id)
    assert held(view_of(one, two)) == held(view_of(two, one)) == [one.id]


def test_addressable_events_are_kept_apart_by_author_kind_and_d_tag() -> None:
    events = [
        signed(key, kind, created_at=created_at, tags=tags)
        for key in (ALICE, BOB)
        for kind in (30_000, 30_001)
        for created_at in (1, 2)
        for tags in ([], [["d", "x"]], [["d", "X"]])
    ]
    assert held(view_of(*events)) == sorted(event.id for event in events if event.created_at == 2)


def test_an_empty_d_tag_and_none_are_the_same_address() -> None:
    none, empty = signed(kind=30_000, created_at=1), signed(kind=30_000, created_at=2, tags=[["d", ""]])
    assert held(view_of(none, empty)) == [empty.id]


def test_a_deletion_by_id_takes_the_event_away_for_ever_in_either_order() -> None:
    event = signed()
    deletion = signed(kind=5, tags=[["e", event.id]])
    for order in ((event, deletion), (deletion, event)):
        view = view_of(*order)
        assert held(view) == [deletion.id]
        assert view.standing(RELAY, event) is Standing.DELETED
        assert view.standing("another", event) is Standing.NEW


def test_nobody_deletes_another_authors_event_and_nothing_deletes_a_deletion() -> None:
    event = signed()
    foreign = signed(BOB, 5, tags=[["e", event.id], ["a", f"0:{pubkey(ALICE)}:"]])
    deletion = signed(kind=5, content="x")
    against = signed(kind=5, tags=[["e", deletion.id]])
    profile = signed(kind=0)
    view = view_of(foreign, event, profile, deletion, against)
    assert held(view) == sorted(one.id for one in (foreign, event, profile, deletion, against))


def test_a_deletion_by_address_takes_versions_up_to_its_own_time() -> None:
    versions = [signed(kind=30_000, created_at=at, tags=[["d", "a:b"]]) for at in (1, 2, 3)]
    deletion = signed(kind=5, created_at=2, tags=[["a", f"30000:{pubkey(ALICE)}:a:b"]])
    assert held(view_of(*versions[:2], deletion)) == [deletion.id]
    assert held(view_of(deletion, *versions)) == sorted([deletion.id, versions[2].id])
    earlier = signed(kind=5, created_at=1, tags=[["a", f"30000:{pubkey(ALICE)}:a:b"]])
    view = view_of(deletion, earlier)
    assert view.standing(RELAY, versions[1]) is Standing.DELETED
    assert view.standing(RELAY, versions[2]) is Standing.NEW


def test_a_rubbish_tag_in_a_deletion_names_nothing() -> None:
    names = ["", "::", "x", "-1:", f"99999:{pubkey(ALICE)}:", f"1:{pubkey(ALICE)}:", "٣:x", f"30000:{pubkey(ALICE)}"]
    tags = [["e"], ["e", "short"], ["e", "Z" * 64], ["a"], *(["a", name] for name in names)]
    event = signed(kind=30_000, created_at=NOW_S + 1)
    assert view_of(event, signed(kind=5, tags=tags)).count(RELAY) == 2


def test_an_author_has_the_pseudonym_of_their_first_record_in_every_relay() -> None:
    view = EventsView(sqlite3.connect(":memory:"))
    assert view.author(pubkey(ALICE)) is None
    view.apply(records_of([(RELAY, signed()), ("another", signed(content="b"))]), 2)
    known = view.author(pubkey(ALICE))
    assert known is not None
    assert known.pseudonym == pubkey(ALICE)[:32].encode()
    assert [row[0] for row in view.db.execute("SELECT count(*) FROM author")] == [1]


def test_a_relay_that_was_unregistered_starts_empty_and_gives_its_place_to_nobody() -> None:
    view = view_of(signed(), relay="a" * 64)
    gone = draft(RelayUnregistered("default", "a" * 64, None, None), ts_ns=1)
    view.apply([Record(1, gone.schema, 1, gone.kind, b"", b"", gone.payload)], 2)
    assert view.standing("a" * 64, signed()) is Standing.NEW
    assert view.count("a" * 64) == 0
    view.apply(records_of([("b" * 64, signed(content="other")), ("a" * 64, signed(content="new"))], start=2), 4)
    assert view.standing("b" * 64, signed()) is Standing.NEW
    assert (view.count("a" * 64), view.count("b" * 64)) == (1, 1)


def test_an_erased_record_is_passed_over() -> None:
    view = EventsView(sqlite3.connect(":memory:"))
    [record] = records_of([(RELAY, signed())])
    view.apply([Record(record.seq, 1, 1, record.kind, b"", b"", None)], 1)
    assert view.count(RELAY) == 0


POOL = [
    signed_fields(key, kind, content, tags, at)
    for key in (ALICE, BOB)
    for kind, tags in ((1, []), (0, []), (30_000, [["d", "x"]]), (30_000, [["d", ""], ["t", "t"]]), (20_000, []))
    for at in (1, 2)
    for content in ("a", "b")
]


def deletion_of(owner: dict[str, Any], by: Any, at: int) -> dict[str, Any]:
    name = next((tag[1] for tag in owner["tags"] if tag[0] == "d"), "")
    return signed_fields(by, 5, "", [["e", owner["id"]], ["a", f"{owner['kind']}:{owner['pubkey']}:{name}"]], at)


POOL += [deletion_of(POOL[number], by, at) for number in (0, 5, 9, 13) for by in (ALICE, BOB) for at in (1, 2)]


def to_event(fields: dict[str, Any]) -> Event:
    return msgspec.convert(fields, type=Event)


@BOTH
@settings(max_examples=200)
@given(history=st.lists(st.sampled_from(POOL), max_size=25), sizes=st.lists(st.integers(1, 5), max_size=8))
def test_any_history_ends_as_the_dumb_oracle_says_whatever_the_batches(
    kind: type[EventsView], history: list[dict[str, Any]], sizes: list[int]
) -> None:
    events = list(map(to_event, history))
    whole = view_of(*events)
    assert held(whole) == sorted(event["id"] for event in oracles.stored(history))
    assert whole.count(RELAY) == len(held(whole))
    parts = kind(sqlite3.connect(":memory:"))
    records, at = records_of([(RELAY, event) for event in events]), 0
    for size in [*sizes, len(records)]:
        parts.apply(records[at : at + size], min(at + size, len(records)))
        parts.commit("origin", b"")
        at += size
    assert parts.digest() == whole.digest()


@BOTH
@given(history=st.lists(st.sampled_from(POOL), max_size=25))
def test_standing_foretells_what_the_fold_does(kind: type[EventsView], history: list[dict[str, Any]]) -> None:
    view = kind(sqlite3.connect(":memory:"))
    for seq, fields in enumerate(history):
        event = to_event(fields)
        before = view.standing(RELAY, event)
        was = held(view)
        if fields["kind"] != 20_000:
            view.apply(records_of([(RELAY, event)], seq), seq + 1)
            assert (before is Standing.NEW) == (event.id in held(view) and event.id not in was)


def test_the_short_way_for_events_writes_and_reads_what_the_long_way_does() -> None:
    fact = EventStored(RELAY, 5, stored_form(signed()))
    long = draft(fact, ts_ns=7, subject=b"x" * 16, salt=b"s" * 16)
    assert event_draft(RELAY, 5, fact.event, ts_ns=7, subject=b"x" * 16, salt=b"s" * 16) == long
    [record] = records_of([(RELAY, signed())])
    assert event_of(record) == (RELAY, stored_form(signed()))
    assert event_of(Record(0, 1, 1, record.kind, b"", b"", None)) is None
    with pytest.raises(FactUnknown):
        event_of(Record(0, 99, 1, record.kind, b"", b"", record.payload))


def test_events_that_retention_took_are_gone_and_what_they_deleted_stays_barred() -> None:
    events = [signed(content=str(n), created_at=n + 1) for n in range(4)]
    deletion = signed(kind=5, tags=[["e", events[0].id]], created_at=9)
    one, two = view_of(*events, deletion), view_of(*events, deletion, kind=TinyRuns, batch=2)
    taken = chronicle.draft(Retained(2, (Below("nostr.stored", 5), Below("mirror.stored", 9))), 0)
    for view in (one, two):
        assert view.count(RELAY) == 4
        view.apply([Record(5, 1, 0, taken.kind, b"", b"", taken.payload)], 6)
        assert (view.count(RELAY), held(view)) == (0, [])
    assert one.digest() == two.digest()
    assert one.standing(RELAY, events[0]) is Standing.DELETED
    assert one.standing(RELAY, events[1]) is Standing.NEW


def dead_and_all(view: EventsView) -> tuple[int, int]:
    """How many keys belong to no row, and how many there are."""
    stored = {seq for (seq,) in view.db.execute("SELECT seq FROM event")}
    seqs = seqs_of(view.orders.under(b"", b"\xff"))
    return sum(seq not in stored for seq in seqs), len(seqs)


def test_a_profile_changed_a_thousand_times_leaves_few_keys_behind() -> None:
    view = view_of(*(signed(kind=0, created_at=at) for at in range(1, 400)), kind=TinyRuns, batch=7)
    assert view.count(RELAY) == 1
    dead, _ = dead_and_all(view)
    assert dead < 60


def test_a_view_opened_anew_in_the_middle_of_its_merges_goes_on_alike(tmp_path: Path) -> None:
    events = [signed(key, 1, str(n), created_at=n + 1) for n in range(60) for key in (ALICE, BOB)]
    records = records_of([(RELAY, event) for event in events])
    for stop in range(3, len(events), 17):
        path = tmp_path / f"{stop}.db"
        with closing(sqlite3.connect(path)) as db:
            view = TinyRuns(db)
            view.apply(records[:stop], stop)
            view.commit("origin", b"")
            view.apply(records[stop : stop + 5], stop + 5)  # and these are lost
        with closing(sqlite3.connect(path)) as db:
            again = TinyRuns(db)
            assert again.position == stop
            again.apply(records[stop:], len(records))
            assert again.digest() == view_of(*events).digest()
            assert [again.standing(RELAY, event) for event in events] == [Standing.KNOWN] * len(events)


def test_a_row_given_up_with_its_transaction_leaves_no_key() -> None:
    view = TinyRuns(sqlite3.connect(":memory:"))
    records = records_of([(RELAY, signed(content=str(n))) for n in range(40)])
    view.apply(records[:20], 20)
    view.commit("origin", b"")
    view.apply(records[20:], 40)
    view.restart()
    assert (view.position, view.count(RELAY)) == (20, 20)
    assert dead_and_all(view)[0] == 0
    view.apply(records[20:], 40)
    assert view.count(RELAY) == 40


def told(view: EventsView, fact: Fact) -> None:
    """Fold one fact behind the rest."""
    seq = view.position
    one = draft(fact, ts_ns=1, subject=b"s", salt=bytes(16))
    view.apply([Record(seq, one.schema, 1, one.kind, b"s", b"", one.payload)], seq + 1)


@BOTH
def test_who_vanishes_or_is_banned_goes_with_all_their_kinds_and_wraps_wherever_their_keys_stand(
    kind: type[EventsView],
) -> None:
    mine = [signed(ALICE, (1, 7)[n % 2], str(n), created_at=n + 1) for n in range(40)]
    wraps = [signed(BOB, 1_059, str(n), created_at=n + 1, tags=[["p", pubkey(ALICE)]]) for n in range(9)]
    others = [signed(BOB, 1, str(n), created_at=n + 1, tags=[["p", pubkey(ALICE)]]) for n in range(20)]
    asked = signed(ALICE, 62, "", created_at=30)
    for method in ("vanish", "banpubkey"):
        view = view_of(*mine, *wraps, *others, asked, kind=kind, batch=5)
        if method == "vanish":
            told(view, Vanished(RELAY, bytes.fromhex(pubkey(ALICE)), 30))
            left = [*mine[30:], *others, asked]
        else:
            told(view, Moderated(RELAY, b"", method, pubkey(ALICE), ""))
            left = [*wraps, *others]
        assert held(view) == sorted(event.id for event in left)
        assert view.count(RELAY) == len(left)
    told(view, Moderated(RELAY, b"", "banevent", others[3].id, ""))
    assert view.standing(RELAY, others[3]) is Standing.NEW
    assert view.count(RELAY) == len(left) - 1


@BOTH
def test_what_ends_goes_by_the_time_of_the_next_record(kind: type[EventsView]) -> None:
    events = [signed(content=str(n), tags=[["expiration", str(100 + n)]]) for n in range(30)]
    view = view_of(*events, kind=kind, batch=4)
    [record] = records_of([(RELAY, signed(BOB))], start=len(events))
    view.apply([Record(record.seq, record.schema, 119 * 10**9, record.kind, b"s", b"", record.payload)], 31)
    assert held(view) == sorted([signed(BOB).id, *(event.id for event in events[20:])])
