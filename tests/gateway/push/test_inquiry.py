"""Inquiries: a query that is an envelope, read before anything is looked up."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.limits.tenants import DEAD_PAGE_MAX
from gateway.push.envelope import event, registration
from gateway.push.inquiry import Inquiry, inquiry
from tests.takos import iso, plain_canonical

NOW = 1_763_126_872_000
UUID = "7E57A1B2-0000-4000-8000-00000000000f"
FIELDS = {
    "action": "tenant",
    "instance": "demo.example.com",
    "issuedAt": iso(NOW),
    "expiresAt": iso(NOW + 300_000),
    "nonce": UUID,
}


def read(**changes: str | None) -> Inquiry:
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    return inquiry(list(fields.items()), "sig", NOW)


def refused(**changes: str | None) -> tuple[int, str]:
    with pytest.raises(PushRefused) as why:
        read(**changes)
    return why.value.status, why.value.code


def test_a_query_is_read_and_what_is_signed_is_its_canonical_json() -> None:
    plain = read()
    assert plain.canonical == plain_canonical(FIELDS)
    assert (plain.names, plain.nonce, plain.expires_ms) == (("demo.example.com",), UUID.lower(), NOW + 300_000)
    assert (plain.since_ms, plain.after_seq, plain.limit) == (0, -1, DEAD_PAGE_MAX)
    more = {"since": iso(NOW - 5), "after": "17", "limit": "3"}
    asked = read(**more)
    assert (asked.since_ms, asked.after_seq, asked.limit) == (NOW - 5, 17, 3)
    assert asked.canonical == plain_canonical(FIELDS | more)
    assert read(limit="999999").limit == DEAD_PAGE_MAX


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": None}, "missing-field"),
        ({"action": "register"}, "invalid-field"),
        ({"instance": None}, "missing-field"),
        ({"nonce": "1"}, "invalid-field"),
        ({"nonce": ""}, "missing-field"),
        ({"issuedAt": "yesterday"}, "invalid-field"),
        ({"expiresAt": iso(NOW + 700_000)}, "invalid-field"),
        ({"since": "x"}, "invalid-field"),
        ({"after": "-1"}, "invalid-field"),
        ({"limit": "٣"}, "invalid-field"),
        ({"limit": "9" * 40}, "invalid-field"),
        ({"tenant": "other.example"}, "invalid-field"),
    ],
)
def test_what_does_not_belong_is_refused(changes: dict[str, str | None], code: str) -> None:
    assert refused(**changes) == (400, code)


def test_a_field_that_comes_twice_is_refused() -> None:
    with pytest.raises(PushRefused) as why:
        inquiry([*FIELDS.items(), ("instance", "evil.example")], "", NOW)
    assert why.value.code == "duplicate-key"


def test_an_inquiry_is_valid_for_its_time_alone() -> None:
    assert refused(issuedAt=iso(NOW - 300_000), expiresAt=iso(NOW)) == (401, "envelope-expired")
    assert refused(issuedAt=iso(NOW + 61_000)) == (401, "envelope-not-yet-valid")


def test_what_is_signed_as_an_inquiry_is_neither_a_registration_nor_an_event() -> None:
    body = json.dumps(FIELDS | {"userId": "a", "token": "t", "platform": "", "appId": ""}).encode()
    for reader in (lambda: registration(body, "sig", NOW), lambda: event(body, "sig", NOW, 1)):
        with pytest.raises(PushRefused) as why:
            reader()
        assert why.value.code == "invalid-field"


NAMES = st.sampled_from([*FIELDS, "since", "after", "limit", "x"]) | st.text(max_size=5)
VALUES = st.sampled_from([*FIELDS.values(), "0", ""]) | st.text(max_size=30)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_any_query_is_an_inquiry_or_a_refusal(pairs: list[tuple[str, str]]) -> None:
    try:
        asked = inquiry([*FIELDS.items(), *pairs], "sig", NOW)
    except PushRefused:
        return
    assert 0 <= asked.limit <= DEAD_PAGE_MAX
    assert asked.after_seq >= -1
