"""Signed requests: exact keys, types and freshness."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ApiRefused
from gateway.limits.relays import FRESH_MS
from gateway.replication import payload as requests
from gateway.replication.payload import STALE, Issue, Once, Refresh, Revoke

NOW = 1_763_818_354_133
KEY = "ab" * 32
PUBKEY = "cd" * 32
INTERNAL = "public-gateway:hyperbee"
ISSUE = {"relayKey": KEY, "relayAuthToken": "auth"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def issue(payload):
    return requests.issue(payload, NOW, internal_relay=INTERNAL)


def refusal(read, payload) -> tuple[int, str]:
    with pytest.raises(ApiRefused) as refused:
        read(payload)
    return refused.value.status, refused.value.text


def test_an_issue_is_read_with_its_defaults():
    assert issue(ISSUE) == Issue(KEY, "auth", None, "relay-access", None, None)
    assert issue({**ISSUE, "pubkey": None, "scope": None, "ttlSeconds": 60.0}).ttl_s == 60


def test_the_gateways_own_relay_needs_no_auth_token():
    assert issue({"relayKey": INTERNAL}).relay_auth_token == ""
    assert issue({"relayKey": INTERNAL, "relayAuthToken": "x"}).relay_auth_token == "x"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({}, "relayKey and relayAuthToken are required"),
        ({"relayKey": KEY}, "relayKey and relayAuthToken are required"),
        ({"relayKey": KEY, "relayAuthToken": ""}, "relayKey and relayAuthToken are required"),
        ({"relayKey": 5, "relayAuthToken": "a"}, "relayKey and relayAuthToken are required"),
        ({"relayKey": INTERNAL, "relayAuthToken": 7}, "relayKey and relayAuthToken are required"),
        ({**ISSUE, "peers": []}, "unexpected key: peers"),
        ({**ISSUE, "token": "x"}, "unexpected key: token"),
        ({**ISSUE, "pubkey": "x"}, "pubkey must be 64 lower-case hexadecimal characters, or null"),
        ({**ISSUE, "pubkey": PUBKEY.upper()}, "pubkey must be 64 lower-case hexadecimal characters, or null"),
        ({**ISSUE, "scope": "s" * 65}, "scope must be a string of at most 64 characters"),
        ({**ISSUE, "scope": 5}, "scope must be a string of at most 64 characters"),
        ({**ISSUE, "ttlSeconds": 0}, "ttlSeconds must be a positive whole number"),
        ({**ISSUE, "ttlSeconds": True}, "ttlSeconds must be a positive whole number"),
        ({**ISSUE, "ttlSeconds": "60"}, "ttlSeconds must be a positive whole number"),
        ({**ISSUE, "relayAuthToken": "a" * 2049}, "relayAuthToken must have at most 2048 characters"),
        ({**ISSUE, "nonce": "n"}, "missing key: issuedAt"),
        ({**ISSUE, "issuedAt": NOW}, "missing key: nonce"),
        ({**ISSUE, "nonce": "", "issuedAt": NOW}, "nonce must be a string of 1 to 128 characters"),
        ({**ISSUE, "nonce": "n", "issuedAt": "now"}, "issuedAt must be milliseconds since 1970"),
    ],
)
def test_an_issue_that_is_not_right_is_refused_with_its_reason(payload, text):
    assert refusal(issue, payload) == (400, text)


@pytest.mark.parametrize("offset", [-FRESH_MS - 1, FRESH_MS + 1])
def test_a_request_signed_too_long_ago_or_ahead_is_stale(offset):
    assert refusal(issue, {**ISSUE, "nonce": "n", "issuedAt": NOW + offset}) == (401, STALE)


@pytest.mark.parametrize("offset", [-FRESH_MS, 0, FRESH_MS])
def test_a_request_signed_within_five_minutes_is_fresh(offset):
    assert issue({**ISSUE, "nonce": "n", "issuedAt": NOW + offset}).once == Once("n", NOW + offset)


def test_a_refresh_demands_its_own_keys():
    assert requests.refresh({"relayKey": KEY, "token": "t"}, NOW) == Refresh(KEY, "t", None, None)
    for payload in ({}, {"relayKey": KEY}, {"token": "t"}, {"relayKey": KEY, "token": ""}):
        assert refusal(lambda each: requests.refresh(each, NOW), payload) == (400, "relayKey and token are required")
    assert refusal(lambda each: requests.refresh(each, NOW), {**ISSUE, "token": "t"})[1] == (
        "unexpected key: relayAuthToken"
    )


def test_a_revocation_demands_its_own_keys():
    assert requests.revoke({"relayKey": KEY}, NOW) == Revoke(KEY, None, "revoked", None)
    assert requests.revoke({"relayKey": KEY, "pubkey": PUBKEY, "reason": "left"}, NOW).reason == "left"
    assert refusal(lambda each: requests.revoke(each, NOW), {}) == (400, "relayKey is required")
    assert refusal(lambda each: requests.revoke(each, NOW), {"relayKey": KEY, "reason": "x" * 257})[0] == 400


def test_a_registration_is_no_revocation():
    """In the original, whoever saw one signed could send it as the other."""
    registered = {"relayKey": KEY, "nonce": "n", "issuedAt": NOW, "peers": [], "metadata": {}}
    assert refusal(lambda each: requests.revoke(each, NOW), registered) == (400, "unexpected key: metadata")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b"NaN", b'{"a":"\\ud800"}'])
def test_a_body_that_is_no_json_object_is_refused(body):
    assert refusal(requests.json_body, body)[0] == 400


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("levels", "fits"), [(63, True), (64, False), (700, False)])
def test_a_body_nested_too_deeply_is_refused(before, after, levels, fits):
    body = f'{{"x":{before * levels}1{after * levels}}}'.encode()
    if fits:
        assert requests.json_body(body)
    else:
        assert refusal(requests.json_body, body) == (400, "The body is nested deeper than 64 levels")


def test_a_body_is_its_object():
    assert requests.json_body('{"a":"é"}'.encode()) == {"a": "é"}


@given(st.binary())
def test_any_bytes_are_an_object_or_refused(body):
    with suppress(ApiRefused):
        assert isinstance(requests.json_body(body), dict)


@given(
    st.dictionaries(
        st.sampled_from(["relayKey", "relayAuthToken", "token", "pubkey", "reason", "scope", "ttlSeconds", "nonce"])
        | st.sampled_from(["issuedAt", "x"]),
        JSON | st.just(KEY) | st.just(NOW),
    )
)
def test_any_payload_is_a_request_or_refused(payload):
    for read in (issue, lambda each: requests.refresh(each, NOW), lambda each: requests.revoke(each, NOW)):
        with suppress(ApiRefused):
            read(payload)
