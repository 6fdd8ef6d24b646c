"""The outbox view: accepted minus settled, and the memory of ids."""

import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from eventlog.record import Record
from gateway.facts import Accepted, Answered, Deferred, Fact, PushTarget, Settled, draft
from gateway.views.outbox import OutboxView

NOW = 1_763_126_872_000
HOUR = 3_600_000


def record(seq: int, fact: Fact, at_ms: int = NOW) -> Record:
    made = draft(fact, ts_ns=at_ms * 1_000_000, salt=b"x" * 16 if fact.personal else b"")
    return Record(seq, made.schema, made.ts_ns, made.kind, made.subject, b"", made.payload)


def accepted(
    id_: str = "n1", tenant: str = "a", count: int = 2, forget_ms: int | None = None, project: str = "p"
) -> Accepted:
    targets = tuple(PushTarget(f"t{n}", "token", "app", project) for n in range(count))
    return Accepted(tenant, "alice", id_, NOW, forget_ms, NOW + HOUR, targets, "sig", b"{}")


def folded(*facts: Fact) -> OutboxView:
    view = OutboxView(sqlite3.connect(":memory:"))
    view.apply([record(seq, fact) for seq, fact in enumerate(facts)], len(facts))
    return view


def keys(view: OutboxView, now_ms: int = NOW) -> list[tuple[int, int]]:
    return [delivery.key for delivery in view.ready("a", "p", now_ms, 100)]


def test_what_was_accepted_is_pending_until_it_is_settled() -> None:
    view = folded(accepted())
    assert keys(view) == [(0, 0), (0, 1)]
    view.apply([record(1, Settled(0, 1, "delivered", ""))], 2)
    assert keys(view) == [(0, 0)]
    figures = view.figures("a", "n1")
    assert figures is not None
    assert (figures.delivered, figures.pending, figures.answered) == (1, 1, None)
    view.apply([record(2, Settled(0, 0, "failed", "x"))], 3)
    assert keys(view) == []
    assert view.queued("a") == view.queued_all() == 0
    figures = view.figures("a", "n1")
    assert figures is not None
    assert (figures.delivered, figures.pending) == (1, 0)


def test_what_waits_is_told_once_for_each_notification_the_oldest_first() -> None:
    view = folded(accepted("n0"), accepted("n1"), accepted("n2", tenant="b"), Settled(0, 0, "delivered", ""))
    assert view.waiting(0, 10) == [(0, "a"), (1, "a"), (2, "b")]
    assert view.waiting(1, 1) == [(1, "a")]
    assert view.queued_by_tenant() == {"a": 3, "b": 2}
    view.apply([record(4, Settled(0, 1, "failed", "x"))], 5)
    assert view.waiting(0, 10) == [(1, "a"), (2, "b")]


def test_a_second_settlement_counts_for_nothing() -> None:
    view = folded(accepted(count=1), Settled(0, 0, "delivered", ""), Settled(0, 0, "delivered", ""))
    figures = view.figures("a", "n1")
    assert figures is not None
    assert (figures.delivered, figures.pending) == (1, 0)


def test_a_deferred_delivery_waits_for_its_time() -> None:
    view = folded(accepted(count=1), Deferred(0, 0, 3, NOW + 500, "unavailable"))
    assert keys(view) == []
    assert keys(view, NOW + 500) == [(0, 0)]
    assert view.ready("a", "p", NOW + 500, 1)[0].attempt == 3
    assert view.next_ripe_ms(NOW) == NOW + 500
    assert view.next_ripe_ms(NOW + 500) is None
    assert view.ripe(NOW, NOW + 499) == []
    assert view.ripe(NOW + 499, NOW + 500) == [("a", "p")]


def test_lanes_are_a_tenant_and_a_project() -> None:
    view = folded(accepted("1", "a"), accepted("2", "b"), accepted("3", "a", project="q"))
    assert view.lanes() == [("a", "p"), ("a", "q"), ("b", "p")]
    assert view.ready("a", "q", NOW, 9) == []
    view.apply([record(3, Settled(0, 0, "delivered", ""))], 4)
    assert [delivery.key for delivery in view.ready("a", "q", NOW, 9)] == [(2, 0)]


def test_a_deferred_delivery_holds_those_behind_it_until_it_is_settled() -> None:
    view = folded(
        accepted("1", count=1), accepted("2", count=2), accepted("3", count=1), Deferred(0, 0, 1, NOW + 5, "x")
    )
    assert keys(view) == [(1, 1)], "another device is not held"
    assert keys(view, NOW + 5) == [(1, 1), (0, 0)]
    view.apply([record(4, Settled(1, 0, "expired", ""))], 5)
    assert keys(view) == [(1, 1)], "what expires in the middle brings nobody forward"
    view.apply([record(5, Settled(0, 0, "delivered", ""))], 6)
    assert keys(view) == [(1, 1), (2, 0)]
    (first,) = [one for one in view.ready("a", "p", NOW, 9) if one.key == (2, 0)]
    assert view.standing(first.device) == OutboxView(view.db).standing(first.device) == 1


