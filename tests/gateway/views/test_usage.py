"""The usage view: sums that add up, however the records came, and nothing in them that is anybody's."""

import sqlite3
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.chronicle import Below, Retained
from eventlog.record import Record
from gateway.facts import Accepted, Fact, PushTarget, Removed, Settled, draft
from gateway.limits.tenants import DEAD_KEPT_MS, OUTCOMES_PER_TENANT_MAX, USAGE_DAYS
from gateway.push.instant import DAY_MS
from gateway.views import usage
from gateway.views.usage import UsageView

NOW = 1_763_126_872_000


def record(seq: int, fact: Fact, at_ms: int = NOW) -> Record:
    made = draft(fact, ts_ns=at_ms * 1_000_000, salt=b"x" * 16 if fact.personal else b"")
    return Record(seq, made.schema, made.ts_ns, made.kind, made.subject, b"", made.payload)


def accepted(tenant: str = "a", devices: int = 2) -> Accepted:
    targets = tuple(PushTarget(f"secret-token-{n}", "token", "app", "p") for n in range(devices))
    return Accepted(tenant, "alice-the-user", "n1", NOW, None, NOW + 1, targets, "sig", b"x" * 100)


def removed(tenant: str = "a") -> Removed:
    return Removed(tenant, "alice-the-user", "secret-token-0", "token", "unregistered")


def view(*records: Record) -> UsageView:
    made = UsageView(sqlite3.connect(":memory:"))
    made.apply(records, len(records))
    return made


def folded(*facts: Fact) -> UsageView:
    return view(*(record(seq, fact) for seq, fact in enumerate(facts)))


def test_what_was_accepted_and_what_became_of_it_is_summed_up_by_tenant() -> None:
    made = folded(
        accepted(),
        accepted("b", 1),
        Settled(0, 0, "delivered", ""),
        Settled(0, 1, "failed", "invalid-argument"),
        accepted(devices=0),
        Settled(1, 0, "expired", "braked"),
    )
    used = made.usage("a")
    assert (used.accepted, used.deliveries, used.size_bytes) == (2, 2, 200)
    assert used.outcomes == {("delivered", ""): 1, ("failed", "invalid-argument"): 1}
    assert made.usage("b").settled("expired") == 1
    assert made.usage("nobody") == usage.Usage(0, 0, 0, {})
    assert made.tenants() == ["a", "b"]
    assert made.accepted_on("a", NOW // DAY_MS) == 2
    assert made.accepted_on("a", NOW // DAY_MS + 1) == 0


def test_an_outcome_that_was_recorded_twice_counts_once() -> None:
    made = folded(accepted(), Settled(0, 0, "delivered", ""))
    made.apply([record(2, Settled(0, 0, "delivered", "")), record(3, Settled(0, 1, "delivered", ""))], 4)
    made.apply([record(4, Settled(0, 1, "delivered", ""))], 5)
    assert made.usage("a").settled("delivered") == 2


def test_an_outcome_of_what_was_erased_counts_for_nobody() -> None:
    gone = Record(0, 1, NOW * 1_000_000, Accepted.kind, b"", b"", None)
    made = view(gone, record(1, Settled(0, 0, "delivered", "")))
    assert made.tenants() == []


def test_no_user_and_no_token_is_in_it() -> None:
    made = folded(accepted(), Settled(0, 0, "removed", "unregistered"), removed())
    text = repr(list(made.rows()))
    assert "alice" not in text
    assert "secret" not in text


def test_dead_devices_are_told_from_a_time_on_and_by_the_page() -> None:
    made = view(*(record(seq, removed("b" if seq == 1 else "a"), NOW + seq) for seq in range(5)))
    assert made.dead("a", 0, -1, 9) == [0, 2, 3, 4]
    assert made.dead("a", NOW + 3, -1, 9) == [3, 4]
    assert made.dead("a", 0, 0, 2) == [2, 3]
    assert made.dead("a", 0, 3, 2) == [4]


def test_dead_devices_are_forgotten_after_a_time_beyond_a_number_and_where_retention_took_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = view(record(0, removed()), record(1, removed("b")), record(2, removed(), NOW + DEAD_KEPT_MS + 1))
    assert (made.dead("a", 0, -1, 9), made.dead("b", 0, -1, 9)) == ([2], [1])
    monkeypatch.setattr(usage, "DEAD_PER_TENANT_MAX", 3)
    made = view(*(record(seq, removed()) for seq in range(6)))
    assert made.dead("a", 0, -1, 9) == [3, 4, 5]
    made.retained(Retained(0, (Below(Removed.kind, 5), Below("other", 6))))
    assert made.dead("a", 0, -1, 9) == [5]


def test_days_that_are_long_ago_are_kept_as_one_sum() -> None:
    days = 2 * USAGE_DAYS
    made = view(*(record(day, accepted(devices=1), NOW + day * DAY_MS) for day in range(days)))
    assert made.usage("a").accepted == days
    today = NOW // DAY_MS
    assert made.accepted_on("a", today) == 0
    assert made.accepted_on("a", today + days - 1) == made.accepted_on("a", today + days - USAGE_DAYS) == 1


def test_reasons_of_which_there_are_too_many_are_counted_together() -> None:
    facts: list[Fact] = [accepted(devices=OUTCOMES_PER_TENANT_MAX + 10)]
    facts += [Settled(0, n, "failed", f"reason-{n}" + "x" * 100) for n in range(OUTCOMES_PER_TENANT_MAX + 10)]
    outcomes = folded(*facts).usage("a").outcomes
    assert outcomes["failed", "other"] == 10
    assert len(outcomes) == OUTCOMES_PER_TENANT_MAX + 1
    assert max(len(reason) for _, reason in outcomes) == 64


def cuts(records: Sequence[Record], at: list[int]) -> UsageView:
    made = view()
    bounds = sorted({0, len(records), *(cut % (len(records) + 1) for cut in at)})
    for start, stop in pairwise(bounds):
        made.apply(records[start:stop], stop)
    return made


STEPS = st.tuples(st.sampled_from(["accept", "settle", "remove"]), st.integers(0, 30), st.integers(-50, 50))


@given(st.lists(STEPS, max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_however_the_log_is_cut_into_batches_the_view_is_the_same(
    steps: list[tuple[str, int, int]], at: list[int]
) -> None:
    facts: list[Fact] = []
    for what, number, _ in steps:
        match what:
            case "accept":
                facts.append(accepted("ab"[number % 2], number % 12))
            case "settle":
                facts.append(Settled(number, number % 3, "failed", f"r{number % 4}"))
            case _:
                facts.append(removed("ab"[number % 2]))
    records = [
        record(seq, fact, NOW + days * DAY_MS)
        for seq, (fact, (_, _, days)) in enumerate(zip(facts, steps, strict=True))
    ]
    assert cuts(records, at).digest() == view(*records).digest()
