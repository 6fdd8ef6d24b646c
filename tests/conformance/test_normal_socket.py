"""The normal socket: NIP-01 with real signatures, NIP-09, NIP-11, and replication frames there (§5)."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coincurve import PrivateKey

from tests.conformance.sockets import line
from tests.conformance.test_mirror import Relay, row
from tests.conformance.worker import INTERNAL, Worker, relay_id
from tests.conformance.world import World, world

ALICE, BOB = PrivateKey(b"\x11" * 32), PrivateKey(b"\x12" * 32)
NOW = int(time.time())
EVENT_NOTICE = ["NOTICE", "replication token missing; event accepted on open relay"]
REQ_NOTICE = ["NOTICE", "replication token missing; REQ accepted on open relay"]


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("normal")) as made:
        yield made
        assert made.traces() == []


@pytest.fixture
def url(w: World) -> str:
    """A fresh open relay, so that tests do not meet."""
    relay = Relay(w)
    changed = relay.worker.register(relay.key, relay.name, metadata={"requiresAuth": False})
    assert changed.status == 200
    return f"{w.server.ws_url}/npub1conform/{relay.name}"


def event(key: PrivateKey = ALICE, kind: int = 1, content: str = "hello", **changes: Any) -> dict[str, Any]:
    """An event with its id and a real BIP-340 signature."""
    tags, created_at = changes.pop("tags", []), changes.pop("created_at", NOW)
    pubkey = key.public_key_xonly.format().hex()
    text = json.dumps([0, pubkey, created_at, kind, tags, content], separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).digest()
    signed = {"id": digest.hex(), "pubkey": pubkey, "created_at": created_at, "kind": kind, "tags": tags}
    return {**signed, "content": content, "sig": key.sign_schnorr(digest).hex(), **changes}


async def test_an_event_is_accepted_found_and_a_duplicate_the_second_time(url: str) -> None:
    async with line(url) as opened:
        one = event(content='q"\\\n\t é 😀 \u2028', tags=[["t", "x"], ["e", "0" * 64, "", "reply"]])
        assert (await opened.answer("EVENT", one))[:3] == ["OK", one["id"], True]
        again = await opened.answer("EVENT", one)
        assert again[:3] == ["OK", one["id"], True]
        assert again[3].startswith("duplicate:")
        assert await opened.stored({"ids": [one["id"]]}) == [one]
        assert await opened.stored({"#t": ["x"], "authors": [one["pubkey"]], "kinds": [1]}) == [one]
        assert await opened.stored({"#t": ["y"]}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"sig": "0" * 128}, {"id": "0" * 64}, {"content": "other"}, {"pubkey": "0" * 64}, {"sig": "x"}, {"kind": 2},
        {"created_at": NOW + 1, "id": "0" * 64}, {"kind": -1}, {"tags": [[1]]}, {"tags": "x"}, {"content": None},
    ],
)  # fmt: skip
async def test_an_event_that_its_author_did_not_sign_is_refused(url: str, changes: dict[str, Any]) -> None:
    async with line(url) as opened:
        broken = {**event(), **changes}
        verb, event_id, accepted, reason = await opened.answer("EVENT", broken)
        assert (verb, event_id, accepted) == ("OK", broken["id"], False)
        assert reason.startswith("invalid:"), reason
        assert await opened.stored({}) == []


async def test_another_authors_signature_is_refused(url: str) -> None:
    async with line(url) as opened:
        one = event()
        one["sig"] = BOB.sign_schnorr(bytes.fromhex(one["id"])).hex()
        assert (await opened.answer("EVENT", one))[2] is False


async def test_events_come_newest_first_limited_and_then_live(url: str) -> None:
    async with line(url) as reader, line(url) as writer:
        events = [event(content=str(at), created_at=NOW - at) for at in (3, 1, 2)]
        for one in events:
            await writer.answer("EVENT", one)
        newest = sorted(events, key=lambda each: -each["created_at"])
        assert await reader.stored({"kinds": [1]}) == newest
        assert await reader.stored({"kinds": [1], "limit": 2}) == newest[:2]
        assert await reader.stored({"since": NOW - 2, "until": NOW - 1}) == newest[:2]
        await reader.answer("REQ", "live", {"authors": [newest[0]["pubkey"]], "limit": 0})
        fresh = event(content="fresh")
        await writer.answer("EVENT", fresh)
        assert await reader.hear() == ["EVENT", "live", fresh]
        await writer.answer("EVENT", event(BOB))
        assert await reader.quiet() == []


async def test_equal_times_are_ordered_by_the_lower_id(url: str) -> None:
    async with line(url) as opened:
        events = [event(content=str(at)) for at in range(6)]
        for one in events:
            await opened.answer("EVENT", one)
        assert [one["id"] for one in await opened.stored({})] == sorted(one["id"] for one in events)


async def test_replaceable_and_addressable_events_replace_and_ephemeral_ones_are_not_kept(url: str) -> None:
    async with line(url) as opened, line(url) as reader:
        await reader.answer("REQ", "eph", {"kinds": [20_001]})
        for kind, tags in ((0, []), (10_002, []), (30_023, [["d", "a"]])):
            old, new = (event(kind=kind, tags=tags, created_at=NOW - age) for age in (10, 5))
            for one in (new, old):
                await opened.answer("EVENT", one)
            assert await opened.stored({"kinds": [kind]}) == [new]
        other = event(kind=30_023, tags=[["d", "b"]])
        await opened.answer("EVENT", other)
        assert len(await opened.stored({"kinds": [30_023]})) == 2
        assert await opened.stored({"kinds": [30_023], "#d": ["b"]}) == [other]
        ephemeral = event(kind=20_001)
        assert (await opened.answer("EVENT", ephemeral))[2] is True
        assert await reader.hear() == ["EVENT", "eph", ephemeral]
        assert await opened.stored({"kinds": [20_001]}) == []


async def test_of_equally_old_replaceable_events_the_lower_id_stays(url: str) -> None:
    async with line(url) as opened:
        events = sorted((event(kind=10_000, content=str(at)) for at in range(4)), key=lambda each: each["id"])
        for one in (events[2], events[0], events[3], events[1]):
            await opened.answer("EVENT", one)
        assert await opened.stored({"kinds": [10_000]}) == [events[0]]


async def test_a_deletion_removes_its_authors_events_and_keeps_them_away(url: str) -> None:
    async with line(url) as opened:
        mine, theirs = event(content="mine"), event(BOB, content="theirs")
        article = event(kind=30_023, tags=[["d", "x"]], created_at=NOW - 5)
        for one in (mine, theirs, article):
            await opened.answer("EVENT", one)
        address = f"30023:{mine['pubkey']}:x"
        deletion = event(kind=5, tags=[["e", mine["id"]], ["e", theirs["id"]], ["a", address]])
        assert (await opened.answer("EVENT", deletion))[2] is True
        assert await opened.stored({"kinds": [1, 30_023]}) == [theirs]
        assert (await opened.answer("EVENT", mine))[2] is False
        assert await opened.stored({"ids": [mine["id"]]}) == []
        assert await opened.stored({"kinds": [5]}) == [deletion]
        newer = event(kind=30_023, tags=[["d", "x"]], created_at=NOW + 5)
        assert (await opened.answer("EVENT", newer))[2] is True
        assert await opened.stored({"kinds": [30_023]}) == [newer]


async def test_messages_that_are_none_get_a_notice_or_closed(url: str) -> None:
    async with line(url) as opened:
        for text, notice in (
            ("{", "Invalid message payload"), ("{}", "Malformed Nostr frame"), ('["EVENT"]', "Invalid EVENT payload"),
            ('["REQ"]', "REQ frame missing subscription id"), ('["NOPE",1]', None),
        ):  # fmt: skip
            await opened.raw(text)
            heard = await opened.hear()
            assert heard[0] == "NOTICE"
            assert notice is None or heard[1] == notice
        for wrong in ({"ids": ["x"]}, {"kinds": ["1"]}, {"since": "x"}, 5, {"limit": -1}):
            closed = await opened.answer("REQ", "bad", wrong)
            assert closed[:2] == ["CLOSED", "bad"], closed
            assert closed[2].partition(":")[0] in {"invalid", "unsupported", "error"}
        assert (await opened.answer("REQ", "s" * 65, {}))[0] in {"CLOSED", "NOTICE"}


async def test_published_limits_are_enforced(w: World, url: str) -> None:
    limits = w.get("/relay", {"Accept": "application/nostr+json"}).body["limitation"]
    async with line(url) as opened:
        for at in range(limits["max_subscriptions"]):
            assert (await opened.answer("REQ", f"s{at}", {"limit": 0}))[0] == "EOSE"
        assert (await opened.answer("REQ", "one-more", {"limit": 0}))[:2] == ["CLOSED", "one-more"]
        ahead = event(created_at=int(time.time()) + limits["created_at_upper_limit"] + 60)
        assert (await opened.answer("EVENT", ahead))[2] is False
        tags = event(tags=[["t", str(at)] for at in range(limits["max_event_tags"] + 1)])
        assert (await opened.answer("EVENT", tags))[2] is False
        content = event(content="x" * (limits["max_content_length"] + 1))
        assert (await opened.answer("EVENT", content))[2] is False
        await opened.raw('["REQ","x",{"ids":["' + "0" * limits["max_message_length"] + '"]}]')
        assert (await opened.ended())[0] == 1009


def test_the_information_document_is_nip_11(w: World) -> None:
    for path in ("/relay", "/public-gateway/hyperbee"):
        answer = w.get(path, {"Accept": "application/nostr+json"})
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/nostr+json")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {"name", "supported_nips", "software", "version", "limitation"} <= set(answer.body)
        assert {1, 9, 11} <= set(answer.body["supported_nips"])
    assert w.get("/npub1conform/nobody", {"Accept": "application/nostr+json"}).status == 404


async def test_events_of_relays_are_apart(w: World, url: str) -> None:
    async with line(url) as one, line(f"{w.server.ws_url}/relay") as other:
        mine = event(content="apart")
        await one.answer("EVENT", mine)
        assert await other.stored({"ids": [mine["id"]]}) == []


async def test_events_survive_a_crash(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        async with line(f"{w.server.ws_url}/relay") as opened:
            events = [event(content=f"kept {at}", created_at=NOW - at) for at in range(20)]
            for one in events:
                await opened.say("EVENT", one)
            for _ in events:
                assert (await opened.hear())[2] is True
            w.server.kill()
        w.crash()
        async with line(f"{w.server.ws_url}/relay") as opened:
            assert await opened.stored({"kinds": [1]}) == events
        assert w.traces() == []


async def test_replication_on_the_open_relay_is_accepted_with_a_notice(w: World) -> None:
    mine = relay_id("open:rows")
    async with line(f"{w.server.ws_url}/relay") as opened:
        one = row(mine)
        await opened.say("EVENT", one)
        heard = [await opened.hear(), await opened.hear()]
        assert EVENT_NOTICE in heard
        assert ["OK", one["id"], True, "stored"] in heard
        await opened.say("REQ", "open", {"relayID": mine})
        heard = await opened.until("EOSE")
        assert REQ_NOTICE in heard
        assert ["EVENT", "open", one] in heard


async def test_open_rows_never_reach_a_mirror_nor_tokened_rows_the_untokened(w: World) -> None:
    mine, token = relay_id("mixed:rows"), Worker(w).issue(INTERNAL, "aa" * 32)["token"]
    poison, real = row(mine, fileKey="open"), row(mine, fileKey="tokened")
    async with (
        line(f"{w.server.ws_url}/relay") as untokened,
        line(f"{w.server.ws_url}/relay?token={token}") as tokened,
        line(f"{w.server.ws_url}/mirror/relay?token={token}") as mirror,
    ):
        for opened in (untokened, tokened, mirror):
            await opened.say("REQ", "live", {"relayID": mine})
            await opened.until("EOSE")
        async with line(f"{w.server.ws_url}/relay") as writer:
            await writer.say("EVENT", poison)
            await writer.until("OK")
        await mirror.say("EVENT", real)
        heard = {}
        for name, opened in (("untokened", untokened), ("tokened", tokened), ("mirror", mirror)):
            heard[name] = {frame[2]["fileKey"] for frame in await opened.quiet() if frame[0] == "EVENT"}
            await opened.say("CLOSE", "live")
        assert heard == {"untokened": {"open"}, "tokened": {"open", "tokened"}, "mirror": {"tokened"}}
        assert await mirror.stored({"relayID": mine}) == [real]
        assert await untokened.stored({"relayID": mine}) == [poison]
        assert {one["fileKey"] for one in await tokened.stored({"relayID": mine})} == {"open", "tokened"}


async def test_an_open_row_does_not_take_a_tokened_rows_place(w: World) -> None:
    mine, token = relay_id("first:come"), Worker(w).issue(INTERNAL, "aa" * 32)["token"]
    async with (
        line(f"{w.server.ws_url}/relay") as untokened,
        line(f"{w.server.ws_url}/mirror/relay?token={token}") as mirror,
    ):
        one = row(mine)
        await untokened.say("EVENT", one)
        assert (await untokened.until("OK"))[-1][2:] == [True, "stored"]
        assert await mirror.answer("EVENT", one) == ["OK", one["id"], True, "stored"]
        assert await mirror.stored({"relayID": mine}) == [one]


async def test_a_tokened_session_on_the_normal_socket_gets_no_notice(w: World) -> None:
    mine, token = relay_id("no:notice"), Worker(w).issue(INTERNAL, "aa" * 32)["token"]
    async with line(f"{w.server.ws_url}/relay?token={token}") as tokened:
        one = row(mine)
        assert await tokened.answer("EVENT", one) == ["OK", one["id"], True, "stored"]
        await tokened.say("REQ", "s", {"relayID": mine})
        assert await tokened.hear() == ["EVENT", "s", one]
        assert await tokened.hear() == ["EOSE", "s"]


async def test_rows_never_appear_in_an_ordinary_request(w: World) -> None:
    async with line(f"{w.server.ws_url}/relay") as opened:
        one = row(relay_id("hidden:rows"), kind=7_777)
        await opened.say("EVENT", one)
        await opened.until("OK")
        assert await opened.stored({"kinds": [7_777]}) == []
        assert await opened.stored({"ids": [one["id"]]}) == []
        mixed = await opened.answer("REQ", "mixed", {"kinds": [7_777]}, {"relayID": relay_id("hidden:rows")})
        assert mixed[0] in {"CLOSED", "NOTICE", "EVENT", "EOSE"}
