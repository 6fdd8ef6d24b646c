"""Events kept from their submit to their fold."""

import sqlite3

import msgspec
import pytest

from eventlog.record import Draft, Record
from eventlog.sortedruns import Look
from gateway.facts import event_draft
from gateway.nostr.event import Event, stored_form
from gateway.views import events as events_module
from gateway.views.events import EventsView
from gateway.views.foreseen import Foreseen

EVENT = Event("ab" * 32, "cd" * 32, 1_700_000_000, 1, (("t", "topic"),), "text", "ef" * 64)


def drafted() -> Draft:
    return event_draft("own", 1, stored_form(EVENT), ts_ns=10**18, subject=bytes(16), salt=bytes(16))


def recorded(draft: Draft) -> Record:
    return Record(0, draft.schema, draft.ts_ns, draft.kind, draft.subject, bytes(32), draft.payload)


def test_an_event_is_given_once_and_for_the_very_payload() -> None:
    foreseen, payload = Foreseen(), bytes(range(100))
    foreseen.note("own", [payload], [EVENT])
    assert foreseen.take([bytes(bytearray(payload))]) == [None], "equal bytes came from elsewhere"
    assert foreseen.take([None]) == [None], "an erased record"
    assert foreseen.take([payload]) == [(payload, "own", EVENT, None)]
    assert foreseen.take([payload]) == [None]


def test_at_its_limit_all_are_let_go_and_there_is_room_again() -> None:
    foreseen, payloads = Foreseen(bytes_max=250), [bytes([n]) * 100 for n in range(5)]
    for payload in payloads:
        foreseen.note("own", [payload], [EVENT])
    assert [one is not None for one in foreseen.take(payloads)] == [False, False, False, True, True]
    for payload in payloads[:2]:
        foreseen.note("own", [payload], [EVENT])
    assert all(foreseen.take(payloads[:2])), "what was taken counts no more"


def test_a_foreseen_event_is_not_decoded_and_folds_to_the_rows_that_decoding_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, views = recorded(drafted()), [EventsView(sqlite3.connect(":memory:")) for _ in range(2)]
    views[0].apply([record], 1)
    assert record.payload is not None
    views[1].foreseen.note("own", [record.payload], [EVENT])
    with monkeypatch.context() as patched:
        patched.delattr(events_module, "stored_event")
        views[1].apply([record], 1)
    assert views[0].digest() == views[1].digest()
    assert views[1].count("own") == 1


def test_an_event_that_came_after_the_look_at_which_it_was_new_is_known_all_the_same() -> None:
    view, first, second = EventsView(sqlite3.connect(":memory:")), recorded(drafted()), recorded(drafted())
    look = view.look()
    view.apply([first], 1)
    assert second.payload is not None
    view.foreseen.note("own", [second.payload], [EVENT], look)
    view.apply([msgspec.structs.replace(second, seq=1)], 2)
    assert view.count("own") == 1
    assert list(view.select("seq", [0, 1])) == [(0,)]


def test_a_look_holds_for_all_its_events_though_some_are_written_before(monkeypatch: pytest.MonkeyPatch) -> None:
    view, told = EventsView(sqlite3.connect(":memory:")), list[list[Look | None]]()
    monkeypatch.setattr(view._ids, "found", lambda _prefixes, looks=(): told.append(list(looks)) or [])
    early, late = Look(view._ids, 0), Look(view._ids, 1)
    kinds = [(1, early), (5, early), (1, early), (1, late), (1, None)]  # a deletion is written by itself
    records = []
    for seq, (kind, look) in enumerate(kinds):
        event = msgspec.structs.replace(EVENT, kind=kind, id=f"{seq:032x}" * 2, pubkey=f"{seq:064x}")
        record = msgspec.structs.replace(recorded(drafted()), seq=seq)
        assert record.payload is not None
        view.foreseen.note("own", [record.payload], [event], look)
        records.append(record)
    view.apply(records, len(records))
    assert [looks for looks in told if looks] == [[early], [early, late, None]]
