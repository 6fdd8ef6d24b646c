"""The nonces view: known until the envelope expires, pruned by the records' own times."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from gateway.facts import Fact, Registered
from gateway.limits.keeping import CLOCK_JUMP_MS_MAX
from gateway.views.nonces import NoncesView
from tests.gateway.views.test_devices import NOW, deregistered, record, registered


def with_nonce(fact: Fact, nonce: str, expires_ms: int, digest: bytes = b"d") -> Fact:
    fields = {name: getattr(fact, name) for name in fact.__struct_fields__}
    return type(fact)(**fields | {"nonce": nonce, "expires_ms": expires_ms, "digest": digest})


def test_a_nonce_is_known_until_its_envelope_expires() -> None:
    view = NoncesView(sqlite3.connect(":memory:"))
    view.apply([record(0, with_nonce(registered(), "n1", NOW + 10))], 1)
    assert view.used("a", "n1", NOW + 9) == (b"d", 0)
    assert view.used("a", "n1", NOW + 10) is None
    assert view.used("b", "n1", NOW) is None
    assert view.used("a", "n2", NOW) is None


def test_a_deregistration_uses_its_nonce_too() -> None:
    view = NoncesView(sqlite3.connect(":memory:"))
    view.apply([record(7, with_nonce(deregistered(), "n1", NOW + 10, b"other"))], 8)
    assert view.used("a", "n1", NOW) == (b"other", 7)


def test_expired_nonces_are_pruned_a_day_later_since_the_clock_may_be_put_back() -> None:
    view = NoncesView(sqlite3.connect(":memory:"))
    view.apply([record(0, with_nonce(registered(), "n1", NOW + 10))], 1)
    day = CLOCK_JUMP_MS_MAX
    view.apply([record(1, with_nonce(registered(), "n2", NOW + day + 99), at_ms=NOW + day + 9)], 2)
    assert view.used("a", "n1", NOW + 9) is not None, "a clock that ran ahead was put right"
    view.apply([record(2, with_nonce(registered(), "n3", NOW + day + 99), at_ms=NOW + day + 10)], 3)
    assert view.db.execute("SELECT nonce FROM nonce").fetchall() == [("n2",), ("n3",)]


uses = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 9), st.integers(1, 9)), max_size=20
)


@given(uses, st.integers(1, 4))
def test_any_history_is_remembered_as_a_plain_list_would_in_any_batches(
    uses: list[tuple[str, str, int, int]], batch: int
) -> None:
    views = [NoncesView(sqlite3.connect(":memory:")) for _ in range(2)]
    records, at = [], NOW
    for seq, (tenant, nonce, gap, life) in enumerate(uses):
        at += gap
        fact = with_nonce(registered(tenant=tenant), nonce, at + life, bytes([seq]))
        assert isinstance(fact, Registered)
        records.append(record(seq, fact, at))
    if records:
        views[0].apply(records, len(records))
        for start in range(0, len(records), batch):
            views[1].apply(records[start : start + batch], min(len(records), start + batch))
    assert views[0].digest() == views[1].digest()
    for tenant in "ab":
        for nonce in "mn":
            last = [(seq, gap, life) for seq, (t, n, gap, life) in enumerate(uses) if (t, n) == (tenant, nonce)]
            expected = None
            if last:
                seq = last[-1][0]
                issued = NOW + sum(gap for _, _, gap, _ in uses[: seq + 1])
                expected = (bytes([seq]), seq) if issued + last[-1][2] > at else None
            assert views[0].used(tenant, nonce, at) == expected
