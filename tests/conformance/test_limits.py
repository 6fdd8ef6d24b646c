"""The information document (NIP-11) is true: every limit that it shows is found again by going up to it and beyond."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from gateway.limits.mirror import NEG_OPEN_MAX
from tests.conformance.sockets import Line, line
from tests.conformance.test_normal_socket import ALICE, BOB, NOW, event
from tests.conformance.world import World, world

CONFIG = f"""
[relay]
message_bytes_max = 262144
subscriptions_max = 3
filters_max = 2
subid_chars_max = 8
limit_max = 6
limit_default = 4
event_tags_max = 5
content_chars_max = 100
created_at_ahead_s_max = 500
compare_events_max = 7
admins = ["{ALICE.public_key_xonly.format().hex()}"]
"""


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("limits"), extra=CONFIG) as made:
        yield made
        assert made.traces() == []


@pytest.fixture
def told(w: World) -> dict[str, Any]:
    """The document's limitations."""
    found: dict[str, Any] = document(w)["limitation"]
    return found


def document(w: World) -> dict[str, Any]:
    body: dict[str, Any] = w.get("/relay", {"Accept": "application/nostr+json"}).body
    return body


@asynccontextmanager
async def opened(w: World) -> AsyncIterator[Line]:
    async with line(f"{w.server.ws_url}/relay") as one:
        yield one


async def accepted(one: Line, **changes: Any) -> tuple[bool, str]:
    made = event(**changes)
    answer = await one.answer("EVENT", made)
    assert answer[:2] == ["OK", made["id"]]
    return answer[2], answer[3]


async def test_every_limit_that_is_told_is_looked_at_here(told: dict[str, Any]) -> None:
    assert set(told) == {
        "max_message_length", "max_subscriptions", "max_filters", "max_filter_values", "max_subid_length", "max_limit",
        "default_limit", "max_event_tags", "max_content_length", "min_pow_difficulty", "created_at_upper_limit",
        "auth_required", "payment_required", "restricted_writes",
    }  # fmt: skip
    assert (told["auth_required"], told["payment_required"], told["restricted_writes"]) == (False, False, False)


async def test_a_message_may_be_so_long(w: World, told: dict[str, Any]) -> None:
    async with opened(w) as one:
        frame = json.dumps(["REQ", "x", {"kinds": [1], "limit": 0}])
        await one.raw(frame.ljust(told["max_message_length"]))
        assert (await one.hear())[:2] == ["EOSE", "x"]
        await one.raw(frame.ljust(told["max_message_length"] + 1))
        assert (await one.ended())[0] == 1009


async def test_so_many_subscriptions_are_open_at_once(w: World, told: dict[str, Any]) -> None:
    async with opened(w) as one:
        for at in range(told["max_subscriptions"]):
            assert (await one.answer("REQ", f"s{at}", {"limit": 0}))[:2] == ["EOSE", f"s{at}"]
        refused = await one.answer("REQ", "more", {"limit": 0})
        assert refused[:2] == ["CLOSED", "more"]
        assert refused[2].startswith("rate-limited:")
        assert (await one.answer("REQ", "s0", {"limit": 0}))[0] == "EOSE"  # in place of one that is open
        await one.say("CLOSE", "s1")
        assert (await one.answer("REQ", "more", {"limit": 0}))[0] == "EOSE"


async def test_a_request_has_so_many_filters_values_and_characters_in_its_name(w: World, told: dict[str, Any]) -> None:
    none, name = {"limit": 0}, "n" * told["max_subid_length"]
    values = told["max_filter_values"]
    async with opened(w) as one:
        for asked in (
            ["REQ", "f", *[none] * told["max_filters"]],
            ["REQ", name, none],
            # With the one of the name above that is the most that a connection has open.
            ["REQ", "f", {"kinds": [*range(30_000, 30_000 + values - 1)], **none}],
        ):
            assert (await one.answer(*asked))[0] == "EOSE"
        for asked in (
            ["REQ", "g", *[none] * (told["max_filters"] + 1)],
            ["COUNT", "g", *[none] * (told["max_filters"] + 1)],
            ["REQ", f"{name}n", none],
            ["COUNT", f"{name}n", none],
            ["REQ", "g", {"kinds": [*range(30_000, 30_000 + values + 1)], **none}],
        ):
            assert (await one.answer(*asked))[0] == "CLOSED", asked[:2]


