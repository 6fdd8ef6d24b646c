"""What the index lets through is held against the events themselves, whoever asks."""

from typing import Any

import msgspec

from gateway.nostr.filter import parse_filter
from gateway.nostr.reader import Reader
from gateway.serve.relay.shown import identities, shown
from tests.fakes import MemoryLog
from tests.gateway.serve.relay.test_service import RELAY, Bench, bench
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed_fields

NOBODY = Reader(frozenset(), 0, frozenset({1_059}))
ALICES = Reader(frozenset({pubkey(ALICE)}), 0, frozenset({1_059}))
EVERYTHING = Reader(frozenset(), 0, frozenset())


def found(made: Bench, asked: dict[str, Any], reader: Reader, scanned_for: Reader = EVERYTHING) -> list[str]:
    """Contents that are shown to ``reader``, of an index that was asked for somebody who may see more."""
    filters, service = (parse_filter(asked),), made.service
    pages = service.scan.pages(RELAY, filters, 10**9, 100, 100, reader=scanned_for)
    raws = [raw for page in pages for _, raw in shown(service.log, page, filters, reader)]
    assert names(made, asked, reader, scanned_for) == [raw[7:71].decode() for raw in raws]
    return [raw.partition(b'"content":"')[2].partition(b'"')[0].decode() for raw in raws]


def names(made: Bench, asked: dict[str, Any], reader: Reader, scanned_for: Reader) -> list[str]:
    """Ids that are told to ``reader``, in the same order."""
    filters, service = (parse_filter(asked),), made.service
    pages = service.names.pages(RELAY, filters, 10**9, 100, 100, reader=scanned_for)
    return [name.hex() for page in identities(service.log, pages, filters, reader) for _, name in page]


async def test_the_event_itself_has_the_last_word_on_tags_words_and_who_may_read() -> None:
    wrap = signed_fields(BOB, 1_059, "wrap", [["p", pubkey(ALICE)]], NOW_S - 1)
    note = signed_fields(content="a note", tags=[["t", "x"]])
    async with bench() as made:
        await made.publish(wrap, note)
        assert found(made, {}, NOBODY) == ["a note"]
        assert found(made, {}, ALICES) == ["a note", "wrap"]
        assert found(made, {"#t": ["x"]}, NOBODY) == ["a note"]
        assert found(made, {"search": "note"}, NOBODY) == ["a note"]
        assert found(made, {"search": "else"}, NOBODY) == []


async def test_what_was_erased_since_it_was_indexed_is_passed_over() -> None:
    async with bench() as made:
        await made.publish(signed_fields(content="stays"), signed_fields(content="goes", created_at=NOW_S - 1))
        log = made.ledger.log
        assert isinstance(log, MemoryLog)
        gone = next(record for record in log.records if b"goes" in (record.payload or b""))
        log.records[gone.seq] = msgspec.structs.replace(gone, payload=None)
        assert found(made, {"search": "s"}, NOBODY) == ["stays"]  # the search is for both
        pages = made.service.scan.pages(RELAY, (parse_filter({}),), 10**9, 100, 100)
        assert len([row for page in pages for row, _ in shown(log, page, (parse_filter({}),), NOBODY)]) == 1
