"""The normal socket over a log in memory, from the client's end."""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from coincurve import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Config, Policy, Relay
from gateway.limits.nostr import BACKLOG_BYTES_MAX, BATCHES_MAX, STORED_BYTES
from gateway.negentropy import FRAME_BYTES_MIN, Items
from gateway.nostr.info import Presentation
from gateway.nostr.signature import Claim
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.relay.service import NostrService
from gateway.serve.relay.shown import event_json
from gateway.views import events, eventscan, freshrows
from gateway.views.events import EventsView
from gateway.views.moderation import ModerationView
from tests import oracles
from tests.fakes import FakeClock, MemoryLog, memory_ledger
from tests.gateway.views.test_eventscan import FILTERS
from tests.initiator import Initiator
from tests.signing import ALICE, BOB, NOW_S, pubkey, signed_fields

RELAY = "public-gateway:hyperbee"
URL = "wss://us.example/relay"


class Grant:
    """As much of a grant as a session on the normal socket looks at."""

    def __init__(self, relay_key: str = RELAY) -> None:
        self.relay_key = relay_key


def texts_of(frames: bytes) -> list[str]:
    """The messages in whole frames of a server."""
    texts, at = [], 0
    while at < len(frames):
        start = at + {126: 4, 127: 10}.get(frames[at + 1], 2)
        size = int.from_bytes(frames[at + 2 : start], "big") if start > at + 2 else frames[at + 1]
        at = start + size
        texts.append(frames[start:at].decode())
    return texts


