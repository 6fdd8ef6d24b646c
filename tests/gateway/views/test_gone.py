"""What requests to vanish and to delete name is found, and only that; without it a fold ends in the same events."""

import sqlite3
from typing import Any

from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from eventlog.record import Record
from gateway.facts import SALT_BYTES, Vanished, draft, event_draft
from gateway.nostr.event import Event, stored_form
from gateway.views.events import EventsView, Standing
from gateway.views.gone import GoneFinder, Requests
from tests.signing import ALICE, BOB, pubkey, signed

SALT = b"s" * SALT_BYTES
A, B = pubkey(ALICE), pubkey(BOB)
Log = list[Record]


def stored(log: Log, event: Event, relay: str = "relay") -> Event:
    made = event_draft(relay, 1, stored_form(event), ts_ns=1, subject=event.pubkey[:16].encode(), salt=SALT)
    log.append(Record(len(log), made.schema, 1, made.kind, made.subject, b"", made.payload))
    return event


def put(log: Log, key: PrivateKey = ALICE, relay: str = "relay", **fields: Any) -> Event:
    return stored(log, signed(key, **fields), relay)


def vanished(log: Log, key: str, until_s: int, relay: str = "") -> None:
    made = draft(Vanished(relay, bytes.fromhex(key), until_s), ts_ns=1, salt=SALT)
    log.append(Record(len(log), made.schema, 1, made.kind, key[:16].encode(), b"", made.payload))


def found(log: Log) -> set[int]:
    requests = Requests()
    for record in log:
        requests.take(record)
    search = GoneFinder(requests)
    for turn in range(search.passes):
        for record in log:
            search.take(record, turn)
    return set(search.found)


def test_a_wish_to_vanish_takes_all_that_its_author_made_before_it_but_the_wish() -> None:
    log: Log = []
    put(log, created_at=5)
    put(log, kind=5, tags=[["e", "0" * 64]], created_at=6)
    put(log, BOB, created_at=5)
    put(log, BOB, kind=1059, tags=[["p", A]], created_at=7)
    put(log, BOB, kind=1, tags=[["p", A]], created_at=7)
    put(log, kind=62, tags=[["relay", "ALL_RELAYS"]], created_at=10)
    vanished(log, A, 10)
    put(log, content="came beside it", created_at=9)
    put(log, content="back", created_at=11)
    assert found(log) == {0, 1, 3, 7}


def test_a_wish_for_one_relay_leaves_the_others() -> None:
    log: Log = []
    put(log, relay="one", created_at=1)
    put(log, relay="two", created_at=1)
    vanished(log, A, 10, "two")
    assert found(log) == {1}


def test_a_deletion_takes_what_is_its_authors_or_was_wrapped_for_them_on_its_relay_with_the_versions_before() -> None:
    log: Log = []
    note, others = put(log, content="oops"), put(log, BOB, content="of another")
    put(log, kind=0, content="old", created_at=1)
    profile = put(log, kind=0, content="new", created_at=2)
    put(log, kind=30_000, tags=[["d", "x"]], created_at=3)
    put(log, kind=30_000, tags=[["d", "x"]], created_at=9)
    put(log, kind=30_000, tags=[["d", "y"]], created_at=3)
    wrap = put(log, BOB, kind=1059, tags=[["p", A]])
    named = [["e", each.id] for each in (note, others, profile, wrap)]
    put(log, kind=5, tags=[*named, ["a", f"30000:{A}:x"], ["a", f"30000:{B}:x"], ["a", "1:2"]], created_at=8)
    stored(log, note, "elsewhere")
    assert found(log) == {0, 2, 3, 4, 7}


def test_neither_a_deletion_nor_a_wish_is_deleted() -> None:
    log: Log = []
    first = put(log, kind=5, tags=[["e", "0" * 64]])
    wish = put(log, kind=62, tags=[["relay", "ALL_RELAYS"]])
    put(log, kind=5, tags=[["e", first.id], ["e", wish.id]])
    assert found(log) == set()


def test_requests_count_what_they_hold_and_name_themselves() -> None:
    log: Log = []
    put(log, kind=5, tags=[["e", "0" * 64], ["e", "1" * 64], ["a", f"0:{A}:"]])
    vanished(log, B, 3)
    vanished(log, B, 2)
    requests = Requests()
    for record in log:
        requests.take(record)
    assert (requests.targets, requests.seqs, requests.vanishes) == (4, [0, 1, 2], 2)
    assert requests.until_s("any", B) == 3


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["note", "profile", "list", "wrap", "delete", "address", "vanish"]),
        st.sampled_from([ALICE, BOB]),
        st.integers(1, 6),
        st.integers(0, 30),
    ),
    max_size=20,
)


def written(steps: list[tuple[str, PrivateKey, int, int]]) -> tuple[Log, list[Event]]:
    """Write a log of random events, some of which delete those before them."""
    log: Log = []
    events: list[Event] = []
    until: dict[PrivateKey, int] = {}
    for what, key, at, which in steps:
        if at <= until.get(key, 0):
            continue  # the door takes no request that its author's wish to vanish bars
        name, peer = str(which % 2), B if key is ALICE else A
        if what == "vanish":
            put(log, key, kind=62, tags=[["relay", "ALL_RELAYS"]], created_at=at)
            vanished(log, pubkey(key), at)
            until[key] = at
            continue
        kind, tags = {
            "note": (1, []),
            "profile": (0, []),
            "list": (30_000, [["d", name]]),
            "wrap": (1059, [["p", peer]]),
            "delete": (5, [["e", events[which % len(events)].id]] if events else []),
            "address": (5, [["a", f"30000:{pubkey(key)}:{name}"], ["a", f"0:{pubkey(key)}:"]]),
        }[what]
        events.append(put(log, key, kind=kind, tags=tags, created_at=at, content=str(which)))
    return log, events


def standing(log: Log, events: list[Event], without: set[int]) -> list[str]:
    view = EventsView(sqlite3.connect(":memory:"))
    view.apply([record for record in log if record.seq not in without], len(log))
    return sorted({event.id for event in events if view.standing("relay", event) is Standing.KNOWN})


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_fold_without_what_is_found_ends_in_the_same_events(steps: list[tuple[str, PrivateKey, int, int]]) -> None:
    log, events = written(steps)
    assert standing(log, events, found(log)) == standing(log, events, set())
