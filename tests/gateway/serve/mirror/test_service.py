"""Replication over real sockets: rows in and out, live rows, revocation and expiry while open, the normal socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from gateway.config import Config, Mirror, Registration
from gateway.facts import RowStored, fact_of
from tests.fakes import FakeClock
from tests.server import Running, process, running, websocket
from tests.signing import signed_fields
from tests.worker import INTERNAL, KEY, NAME, SECRET, Worker, registration, relay_id

OTHER = "cd" * 32
RELAY_ID = relay_id(NAME)
PUBKEY, SOMEBODY = "e1" * 32, "e2" * 32
SENT_BY_NOBODY = 0.2  # how long a message that must not come is waited for, s


def row(number: int = 1, relay_id: str = RELAY_ID, **more: Any) -> dict[str, Any]:
    fields = {"id": f"{number:064x}", "relayID": relay_id, "kind": 30078, "created_at": 1_700_000_000 + number}
    return {**fields, "eventData": "aGVsaW8=", **more}


class Client:
    """A nostr client over one socket."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self.socket = socket
        self.aside: list[list[Any]] = []  # frames that came between an EVENT and its OK

    async def send(self, *frame: Any) -> None:
        await self.socket.send_message(json.dumps(frame))

    async def get(self) -> list[Any]:
        return self.aside.pop(0) if self.aside else await self.next()

    async def next(self) -> list[Any]:
        with trio.fail_after(30):
            return list(json.loads(await self.socket.get_message()))

    async def publish(self, fields: dict[str, Any]) -> list[Any]:
        """The OK; what else comes is set aside."""
        await self.send("EVENT", fields)
        while (frame := await self.next())[0] != "OK":
            self.aside.append(frame)
        return frame

    async def stored(self, sub: str, *filters: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows that a REQ brings up to its EOSE."""
        await self.send("REQ", sub, *filters)
        rows = []
        while (frame := await self.get())[0] == "EVENT":
            assert frame[1] == sub
            rows.append(frame[2])
        assert frame[:2] == ["EOSE", sub]
        return rows

    async def nothing(self) -> None:
        """Nothing more comes: a frame that is always answered is answered next."""
        await self.send("PING")
        assert (await self.get())[0] == "NOTICE"

    async def closed(self) -> tuple[int, str]:
        with trio.fail_after(30), pytest.raises(ConnectionClosed) as closed:
            await self.socket.get_message()
        return closed.value.reason.code, closed.value.reason.reason


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    async with websocket(url) as socket:
        yield Client(socket)


@asynccontextmanager
async def served(clock: FakeClock | None = None, **mirror) -> AsyncIterator[tuple[Running, Worker]]:
    config = Config(registration=Registration(secret=SECRET), mirror=Mirror(**mirror))
    async with running(config, clock) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
        worker = Worker(client, now_ms=clock.now_ms() if clock else None)
        await worker.register(identifier=NAME)
        yield gateway, worker


async def mirror_url(worker: Worker, relay_key: str = KEY, **more) -> str:
    return str((await worker.issue(relay_key, **more))["replicationConnectionUrl"])


def appended(gateway: Running) -> list[RowStored]:
    facts = [fact_of(record) for batch in gateway.ledger.log.read(0) for record in batch]
    return [fact for fact in facts if isinstance(fact, RowStored)]


async def test_a_row_is_stored_once_and_served_exactly_as_it_was_sent():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        sent = row(fileKey="f", driveKey="d", unknown={"deep": [1.5, None, "é"]})
        assert await client.publish(sent) == ["OK", sent["id"], True, "stored"]
        assert await client.publish(sent) == ["OK", sent["id"], True, "duplicate: already stored"]
        assert len(appended(gateway)) == 1
        assert await client.stored("repl-1", {"relayID": RELAY_ID}) == [sent]
        assert (await worker.client.get(f"/api/relays/{KEY}")).json()["events"] == 1


async def test_the_bytes_of_a_row_are_kept_with_their_spelling():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        text = json.dumps(row()).replace('"kind": 30078', '"amount" : 1.10, "kind":\t30078')
        await client.socket.send_message(f'["EVENT",{text}]')
        assert (await client.get())[2] is True
        assert appended(gateway)[0].row == text.encode()


async def test_stored_rows_come_newest_first_within_their_filters():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        rows = [row(number, kind=number % 2) for number in range(1, 8)]
        for each in rows:
            await client.publish(each)
        for more, wanted in (
            ({}, rows[::-1]),
            ({"limit": 2}, rows[:-3:-1]),
            ({"limit": 0}, []),
            ({"kinds": [1], "limit": 2}, [rows[6], rows[4]]),
            ({"since": rows[2]["created_at"], "until": rows[4]["created_at"]}, rows[4:1:-1]),
            ({"ids": [rows[3]["id"]]}, [rows[3]]),
            ({"authors": [PUBKEY]}, []),
            ({"relayID": None, "#relay": [RELAY_ID]}, rows[::-1]),
            ({"relayID": [RELAY_ID]}, rows[::-1]),
        ):
            assert await client.stored("s", {"relayID": RELAY_ID, **more}) == wanted


async def test_two_filters_bring_each_row_once():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        rows = [row(number) for number in range(1, 4)]
        for each in rows:
            await client.publish(each)
        found = await client.stored("s", {"relayID": RELAY_ID, "limit": 2}, {"relayID": RELAY_ID})
        assert found == rows[::-1]


async def test_live_rows_come_after_eose_without_asking_again():
    async with served() as (_, worker):
        url = await mirror_url(worker)
        async with connected(url) as writer, connected(url) as reader:
            await writer.publish(row(1))
            assert await reader.stored("a", {"relayID": RELAY_ID}) == [row(1)]
            assert await reader.stored("b", {"relayID": RELAY_ID, "kinds": [5]}) == []
            await writer.publish(row(2))
            assert await reader.get() == ["EVENT", "a", row(2)]
            await writer.publish(row(3, kind=5))
            assert sorted([await reader.get(), await reader.get()], key=lambda frame: frame[1]) == [
                ["EVENT", "a", row(3, kind=5)], ["EVENT", "b", row(3, kind=5)],
            ]  # fmt: skip
            await writer.publish(row(3, kind=5))
            await reader.nothing()


async def test_a_closed_subscription_brings_nothing_more_and_a_replaced_one_its_new_filters():
    async with served() as (_, worker):
        url = await mirror_url(worker)
        async with connected(url) as writer, connected(url) as reader:
            await reader.stored("a", {"relayID": RELAY_ID})
            await reader.stored("a", {"relayID": RELAY_ID, "kinds": [5]})
            await writer.publish(row(1))
            await writer.publish(row(2, kind=5))
            assert await reader.get() == ["EVENT", "a", row(2, kind=5)]
            await reader.send("CLOSE", "a")
            await reader.nothing()
            await writer.publish(row(3, kind=5))
            await reader.nothing()


async def test_no_row_is_lost_or_repeated_between_stored_and_live():
    """A reader subscribes again and again while a writer publishes without a pause."""
    async with served() as (_, worker):
        url = await mirror_url(worker)
        async with connected(url) as writer, trio.open_nursery() as nursery:

            async def write() -> None:
                for number in range(1, 301):
                    await writer.send("EVENT", row(number))

            async def read(name: str) -> None:
                async with connected(url) as reader:
                    seen: list[str] = [each["id"] for each in await reader.stored(name, {"relayID": RELAY_ID})]
                    while len(seen) < 300:
                        frame = await reader.get()
                        seen.append(frame[2]["id"])
                    assert sorted(seen) == [row(number)["id"] for number in range(1, 301)]

            nursery.start_soon(write)
            for index in range(6):
                nursery.start_soon(read, f"r{index}")
                await trio.sleep(0.01)


async def test_differing_bodies_under_one_id_are_kept_by_other_subjects_up_to_four():
    async with served() as (gateway, worker):
        answers = []
        for number in range(6):
            async with connected(await mirror_url(worker, pubkey=f"{number:064x}")) as client:
                answers.append((await client.publish(row(1, kind=number)))[2:])
                answers.append((await client.publish(row(1, kind=100 + number)))[2:])
                assert (await client.publish(row(1, kind=0)))[2:] == [True, "duplicate: already stored"]
        assert answers[0:8] == [[True, "stored"], [True, "duplicate: already stored"]] * 4
        assert answers[8:] == [[False, "blocked: 4 differing rows are stored under this id"]] * 4
        assert [fact.row_kind for fact in appended(gateway)] == [0, 1, 2, 3]
        async with connected(await mirror_url(worker)) as client:
            found = await client.stored("s", {"relayID": RELAY_ID})
            assert [each["kind"] for each in found] == [0, 1, 2, 3]


async def test_a_row_that_claims_an_author_must_hold_as_an_event():
    async with served() as (_, worker), connected(await mirror_url(worker)) as client:
        event = signed_fields()
        good = {**event, "relayID": RELAY_ID, "eventData": "aGVsaW8="}
        for change in ({"sig": "0" * 128}, {"content": "other"}, {"tags": None}, {"pubkey": "00" * 32}):
            answer = await client.publish({**good, **change})
            assert answer[:3] == ["OK", event["id"], False]
            assert answer[3].startswith("invalid-event: ")
        assert await client.publish(good) == ["OK", event["id"], True, "stored"]


async def test_what_is_refused_is_answered_and_appends_nothing():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        size = gateway.ledger.log.durable_size
        plain = signed_fields()
        assert await client.publish(plain) == ["OK", plain["id"], False, "replication-required"]
        assert await client.publish(row(relay_id="0b" * 32)) == [
            "OK", row()["id"], False, "relay-mismatch: this relayID does not belong to the relay",
        ]  # fmt: skip
        assert await client.publish(row(id="xyz")) == ["OK", "xyz", False, "invalid-event-id"]
        await client.send("REQ", "s", {"kinds": [1]})
        text = "replication filters required on replication channel"
        assert await client.get() == ["CLOSED", "s", f"replication-required: {text}"]
        assert await client.get() == ["NOTICE", text]
        await client.socket.send_message("{")
        assert await client.get() == ["NOTICE", "Invalid message payload"]
        await client.socket.send_message(b"[]")
        assert await client.get() == ["NOTICE", "Invalid message payload"]
        assert gateway.ledger.log.durable_size == size
        figures = (await worker.client.get("/metrics")).text
        label = 'frame="EVENT",outcome="rejected",reason="relay-mismatch"'
        assert f"gateway_replication_frames_total{{{label}}} 1.0" in figures


async def test_a_relays_rows_are_its_own_even_under_the_same_relayid():
    """The gateway's own relay carries any relayID, in its own namespace."""
    async with served() as (_, worker):
        async with connected(await mirror_url(worker, INTERNAL)) as client:
            assert (await client.publish(row(1)))[2:] == [True, "stored"]
            assert await client.stored("s", {"relayID": RELAY_ID}) == [row(1)]
        async with connected(await mirror_url(worker)) as client:
            assert await client.stored("s", {"relayID": RELAY_ID}) == []
            assert (await client.publish(row(1)))[2:] == [True, "stored"]
            assert await client.get() == ["EVENT", "s", row(1)]


async def test_the_gateways_own_relay_can_be_held_to_its_own_relayids():
    served_strictly = served(internal_relay_accepts_any=False)
    async with served_strictly as (_, worker), connected(await mirror_url(worker, INTERNAL)) as client:
        assert (await client.publish(row(1)))[3].startswith("relay-mismatch: ")
        assert (await client.publish(row(1, relay_id(INTERNAL))))[3] == "stored"


async def test_a_revocation_tells_and_closes_the_subjects_sessions_alone():
    async with served() as (_, worker):
        mine, others = await mirror_url(worker, pubkey=PUBKEY), await mirror_url(worker, pubkey=SOMEBODY)
        async with connected(mine) as hit, connected(others) as spared, connected(await mirror_url(worker)) as own:
            await spared.nothing()
            await own.nothing()
            await hit.nothing()
            answer = await worker.revoke(pubkey=PUBKEY, reason="left")
            assert answer == {"status": "revoked", "disconnected": 1, "sequence": 1}
            assert await hit.get() == ["TOKEN", "REVOKED", {"reason": "left", "sequence": 1}]
            assert await hit.closed() == (4403, "Token revoked")
            await spared.nothing()
            await own.nothing()


async def test_a_revocation_of_the_relay_closes_whoever_holds_a_token_and_spares_open_sessions():
    async with served() as (gateway, worker):
        tokened = await worker.issue(INTERNAL)
        async with (
            connected(tokened["replicationConnectionUrl"]) as mirror,
            connected(tokened["connectionUrl"]) as normal,
            connected(f"{gateway.ws_url}/relay") as untokened,
        ):
            for client in (mirror, normal, untokened):
                await client.nothing()
            assert (await worker.revoke(INTERNAL))["disconnected"] == 2
            for client in (mirror, normal):
                assert (await client.get())[:2] == ["TOKEN", "REVOKED"]
                assert await client.closed() == (4403, "Token revoked")
            await untokened.nothing()


async def test_an_open_mirror_closes_when_its_token_expires():
    async with served() as (_, worker), connected(await mirror_url(worker, ttlSeconds=3)) as client:
        await client.nothing()
        assert await client.closed() == (4403, "Token expired")


async def test_a_session_that_renews_in_time_stays_open():
    async with served() as (_, worker), connected(await mirror_url(worker, ttlSeconds=4)) as client:
        fresh = await worker.issue()
        await client.send("AUTH", fresh["replicationToken"])
        assert await client.get() == ["TOKEN", "RENEWED", {"expiresAt": fresh["expiresAt"]}]
        for token, reason in (
            ("garbage", "Invalid token"),
            ((await worker.issue(pubkey=PUBKEY))["token"], "Invalid token"),
            ((await worker.issue(INTERNAL))["token"], "Relay mismatch"),
        ):
            await client.send("AUTH", token)
            assert await client.get() == ["NOTICE", f"token refused: {reason}"]
        await trio.sleep(4.1)
        await client.nothing()
        await worker.revoke()
        assert (await client.get())[1] == "REVOKED"


async def test_a_frame_over_the_limit_closes_the_socket():
    async with served(frame_bytes_max=70_000) as (_, worker), connected(await mirror_url(worker)) as client:
        assert (await client.publish(row(eventData="a" * 66_000)))[3] == "stored"
        await client.socket.send_message(json.dumps(["EVENT", row(2, eventData="a" * 80_000)]))
        assert (await client.closed())[0] == 1009


async def test_many_rows_in_one_chunk_are_appended_together_and_each_is_answered():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        for number in range(1, 101):
            await client.send("EVENT", row(number))
        await client.send("EVENT", row(50))
        answers = [await client.get() for _ in range(101)]
        assert [answer[1] for answer in answers] == [row(number)["id"] for number in [*range(1, 101), 50]]
        assert [answer[3] for answer in answers] == ["stored"] * 100 + ["duplicate: already stored"]
        assert len(appended(gateway)) == 100


async def test_a_log_that_has_failed_answers_append_error_and_goes_on_serving():
    async with served() as (gateway, worker), connected(await mirror_url(worker)) as client:
        await client.publish(row(1))
        gateway.ledger.log.break_down()
        assert await client.publish(row(2)) == [
            "OK", row(2)["id"], False, "append-error: the log takes no records now",
        ]  # fmt: skip
        assert await client.stored("s", {"relayID": RELAY_ID}) == [row(1)]
        answer = await worker.send("issue", {"relayKey": KEY, "relayAuthToken": "a"})
        assert answer.status_code == 503


# -- replication frames on the normal socket --------------------------------------------------------------------------


async def test_untokened_rows_on_the_open_relay_are_kept_apart():
    async with served() as (gateway, worker):
        tokened = await worker.issue(INTERNAL)
        async with (
            connected(f"{gateway.ws_url}/relay") as untokened,
            connected(tokened["connectionUrl"]) as holder,
            connected(tokened["replicationConnectionUrl"]) as mirror,
        ):
            assert await untokened.publish(row(1)) == ["OK", row(1)["id"], True, "stored"]
            assert await untokened.get() == ["NOTICE", "replication token missing; event accepted on open relay"]
            assert await holder.publish(row(2)) == ["OK", row(2)["id"], True, "stored"]
            assert await mirror.publish(row(3)) == ["OK", row(3)["id"], True, "stored"]
            assert [fact.is_open for fact in appended(gateway)] == [True, False, False]

            await untokened.send("REQ", "s", {"relayID": RELAY_ID})
            assert await untokened.get() == ["NOTICE", "replication token missing; REQ accepted on open relay"]
            assert await untokened.get() == ["EVENT", "s", row(1)]
            assert await untokened.get() == ["EOSE", "s"]
            assert await holder.stored("s", {"relayID": RELAY_ID}) == [row(3), row(2), row(1)]
            assert await mirror.stored("s", {"relayID": RELAY_ID}) == [row(3), row(2)]

            await holder.publish(row(4))
            await untokened.publish(row(5))
            seen = [await untokened.get(), await untokened.get()]
            assert sorted(frame[0] for frame in seen) == ["EVENT", "NOTICE"]
            assert ["EVENT", "s", row(5)] in seen
            assert await mirror.get() == ["EVENT", "s", row(4)]
            await mirror.nothing()
            assert sorted(frame[2]["created_at"] for frame in [await holder.get(), await holder.get()]) == [
                row(4)["created_at"], row(5)["created_at"],
            ]  # fmt: skip


async def test_a_mirror_serves_open_rows_only_where_it_is_configured_to():
    async with served(serve_open_rows=True) as (gateway, worker):
        async with connected(f"{gateway.ws_url}/relay") as untokened:
            await untokened.publish(row(1))
        async with connected(await mirror_url(worker, INTERNAL)) as mirror:
            assert await mirror.stored("s", {"relayID": RELAY_ID}) == [row(1)]


async def test_an_untokened_row_does_not_displace_the_tokened_one():
    async with served() as (gateway, worker):
        async with connected(f"{gateway.ws_url}/relay") as untokened:
            assert (await untokened.publish(row(1, kind=666)))[3] == "stored"
        async with connected(await mirror_url(worker, INTERNAL)) as mirror:
            assert (await mirror.publish(row(1)))[3] == "stored"
            assert await mirror.stored("s", {"relayID": RELAY_ID}) == [row(1)]


async def test_rows_never_appear_in_an_ordinary_req():
    async with served() as (gateway, _worker), connected(f"{gateway.ws_url}/relay") as untokened:
        await untokened.publish(row(1, kind=1))
        assert (await untokened.get())[0] == "NOTICE"
        for filters in ({"kinds": [1]}, {}, {"ids": [row(1)["id"]]}):
            assert await untokened.stored("s", filters) == []


async def test_a_close_on_the_normal_socket_ends_a_replication_subscription():
    async with served() as (_, worker):
        url = (await worker.issue())["connectionUrl"]
        async with connected(url) as reader, connected(url) as writer:
            assert await reader.stored("s", {"relayID": RELAY_ID}) == []
            await reader.send("CLOSE", "s")
            await reader.nothing()
            await writer.publish(row(1))
            await reader.nothing()


async def test_a_row_is_never_forwarded_to_a_peer():
    connections: list[object] = []

    async def peer(stream: trio.SocketStream) -> None:
        connections.append(stream)

    async with served() as (_, worker), trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, peer, 0)
        port = listeners[0].socket.getsockname()[1]
        await worker.register(identifier=NAME, delegateReqToPeers=True)
        answer = await worker.submit({**registration(), "peers": [f"ws://127.0.0.1:{port}/relay"]})
        assert answer.status_code == 200
        async with connected(await mirror_url(worker)) as client:
            assert (await client.publish(row(1)))[3] == "stored"
            await trio.sleep(SENT_BY_NOBODY)
        assert connections == []
        nursery.cancel_scope.cancel()


