"""What FCM's answers mean: the table of push §5, row by row, and that any bytes whatever are some verdict."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    classify,
    request_body,
    shared_part,
)


def fcm(code: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}


def bad(field: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field}]}


def quota(subject: str) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": subject}]}


def body(*details: dict[str, object], status: str = "X") -> bytes:
    return json.dumps({"error": {"code": 1, "message": "m", "status": status, "details": list(details)}}).encode()


HTML = b"<!DOCTYPE html><title>Error 404</title>"


@pytest.mark.parametrize(
    ("status", "answer", "verdict"),
    [
        (200, b'{"name":"projects/p/messages/1"}', Delivered()),
        (200, b"", Delivered()),
        (404, body(fcm("UNREGISTERED")), Gone("unregistered")),
        (404, body(status="NOT_FOUND"), Failed("http-404", alarm=True)),
        (404, body(status="UNREGISTERED"), Failed("http-404", alarm=True)),
        (404, HTML, Failed("http-404", alarm=True)),
        (404, body(fcm("SENDER_ID_MISMATCH")), Failed("sender-id-mismatch", alarm=True)),
        (403, body(fcm("SENDER_ID_MISMATCH")), Mismatched()),
        (403, body(), Forbidden("permission-denied")),
        (403, HTML, Forbidden("permission-denied")),
        (400, body(fcm("INVALID_ARGUMENT")), Failed("invalid-argument")),
        (400, body(fcm("INVALID_ARGUMENT"), bad("message.data[0].value")), Failed("invalid-argument")),
        (400, body(fcm("INVALID_ARGUMENT"), bad("message.token")), Gone("invalid-token")),
        (400, body(bad("message.fid")), Gone("invalid-token")),
        (400, body(fcm("UNSPECIFIED_ERROR"), bad("message.token")), Failed("unspecified-error")),
        (400, b"", Failed("http-400")),
        (401, body(fcm("THIRD_PARTY_AUTH_ERROR")), Failed("third-party-auth-error", alarm=True)),
        (401, body(fcm("APNS_AUTH_ERROR")), Failed("apns-auth-error", alarm=True)),
        (401, body(), Unauthenticated()),
        (401, HTML, Unauthenticated()),
        (429, body(fcm("QUOTA_EXCEEDED")), Braked("project", "7")),
        (429, body(fcm("QUOTA_EXCEEDED"), quota("project:p")), Braked("project", "7")),
        (429, body(fcm("QUOTA_EXCEEDED"), quota("device")), Braked("device", "7")),
        (429, body(fcm("QUOTA_EXCEEDED"), quota("token:TARGET")), Braked("device", "7")),
        (429, HTML, Braked("project", "7")),
        (500, body(fcm("INTERNAL")), Transient("internal", "7")),
        (503, body(fcm("UNAVAILABLE")), Transient("unavailable", "7")),
        (502, HTML, Transient("http-502", "7")),
        (504, b"", Transient("http-504", "7")),
        (301, b"", Failed("http-301", alarm=True)),
        (413, b"", Failed("http-413", alarm=True)),
    ],
)
def test_an_answer_means_what_the_table_says(status: int, answer: bytes, verdict: Verdict) -> None:
    assert classify(status, "7", answer, "TARGET") == verdict


junk = st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "details", "@type", "errorCode", "fieldViolations", "violations", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), st.binary(max_size=100) | junk.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_some_verdict_and_never_costs_a_device_without_its_detail(status: int, answer: bytes) -> None:
    verdict = classify(status, "", answer, "TARGET")
    if isinstance(verdict, (Gone, Mismatched)):
        assert b"UNREGISTERED" in answer or b"message.token" in answer or b"SENDER_ID_MISMATCH" in answer


@given(st.sampled_from(["FcmError", "BadRequest", "QuotaFailure"]), junk, st.sampled_from([400, 401, 403, 404, 429]))
def test_details_of_any_shape_are_read(name: str, inner: object, status: int) -> None:
    detail = {"@type": f"a/b.{name}", "errorCode": inner, "fieldViolations": inner, "violations": inner}
    classify(status, "", body(detail), "TARGET")


def test_a_dry_run_asks_for_validation_only() -> None:
    shared = shared_part({"token": "", "data": {"a": "ü"}}, "token")
    assert json.loads(request_body("token", 't"', shared, validate_only=True)) == {
        "message": {"token": 't"', "data": {"a": "ü"}},
        "validate_only": True,
    }
    assert json.loads(request_body("fid", "f", shared, validate_only=False)) == {
        "message": {"fid": "f", "data": {"a": "ü"}}
    }
