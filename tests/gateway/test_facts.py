"""Facts: their bytes are for ever, and what is not known stops a replay."""

import typing
from collections.abc import Iterator
from pathlib import Path

import cbor2
import msgspec
import pytest
from msgspec.structs import replace

from eventlog.chronicle import ENTRIES
from eventlog.disk.views import open_views
from eventlog.record import Draft, Record
from eventlog.view import TableView
from gateway.facts import (
    FACTS,
    SALT_BYTES,
    UPCASTERS,
    Accepted,
    EventStored,
    Fact,
    FactUnknown,
    PushTarget,
    RowStored,
    Settled,
    draft,
    event_draft,
    event_of,
    fact_of,
    refuse_unknown,
    row_draft,
    row_prefix,
    settled_draft,
    stored_row,
    unreadable,
)
from tests.eventlog.logs import open_sim, running
from tests.sim.disk import SimDisk


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    """Tests below read one record by other rules."""
    fact_of.cache_clear()
    yield
    fact_of.cache_clear()


# Golden bytes: what stands in logs that exist. A line here is never edited; a new schema number adds one.
GOLDEN = {
    "push.registered": "8d62733162733262733362733462733562733607086273390a420b0b63733132420d0d",
    "push.deregistered": "8a6273316273326273336273340506627337420808627339420a0a",
    "push.accepted": "896273316273326273330405068184617465746f6b656e61616170627338420909",
    "push.answered": "83010203",
    "push.deferred": "8501020304627335",
    "push.settled": "840102627333627334",
    "push.removed": "85627331627332627333627334627335",
    "instance.published": "8562733142020242030362733405",
    "instance.revoked": "82627331627332",
    "relay.registered": "866273316273326273330405420606",
    "relay.unregistered": "8462733162733262733304",
    "token.issued": "8c627331627332627333627334050607420808420909420a0a637331310c",
    "token.revoked": "88627331627332627333040562733662733708",
    "mirror.stored": "896273314202024203030405420606f5627338420909",
    "nostr.stored": "8362733102420303",
    "nostr.vanished": "8362733142020203",
    "relay.moderated": "85627331420202627333627334627335",
    "nostr.barred": "8362733142020203",
    "nostr.heeded": "83010203",
}


# The bytes of schemas that are no longer written, by (kind, schema): whoever raises a schema moves its line here.
OLDER: dict[tuple[str, int], str] = {}


def sample(kind: typing.Any, number: int) -> typing.Any:
    """A value of a field's type that tells its place."""
    if typing.get_origin(kind) is tuple:
        return (PushTarget("t", "token", "a", "p"),)
    if typing.get_args(kind):
        return sample(typing.get_args(kind)[0], number)
    return {str: f"s{number}", int: number, bool: True, bytes: bytes([number]) * 2}[kind]


def fact_like(kind: str) -> Fact:
    fields = msgspec.structs.fields(FACTS[kind])
    return FACTS[kind](**{field.name: sample(field.type, number) for number, field in enumerate(fields, 1)})


def drafted(fact: Fact) -> Draft:
    return draft(fact, ts_ns=1, salt=bytes(range(SALT_BYTES)) if fact.personal else b"")


def recorded(made: Draft) -> Record:
    return Record(7, made.schema, made.ts_ns, made.kind, made.subject, b"", made.payload)


@pytest.mark.parametrize("kind", FACTS)
def test_a_facts_bytes_are_what_they_were(kind: str) -> None:
    payload = drafted(fact_like(kind)).payload
    salted = FACTS[kind].personal
    assert payload[SALT_BYTES if salted else 0 :].hex() == GOLDEN[kind]
    assert payload.startswith(bytes(range(SALT_BYTES))) == salted


def test_every_kind_has_golden_bytes_and_a_name_in_the_past_tense() -> None:
    assert set(GOLDEN) == set(FACTS)
    assert set(OLDER) == {(kind, schema) for kind, fact in FACTS.items() for schema in range(1, fact.schema)}
    assert all(kind.split(".")[-1].endswith("ed") for kind in FACTS)


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_comes_back_from_its_record(kind: str) -> None:
    assert fact_of(recorded(drafted(fact_like(kind)))) == fact_like(kind)


