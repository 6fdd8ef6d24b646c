"""Every method is known with what it takes, and lists become rules."""

import json
from typing import Any

import pytest

from gateway.errors import NostrRefused
from gateway.nostr.moderation import CHANGES, LISTINGS, METHODS, OWN, Call, call_of, change_of, listing, rules_from
from tests.signing import ALICE, pubkey, signed

KEY = pubkey(ALICE)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"method":1}', b'{"method":"x"}', b'{"method":"banpubkey","params":1}'])
def test_what_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(NostrRefused):
        call_of(body)


def test_a_call_is_read() -> None:
    assert call_of(json.dumps({"method": "banpubkey", "params": [KEY]}).encode()) == Call("banpubkey", [KEY])
    assert len(METHODS) == len(set(METHODS)) == 1 + len(CHANGES) + len(LISTINGS) - len(OWN)
    for method in OWN:
        with pytest.raises(NostrRefused, match="unsupported: "):
            call_of(json.dumps({"method": method, "params": ["x"]}).encode())


@pytest.mark.parametrize(
    ("method", "params", "value"),
    [
        ("banpubkey", [KEY, "spam"], KEY),
        ("allowevent", ["0" * 64], "0" * 64),
        ("disallowkind", [4], "4"),
        ("blockip", ["192.0.2.0/24"], "192.0.2.0/24"),
        ("changerelayname", [""], ""),
    ],
)
def test_a_value_that_fits_is_taken(method: str, params: list[Any], value: str) -> None:
    assert change_of(Call(method, params)) == (value, params[1] if len(params) > 1 else "")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("banpubkey", []),
        ("banpubkey", [KEY.upper()]),
        ("banpubkey", [KEY, 1]),
        ("banpubkey", [KEY, "x" * 2_000]),
        ("banevent", [1]),
        ("allowkind", ["1"]),
        ("allowkind", [70_000]),
        ("allowkind", [True]),
        ("blockip", ["example.com"]),
        ("blockip", [1]),
        ("changerelayname", [["x"]]),
    ],
)
def test_a_value_that_does_not_fit_is_refused(method: str, params: list[Any]) -> None:
    with pytest.raises(NostrRefused, match=r"^invalid: "):
        change_of(Call(method, params))


def test_lists_are_shown_in_the_form_of_their_method_and_hold_as_rules() -> None:
    lists = {
        "banned pubkeys": {KEY: "spam"},
        "disallowed kinds": {"10": "", "9": ""},
        "blocked ips": {"192.0.2.0/24": ""},
        "banned events": {"0" * 64: ""},
    }
    assert listing("listbannedpubkeys", lists) == [{"pubkey": KEY, "reason": "spam"}]
    assert listing("listdisallowedkinds", lists) == [9, 10]
    assert listing("listblockedips", lists) == [{"ip": "192.0.2.0/24"}]
    assert listing("listallowedevents", lists) == []
    rules = rules_from(lists)
    assert (rules.refusal(signed(), "") or "").startswith("blocked: ")
    assert rules.address_refusal("192.0.2.9") is not None
    assert not rules.is_selective
