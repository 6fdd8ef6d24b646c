"""Replication frames on the mirror: every check, answer, text and order of relay-and-mirror.md §4."""

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from websockets.frames import Frame, Opcode

from tests.conformance.sockets import Line, line
from tests.conformance.worker import INTERNAL, Worker, fresh_key, relay_id
from tests.conformance.world import World, world
from tests.fuzz.peer import Frames

ALICE, BOB = "aa" * 32, "bb" * 32
NOTICE_FILTERS = "replication filters required on replication channel"


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("mirror")) as made:
        yield made
        assert made.traces() == [], "".join(made.server.lines)


class Relay:
    """A fresh relay, its relayID and sockets to its mirror."""

    def __init__(self, w: World) -> None:
        self.w, self.worker, self.key = w, Worker(w), fresh_key()
        self.name = f"m{self.key[:12]}"
        assert self.worker.register(self.key, self.name, metadata={"pathAliases": [f"al/{self.name}"]}).status == 200
        self.relay_id = relay_id(f"npub1conform:{self.name}")

    def url(self, subject: str | None = ALICE) -> str:
        token = self.worker.issue(self.key, subject)["token"]
        return f"{self.w.server.ws_url}/mirror/npub1conform/{self.name}?token={token}"

    @asynccontextmanager
    async def mirror(self, subject: str | None = ALICE) -> AsyncIterator[Line]:
        async with line(self.url(subject)) as opened:
            yield opened

    def row(self, **changes: Any) -> dict[str, Any]:
        return row(self.relay_id, **changes)


def row(of: str, **changes: Any) -> dict[str, Any]:
    """A row as its clients send it; None removes a key."""
    body = {
        "id": hashlib.sha256(uuid.uuid4().bytes).hexdigest(),
        "relayID": of,
        "kind": 30_078,
        "created_at": 1_700_000_000,
        "fileKey": "f",
        "driveKey": "d",
        "eventData": base64.b64encode(b"secret" * 9).decode(),
        **changes,
    }
    return {key: value for key, value in body.items() if value is not None}


@pytest.fixture
def relay(w: World) -> Relay:
    return Relay(w)


async def test_a_row_is_stored_and_a_repeat_is_a_duplicate(w: World, relay: Relay) -> None:
    async with relay.mirror() as mirror:
        one = relay.row(extra={"kept": [1.5, None, "é"]})
        assert await mirror.answer("EVENT", one) == ["OK", one["id"], True, "stored"]
        size = w.get("/status").body["log"]["size"]
        assert await mirror.answer("EVENT", one) == ["OK", one["id"], True, "duplicate: already stored"]
        assert w.get("/status").body["log"]["size"] == size, "a repeat appends nothing"
        assert await mirror.stored({"relayID": relay.relay_id}) == [one]