def test_what_a_newer_release_wrote_stops_a_replay() -> None:
    record = recorded(drafted(fact_like(Settled.kind)))
    with pytest.raises(FactUnknown, match=r"record 7: kind 'push\.vanished'"):
        fact_of(replace(record, kind="push.vanished"))
    with pytest.raises(FactUnknown, match="schema 9"):
        fact_of(replace(record, schema=9))


def test_an_erased_fact_is_none_also_where_it_was_decoded_before() -> None:
    record = recorded(drafted(fact_like(Settled.kind)))
    assert fact_of(record) == fact_like(Settled.kind)
    assert fact_of(replace(record, payload=None)) is None


def test_a_record_that_many_ask_for_is_decoded_once() -> None:
    record = recorded(drafted(fact_like(Accepted.kind)))
    assert fact_of(record) is fact_of(record)


def test_an_older_record_is_read_through_its_upcasters(monkeypatch: pytest.MonkeyPatch) -> None:
    old = recorded(drafted(Settled(1, 2, "delivered", "")))
    monkeypatch.setattr(Settled, "schema", 3)
    monkeypatch.setitem(UPCASTERS, (Settled.kind, 1), lambda fields: [*fields[:3], "first"])
    monkeypatch.setitem(UPCASTERS, (Settled.kind, 2), lambda fields: [*fields[:3], fields[3] + " second"])
    assert fact_of(old) == Settled(1, 2, "delivered", "first second")


@pytest.mark.parametrize(("kind", "schema"), OLDER)
def test_bytes_of_an_older_schema_are_still_read(kind: str, schema: int) -> None:
    payload = bytes(SALT_BYTES if FACTS[kind].personal else 0) + bytes.fromhex(OLDER[kind, schema])
    assert isinstance(fact_of(Record(7, schema, 1, kind, b"", b"", payload)), FACTS[kind])


def test_an_upcaster_that_is_missing_is_found_and_stops_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    old = recorded(drafted(Settled(1, 2, "delivered", "")))
    assert unreadable() == []
    monkeypatch.setattr(Settled, "schema", 3)
    monkeypatch.setitem(UPCASTERS, (Settled.kind, 2), lambda fields: fields)
    assert unreadable() == [(Settled.kind, 1)]
    with pytest.raises(FactUnknown, match=r"record 7: kind 'push\.settled' schema 1 has no upcaster"):
        fact_of(old)


class Greeted(Fact, frozen=True, array_like=True):
    """A fact of this test alone, in its second schema: the first had one field, "name, place"."""

    kind: typing.ClassVar[str] = "test.greeted"
    schema: typing.ClassVar[int] = 2
    name: str
    place: str


class Greetings(TableView):
    """Who was greeted, and where."""

    name = "greetings"
    kinds = frozenset({Greeted.kind})
    tables = ("greeted",)
    schema = "CREATE TABLE IF NOT EXISTS greeted (seq INTEGER PRIMARY KEY, name TEXT, place TEXT)"

    def fold(self, record: Record) -> None:
        fact = fact_of(record)
        assert isinstance(fact, Greeted)
        self.db.execute("INSERT INTO greeted VALUES (?, ?, ?)", (record.seq, fact.name, fact.place))


async def test_a_log_that_holds_two_schemas_of_a_kind_folds_into_one_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Draft(Greeted.kind, cbor2.dumps(["Ada, London"]), 1, schema=1)
    async with running(open_sim(SimDisk())) as log:
        await log.append_many([old, draft(Greeted("Grace", "Arlington"), ts_ns=2)])
        with pytest.raises(FactUnknown, match=r"record 0: kind 'test\.greeted' schema 1 is not known"):
            open_views(log, tmp_path, [Greetings], refuse_unknown)
        monkeypatch.setitem(FACTS, Greeted.kind, Greeted)
        monkeypatch.setitem(UPCASTERS, (Greeted.kind, 1), lambda fields: fields[0].split(", "))
        view = open_views(log, tmp_path, [Greetings], refuse_unknown)["greetings"]
        assert list(view.rows()) == [("greeted",), (0, "Ada", "London"), (1, "Grace", "Arlington")]
        view.db.close()


