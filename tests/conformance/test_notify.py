"""POST /internal/push/events and what reaches FCM, as push.md §4 and §5 have it."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.fakes import canonical, iso, now_ms
from tests.conformance.world import Answer, World, world

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("notify")) as made:
        yield made
        assert made.traces() == []


def device(w: World, kind: str = "good", **changes: Any) -> tuple[str, str]:
    """A new user with one device whose token begins with ``kind``: (user, token)."""
    user, token = f"user-{uuid.uuid4()}", f"{kind}-{uuid.uuid4()}"
    assert w.register(w.demo.signed(user, token, **changes)).status == 200
    return user, token


def sends_to(w: World, token: str) -> list[dict[str, Any]]:
    return [sent["message"] for sent in list(w.fcm.sent) if token in sent["message"].values()]


def figures(answer: Answer) -> tuple[int, int, int, bool]:
    assert set(answer.body) == {"ok", "delivered", "queued", "duplicate"}, answer
    assert answer.body["ok"] is True
    return answer.status, answer.body["delivered"], answer.body["queued"], answer.body["duplicate"]


def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_notification_reaches_the_device_and_is_counted(w: World) -> None:
    user, token = device(w)
    assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 1, 0, False)
    assert len(sends_to(w, token)) == 1


def test_the_message_is_what_the_specification_says(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user, id="id-é-1", ref_id=None)
    w.notify(event, w.demo)
    (message,) = sends_to(w, token)
    assert message["token"] == token
    assert "fid" not in message
    assert message["notification"] == {"title": "通知", "body": event["notification"]["message"]}
    references = {"ref_type": "post", "ref_id": "", "actor_id": "bob"}
    assert message["data"] == {"notification_id": "id-é-1", "type": "like", **references}


def test_every_platform_collapses_by_the_notification(w: World) -> None:
    user, token = device(w)
    w.notify(w.demo.event(user), w.demo)
    (message,) = sends_to(w, token)
    keys = {
        message["android"]["collapse_key"],
        message["android"]["notification"]["tag"],
        message["apns"]["headers"]["apns-collapse-id"],
        message["webpush"]["headers"]["Topic"],
    }
    (key,) = keys
    assert 16 <= len(key) <= 32
    assert all(char.isascii() and (char.isalnum() or char in "-_") for char in key)


def test_an_installation_id_is_sent_as_one(w: World) -> None:
    user, fid = device(w, targetKind="fid")
    w.notify(w.demo.event(user), w.demo)
    (message,) = sends_to(w, fid)
    assert message["fid"] == fid
    assert "token" not in message


def test_a_long_text_is_cut_on_a_character_and_the_ids_never(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user, id="i" * 200, message="語" * 3_000)
    assert figures(w.notify(event, w.demo))[1] == 1
    (message,) = sends_to(w, token)
    pairs = [pair for part in (message["data"], message["notification"]) for pair in part.items()]
    assert 3_900 < sum(len(text.encode()) for pair in pairs for text in pair) <= 4_096
    assert message["data"]["notification_id"] == "i" * 200
    assert set(message["notification"]["body"].rstrip("…")) == {"語"}


@pytest.mark.parametrize("path", ["/push/webhook", "//internal/push/events", "//push/webhook"])
def test_the_alias_and_a_doubled_slash_are_taken(w: World, path: str) -> None:
    user, _ = device(w)
    assert figures(w.notify(w.demo.event(user), w.demo, path)) == (200, 1, 0, False)


def test_the_instances_set_up_check_is_taken(w: World) -> None:
    notification = {"id": str(uuid.uuid4()), "type": "test", "message": "hello"}
    body = {"instance": w.demo.domain, "userId": "nobody", "notification": notification}
    assert figures(w.notify(body, w.demo)) == (200, 0, 0, False)


def test_the_older_form_names_the_tenant(w: World) -> None:
    user, _ = device(w)
    body = w.demo.event(user) | {"tenant": w.demo.domain}
    assert figures(w.notify(body, w.demo)) == (200, 1, 0, False)
    only = {key: value for key, value in (w.demo.event(user) | {"tenant": w.demo.domain}).items() if key != "instance"}
    assert figures(w.notify(only, w.demo)) == (200, 1, 0, False)


def test_a_repeat_is_answered_with_the_first_figures_and_pushes_nothing(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user)
    w.notify(event, w.demo)
    assert figures(w.notify(event, w.demo)) == (200, 1, 0, True)
    again = w.demo.event(user, id=event["notification"]["id"], message="another text")
    assert figures(w.notify(again, w.demo)) == (200, 1, 0, True)
    assert len(sends_to(w, token)) == 1


def test_an_id_without_a_time_is_remembered_too(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user, created_at=None)
    answers = [figures(w.notify(event, w.demo))[3] for _ in range(2)]
    assert answers == [False, True]
    assert len(sends_to(w, token)) == 1


def test_of_concurrent_copies_exactly_one_pushes(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user)
    answers = w.at_once([lambda: w.notify(event, w.demo)] * 8)
    assert sorted(figures(answer)[3] for answer in answers) == [False] + [True] * 7
    assert len(sends_to(w, token)) == 1


def test_ids_of_tenants_are_apart(w: World) -> None:
    user, token = device(w)
    event = w.demo.event(user)
    other = w.other.event(user, id=event["notification"]["id"])
    assert figures(w.notify(other, w.other)) == (200, 0, 0, False)
    assert figures(w.notify(event, w.demo)) == (200, 1, 0, False)
    assert len(sends_to(w, token)) == 1


def test_no_instance_reaches_another_tenants_devices(w: World) -> None:
    user, token = device(w)
    assert figures(w.notify(w.other.event(user), w.other)) == (200, 0, 0, False)
    forged = w.demo.event(user)
    assert w.notify(forged, w.other).refusal() == (401, "signature-invalid")
    mixed = w.other.event(user) | {"tenant": w.demo.domain}
    assert w.notify(mixed, w.other).status in {400, 401, 403}
    assert sends_to(w, token) == []


def test_a_stale_notification_is_refused(w: World) -> None:
    user, token = device(w)
    for at_ms in (now_ms() - DAY_MS - 5_000, now_ms() + 65_000):
        assert w.notify(w.demo.event(user, created_at=iso(at_ms)), w.demo).refusal() == (400, "stale")
    for at_ms in (now_ms() - DAY_MS + 60_000, now_ms() + 50_000):
        assert w.notify(w.demo.event(user, created_at=iso(at_ms)), w.demo).status == 200
    assert len(sends_to(w, token)) == 2


def test_a_configured_secret_stands_for_a_signature(w: World) -> None:
    right = {"X-Push-Secret": "other-shared-secret"}
    assert figures(w.post("/internal/push/events", w.other.event("x"), right)) == (200, 0, 0, False)
    for secret in ("wrong", "takos-default-push-secret", "other-shared-secret2", "é"):
        wrong = {"X-Push-Secret": secret.encode().decode("latin-1")}
        assert w.post("/internal/push/events", w.other.event("x"), wrong).status == 401, secret
    default = {"X-Push-Secret": "takos-default-push-secret"}
    assert w.post("/internal/push/events", w.demo.event("x"), default).status == 401
    assert w.post("/internal/push/events", w.demo.event("x"), right).status == 401


def test_neither_signature_nor_secret_is_refused(w: World) -> None:
    assert w.post("/internal/push/events", w.demo.event("x")).refusal() == (401, "signature-missing")


def test_a_registration_is_no_event_and_an_event_no_registration(w: World) -> None:
    registration, event = w.demo.registration("alice", "t"), w.demo.event("alice")
    assert w.notify(registration, w.demo).status == 400
    assert w.register(event, {"X-Push-Signature": w.demo.sign(event)}).status == 400
    both = registration | event
    assert w.notify(both, w.demo).status == 400
    assert w.register(both, {"X-Push-Signature": w.demo.sign(both)}).status == 400


def test_an_unregistered_device_is_removed(w: World) -> None:
    user, token = device(w, "unregistered")
    assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 0, 0, False)
    w.notify(w.demo.event(user), w.demo)
    assert len(sends_to(w, token)) == 1


@pytest.mark.parametrize("kind", ["bare404", "invalid", "apns"])
def test_other_final_failures_leave_the_device(w: World, kind: str) -> None:
    user, token = device(w, kind)
    for _ in range(2):
        assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 0, 0, False)
    assert len(sends_to(w, token)) == 2


def test_what_may_work_later_is_queued_and_the_answer_does_not_wait(w: World) -> None:
    user, token = device(w, "busy")
    assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 0, 1, False)
    assert len(sends_to(w, token)) == 1, "the first retry is not before 10 s"


def test_a_slow_fcm_delays_the_answer_by_answer_wait_at_most(tmp_path: Path) -> None:
    with world(tmp_path, push="answer_wait_s = 1.5") as w:
        user, _ = device(w)
        w.fcm.answers.clear()
        begun = time.monotonic()
        try:
            assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 0, 1, False)
        finally:
            w.fcm.answers.set()
        assert time.monotonic() - begun > 1.2


def test_a_user_with_several_devices_has_them_all_counted(w: World) -> None:
    user, _ = device(w)
    for kind in ("good", "unregistered", "busy"):
        assert w.register(w.demo.signed(user, f"{kind}-{uuid.uuid4()}")).status == 200
    assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 2, 1, False)


def test_the_oauth_token_is_minted_once_for_many_sends(w: World) -> None:
    user, _ = device(w)
    assert all(w.notify(w.demo.event(user), w.demo).status == 200 for _ in range(3))
    assert w.fcm.minted == 1


def test_a_rotated_key_is_fetched_once(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        assert w.notify(w.demo.event("x"), w.demo).status == 200
        w.demo.rotate()
        assert w.notify(w.demo.event("x"), w.demo).status == 200
        assert w.demo.fetches == 2
        w.demo.rotate()
        assert w.notify(w.demo.event("x"), w.demo).refusal() == (401, "signature-invalid")
        assert w.demo.fetches == 2, "at most once in 30 s"
        assert w.traces() == []


def test_a_document_is_cached_however_many_ask(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        answers = w.at_once([lambda: w.notify(w.demo.event("x"), w.demo)] * 8)
        assert {answer.status for answer in answers} == {200}
        assert w.demo.fetches == 1


def test_after_a_crash_what_was_accepted_is_delivered_and_what_was_seen_is_remembered(tmp_path: Path) -> None:
    with world(tmp_path, push="answer_wait_s = 1.5") as w:
        user, token = device(w)
        envelope = w.demo.signed(user, "good-second", issued_ms=now_ms() + 1)
        assert w.register(envelope).body["duplicate"] is False
        w.register(w.demo.signed(user, "good-second", action="deregister", issued_ms=now_ms() + 10))
        seen = w.demo.event(user)
        until(lambda: figures(w.notify(seen, w.demo))[:3] == (200, 1, 0))
        w.fcm.answers.clear()
        assert figures(w.notify(w.demo.event(user), w.demo)) == (200, 0, 1, False)
        until(lambda: len(sends_to(w, token)) == 2)
        w.crash()
        w.fcm.answers.set()
        until(lambda: len(sends_to(w, token)) == 3)  # accepted and not settled: to be delivered
        assert figures(w.notify(seen, w.demo)) == (200, 1, 0, True)
        assert w.register(envelope).body["duplicate"] is True
        reused = w.demo.signed(user, "good-third", nonce=envelope["nonce"])
        assert w.register(reused).refusal() == (409, "nonce-reused")
        assert len(sends_to(w, token)) == 3
        assert w.traces() == []


def test_canonical_here_is_the_vectors_canonical() -> None:
    assert canonical({"b": 1, "a": {"é": '"', "c": None}}) == '{"a":{"c":null,"é":"\\""},"b":1}'.encode()
