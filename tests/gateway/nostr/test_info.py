"""The information document is the truth of the configuration."""

import json

import msgspec

from gateway.config import Relay
from gateway.nostr.info import HEADERS, Presentation, document

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
}


def test_every_limit_of_the_configuration_is_shown_as_it_is() -> None:
    limits = Relay(**dict(zip(SHOWN, range(1, 99), strict=False)))
    shown = json.loads(document(limits, Presentation("r"), "1.0"))["limitation"]
    assert {name: shown[there] for name, there in SHOWN.items()} == {name: getattr(limits, name) for name in SHOWN}
    hidden = {"name", "description", "pubkey", "contact", "icon", "unread_bytes_max"}
    assert set(SHOWN) | hidden == {field.name for field in msgspec.structs.fields(Relay)}


def test_it_names_only_what_it_does_and_leaves_out_what_is_empty() -> None:
    shown = json.loads(document(Relay(), Presentation("My relay", restricted=True), "1.0"))
    assert shown["supported_nips"] == [1, 2, 9, 11]
    assert shown["name"] == "My relay"
    assert shown["version"] == "1.0"
    assert "contact" not in shown
    assert "pubkey" not in shown
    assert shown["limitation"]["restricted_writes"] is True
    assert shown["limitation"]["auth_required"] is False


def test_a_browser_may_read_it_from_anywhere() -> None:
    assert {name for name in HEADERS if name.startswith("Access-Control-Allow")} == {
        "Access-Control-Allow-Origin",
        "Access-Control-Allow-Headers",
        "Access-Control-Allow-Methods",
    }
