"""Lists decide as they read: block before allow, and an empty allow list lets everybody in."""

from typing import Any

import pytest

from gateway.config import Policy
from gateway.errors import ConfigInvalid
from gateway.nostr.rules import rules_of
from tests.signing import ALICE, BOB, pubkey, signed

A, B = pubkey(ALICE), pubkey(BOB)


@pytest.mark.parametrize(
    ("policy", "prefix"),
    [
        ({}, None),
        ({"allow_keys": (A,)}, None),
        ({"allow_keys": (B,)}, "restricted"),
        ({"block_keys": (B,)}, None),
        ({"allow_keys": (B,), "allow_kinds": (7,)}, "restricted"),
        ({"block_keys": (A,), "allow_keys": (A,)}, "blocked"),
        ({"allow_kinds": (1, 7)}, None),
        ({"allow_kinds": (7,)}, "restricted"),
        ({"block_kinds": (1,)}, "blocked"),
        ({"block_addresses": ("192.0.2.0/24",)}, "blocked"),
        ({"block_addresses": ("192.0.2.2", "2001:db8::/32")}, None),
        ({"allow_addresses": ("192.0.2.1",)}, None),
        ({"allow_addresses": ("198.51.100.0/24",)}, "restricted"),
        ({"allow_addresses": ("192.0.2.1",), "block_addresses": ("192.0.2.0/24",)}, "blocked"),
    ],
)
def test_an_event_meets_the_lists(policy: dict[str, Any], prefix: str | None) -> None:
    refusal = rules_of(Policy(**policy)).refusal(signed(), "192.0.2.1")
    assert (refusal and refusal.partition(":")[0]) == prefix


def test_a_peer_without_an_address_is_on_no_list() -> None:
    assert rules_of(Policy(block_addresses=("0.0.0.0/0",))).address_refusal("") is None
    assert rules_of(Policy(allow_addresses=("0.0.0.0/0",))).address_refusal("") is not None


def test_what_is_no_address_is_refused_by_the_name_of_its_key() -> None:
    with pytest.raises(ConfigInvalid, match=r"relay\.policy\.block_addresses"):
        rules_of(Policy(block_addresses=("example.com",)))


@pytest.mark.parametrize("kind", [10_002, 10_050, 62])
def test_relay_lists_and_requests_to_vanish_are_kept_out_by_no_list_of_keys_but_by_a_ban(kind: int) -> None:
    event = signed(kind=kind)
    assert rules_of(Policy(allow_keys=(B,))).refusal(event, "") is None
    assert rules_of(Policy(allow_keys=(B,), block_keys=(event.pubkey,))).refusal(event, "") is not None
    assert (rules_of(Policy(allow_kinds=(1,))).refusal(event, "") is None) is (kind == 62)
    assert rules_of(Policy(block_kinds=(kind,))).refusal(event, "") is not None
