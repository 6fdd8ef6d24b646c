"""What an answer leads to: one fact each, and a device goes only where the table says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.facts import Deferred, Settled
from gateway.push.fcm import (
    Braked,
    Delivered,
    Failed,
    Forbidden,
    Gone,
    Mismatched,
    Transient,
    Unauthenticated,
    Verdict,
)
from gateway.push.settle import Decision, ProjectState, decide
from gateway.push.turns import Delivery

NOW = 1_000_000
HOUR = 3_600_000


def delivery(attempt: int = 0, expires_ms: int = NOW + HOUR) -> Delivery:
    return Delivery(7, 2, "a.example", "default", "t", "token", attempt, expires_ms, 1)


def outcome(verdict: Verdict, state: ProjectState | None = None) -> tuple[str, str, bool, str]:
    made = decide(verdict, delivery(), state or ProjectState(), NOW, 0.0)
    assert isinstance(made.fact, Settled)
    return made.fact.outcome, made.fact.reason, made.remove, made.alarm


def test_a_dry_run_that_nobody_was_asked_for_says_nothing_of_the_service() -> None:
    state = ProjectState(strikes=1)
    made = decide(Delivered(asked=False), delivery(), state, NOW, 0.0)
    assert made == Decision(Settled(7, 2, "delivered", ""), service="unasked")
    assert state == ProjectState(strikes=1)


def test_what_is_over_is_settled_and_only_a_dead_token_costs_the_device() -> None:
    assert outcome(Delivered()) == ("delivered", "", False, "")
    assert outcome(Gone("unregistered")) == ("removed", "unregistered", True, "")
    assert outcome(Failed("invalid-argument")) == ("failed", "invalid-argument", False, "")
    assert outcome(Failed("http-404", alarm=True)) == ("failed", "http-404", False, "http-404")


def test_a_sender_mismatch_removes_a_device_only_of_a_project_that_works() -> None:
    state = ProjectState()
    assert outcome(Mismatched(), state) == ("failed", "sender-id-mismatch", False, "sender-id-mismatch")
    outcome(Delivered(), state)
    assert outcome(Mismatched(), state) == ("removed", "sender-id-mismatch", True, "")


@pytest.mark.parametrize("verdict", [Forbidden("permission-denied"), Unauthenticated(), Braked("project", "")])
def test_a_refused_project_is_braked_longer_each_time_until_something_gets_through(verdict: Verdict) -> None:
    state = ProjectState()
    now_ms, waits = NOW, []
    for _ in range(3):
        until_ms = decide(verdict, delivery(expires_ms=NOW * 2), state, now_ms, 0.0).brake_until_ms
        assert decide(verdict, delivery(), state, now_ms + 5, 0.0).brake_until_ms == until_ms, "of a burst one counts"
        waits.append(until_ms - now_ms)
        now_ms = until_ms
    assert waits == [60_000, 120_000, 240_000]
    decide(Delivered(), delivery(), state, NOW, 0.0)
    assert decide(verdict, delivery(), state, now_ms, 0.0).brake_until_ms == now_ms + 60_000


def test_of_a_burst_of_refusals_the_longest_retry_after_is_waited_for() -> None:
    state = ProjectState()
    assert decide(Braked("project", "60"), delivery(), state, NOW, 0.0).brake_until_ms == NOW + 60_000
    assert decide(Braked("project", "600"), delivery(), state, NOW, 0.0).brake_until_ms == NOW + 600_000
    assert decide(Braked("project", "5"), delivery(), state, NOW, 0.0).brake_until_ms == NOW + 60_000


def test_what_could_be_tried_again_only_when_it_ends_has_ended() -> None:
    for left_ms, kind in ((10_001, Deferred), (10_000, Settled)):
        fact = decide(Transient("x"), delivery(expires_ms=NOW + left_ms), ProjectState(), NOW, 0.0).fact
        assert isinstance(fact, kind), left_ms


def test_a_device_quota_brakes_nobody_else() -> None:
    made = decide(Braked("device", "30"), delivery(1), ProjectState(), NOW, 0.0)
    assert made.fact == Deferred(7, 2, 2, NOW + 30_000, "device-quota-exceeded")
    assert made.brake_until_ms == 0


def test_a_passing_failure_is_deferred_and_counted() -> None:
    made = decide(Transient("unavailable"), delivery(3), ProjectState(), NOW, 0.0)
    assert made.fact == Deferred(7, 2, 4, NOW + 80_000, "unavailable")


def test_a_failure_that_is_the_devices_own_says_nothing_of_the_service() -> None:
    for scope, service in (("device", "works"), ("project", "fails")):
        made = decide(Transient("x", scope=scope), delivery(0), ProjectState(), NOW, 0.0)  # type: ignore[arg-type]
        assert (made.service, made.fact) == (service, Deferred(7, 2, 1, NOW + 10_000, "x"))


verdicts = st.sampled_from(
    [
        *(Delivered(), Gone("x"), Mismatched(), Failed("x"), Forbidden("x"), Unauthenticated()),
        *(Braked("project", "9"), Braked("device", ""), Transient("x", "50"), Transient("x")),
    ]
)


@given(verdicts, st.integers(0, 30), st.integers(-5, 2 * HOUR), st.floats(0, 1))
def test_every_verdict_settles_or_defers_to_a_time_before_expiry(
    verdict: Verdict, attempt: int, left_ms: int, dice: float
) -> None:
    tried = delivery(attempt, NOW + left_ms)
    fact = decide(verdict, tried, ProjectState(), NOW, dice).fact
    assert (fact.accepted_seq, fact.index) == tried.key
    if isinstance(fact, Deferred):
        assert NOW < fact.not_before_ms < tried.expires_ms
