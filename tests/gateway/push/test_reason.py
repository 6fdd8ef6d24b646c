"""Reasons as labels: few, whatever a push service says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.push.apns import judge as apns
from gateway.push.fcm import Failed, Gone, Transient, classify
from gateway.push.reason import LABELS, OTHER, label
from gateway.push.webpush import judge as webpush


@given(st.text() | st.integers(0, 9999).map(lambda status: f"http-{status}"))
def test_any_reason_has_one_of_the_labels_that_are_known_beforehand(reason: str) -> None:
    assert label(reason) in LABELS


def test_the_labels_are_few_enough_to_be_kept_for_each_outcome() -> None:
    assert len(set(LABELS)) == len(LABELS) < 64


@pytest.mark.parametrize("code", ["INTERNAL", "INVALID_ARGUMENT", "THIRD_PARTY_AUTH_ERROR", "UNAVAILABLE"])
def test_every_error_code_that_fcm_documents_keeps_its_name(code: str) -> None:
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    body = b'{"error":{"details":[{"@type":"%b","errorCode":"%b"}]}}' % (kind.encode(), code.encode())
    verdict = classify(503 if code in ("INTERNAL", "UNAVAILABLE") else 400, "", body, "t")
    assert isinstance(verdict, Failed | Transient)
    assert label(verdict.reason) == code.lower().replace("_", "-")


def test_what_a_push_service_makes_up_is_other_and_a_status_its_hundred() -> None:
    made_up = apns(400, "", b'{"reason":"token4711abc"}')
    assert isinstance(made_up, Failed)
    assert label(made_up.reason) == OTHER
    odd = webpush(418, "")
    assert isinstance(odd, Failed)
    assert label(odd.reason) == "http-4xx"
    gone = classify(404, "", b"{}", "t")
    assert not isinstance(gone, Gone)


def test_an_error_code_that_is_none_of_fcms_is_not_repeated() -> None:
    """It might hold the device's token, and reasons go into alarms."""
    kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
    body = b'{"error":{"details":[{"@type":"%b","errorCode":"no token dEv1ce-t0ken"}]}}' % kind.encode()
    verdict = classify(400, "", body, "dEv1ce-t0ken")
    assert isinstance(verdict, Failed)
    assert verdict.reason == "http-400"
