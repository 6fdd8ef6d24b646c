"""The view of relays."""

import sqlite3

import pytest

from eventlog.record import Record
from gateway.facts import RelayRegistered, RelayUnregistered, draft
from gateway.replication.signature import canonical
from gateway.views.relays import RelaysView

A, B = "aa" * 32, "bb" * 32


class Log:
    """Records in order, as the log would hand them over."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def add(self, fact, ts_ms: int = 0) -> None:
        each = draft(fact, ts_ns=ts_ms * 1_000_000)
        seq = len(self.records)
        self.records.append(Record(seq, each.schema, each.ts_ns, each.kind, b"", b"", each.payload))

    def register(self, relay_key=A, worker="w", received_ms=0, peers=(), **metadata) -> None:
        payload = {"relayKey": relay_key, "peers": list(peers), "metadata": metadata}
        self.add(RelayRegistered(worker, relay_key, "n", 1, received_ms, canonical(payload)))

    def folded(self, batch: int = 1_000) -> RelaysView:
        view = RelaysView(sqlite3.connect(":memory:"))
        for at in range(0, len(self.records), batch):
            part = self.records[at : at + batch]
            view.apply(part, part[-1].seq + 1)
        return view


def test_a_relay_is_found_by_its_key_and_by_every_name():
    log = Log()
    log.register(identifier="npub1a:b", pathAliases=["x/y"])
    view = log.folded()
    for name in (A, "npub1a:b", "x:y"):
        found = view.named(name)
        assert found is not None
        assert found.relay.relay_key == A
    assert view.named("x/y") is None, "names are asked for in their form"
    assert view.relay(B) is None


def test_a_renewal_gives_up_names_and_keeps_peers_that_it_does_not_replace():
    log = Log()
    log.register(peers=["ws://one"], identifier="a:b", pathAliases=["old"])
    log.register(received_ms=7, identifier="a:b")
    view = log.folded()
    found = view.relay(A)
    assert found is not None
    assert (found.relay.peers, found.received_ms) == (("ws://one",), 7)
    assert view.owner_of_name("old") is None
    log.register(peers=["ws://two"], identifier="a:b")
    found = log.folded().relay(A)
    assert found is not None
    assert found.relay.peers == ("ws://two",)


def test_a_relay_that_was_taken_away_leaves_no_name():
    log = Log()
    log.register(identifier="a:b")
    log.register(B, identifier="c:d")
    log.add(RelayUnregistered("w", A, None, None))
    view = log.folded()
    assert view.relay(A) is None
    assert view.owner_of_name("a:b") is None
    assert [found.relay.relay_key for found in view.all()] == [B]


def test_a_name_that_would_not_be_registered_today_does_not_keep_the_log_from_opening():
    log = Log()
    log.register(gatewayPath="../..")
    found = log.folded().named("..:..")
    assert found is not None
    assert found.relay.gateway_path == "../.."


def test_a_description_is_never_older_than_the_tables():
    log = Log()
    log.register(identifier="a:b", name="first")
    view = log.folded()
    assert view.relay(A).relay.metadata["name"] == "first"
    log.register(identifier="a:b", name="second")
    view.apply(log.records[1:], 2)
    assert view.relay(A).relay.metadata["name"] == "second"


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_digest_does_not_depend_on_batches(batch):
    log = Log()
    for number in range(5):
        log.register(f"{number:064x}", identifier=f"a:{number}", peers=["ws://x"])
        log.register(f"{number:064x}", identifier=f"a:{number}")
    log.add(RelayUnregistered("w", f"{3:064x}", None, None))
    assert log.folded(batch).digest() == log.folded().digest()
