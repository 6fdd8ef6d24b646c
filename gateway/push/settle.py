"""From what FCM said to what is recorded: settled, removed, deferred, braked (push §5, the table's right column).

Invariant: every verdict either settles the delivery or defers it to a time before it expires; what could only be tried
after that is settled as expired at once. Must not know clocks, dice or sockets: all are handed in.
"""

from dataclasses import dataclass
from typing import Literal, assert_never

import msgspec

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
from gateway.push.retry import backoff_ms, quota_ms, retry_after_ms
from gateway.push.turns import Delivery


@dataclass(slots=True)
class ProjectState:
    """What one run knows of a Firebase project: refusals in a row, and whether anything ever got through."""

    strikes: int = 0
    succeeded: bool = False
    braked_until_ms: int = 0


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The fact to record; whether the device goes; what the operator must hear; what it says of the push service.

    Where the service ``stops`` us, ``brake_until_ms`` says until when; where it ``fails``, ``wait_ms`` for how long;
    ``unasked``, it says nothing.
    """

    fact: Settled | Deferred
    remove: bool = False
    alarm: str = ""
    service: Literal["works", "fails", "stops", "unasked"] = "works"
    brake_until_ms: int = 0
    wait_ms: int = 0


def settled(delivery: Delivery, outcome: str, reason: str = "") -> Settled:
    """Done with: ``outcome`` is delivered, failed, expired or removed."""
    return Settled(delivery.seq, delivery.index, outcome, reason)


def deferred(delivery: Delivery, until_ms: int, reason: str, *, tried: bool = True) -> Settled | Deferred:
    """Try again then; or, where it would have expired, be done with it now."""
    if until_ms >= delivery.expires_ms:
        return settled(delivery, "expired", reason)
    return Deferred(delivery.seq, delivery.index, delivery.attempt + tried, until_ms, reason)


def decide(verdict: Verdict, delivery: Delivery, project: ProjectState, now_ms: int, dice: float) -> Decision:
    """Say what an answer leads to, and keep the project's state."""
    match verdict:
        case Delivered(asked):
            if asked:
                project.strikes, project.succeeded = 0, True
            return Decision(settled(delivery, "delivered"), service="works" if asked else "unasked")
        case Gone(reason):
            return Decision(settled(delivery, "removed", reason), remove=True)
        case Mismatched():
            return _mismatched(delivery, project)
        case Failed(reason, alarm):
            return Decision(settled(delivery, "failed", reason), alarm=reason if alarm else "")
        case Forbidden() | Unauthenticated():
            reason = verdict.reason if isinstance(verdict, Forbidden) else "unauthenticated"
            until_ms = now_ms + _strike(project, "", now_ms, dice)
            fact = deferred(delivery, until_ms, reason)
            return Decision(fact, alarm=reason, service="stops", brake_until_ms=until_ms)
        case Braked("project", retry_after):
            until_ms = now_ms + _strike(project, retry_after, now_ms, dice)
            fact = deferred(delivery, until_ms, "quota-exceeded")
            return Decision(fact, service="stops", brake_until_ms=until_ms)
        case Braked(_, retry_after):
            until_ms = now_ms + quota_ms(delivery.attempt, retry_after, now_ms, dice)
            return Decision(deferred(delivery, until_ms, "device-quota-exceeded"))
        case Transient(reason, retry_after):
            until_ms = now_ms + backoff_ms(delivery.attempt, retry_after, now_ms, dice)
            asked_ms = retry_after_ms(retry_after, now_ms) or 0
            fact = deferred(delivery, until_ms, reason)
            return Decision(fact, service="fails" if verdict.scope == "project" else "works", wait_ms=asked_ms)
        case _:
            assert_never(verdict)


def _mismatched(delivery: Delivery, project: ProjectState) -> Decision:
    reason = "sender-id-mismatch"
    if project.succeeded:
        return Decision(settled(delivery, "removed", reason), remove=True)
    # Nothing of this project ever got through: rather ours is the wrong project than theirs the wrong token.
    return Decision(settled(delivery, "failed", reason), alarm=reason)


def _strike(project: ProjectState, retry_after: str, now_ms: int, dice: float) -> int:
    """How long to stop; of the answers to a burst, all under way when the first came, only that one counts."""
    left_ms = project.braked_until_ms - now_ms
    if left_ms > 0:
        return max(left_ms, retry_after_ms(retry_after, now_ms) or 0)
    wait_ms = quota_ms(project.strikes, retry_after, now_ms, dice)
    project.strikes += 1
    project.braked_until_ms = now_ms + wait_ms
    return wait_ms