# -- a server of its own, killed and started again --------------------------------------------------------------------


async def test_what_was_answered_survives_a_kill(tmp_path):
    """Rows, tokens, sequences and revocations, over a real log and the key that was made at first start."""
    with process(tmp_path, f'[registration]\nsecret = "{SECRET}"\n') as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            worker = Worker(client)
            await worker.register(identifier=NAME)
            kept, gone = await worker.issue(pubkey=PUBKEY), await worker.issue(pubkey=SOMEBODY)
            async with connected(kept["replicationConnectionUrl"]) as mirror:
                for number in range(1, 6):
                    assert (await mirror.publish(row(number)))[3] == "stored"
            await worker.revoke(pubkey=SOMEBODY)
        server.kill()
    with process(tmp_path, f'[registration]\nsecret = "{SECRET}"\n') as server:
        async with connected(f"{server.ws_url}/mirror/{KEY}?token={kept['replicationToken']}") as mirror:
            assert await mirror.stored("s", {"relayID": RELAY_ID}) == [row(number) for number in range(5, 0, -1)]
            assert (await mirror.publish(row(3)))[3] == "duplicate: already stored"
        async with connected(f"{server.ws_url}/mirror/{KEY}?token={gone['replicationToken']}") as mirror:
            assert await mirror.closed() == (4403, "Token revoked")
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            assert (await Worker(client).issue(pubkey=PUBKEY))["sequence"] == 2
        told = "".join(server.lines)
        assert kept["token"].partition(".")[2] not in told
        assert SECRET not in told