class FakeSocket:
    """The socket's interface, with the client's end beside it: `say` and `hear`."""

    def __init__(self) -> None:
        self.peer = "192.0.2.1"
        self.max_bytes = 0
        self.is_open = True
        self.closed: tuple[int, str] | None = None
        self.unread_bytes = 0
        self.reads = True
        self.challenge = ""
        self._said, self._chunks = trio.open_memory_channel[list[str | bytes]](100)
        self._sent: list[Any] = []
        self._news = trio.lowlevel.ParkingLot()

    def chunks(self) -> AsyncIterator[list[str | bytes]]:
        return self._chunks

    def send(self, text: str) -> None:
        self.send_many([text])

    def send_many(self, texts: Iterable[str]) -> None:
        frames = list(map(json.loads, texts))
        self.challenge = next((frame[1] for frame in frames if frame[0] == "AUTH"), self.challenge)
        self._sent += [frame for frame in frames if frame[0] != "AUTH"]
        self._news.unpark_all()

    def send_frames(self, frames: Sequence[bytes]) -> None:
        self.send_many(texts_of(b"".join(frames)))

    send_frames_now = send_frames

    async def flushed(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.reads and self.is_open:
            await self._news.park()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.is_open, self.closed = False, (code, reason)
        self._said.close()
        self._news.unpark_all()

    def say(self, *frames: Any) -> None:
        """Send frames in one chunk, as the client."""
        texts: list[str | bytes] = [frame if isinstance(frame, str) else json.dumps(frame) for frame in frames]
        self._said.send_nowait(texts)

    async def hear(self, verb: str, count: int = 1) -> list[Any]:
        """Wait for ``count`` frames with this verb; give all that came up to then."""
        with trio.fail_after(30):
            while sum(frame[0] == verb for frame in self._sent) < count:
                await self._news.park()
        heard, self._sent = self._sent, []
        return heard

    async def silence(self) -> list[Any]:
        """Wait until nothing more happens; give what came."""
        for _ in range(3):
            await trio.testing.wait_all_tasks_blocked()
        heard, self._sent = self._sent, []
        return heard


class Bench:
    """A service over a ledger in memory, and sockets on it."""

    def __init__(self, ledger: Ledger, nursery: trio.Nursery, limits: Relay) -> None:
        self.ledger, self.nursery = ledger, nursery
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.service = NostrService(Config(relay=limits), self.clock, ledger, self.metrics)
        self.service.introduce(lambda url, relay_key: url == URL and relay_key == RELAY)

    def connect(self, relay_key: str = RELAY) -> FakeSocket:
        socket = FakeSocket()
        self.nursery.start_soon(self.service.serve, socket, Grant(relay_key))
        return socket

    async def prove(self, socket: FakeSocket, *keys: PrivateKey) -> None:
        """Answer the challenge with these keys."""
        socket.say(["REQ", "challenge me", {"kinds": [1, 1_059], "limit": 0}], ["CLOSE", "challenge me"])
        await socket.hear("EOSE")
        for key in keys:
            tags = [["relay", URL], ["challenge", socket.challenge]]
            socket.say(["AUTH", signed_fields(key, 22_242, "", tags, self.clock.now_ms() // 1000)])
            assert (await socket.hear("OK"))[-1][2:] == [True, ""]

    async def publish(self, *events: dict[str, Any]) -> list[Any]:
        socket = self.connect()
        socket.say(*(["EVENT", event] for event in events))
        answers = await socket.hear("OK", len(events))
        socket.close()
        return answers


@asynccontextmanager
async def bench(limits: Relay | None = None, log: MemoryLog | None = None) -> AsyncIterator[Bench]:
    async with memory_ledger(EventsView, ModerationView, log=log) as ledger, trio.open_nursery() as nursery:
        made = Bench(ledger, nursery, limits or Relay())
        await nursery.start(made.service.run)
        yield made
        nursery.cancel_scope.cancel()


def ids(frames: list[Any]) -> list[str]:
    return [frame[2]["id"] for frame in frames if frame[0] == "EVENT"]


async def test_an_event_is_answered_only_when_it_is_durable_and_found() -> None:
    async with bench() as here:
        event = signed_fields()
        socket = here.connect()
        socket.say(["EVENT", event], ["REQ", "x", {"ids": [event["id"]]}])
        heard = await socket.hear("EOSE")
        assert heard == [["OK", event["id"], True, ""], ["EVENT", "x", event], ["EOSE", "x", ["finish"]]]
        assert here.ledger.log.durable_size == 1


async def test_what_is_stored_is_byte_for_byte_the_signed_fields_without_the_senders_extras() -> None:
    async with bench() as here:
        event = signed_fields(content="é\u2028", tags=[["t", "x"]])
        await here.publish({**event, "extra": [1]})
        payload = here.ledger.log.record(0).payload
        assert payload is not None
        assert json.loads(event_json(payload)) == event


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sig": "0" * 128}, "invalid: the signature does not verify"),
        ({"content": "changed"}, "invalid: event id does not match"),
        ({"kind": "1"}, "invalid: "),
    ],
)
async def test_a_bad_event_is_refused_and_leaves_nothing(change: dict[str, Any], reason: str) -> None:
    async with bench() as here:
        event = {**signed_fields(), **change}
        [answer] = await here.publish(event)
        assert answer[:3] == ["OK", event["id"], False]
        assert answer[3].startswith(reason)
        assert here.ledger.log.durable_size == 0


async def test_a_repeat_is_a_duplicate_and_appends_nothing_in_one_chunk_too() -> None:
    async with bench() as here:
        event = signed_fields()
        answers = await here.publish(event, event)
        answers += await here.publish(event)
        assert sorted(answer[3] for answer in answers) == ["", *["duplicate: already have this event"] * 2]
        assert all(answer[2] for answer in answers)
        assert here.ledger.log.durable_size == 1


async def test_a_forged_copy_in_flight_never_takes_the_place_of_the_original() -> None:
    async with bench() as here:
        event = signed_fields()
        forged = {**event, "sig": "0" * 128}
        answers = await here.publish(*[forged] * 3, event, forged)
        assert [answer[2] for answer in answers].count(False) == 3
        assert here.ledger.log.durable_size == 1


async def test_many_connections_with_the_same_events_store_each_once() -> None:
    async with bench() as here:
        events = [signed_fields(content=str(number)) for number in range(30)]
        answers: list[Any] = []

        async def publish() -> None:
            answers.extend(await here.publish(*events))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(publish)
        assert all(answer[2] for answer in answers)
        assert [answer[3] for answer in answers].count("") == 30
        assert here.ledger.log.durable_size == 30


async def test_stored_rows_come_newest_first_then_eose_then_live_rows() -> None:
    async with bench() as here:
        old = [signed_fields(content=str(at), created_at=at) for at in (1, 3, 2)]
        await here.publish(*old)
        socket = here.connect()
        socket.say(["REQ", "x", {"kinds": [1]}])
        heard = await socket.hear("EOSE")
        assert [frame[2]["created_at"] for frame in heard[:-1]] == [3, 2, 1]
        new = signed_fields(content="new", created_at=0)
        await here.publish(signed_fields(kind=2), new)
        assert await socket.hear("EVENT") == [["EVENT", "x", new]]


async def test_events_of_another_relay_are_neither_stored_rows_nor_live_ones() -> None:
    async with bench() as here:
        await here.publish(signed_fields())
        socket = here.connect("another")
        socket.say(["REQ", "x", {}])
        assert await socket.hear("EOSE") == [["EOSE", "x", ["finish"]]]
        await here.publish(signed_fields(content="b"))
        assert await socket.silence() == []


async def test_two_subscriptions_get_a_row_each_and_two_filters_of_one_get_it_once() -> None:
    async with bench() as here:
        socket = here.connect()
        socket.say(["REQ", "x", {"kinds": [1]}, {"authors": [pubkey(ALICE)]}], ["REQ", "y", {}])
        await socket.hear("EOSE", 2)
        await here.publish(signed_fields())
        assert sorted(frame[1] for frame in await socket.silence()) == ["x", "y"]


async def test_a_new_request_replaces_and_a_close_ends() -> None:
    async with bench() as here:
        socket = here.connect()
        socket.say(["REQ", "x", {"kinds": [1]}], ["REQ", "x", {"kinds": [2]}])
        await socket.hear("EOSE", 2)
        await here.publish(signed_fields(), signed_fields(kind=2))
        assert [frame[2]["kind"] for frame in await socket.silence()] == [2]
        socket.say(["CLOSE", "x"])
        await socket.silence()
        await here.publish(signed_fields(kind=2, content="b"))
        assert await socket.silence() == []


async def test_an_ephemeral_event_goes_to_those_who_listen_and_nowhere_else() -> None:
    async with bench() as here:
        socket = here.connect()
        socket.say(["REQ", "x", {"kinds": [20_001]}])
        await socket.hear("EOSE")
        event = signed_fields(kind=20_001)
        [answer] = await here.publish(event)
        assert answer[2:] == [True, ""]
        assert await socket.hear("EVENT") == [["EVENT", "x", event]]
        socket.say(["REQ", "y", {"kinds": [20_001]}])
        assert await socket.hear("EOSE") == [["EOSE", "y", ["finish"]]]
        assert here.ledger.log.durable_size == 0


async def test_a_deleted_event_is_gone_refused_and_not_sent_live() -> None:
    async with bench() as here:
        event = signed_fields()
        deletion = signed_fields(kind=5, tags=[["e", event["id"]]])
        await here.publish(event)
        await here.publish(deletion)
        [answer] = await here.publish(event)
        assert answer[2] is False
        assert answer[3].startswith("blocked: ")
        socket = here.connect()
        socket.say(["REQ", "x", {}])
        assert ids(await socket.hear("EOSE")) == [deletion["id"]]


async def test_versions_in_one_chunk_end_with_the_newest_stored_and_only_it_sent_live() -> None:
    async with bench() as here:
        versions = [signed_fields(kind=0, created_at=at) for at in (2, 3, 1)]
        socket = here.connect()
        socket.say(["REQ", "x", {}])
        await socket.hear("EOSE")
        answers = await here.publish(*versions)
        assert all(answer[2] for answer in answers)
        assert ids(await socket.silence()) == [versions[1]["id"]]
        assert (await here.publish(versions[0]))[0][3].startswith("duplicate: ")


async def test_after_a_failed_log_events_are_refused_and_reading_goes_on() -> None:
    async with bench() as here:
        event = signed_fields()
        await here.publish(event)
        here.ledger.log.break_down()  # type: ignore[attr-defined]
        [answer] = await here.publish(signed_fields(content="b"))
        assert answer[2] is False
        assert answer[3].startswith("error: ")
        socket = here.connect()
        socket.say(["REQ", "x", {}])
        assert ids(await socket.hear("EOSE")) == [event["id"]]


async def test_a_restart_finds_what_was_acknowledged() -> None:
    async with bench() as here:
        events = [signed_fields(content=str(number), created_at=number) for number in range(9)]
        await here.publish(*events)
        log = here.ledger.log
    assert isinstance(log, MemoryLog)
    async with bench(log=log) as again:
        socket = again.connect()
        socket.say(["REQ", "x", {}])
        assert ids(await socket.hear("EOSE")) == [event["id"] for event in reversed(events)]


async def test_a_reader_that_falls_behind_while_stored_rows_are_sent_is_cut_with_a_reason() -> None:
    async with bench(Relay(content_chars_max=120_000)) as here:
        stored = STORED_BYTES // 100_000 + 1  # more than is sent before the reader is waited for
        await here.publish(*(signed_fields(content=f"stored {number}".ljust(100_000)) for number in range(stored)))
        socket = here.connect()
        socket.reads = False
        socket.say(["REQ", "x", {}])
        await socket.hear("EVENT")
        for number in range(BACKLOG_BYTES_MAX // 100_000 + 2):
            await here.publish(signed_fields(content=f"{number}".ljust(100_000)))
        assert socket.closed is not None
        assert socket.closed[0] == 1013
        assert "slow reader" in socket.closed[1]


async def test_a_connection_that_ends_leaves_no_subscription_behind() -> None:
    async with bench() as here:
        socket = here.connect()
        socket.say(["REQ", "x", {}], ["REQ", "y", {}])
        await socket.hear("EOSE", 2)
        socket.close()
        await socket.silence()
        assert not here.service.live._relays


@settings(max_examples=25, deadline=None)
@given(st.lists(FILTERS, min_size=1, max_size=3), st.integers(0, 10), st.integers(0, 2**16))
async def test_over_the_hand_over_each_matching_event_comes_once(
    filters: list[dict[str, Any]], before: int, seed: int
) -> None:
    events = [
        signed_fields((ALICE, BOB)[number % 2], (1, 7)[number % 3 == 0], str(number), [["t", "abc"[number % 3]]], 15)
        for number in range(20)
    ]
    asked = [{name: value for name, value in one.items() if name not in ("ids", "limit")} for one in filters]
    async with bench() as here:
        if before:
            await here.publish(*events[:before])
        publisher, reader = here.connect(), here.connect()
        for at in range(before, 20, 1 + seed % 4):
            publisher.say(*(["EVENT", event] for event in events[at : at + 1 + seed % 4]))
        reader.say(["REQ", "x", *asked])
        await publisher.hear("OK", 20 - before)
        heard = await reader.silence()
    wanted = {event["id"] for event in events if any(oracles.filter_matches(one, event) for one in asked)}
    assert sorted(ids(heard)) == sorted(wanted)
    assert [frame[0] for frame in heard].count("EOSE") == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text() | st.binary(), min_size=1, max_size=4), max_size=6))
