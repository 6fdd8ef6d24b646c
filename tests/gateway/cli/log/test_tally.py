"""What a report counts is what the records say, held against a slow count."""

from collections import Counter

import pytest

from eventlog.chronicle import Recovered
from eventlog.chronicle import draft as entry_draft
from eventlog.record import Draft, Record
from gateway.cli.log.tally import UNKNOWN, Tally
from gateway.facts import Accepted, EventStored, RelayUnregistered, Settled, draft
from tests.gateway.cli.log.calls import AT

HOUR_NS = 3_600 * 10**9


def accepted(tenant: str, hour: int = 0) -> Draft:
    fact = Accepted(tenant, "u", "n", 1, None, 2, (), "s", b"body")
    return draft(fact, ts_ns=AT + hour * HOUR_NS, subject=b"p" * 16, salt=bytes(16))


def settled(seq: int, outcome: str = "delivered", reason: str = "") -> Draft:
    return draft(Settled(seq, 0, outcome, reason), ts_ns=AT)


def taken(drafts: list[Draft], erased: frozenset[int] = frozenset()) -> Tally:
    tally = Tally()
    records = [
        Record(seq, one.schema, one.ts_ns, one.kind, one.subject, b"", None if seq in erased else one.payload)
        for seq, one in enumerate(drafts)
    ]
    tally.take(records[:3])
    tally.take(records[3:])
    return tally


def test_everything_is_counted_once_and_under_its_name() -> None:
    event = draft(EventStored("main", 1, b"{}"), ts_ns=AT, subject=b"q" * 16, salt=bytes(16))
    drafts = [accepted("a.example"), accepted("b.example", 5), settled(1, "failed", "no"), settled(0), event]
    drafts += [draft(RelayUnregistered("w", "main", None, None), ts_ns=AT), settled(99)]
    drafts += [entry_draft(Recovered("f", 1, 2, "k"), AT), Draft("word.said", b"x", AT)]
    tally = taken(drafts)
    assert {kind: one.records for kind, one in tally.kinds.items()} == Counter(one.kind for one in drafts)
    assert sum(one.payload_bytes for one in tally.kinds.values()) == sum(len(one.payload) for one in drafts)
    assert sum(counts.total() for counts in tally.hours.values()) == len(drafts)
    assert sorted(tally.hours) == [AT // HOUR_NS, AT // HOUR_NS + 5]
    assert {name: dict(counts) for name, counts in tally.tenants.items()} == {
        "a.example": {"push.accepted": 1, "push.settled": 1},
        "b.example": {"push.accepted": 1, "push.settled": 1},
        UNKNOWN: {"push.settled": 1},
    }
    assert {name: dict(counts) for name, counts in tally.relays.items()} == {
        "main": {"nostr.stored": 1, "relay.unregistered": 1}
    }
    assert tally.outcomes == {("failed", "no"): 1, ("delivered", ""): 2}
    assert [type(entry) for _, entry in tally.own] == [Recovered]


def test_what_was_erased_is_counted_under_no_name() -> None:
    event = draft(EventStored("main", 1, b"{}"), ts_ns=AT, subject=b"q" * 16, salt=bytes(16))
    tally = taken([accepted("a.example"), event], frozenset({0, 1}))
    assert dict(tally.tenants) == {"": {"push.accepted": 1}}
    assert dict(tally.relays) == {"": {"nostr.stored": 1}}
    assert [one.without_payload for one in tally.kinds.values()] == [1, 1]


def test_no_more_tenants_are_remembered_than_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.log.tally.REPORT_ACCEPTED_MAX", 2)
    tally = taken([accepted("a"), accepted("b"), accepted("c"), settled(0), settled(1)])
    assert (tally.tenants[UNKNOWN].total(), tally.tenants["b"].total()) == (1, 2)
