"""A receipt is the record's own leaf, at its own place."""

import base64

import pytest

from eventlog.errors import Absent
from eventlog.merkle import leaf_hash
from eventlog.record import Record, encode
from gateway.serve.custody.receipts import receipt
from tests.eventlog.logs import draft
from tests.fakes import MemoryLog


def test_it_holds_the_leaf_that_the_tree_holds() -> None:
    log, drafts = MemoryLog(), [draft(n) for n in range(3)]
    log.submit(drafts)
    log.durable_size = 3
    made = receipt(log, 1)
    assert (made["log"], made["seq"]) == (log.origin, 1)
    assert leaf_hash(base64.b64decode(str(made["leaf"]))) == encode(drafts).leaves[1]


def test_where_retention_took_the_record_there_is_none() -> None:
    class Retained(MemoryLog):
        def record(self, seq: int) -> Record:
            raise Absent(f"retention took record {seq}")

    log = Retained()
    log.submit([draft(1)])
    log.durable_size = 1
    assert receipt(log, 0) is None


def test_there_is_none_of_what_is_not_durable() -> None:
    log = MemoryLog()
    log.submit([draft(1)])
    with pytest.raises(Absent):
        receipt(log, 0)