def test_the_figures_of_an_early_answer_are_kept_and_the_first_ones_win() -> None:
    view = folded(accepted(), Answered(0, 0, 2), Settled(0, 0, "delivered", ""), Answered(0, 1, 1))
    figures = view.figures("a", "n1")
    assert figures is not None
    assert figures.answered == (0, 2)


def test_what_is_past_its_time_is_found_oldest_first() -> None:
    view = folded(accepted(count=2))
    assert view.expired(NOW + HOUR - 1, 10) == []
    assert [delivery.key for delivery in view.expired(NOW + HOUR, 1)] == [(0, 0)]


def test_an_id_is_forgotten_when_it_is_stale_and_settled_and_others_never() -> None:
    view = folded(
        accepted("old", forget_ms=NOW + 10, count=1),
        accepted("pending", forget_ms=NOW + 10, count=1),
        accepted("for good", count=1),
        Settled(0, 0, "delivered", ""),
        Settled(2, 0, "delivered", ""),
    )
    view.apply([record(5, accepted("new"), NOW + 10)], 6)
    assert view.figures("a", "old") is not None
    view.apply([record(6, accepted("newer"), NOW + 11)], 7)
    assert view.figures("a", "old") is None
    assert view.figures("a", "pending") is not None
    assert view.figures("a", "for good") is not None
    assert view.figures("b", "for good") is None


def test_queued_counts_are_the_same_after_a_reopening() -> None:
    db = sqlite3.connect(":memory:")
    view = OutboxView(db)
    view.apply([record(0, accepted(count=3)), record(1, Settled(0, 1, "removed", "x"))], 2)
    assert OutboxView(db).queued("a") == view.queued("a") == 2


steps = st.lists(
    st.tuples(st.sampled_from(["accept", "defer", "settle"]), st.integers(0, 20), st.integers(0, 2)), max_size=30
)


@given(steps, st.integers(1, 4))
def test_of_each_device_the_first_pending_may_be_tried_in_any_batches(
    steps: list[tuple[str, int, int]], batch: int
) -> None:
    facts: list[Fact] = []
    pending: set[tuple[int, int]] = set()
    for step, which, index in steps:
        if step == "accept" or not facts:
            pending |= {(len(facts), n) for n in range(index)}
            facts.append(accepted(f"n{len(facts)}", count=index))
        elif step == "defer":
            facts.append(Deferred(which % len(facts), index, 1, NOW + 1, "x"))
        else:
            pending.discard((which % len(facts), index))
            facts.append(Settled(which % len(facts), index, "delivered", ""))
    records = [record(seq, fact) for seq, fact in enumerate(facts)]
    whole, parts = folded(*facts), OutboxView(sqlite3.connect(":memory:"))
    for start in range(0, len(records), batch):
        parts.apply(records[start : start + batch], min(len(records), start + batch))
    assert whole.digest() == parts.digest()
    first = {min(key for key in pending if key[1] == index) for _, index in pending}
    assert set(keys(whole, NOW + 1)) == first
    assert whole.queued("a") == parts.queued("a") == len(pending)


def test_a_notification_waits_when_nothing_of_it_may_be_tried_yet() -> None:
    facts: list[Fact] = [accepted(), Deferred(0, 0, 1, NOW + 10_000, "x")]
    assert not folded(*facts).is_deferred(0, NOW)
    facts.append(Deferred(0, 1, 1, NOW + 20_000, "x"))
    assert folded(*facts).is_deferred(0, NOW)
    assert not folded(*facts).is_deferred(0, NOW + 10_000)
    facts += [Settled(0, 0, "delivered", ""), Settled(0, 1, "delivered", "")]
    assert not folded(*facts).is_deferred(0, NOW)


def test_no_question_that_is_asked_again_and_again_reads_all_that_is_queued() -> None:
    view, asked = folded(accepted(), Deferred(0, 0, 1, NOW + 10_000, "x")), list[str]()
    view.db.set_trace_callback(asked.append)
    view.apply([record(2, accepted("n2")), record(3, Settled(0, 0, "delivered", "")), record(4, Answered(2, 1, 1))], 5)
    view.ready("a", "p", NOW, 10)
    view.ripe(NOW, NOW)
    view.next_ripe_ms(NOW)
    view.expired(NOW, 10)
    view.is_deferred(0, NOW)
    view.figures("a", "n1")
    view.oldest_pending()
    view.waiting(0, 10)
    view.db.set_trace_callback(None)
    plans = {one: view.db.execute(f"EXPLAIN QUERY PLAN {one}").fetchall() for one in asked if not one.startswith("--")}
    assert len(plans) > 10
    assert not [one for one, plan in plans.items() if any(step[3].startswith("SCAN") for step in plan)]
