"""A key proved to relays that ask: judged by the side that is asked, `gateway.nostr.authentication`."""

import json
from typing import Any

import pytest

from gateway.client.proving import Identity, Proving, named
from gateway.limits.client import PROOFS_REFUSED_MAX
from gateway.nostr.authentication import auth_flaw
from gateway.nostr.event import Event, stored_event
from gateway.nostr.signature import Signer
from tests.signing import BOB, NOW_S, pubkey

REQUIRED, RESTRICTED = "auth-required: who are you", "restricted: not you"
BY_BOB = Identity(Signer("02" * 32), lambda: NOW_S * 1000, bytes)


def proof_in(frame: bytes | None) -> Event:
    assert frame is not None
    verb, fields = json.loads(frame)
    assert verb == "AUTH"
    return stored_event(json.dumps(fields).encode())


def proving(url: str = "wss://relay.example/path") -> Proving:
    return Proving(BY_BOB, url)


def test_a_proof_is_one_for_the_relay_that_asked_and_names_nothing_secret() -> None:
    event = proof_in(proving("wss://user:password@relay.example/path?token=secret").challenged("a challenge"))
    asked: list[str] = []
    assert auth_flaw(event, "a challenge", lambda url: not asked.append(url), NOW_S) is None
    assert asked == ["wss://relay.example/path"]
    assert event.pubkey == pubkey(BOB)
    assert named("ws://[::1]:8080") == "ws://[::1]:8080"


def test_one_proof_is_on_its_way_at_a_time_and_the_newest_challenge_is_next() -> None:
    one = proving()
    first = proof_in(one.challenged("a"))
    assert one.challenged("b") is None
    assert one.challenged("c") is None
    assert one.is_proof(first.id)
    assert not one.is_proof("")
    assert ("challenge", "c") in proof_in(one.answered(False, "invalid: challenge")).tags
    assert one.answered(True, "") is None
    assert (one.taken, one.is_under_way, one.refusal) == (1, False, "")
    assert one.challenged("d") is not None  # it asks anew, and so it is proved anew


def test_a_relay_that_takes_no_proof_is_not_sent_them_for_ever() -> None:
    one, sent = proving(), 0
    for number in range(20):
        sent += one.challenged(str(number)) is not None
        if one.is_under_way:
            sent += one.answered(False, "restricted: not you") is not None
    assert (sent, one.refusal) == (PROOFS_REFUSED_MAX, RESTRICTED)


def test_without_a_key_nothing_is_sent() -> None:
    one = Proving(None, "wss://relay.example")
    assert one.challenged("a") is None
    assert one.is_asked
    assert not one.may_help(0, REQUIRED)


def once_taken(one: Proving) -> None:
    one.challenged("a")
    one.answered(True, "")


def once_refused(one: Proving) -> None:
    one.challenged("a")
    one.answered(False, "no")


@pytest.mark.parametrize(
    ("before", "taken", "reason", "may_help"),
    [
        (lambda one: None, 0, REQUIRED, True),  # the challenge may come behind the refusal
        (lambda one: None, 0, RESTRICTED, False),
        (lambda one: one.challenged("a"), 0, RESTRICTED, True),
        (once_taken, 0, RESTRICTED, True),  # refused before it was proved
        (once_taken, 1, RESTRICTED, False),
        (once_taken, 1, REQUIRED, False),
        (once_refused, 0, REQUIRED, False),
        (lambda one: one.challenged("a"), 0, "blocked: spam", False),
    ],
)
def test_what_a_proof_may_help_with(before: Any, taken: int, reason: str, may_help: bool) -> None:
    one = proving()
    before(one)
    assert one.may_help(taken, reason) is may_help