async def test_a_request_gets_so_many_events_asked_or_unasked(w: World, told: dict[str, Any]) -> None:
    async with opened(w) as one:
        for at in range(told["max_limit"] + 1):
            assert await accepted(one, kind=7, content=str(at)) == (True, "")
        assert len(await one.stored({"kinds": [7]})) == told["default_limit"]
        for limit in (told["max_limit"], told["max_limit"] + 1, 10**9):
            assert len(await one.stored({"kinds": [7], "limit": limit})) == told["max_limit"]


async def test_an_event_has_so_many_tags_and_characters_and_is_so_far_ahead(w: World, told: dict[str, Any]) -> None:
    ahead, length, tags = (told[name] for name in ("created_at_upper_limit", "max_content_length", "max_event_tags"))
    async with opened(w) as one:
        assert await accepted(one, content="é" * length) == (True, "")
        assert await accepted(one, tags=[["t", str(at)] for at in range(tags)]) == (True, "")
        assert await accepted(one, created_at=NOW + ahead) == (True, "")
        for beyond in (
            {"content": "é" * (length + 1)},
            {"tags": [["t", str(at)] for at in range(tags + 1)]},
            {"created_at": NOW + ahead + 3_600},
        ):
            taken, reason = await accepted(one, **beyond)
            assert not taken
            assert reason.startswith("invalid: ")


async def test_a_comparison_holds_so_many_events_and_a_connection_so_many_comparisons(w: World) -> None:
    assert document(w)["negentropy"] == 1
    async with opened(w) as one:
        for at in range(8):
            assert await accepted(one, key=BOB, kind=17, content=str(at)) == (True, "")
        too_many = await one.answer("NEG-OPEN", "n", {"kinds": [17]}, "61")
        assert too_many[0] == "NEG-ERR"
        assert too_many[2].startswith("blocked: ")
        assert too_many[3] == 7
        for at in range(NEG_OPEN_MAX):
            assert (await one.answer("NEG-OPEN", f"n{at}", {"kinds": [17], "limit": 7}, "61"))[0] == "NEG-MSG"
        assert (await one.answer("NEG-OPEN", "more", {"kinds": [17], "limit": 7}, "61"))[2].startswith("blocked: ")


def worked(difficulty: int, promised: int, content: str) -> dict[str, Any]:
    """An event with so many leading zero bits exactly, that promises some number of them."""
    for nonce in count():
        tags = [["nonce", str(nonce), str(promised)]]
        pubkey = ALICE.public_key_xonly.format().hex()
        text = json.dumps([0, pubkey, NOW, 1, tags, content], separators=(",", ":"))
        found = hashlib.sha256(text.encode()).digest()
        if 256 - int.from_bytes(found, "big").bit_length() == difficulty:
            return event(content=content, tags=tags)
    raise AssertionError


async def test_an_event_proves_so_much_work_and_a_list_of_writers_is_told(tmp_path_factory: Any) -> None:
    writer = ALICE.public_key_xonly.format().hex()
    relay = "[relay]\nmin_pow_difficulty = 5\nsearch_events_max = 0\ncompare_events_max = 0\n"
    extra = f'{relay}[relay.policy]\nallow_keys = ["{writer}"]\n'
    with world(tmp_path_factory.mktemp("work"), extra=extra) as w:
        shown = document(w)
        wanted = shown["limitation"]["min_pow_difficulty"]
        assert shown["limitation"]["restricted_writes"] is True
        assert (13 in shown["supported_nips"], 50 in shown["supported_nips"], 77 in shown["supported_nips"]) == (
            True, False, False,
        )  # fmt: skip
        assert "negentropy" not in shown
        async with opened(w) as one:
            for good, made in (
                (True, worked(wanted, wanted, "enough")),
                (False, worked(wanted - 1, wanted, "too little")),
                (False, worked(wanted, wanted - 1, "by luck")),
            ):
                answer = await one.answer("EVENT", made)
                assert answer[2] is good
                assert good or answer[3].startswith("pow: ")
            assert (await one.answer("EVENT", event(BOB)))[3].startswith("restricted: ")
            assert (await one.answer("EVENT", event(BOB, 10_002)))[3].startswith("pow: ")  # no list keeps it out
            assert (await one.answer("REQ", "x", {"search": "x"}))[2].startswith("unsupported: ")
            assert (await one.answer("NEG-OPEN", "x", {}, "61"))[2].startswith("unsupported: ")
