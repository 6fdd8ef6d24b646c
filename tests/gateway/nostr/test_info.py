"""The information document is the truth of the configuration."""

import json

import msgspec
import pytest

from gateway.config import Policy, Relay
from gateway.nostr.info import Presentation, document, supported_nips
from gateway.nostr.rules import Rules

SHOWN = {
    "message_bytes_max": "max_message_length",
    "subscriptions_max": "max_subscriptions",
    "filters_max": "max_filters",
    "subid_chars_max": "max_subid_length",
    "limit_max": "max_limit",
    "limit_default": "default_limit",
    "event_tags_max": "max_event_tags",
    "content_chars_max": "max_content_length",
    "created_at_ahead_s_max": "created_at_upper_limit",
    "min_pow_difficulty": "min_pow_difficulty",
}


def test_every_limit_of_the_configuration_is_shown_as_it_is() -> None:
    limits = Relay(**dict(zip(SHOWN, range(1, 99), strict=False)))
    shown = json.loads(document(limits, Presentation("r"), "1.0"))["limitation"]
    assert {name: shown[there] for name, there in SHOWN.items()} == {name: getattr(limits, name) for name in SHOWN}
    hidden = {
        "name",
        "description",
        "pubkey",
        "contact",
        "icon",
        "unread_bytes_max",
        "private_kinds",
        "auth_at_connect",
        "count_max",
        "messages_per_s_max",
        "messages_per_s_per_address_max",
        "bytes_per_s_max",
        "bytes_per_s_per_address_max",
        "subscriptions_per_address_max",
        "policy",
        "admins",
        "search_events_max",
        "compare_events_max",
        "membership",
        "members_invite",
        "erase_gone_s",
    }
    assert set(SHOWN) | hidden == {field.name for field in msgspec.structs.fields(Relay)}


def test_it_names_only_what_it_does_and_leaves_out_what_is_empty() -> None:
    shown = json.loads(document(Relay(), Presentation("My relay", restricted=True), "1.0"))
    assert shown["supported_nips"] == [1, 2, 9, 11, 17, 40, 42, 45, 50, 59, 62, 65, 67, 70, 77]
    assert shown["name"] == "My relay"
    assert shown["version"] == "1.0"
    assert "contact" not in shown
    assert "pubkey" not in shown
    assert shown["limitation"]["restricted_writes"] is True
    assert shown["limitation"]["auth_required"] is False


@pytest.mark.parametrize(
    ("limits", "nip", "shown"),
    [
        (Relay(), 13, False),
        (Relay(min_pow_difficulty=1), 13, True),
        (Relay(private_kinds=()), 17, False),
        (Relay(private_kinds=(1_059,)), 59, False),
        (Relay(private_kinds=(1_059, 21_059, 4)), 17, True),
        (Relay(), 86, False),
        (Relay(search_events_max=0), 50, False),
        (Relay(compare_events_max=0), 77, False),
        (Relay(policy=Policy(allow_kinds=(1, 3, 5))), 9, True),
        (Relay(policy=Policy(allow_kinds=(1, 3))), 9, False),
        (Relay(policy=Policy(allow_kinds=(1, 3))), 62, True),
        (Relay(policy=Policy(block_kinds=(62,))), 62, False),
        (Relay(policy=Policy(block_kinds=(1_059,))), 17, False),
        (Relay(policy=Policy(block_kinds=(10_002,))), 65, False),
        (Relay(admins=("0" * 64,)), 86, True),
        (Relay(admins=("0" * 64,)), 98, True),
    ],
)
def test_a_nip_is_named_exactly_while_the_configuration_does_it(limits: Relay, nip: int, *, shown: bool) -> None:
    assert (nip in supported_nips(limits)) is shown


def test_what_moderators_keep_out_is_not_named() -> None:
    shown = json.loads(document(Relay(), Presentation("r"), "1.0", Rules(block_kinds=frozenset({5}))))
    assert set(supported_nips(Relay())) - set(shown["supported_nips"]) == {9}
    assert shown["limitation"]["restricted_writes"] is False
    shown = json.loads(document(Relay(), Presentation("r"), "1.0", Rules(allow_kinds=frozenset({5}))))
    assert set(supported_nips(Relay())) - set(shown["supported_nips"]) == {2, 17, 59, 65}
    assert shown["limitation"]["restricted_writes"] is True


def test_an_allow_list_and_work_that_is_wanted_are_restrictions_that_are_shown() -> None:
    shown = json.loads(document(Relay(min_pow_difficulty=1), Presentation("r"), "1.0"))
    assert shown["limitation"]["restricted_writes"] is True
    for policy in (Policy(allow_kinds=(1,)), Policy(allow_keys=("0" * 64,)), Policy(allow_addresses=("::1",))):
        shown = json.loads(document(Relay(policy=policy), Presentation("r"), "1.0"))
        assert shown["limitation"]["restricted_writes"] is True
    shown = json.loads(document(Relay(policy=Policy(block_kinds=(1,))), Presentation("r"), "1.0"))
    assert shown["limitation"]["restricted_writes"] is False