async def test_rubbish_is_answered_never_a_crash(chunks: list[list[Any]]) -> None:
    async with bench() as here:
        socket = here.connect()
        for chunk in chunks:
            socket._said.send_nowait(chunk)
        event = signed_fields()
        socket.say(["EVENT", event])
        heard = await socket.hear("OK")
        assert heard[-1][:3] == ["OK", event["id"], True]
        assert socket.is_open


async def test_tags_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (events, eventscan, freshrows):
        monkeypatch.setattr(module, "tag_key", lambda relay, letter, value: b"8 bytes.")
    async with bench() as here:
        one, two = (signed_fields(tags=[["t", value]]) for value in "ab")
        await here.publish(one, two)
        socket = here.connect()
        socket.say(["REQ", "x", {"#t": ["b"]}])
        assert ids(await socket.hear("EOSE")) == [two["id"]]


class FakeReplica:
    """Writes down what the mirror's side of a connection is told."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.left = False

    async def take_all(self, messages: Sequence[str | bytes], *, too_fast: bool = False) -> None:
        assert not too_fast
        await trio.lowlevel.checkpoint()
        self.taken += map(json.loads, messages)

    def leave(self) -> None:
        self.left = True


async def test_replication_frames_closes_and_the_end_reach_the_mirrors_side_of_the_connection() -> None:
    async with bench() as here:
        replica = FakeReplica()
        here.service.replicate = lambda socket, grant: replica
        row, asked = ["EVENT", {"relayID": "0" * 64}], ["REQ", "r", {"relayID": "0" * 64}]
        socket = here.connect()
        socket.say(["CLOSE", "r"], row, row, asked, ["CLOSE", "r"], ["REQ", "r", {}])
        await socket.hear("EOSE")
        assert replica.taken == [row, row, asked, ["CLOSE", "r"], ["CLOSE", "r"]]
        assert len(here.service.live._relays[RELAY]) == 1
        socket.say(asked)
        await socket.silence()
        assert not here.service.live._relays
        socket.close()
        await socket.silence()
        assert replica.left


async def test_results_are_counted_in_a_closed_set() -> None:
    async with bench() as here:
        event = signed_fields()
        await here.publish(event)
        await here.publish(event)
        await here.publish({**event, "sig": "0" * 128, "content": "x"})
        counted = here.metrics.relay_events
        assert [counted.labels(result)._value.get() for result in ("accepted", "duplicate", "invalid")] == [1, 1, 1]


async def test_the_information_document_shows_the_limits_in_force() -> None:
    async with bench(Relay(limit_max=7, limit_default=7)) as here:
        shown = json.loads(here.service.info(RELAY, Presentation("x"), "1"))
        assert shown["limitation"]["max_limit"] == 7
        assert shown["limitation"]["restricted_writes"] is False
        events = [signed_fields(content=str(number)) for number in range(9)]
        await here.publish(*events)
        socket = here.connect()
        socket.say(["REQ", "x", {"limit": 9}])
        assert len(ids(await socket.hear("EOSE"))) == 7
        assert socket.max_bytes == shown["limitation"]["max_message_length"]
        here.service.reconfigure(Relay(limit_max=7, limit_default=7, policy=Policy(allow_kinds=(1,))))
        again = json.loads(here.service.info(RELAY, Presentation("x"), "1"))
        assert again["limitation"] == {**shown["limitation"], "restricted_writes": True}


async def test_batches_overlap_up_to_their_limit_and_then_nothing_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as here:
        verify, gate = here.service.verifier.verify, trio.Event()

        async def held(claims: Sequence[Claim]) -> list[bool]:
            await gate.wait()
            return await verify(claims)

        monkeypatch.setattr(here.service.verifier, "verify", held)
        socket = here.connect()
        events_sent = [signed_fields(content=str(number)) for number in range(BATCHES_MAX + 3)]
        for event in events_sent:
            socket.say(["EVENT", event])
        assert await socket.silence() == []
        assert sum(map(len, here.service.intake._in_flight.values())) == BATCHES_MAX
        assert socket._chunks.statistics().current_buffer_used == 2
        socket.say(["REQ", "x", {"limit": 99}])
        gate.set()
        heard = await socket.hear("EOSE")
        assert sum(frame[0] == "OK" for frame in heard) == len(events_sent)
        assert len(ids(heard)) == len(events_sent)


async def test_a_comparison_finds_both_differences_of_what_its_reader_may_see_and_nothing_else() -> None:
    notes = [signed_fields(content=str(number), created_at=NOW_S - number) for number in range(100)]
    hidden = signed_fields(BOB, 1_059, "", [["p", pubkey(ALICE)]])
    ended = signed_fields(content="over soon", tags=[["expiration", "99999999999"]])
    others = [signed_fields(BOB, 7, str(number)) for number in range(3)]
    async with bench() as made:
        await made.publish(*notes[:80], hidden, ended, *others)
        socket = made.connect()
        mine = [*notes[40:], hidden]
        have, need = await compared(socket, mine, kinds=[1, 1_059])
        assert have == {event["id"] for event in [*notes[80:], hidden]}
        assert need == {event["id"] for event in [*notes[:40], ended]}
        await made.prove(socket, ALICE)
        assert hidden["id"] in (await compared(socket, [], kinds=[1, 1_059]))[1]
        made.clock.advance(10**11)
        assert ended["id"] not in (await compared(socket, [], kinds=[1]))[1]
        newest = await compared(socket, [], kinds=[1], limit=5)
        assert newest == (set(), {event["id"] for event in notes[:5]})
        both = await compared(socket, [], [{"kinds": [7]}, {"ids": [notes[0]["id"]]}, {"kinds": [7]}])
        assert both == (set(), {event["id"] for event in [*others, notes[0]]})
        assert made.service.comparisons.held == 0


async def test_a_comparison_that_is_too_large_is_refused_with_what_is_not_and_its_place_is_free_again() -> None:
    async with bench(Relay(compare_events_max=3)) as made:
        await made.publish(*(signed_fields(content=str(number)) for number in range(4)))
        socket = made.connect()
        for _ in range(9):
            socket.say(["NEG-OPEN", "n", {}, "61"])
            [[verb, sub_id, reason, most]] = await socket.hear("NEG-ERR")
            assert (verb, sub_id, most) == ("NEG-ERR", "n", 3)
            assert reason.startswith("blocked: ")
        socket.say(["NEG-OPEN", "n", {"limit": 2}, "61"], ["NEG-OPEN", "m", {"until": 1}, "61"], ["NEG-MSG", "m", "00"])
        assert [frame[0] for frame in await socket.hear("NEG-ERR")] == ["NEG-MSG", "NEG-MSG", "NEG-ERR"]
        assert made.service.comparisons.held == 2
        socket.close()
        await socket.silence()
        assert made.service.comparisons.held == 0


async def compared(
    socket: FakeSocket, mine: list[dict[str, Any]], group: Any = None, **asked: Any
) -> tuple[set[str], set[str]]:
    """What only we have, and what only the relay has."""
    items = [(event["created_at"], bytes.fromhex(event["id"])) for event in mine]
    asking = Initiator(Items(items), FRAME_BYTES_MIN)
    socket.say(["NEG-OPEN", "n", group or asked, asking.first().hex()])
    while True:
        message = asking.learn(bytes.fromhex((await socket.hear("NEG-MSG"))[-1][2]))
        if message is None:
            socket.say(["NEG-CLOSE", "n"])
            await socket.silence()
            return {name.hex() for name in asking.have}, {name.hex() for name in asking.need}
        socket.say(["NEG-MSG", "n", message.hex()])