def test_a_salt_stands_exactly_where_a_fact_is_personal() -> None:
    with pytest.raises(AssertionError):
        draft(fact_like(Settled.kind), ts_ns=1, salt=bytes(SALT_BYTES))
    with pytest.raises(AssertionError):
        draft(fact_like(EventStored.kind), ts_ns=1)


def test_the_short_way_for_events_writes_and_reads_the_same_bytes() -> None:
    event, salt = EventStored("relay", 5, b'{"id":"x"}'), bytes(SALT_BYTES)
    short = event_draft("relay", 5, b'{"id":"x"}', ts_ns=1, subject=b"s", salt=salt)
    assert short == draft(event, ts_ns=1, subject=b"s", salt=salt)
    assert event_of(recorded(short)) == ("relay", b'{"id":"x"}')
    assert event_of(replace(recorded(short), payload=None)) is None


@pytest.mark.parametrize("payload", [bytes(16), bytes(16) + b"\x80", bytes(16) + b"\xff", b""])
def test_a_payload_that_is_not_of_its_kinds_shape_is_refused_by_name(payload: bytes) -> None:
    with pytest.raises(FactUnknown, match=r"record 7: the payload is not a push\.accepted"):
        fact_of(Record(7, 1, 1, "push.accepted", b"", b"", payload))


def test_a_replay_stops_at_a_kind_that_no_view_would_fold_and_passes_the_logs_own() -> None:
    refuse_unknown([Record(0, 1, 1, kind, b"", b"", b"") for kind in (*FACTS, *ENTRIES)])
    with pytest.raises(FactUnknown, match=r"record 8: kind 'log\.vanished'"):
        refuse_unknown([Record(8, 1, 1, "log.vanished", b"", b"", b"")])
    with pytest.raises(FactUnknown, match=r"record 8: kind 'push\.settled' schema 2 is not known"):
        refuse_unknown([Record(8, 2, 1, "push.settled", b"", b"", b"")])
    with pytest.raises(FactUnknown, match=r"record 8: kind 'push\.vanished'"):
        refuse_unknown([Record(8, 1, 1, "push.vanished", b"", b"", b"")])


def test_the_short_way_for_rows_writes_and_reads_what_the_long_one_does():
    fact = RowStored("aa" * 32, b"r" * 32, b"i" * 32, 30078, 5, b"h" * 32, True, "writer", b'{"id":1}')
    long = draft(fact, ts_ns=7, subject=b"s" * 16, salt=b"x" * 16)
    assert row_draft(fact, ts_ns=7, subject=b"s" * 16, salt=b"x" * 16) == long
    record = Record(0, long.schema, 7, long.kind, long.subject, b"", long.payload)
    assert stored_row(record) == fact_of(record) == fact
    assert long.payload[SALT_BYTES:].startswith(row_prefix(fact.relay_key, fact.relay_id))
    assert not long.payload[SALT_BYTES:].startswith(row_prefix(fact.relay_key, b"o" * 32))
    assert stored_row(Record(0, long.schema, 7, long.kind, b"", b"", None)) is None


@pytest.mark.parametrize("seq", [0, 23, 24, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF, 0x1_0000_0000])
@pytest.mark.parametrize(("index", "outcome", "reason"), [(0, "delivered", ""), (63, "failed", "é" * 40)])
def test_the_short_way_for_outcomes_writes_the_same_bytes(seq: int, index: int, outcome: str, reason: str) -> None:
    fact = Settled(seq, index, outcome, reason)
    assert settled_draft(fact, ts_ns=7) == draft(fact, ts_ns=7)
