"""Every refusal of push.md §6: its status, its code, and that nothing is left behind by it."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.fakes import canonical, iso, now_ms
from tests.conformance.world import World, ask, world

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("refusals")) as made:
        yield made
        assert made.traces() == []


def signed(w: World, **changes: Any) -> dict[str, Any]:
    return w.demo.signed(**{"user": "mallory", "token": "fcm-refused", **changes})


def raw(w: World, text: str) -> tuple[int, str]:
    """Both endpoints say the same of bytes that are no body."""
    (first, second) = (
        w.post(path, text.encode("utf-8", "surrogatepass")) for path in ("/push/register", "/push/webhook")
    )
    assert first.refusal() == second.refusal()
    return first.refusal()


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", '"x"', "null", "12", '{"a":}', "{'a':1}", '{"a":1}x', '{"a":NaN}', '{"a":1e999}',
        '{"a":[[1]]}', '{"a\\"b":1}', '{"a\\\\":1}', '{"a\\u0001":1}', '{"a":"\\ud800"}', '{"a":"\udc00"}',
        '{"a":' * 17 + "1" + "}" * 17, '{"a":' + "[" * 5_000, '\ufeff{"a":1}',
    ],
)  # fmt: skip
def test_what_is_no_plain_json_object_is_malformed(w: World, text: str) -> None:
    assert raw(w, text) == (400, "malformed-json")


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"\\u0061":1,"a":2}', '{"a":[{"b":1,"b":1}]}']
)
def test_a_key_twice_is_refused_by_name(w: World, text: str) -> None:
    assert raw(w, text) == (400, "duplicate-key")


@pytest.mark.parametrize("field", ["action", "instance", "userId", "token", "issuedAt", "expiresAt", "nonce"])
def test_a_missing_field_is_named(w: World, field: str) -> None:
    answer = w.register(signed(w, **{field: None}))
    assert answer.refusal() == (400, "missing-field")
    assert field in answer.body["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", "delete"), ("action", 1), ("userId", ""), ("userId", 7), ("token", ""), ("token", ["t"]),
        ("token", "t" * 5_000), ("issuedAt", "yesterday"), ("issuedAt", 1_700_000_000_000),
        ("expiresAt", "2026-13-01T00:00:00.000Z"), ("expiresAt", "2026-11-22T16:32:54Z"), ("nonce", "not-a-uuid"),
        ("nonce", 5), ("instance", 5), ("instance", "127.0.0.1"), ("instance", "[::1].x"), ("instance", "localhost"),
        ("instance", "a.example.com:444"), ("instance", "u@a.example.com"), ("instance", "a.example.com."),
        ("instance", "a.example.com/x"), ("instance", "2130706433"), ("instance", "0x7f.1"), ("targetKind", "web"),
        ("platform", 5), ("appId", {}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_an_invalid_field(w: World, field: str, value: object) -> None:
    assert w.register(signed(w, **{field: value})).refusal() == (400, "invalid-field")


@pytest.mark.parametrize(("field", "value"), [("id", None), ("type", None), ("id", ""), ("id", 5), ("message", 5)])
def test_a_notification_without_its_fields_is_refused(w: World, field: str, value: object) -> None:
    event = w.demo.event("x")
    event["notification"][field] = value
    if value is None:
        del event["notification"][field]
    assert w.notify(event, w.demo).refusal() == (400, "missing-field" if value is None else "invalid-field")


def test_an_event_without_its_parts_is_refused(w: World) -> None:
    for key in ("instance", "userId", "notification"):
        event = {name: value for name, value in w.demo.event("x").items() if name != key}
        assert w.notify(event, w.demo).refusal() == (400, "missing-field")
    assert w.notify(w.demo.event("x") | {"notification": "n"}, w.demo).refusal() == (400, "invalid-field")


def test_an_envelopes_times_are_judged(w: World) -> None:
    expired = signed(w, issued_ms=now_ms() - 400_000)
    assert w.register(expired).refusal() == (401, "envelope-expired")
    early = signed(w, issued_ms=now_ms() + 90_000)
    assert w.register(early).refusal() == (401, "envelope-not-yet-valid")
    assert w.register(signed(w, issued_ms=now_ms() + 45_000, life_ms=600_000)).status == 200
    assert w.register(signed(w, life_ms=600_001)).refusal()[0] == 400
    assert w.register(signed(w, life_ms=-1_000)).status in {400, 401}


def test_a_missing_signature_and_a_wrong_one_differ(w: World) -> None:
    assert w.register(w.demo.registration("x", "t")).refusal() == (401, "signature-missing")
    assert w.register(w.demo.registration("x", "t") | {"signature": ""}).refusal() == (401, "signature-missing")
    assert w.register(w.other.signed("x", "t", instance=w.demo.domain)).refusal() == (401, "signature-invalid")


def test_a_blocked_instance_is_refused(w: World) -> None:
    assert w.register(signed(w, instance="blocked.example.com")).refusal() == (403, "instance-not-allowed")


def test_an_allow_list_refuses_the_rest(tmp_path: Path) -> None:
    with world(tmp_path, push='policy = "allowlist"\nallow = ["demo.example.com"]') as w:
        assert w.register(w.demo.signed("a", "t")).status == 200
        assert w.register(w.other.signed("a", "t")).refusal() == (403, "instance-not-allowed")


def test_a_body_over_16_kib_is_too_large(w: World) -> None:
    body = w.demo.signed("x", "t", padding="")
    room = 16_384 - len(canonical(body))
    fits = w.demo.signed("x", "t", padding="p" * room)
    assert w.post("/push/register", canonical(fits)).status == 200
    over = w.demo.signed("x", "t", padding="p" * (room + 1))
    for path in ("/push/register", "/internal/push/events", "//internal/push/events", "/push/webhook"):
        assert w.post(path, canonical(over)).refusal() == (413, "too-large")


def test_a_body_of_another_type_is_refused(w: World) -> None:
    body = json.dumps(signed(w)).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/cbor"):
        answer = ask(w.server.url, "POST", "/push/register", body, {"Content-Type": kind})
        assert answer.status == 415
        assert answer.refusal()[0] == 415
    charset = ask(w.server.url, "POST", "/push/register", body, {"Content-Type": "application/json; charset=utf-8"})
    assert charset.status == 200


def test_other_methods_and_paths_are_refused_in_the_same_form(w: World) -> None:
    assert ask(w.server.url, "GET", "/push/register").refusal()[0] == 405
    assert ask(w.server.url, "DELETE", "/internal/push/events").refusal()[0] == 405
    assert w.post("/push/unknown", {}).refusal()[0] == 404


def test_an_unreachable_document_is_said_without_addresses(w: World) -> None:
    answer = w.register(signed(w, instance="gone.example.com"))
    assert answer.refusal() == (502, "well-known-unreachable")
    assert not any(hidden in answer.text for hidden in ("127.0.0.1", ":1/", "http://", "errno", "Errno"))


@pytest.mark.parametrize(
    "document",
    [
        b"<html>", b"{}", b'{"instance":"evil.example.com"}', b"[" * 30,
        b'{"instance":"other.example.com","registrationPublicKey":"x","webhook":{"algorithm":"ES256","publicKey":"x"}}',
    ],
)  # fmt: skip
def test_a_wrong_document_is_invalid(tmp_path: Path, document: bytes) -> None:
    with world(tmp_path) as w:
        w.other.broken = document
        assert w.register(w.other.signed("x", "t")).refusal() == (502, "well-known-invalid")
        fetches = w.other.fetches
        assert w.register(w.other.signed("x", "t")).refusal() == (502, "well-known-invalid")
        assert w.other.fetches == fetches, "failures are remembered for 30 s"


def test_a_document_over_16_kib_is_refused(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        w.other.broken = b" " * 16_385
        status, code = w.register(w.other.signed("x", "t")).refusal()
        assert (status, code) in {(502, "well-known-invalid"), (502, "well-known-unreachable")}


def test_while_a_document_cannot_be_fetched_the_last_good_one_serves(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        assert w.register(w.other.signed("x", "t")).status == 200
        w.other.site.close()
        forged = w.demo.signed("x", "t", instance=w.other.domain)
        assert w.register(forged).refusal() == (401, "signature-invalid")
        assert w.register(w.other.signed("x", "t")).status == 200


def test_too_many_requests_are_told_when_to_come_back(tmp_path: Path) -> None:
    with world(tmp_path, push="rate_per_instance = 60\nrate_per_address = 120") as w:
        answers = [w.register(w.demo.registration("x", "t")) for _ in range(130)]
        limited = [answer for answer in answers if answer.status == 429]
        assert limited
        assert {answer.refusal() for answer in limited} == {(429, "rate-limited")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in limited)
        assert w.demo.fetches <= 1


def test_while_the_log_takes_nothing_the_answer_is_503(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        kept = w.demo.signed("x", "kept")
        assert w.register(kept).status == 200
        resource.prlimit(w.server.process.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        answer = w.register(w.demo.signed("x", "t"))
        assert answer.refusal() == (503, "log-unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        resource.prlimit(w.server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert w.register(w.demo.signed("x", "t")).refusal() == (503, "log-unavailable"), "it stays closed"
        assert w.get("/ready").status == 503
        assert w.get("/health").status == 200
        w.crash()
        assert w.register(kept).body["duplicate"] is True
        assert w.register(w.demo.signed("x", "t")).status == 200


def test_what_was_refused_leaves_nothing_behind(w: World) -> None:
    def size() -> int:
        return int(w.get("/status").body["log"]["size"])

    before = size()
    event = w.demo.event("x")
    for refused in (
        w.register(signed(w) | {"userId": "y"}),
        w.register(b"{"),
        w.notify(event, w.other),
        w.notify(w.demo.event("x", created_at=iso(1)), w.demo),
    ):
        assert refused.status >= 400
    assert size() == before
    assert w.notify(event, w.demo).body["duplicate"] is False
