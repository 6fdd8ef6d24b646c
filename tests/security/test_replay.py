"""Replay and reordering: what was captured, and comes again or in another order, before and after a kill -9.

Every case is set up, then the server is killed and started again on its data, then what was captured is posted. So the
memory that refuses it is the log's.
"""

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.fakes import canonical, now_ms, raw_signature
from tests.conformance.world import Answer, World, world

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EVENTS = "/internal/push/events"
Body = dict[str, Any]


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex}"


def mirrored(w: World, body: Body) -> str:
    """Another signature that verifies for the same body: (r, n-s), which anybody can make of the first."""
    raw = raw_signature(w.demo.key, canonical(body))
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    return base64.b64encode(r.to_bytes(32) + (ORDER - s).to_bytes(32)).decode()


class Captured:
    """What somebody recorded on the wire, before the kill."""

    def __init__(self, w: World) -> None:
        self.w, at = w, now_ms()
        self.gone, self.moved, self.early = fresh("gone"), fresh("moved"), fresh("early")
        # Registered, then deregistered.
        self.register = self.sent(w.demo.registration("alice", self.gone, issued_ms=at - 3_000))
        self.sent(w.demo.registration("alice", self.gone, action="deregister", issued_ms=at - 2_000))
        # Registered by one user, then moved to another.
        self.first = self.sent(w.demo.registration("carol", self.moved, issued_ms=at - 3_000))
        self.sent(w.demo.registration("dave", self.moved, issued_ms=at - 2_000))
        # A deregistration that overtook its registration on the way.
        self.sent(w.demo.registration("erin", self.early, action="deregister", issued_ms=at - 1_000))
        self.late = w.demo.registration("erin", self.early, issued_ms=at - 2_000)
        # A notification that was pushed.
        self.event = w.demo.event("dave")
        self.answer = w.notify(self.event, w.demo)
        assert (self.answer.status, self.answer.body["delivered"]) == (200, 1)

    def sent(self, body: Body) -> Body:
        answer = self.w.register(body | {"signature": self.w.demo.sign(body)})
        assert answer.status == 200, answer
        return body

    def again(self, body: Body, signature: str = "") -> Answer:
        """Post an envelope once more."""
        return self.w.register(body | {"signature": signature or self.w.demo.sign(body)})

    def devices(self, user: str) -> int:
        """How many devices a user has, as a push shows."""
        return int(self.w.notify(self.w.demo.event(user), self.w.demo).body["delivered"])


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captured]:
    with world(tmp_path_factory.mktemp("replay"), push="answer_wait_s = 20") as w:
        made = Captured(w)
        w.crash()
        yield made
        assert w.traces() == []


def test_a_captured_registration_does_not_bring_a_device_back(captured: Captured) -> None:
    answer = captured.again(captured.register)
    assert (answer.status, answer.body["duplicate"]) == (200, True)
    assert captured.devices("alice") == 0


def test_a_captured_registration_does_not_move_a_device_back(captured: Captured) -> None:
    assert captured.again(captured.first).body["duplicate"] is True
    assert (captured.devices("carol"), captured.devices("dave")) == (0, 1)


def test_a_registration_that_its_deregistration_overtook_comes_too_late(captured: Captured) -> None:
    answer = captured.again(captured.late)
    assert (answer.status, answer.body["superseded"]) == (200, True)
    assert captured.devices("erin") == 0


def test_another_spelling_of_the_signature_is_the_same_envelope(captured: Captured) -> None:
    """An id made of the signature would take it for a new one."""
    answer = captured.again(captured.register, mirrored(captured.w, captured.register))
    assert (answer.status, answer.body["duplicate"]) == (200, True)
    assert captured.devices("alice") == 0


def test_a_nonce_that_was_used_serves_no_other_envelope(captured: Captured) -> None:
    other = captured.w.demo.registration("alice", fresh("other"), nonce=captured.register["nonce"])
    assert captured.again(other).refusal() == (409, "nonce-reused")


def test_a_captured_notification_pushes_nothing_however_it_is_spelled(captured: Captured) -> None:
    w, event = captured.w, captured.event
    spaced = json.dumps(dict(reversed(event.items())), indent=3).encode()
    escaped = json.dumps(event).encode()  # the same in ASCII
    for body, signature in (
        (event, w.demo.sign(event)),
        (event, mirrored(w, event)),
        (spaced, w.demo.sign(event)),
        (escaped, mirrored(w, event)),
    ):
        before = len(w.fcm.sent)
        answer = w.post(EVENTS, body, {"X-Push-Signature": signature})
        assert answer.body == captured.answer.body | {"duplicate": True}
        assert len(w.fcm.sent) == before


def test_a_captured_signature_carries_no_other_body_and_no_other_endpoint(captured: Captured) -> None:
    w, event = captured.w, captured.event
    changed = event | {"notification": event["notification"] | {"id": str(uuid.uuid4())}}
    headers = {"X-Push-Signature": w.demo.sign(event)}
    assert w.post(EVENTS, changed, headers).refusal() == (401, "signature-invalid")
    assert w.post("/push/register", event, headers).status == 400
    signed = captured.register | {"signature": w.demo.sign(captured.register)}
    assert w.post(EVENTS, signed, {"X-Push-Signature": signed["signature"]}).status == 400