async def test_rows_come_as_they_were_sent(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        one = relay.row()
        text = json.dumps(["EVENT", {**one, "big": 1}]).replace('"big": 1', '"big": 1.50,  "z" : "\\u00e9"')
        await mirror.raw(text)
        assert (await mirror.hear())[3] == "stored"
        await mirror.say("REQ", "s", {"relayID": relay.relay_id})
        raw = await mirror.connection.get_message()
        assert '"big": 1.50,  "z" : "\\u00e9"' in raw


async def test_stored_rows_come_newest_first_and_then_eose_once(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        rows = [relay.row(created_at=1_700_000_000 + at) for at in (5, 1, 9, 3)]
        for one in rows:
            await mirror.answer("EVENT", one)
        got = await mirror.stored({"relayID": relay.relay_id})
        assert got == sorted(rows, key=lambda each: -each["created_at"])
        assert await mirror.stored({"#relay": [relay.relay_id]}) == got
        assert await mirror.stored({"relayID": [relay.relay_id], "#relay": relay.relay_id}) == got
        assert await mirror.quiet() == []


async def test_filters_choose(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        rows = [relay.row(created_at=100 * at, kind=at) for at in range(1, 6)]
        for one in rows:
            await mirror.answer("EVENT", one)
        mine = {"relayID": relay.relay_id}

        async def kinds(**fields: Any) -> list[int]:
            return [each["kind"] for each in await mirror.stored({**mine, **fields})]

        assert await kinds(since=200, until=400) == [4, 3, 2], "both ends are included"
        assert await kinds(kinds=[1, 5, 9]) == [5, 1]
        assert await kinds(ids=[rows[2]["id"]]) == [3]
        assert await kinds(limit=2) == [5, 4]
        assert await kinds(limit=0) == []
        assert await kinds(ids=[]) == []
        assert [each["kind"] for each in await mirror.stored({**mine, "kinds": [1]}, {**mine, "kinds": [3, 1]})] == [
            3,
            1,
        ]


async def test_live_rows_follow_without_a_gap_and_each_once(relay: Relay) -> None:
    async with relay.mirror() as reader, relay.mirror(BOB) as writer:
        before = [relay.row() for _ in range(5)]
        for one in before:
            await writer.answer("EVENT", one)
        await reader.say("REQ", "live", {"relayID": relay.relay_id})
        assert len(await reader.until("EOSE")) == 6
        after = [relay.row() for _ in range(20)]
        for one in after:
            await writer.say("EVENT", one)
        assert [(await reader.hear()) for _ in after] == [["EVENT", "live", one] for one in after]
        await reader.say("CLOSE", "live")
        await reader.stored({"relayID": relay.relay_id, "limit": 0})
        await writer.say("EVENT", relay.row())
        assert await reader.quiet() == []


async def test_rows_written_while_a_request_is_answered_come_exactly_once(relay: Relay) -> None:
    async with relay.mirror() as reader, relay.mirror(BOB) as writer:
        rows = [relay.row(created_at=1_700_000_000 + at) for at in range(60)]

        async def write() -> None:
            for one in rows:
                await writer.answer("EVENT", one)

        seen: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(0.02)
            await reader.say("REQ", "race", {"relayID": relay.relay_id})
            while len(seen) < len(rows):
                frame = await reader.hear()
                seen += [frame[2]["id"]] if frame[0] == "EVENT" else []
        assert sorted(seen) == sorted(one["id"] for one in rows)
        assert await reader.quiet() == []


async def test_a_close_in_one_packet_with_the_end_leaves_nothing_behind(relay: Relay) -> None:
    async with relay.mirror(BOB) as writer:
        for parting in (
            [["CLOSE", "s"]],
            [["REQ", "s", {"relayID": relay.relay_id}]],
            [["CLOSE", "s"], ["CLOSE", "t"]],
        ):
            token = relay.worker.issue(relay.key, ALICE)["token"]
            peer = Frames(relay.w.server.url, f"/mirror/{relay.key}?token={token}")
            for sub in ("s", "t"):
                peer.text(json.dumps(["REQ", sub, {"relayID": relay.relay_id}]).encode())
            peer.settle({"relayID": relay.relay_id, "limit": 0})
            texts = [Frame(Opcode.TEXT, json.dumps(each).encode()).serialize(mask=True) for each in parting]
            peer.connection.send(b"".join(texts) + Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
            peer.connection.end()
            peer.close()
            assert (await writer.answer("EVENT", relay.row()))[3] == "stored"
    assert relay.w.get("/ready").status == 200


async def test_a_request_with_a_used_id_replaces_the_subscription(relay: Relay) -> None:
    async with relay.mirror() as reader, relay.mirror(BOB) as writer:
        await reader.answer("REQ", "s", {"relayID": relay.relay_id, "kinds": [1]})
        await reader.answer("REQ", "s", {"relayID": relay.relay_id, "kinds": [2]})
        for kind in (1, 2):
            await writer.answer("EVENT", relay.row(kind=kind))
        assert (await reader.hear())[2]["kind"] == 2
        assert await reader.quiet() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": "x"}, "invalid-event-id"), ({"id": "A" * 64}, "invalid-event-id"), ({"id": None}, "invalid-event-id"),
        ({"id": 5}, "invalid-event-id"), ({"kind": -1}, "invalid-event:"), ({"kind": 65_536}, "invalid-event:"),
        ({"kind": "1"}, "invalid-event:"), ({"kind": None}, "invalid-event:"), ({"kind": True}, "invalid-event:"),
        ({"created_at": -1}, "invalid-event:"), ({"created_at": 2**53}, "invalid-event:"),
        ({"created_at": 1.5}, "invalid-event:"), ({"created_at": None}, "invalid-event:"),
        ({"eventData": "a"}, "invalid-event:"), ({"eventData": "YQ"}, "invalid-event:"),
        ({"eventData": "-_=="}, "invalid-event:"), ({"eventData": 5}, "invalid-event:"),
        ({"eventData": None}, "invalid-event:"), ({"fileKey": 5}, "invalid-event:"),
        ({"driveKey": []}, "invalid-event:"),
        ({"relayID": "5"}, "invalid-event"), ({"relayID": "0" * 64}, "relay-mismatch:"),
        ({"relayID": None}, "replication-required"), ({"relayID": ""}, "replication-required"),
        ({"pubkey": "0" * 64, "sig": "0" * 128}, "invalid"),
    ],
)  # fmt: skip
async def test_a_wrong_row_is_refused_with_its_reason(relay: Relay, changes: dict[str, Any], reason: str) -> None:
    async with relay.mirror() as mirror:
        one = relay.row(**changes)
        verb, row_id, accepted, text = await mirror.answer("EVENT", one)
        assert (verb, accepted) == ("OK", False)
        assert row_id == (one["id"] if isinstance(one.get("id"), str) else row_id)
        assert text.startswith(reason), text
        assert await mirror.stored({"relayID": relay.relay_id}) == []


async def test_edges_of_the_checks_are_accepted(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        for changes in (
            {"kind": 0, "created_at": 0}, {"kind": 65_535, "created_at": 2**53 - 1},
            {"fileKey": None, "driveKey": None},
            {"eventData": base64.b64encode(b"x" * 700_000).decode()},
        ):  # fmt: skip
            assert (await mirror.answer("EVENT", relay.row(**changes)))[3] == "stored"


async def test_a_frame_over_1_mib_is_not_taken(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        await mirror.say("EVENT", relay.row(eventData="A" * (1_048_576)))
        with trio.fail_after(30):
            assert (await mirror.ended())[0] == 1009


async def test_a_refused_request_is_closed_and_noticed_never_silent(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        for filters in ([{}], [{"kinds": [1]}], [{"relayID": relay.relay_id}, {"kinds": [1]}], [], [5]):
            heard = [await mirror.answer("REQ", "s", *filters), await mirror.hear()]
            closed = next(frame for frame in heard if frame[0] == "CLOSED")
            assert closed[1] == "s"
            assert ": " in closed[2]
            assert next(frame for frame in heard if frame[0] == "NOTICE") == ["NOTICE", NOTICE_FILTERS]
        wrong = ({"since": "x"}, {"since": 2**63}, {"kinds": [2**63]}, {"kinds": [-1]}, {"limit": -1}, {"ids": ["x"]})
        mine = tuple({"relayID": relay.relay_id, **fields} for fields in wrong)
        for fields in ({"relayID": "5"}, {"relayID": "0" * 64}, *mine):
            heard = [await mirror.answer("REQ", "s", fields), await mirror.hear()]
            assert {frame[0] for frame in heard} == {"CLOSED", "NOTICE"}


async def test_notices_have_the_stated_texts(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        for text, notice in (
            ("{", "Invalid message payload"), ("", "Invalid message payload"), ("nonsense", "Invalid message payload"),
            ("{}", "Malformed Nostr frame"), ("[]", "Malformed Nostr frame"), ("5", "Malformed Nostr frame"),
            ('["EVENT"]', "Invalid EVENT payload"), ('["EVENT",5]', "Invalid EVENT payload"),
            ('["REQ"]', "REQ frame missing subscription id"), ('["REQ",5]', "REQ frame missing subscription id"),
            ('["REQ",""]', "REQ frame missing subscription id"),
        ):  # fmt: skip
            await mirror.raw(text)
            assert await mirror.hear() == ["NOTICE", notice], text
        assert (await mirror.answer("WHAT", 1))[0] == "NOTICE"
        await mirror.raw(b"\x00\x01")
        assert (await mirror.hear())[0] == "NOTICE"


async def test_differing_bodies_of_other_subjects_are_kept_beside_up_to_four(relay: Relay) -> None:
    shared = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    for at, subject in enumerate([ALICE, BOB, "cc" * 32, "dd" * 32, "ee" * 32]):
        async with relay.mirror(subject) as mirror:
            answer = await mirror.answer("EVENT", relay.row(id=shared, fileKey=f"by {at}"))
            assert answer[2] is (at < 4), answer
            found = await mirror.stored({"relayID": relay.relay_id})
            assert len(found) == min(at + 1, 4)
            assert "by 0" in {each["fileKey"] for each in found}, "nobody displaces another's row"


async def test_one_subject_does_not_keep_two_bodies(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        one = relay.row()
        await mirror.answer("EVENT", one)
        await mirror.answer("EVENT", {**one, "fileKey": "changed"})
        found = await mirror.stored({"relayID": relay.relay_id})
        assert len(found) == 1


async def test_rows_of_relays_are_apart(w: World, relay: Relay) -> None:
    other = Relay(w)
    async with relay.mirror() as mine, other.mirror() as theirs:
        one = relay.row()
        await mine.answer("EVENT", one)
        closed = [await theirs.answer("REQ", "s", {"relayID": relay.relay_id}), await theirs.hear()]
        assert {frame[0] for frame in closed} == {"CLOSED", "NOTICE"}
        assert await theirs.stored({"relayID": other.relay_id}) == []


async def test_every_name_of_a_relay_has_its_relay_id(relay: Relay) -> None:
    async with relay.mirror() as mirror:
        for name in (f"npub1conform/{relay.name}", f"al/{relay.name}", f"  NPUB1conform:{relay.name.upper()} "):
            one = row(relay_id(name))
            assert (await mirror.answer("EVENT", one))[2:] == [True, "stored"]
            assert await mirror.stored({"relayID": relay_id(name), "ids": [one["id"]]}) == [one]


async def test_the_gateways_own_relay_carries_any_relay_id_in_its_own_namespace(w: World, relay: Relay) -> None:
    token = relay.worker.issue(INTERNAL, ALICE)["token"]
    async with line(f"{w.server.ws_url}/mirror/relay?token={token}") as fallback, relay.mirror() as mirror:
        one = relay.row()
        assert (await fallback.answer("EVENT", one))[2:] == [True, "stored"]
        assert await fallback.stored({"relayID": relay.relay_id}) == [one]
        assert await mirror.stored({"relayID": relay.relay_id}) == []


async def test_unless_the_operator_says_otherwise(tmp_path: Path) -> None:
    with world(tmp_path, extra="[mirror]\ninternal_relay_accepts_any = false\n") as w:
        token = Worker(w).issue(INTERNAL, ALICE)["token"]
        async with line(f"{w.server.ws_url}/mirror/relay?token={token}") as fallback:
            assert (await fallback.answer("EVENT", row("0" * 64)))[3].startswith("relay-mismatch:")
            assert (await fallback.answer("EVENT", row(relay_id(INTERNAL))))[3] == "stored"


async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        relay = Relay(w)
        rows = [relay.row(created_at=1_700_000_000 + at) for at in range(30)]
        async with relay.mirror() as mirror:
            for one in rows:
                await mirror.say("EVENT", one)
            acknowledged = [(await mirror.hear())[1] for _ in rows]
            w.server.kill()
        w.crash()
        async with relay.mirror() as mirror:
            found = await mirror.stored({"relayID": relay.relay_id})
            assert [one["id"] for one in found] == acknowledged[::-1]
            assert (await mirror.answer("EVENT", rows[0]))[3] == "duplicate: already stored"
        assert w.traces() == []


async def test_frames_are_counted_by_outcome_and_reason(w: World, relay: Relay) -> None:
    async with relay.mirror() as mirror:
        await mirror.answer("EVENT", relay.row())
        await mirror.answer("EVENT", relay.row(kind=-1))
        await mirror.answer("EVENT", relay.row(relayID="0" * 64))
    metrics = w.get("/metrics").text
    for reason in ("invalid-event", "relay-mismatch"):
        assert any(f'reason="{reason}"' in text and "frames_total" in text for text in metrics.splitlines()), reason
