"""An admin manages a relay of a running gateway over HTTP; nobody else does."""

import base64
import hashlib
import json
import time
from typing import Any

import httpx
import trio
from coincurve import PrivateKey
from trio_websocket import open_websocket_url

from gateway.config import Config, Relay
from tests.server import Running, running
from tests.signing import ALICE, BOB, pubkey, signed_fields

ADMINS = Config(relay=Relay(admins=(pubkey(ALICE),)))


def signature(url: str, body: bytes, key: PrivateKey, number: int) -> str:
    tags = [["u", url], ["method", "POST"], ["payload", hashlib.sha256(body).hexdigest()], ["n", str(number)]]
    event = signed_fields(key, 27_235, "", tags, int(time.time()))
    return "Nostr " + base64.b64encode(json.dumps(event).encode()).decode()


class Admin:
    """Someone who calls methods."""

    def __init__(self, server: Running, key: PrivateKey = ALICE) -> None:
        self.url, self.key, self.calls = f"{server.url}/relay", key, 0

    async def post(self, method: str, *params: Any, header: str | None = None) -> httpx.Response:
        self.calls += 1
        body = json.dumps({"method": method, "params": list(params)}).encode()
        header = signature(self.url, body, self.key, self.calls) if header is None else header
        headers = {"Content-Type": "application/nostr+json+rpc", "Authorization": header}
        async with httpx.AsyncClient(timeout=30) as client:
            return await client.post(self.url, content=body, headers=headers)

    async def call(self, method: str, *params: Any) -> Any:
        answer = await self.post(method, *params)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


async def publish(server: Running, event: dict[str, Any]) -> Any:
    async with open_websocket_url(f"{server.ws_url}/relay") as socket:
        await socket.send_message(json.dumps(["EVENT", event]))
        with trio.fail_after(30):
            return json.loads(await socket.get_message())


async def found(server: Running, asked: dict[str, Any]) -> list[str]:
    async with open_websocket_url(f"{server.ws_url}/relay") as socket:
        await socket.send_message(json.dumps(["REQ", "x", asked]))
        ids = []
        with trio.fail_after(30):
            while (frame := json.loads(await socket.get_message()))[0] == "EVENT":
                ids.append(frame[2]["id"])
        return ids


async def test_a_ban_takes_away_and_keeps_away_until_it_is_lifted() -> None:
    async with running(ADMINS) as server:
        admin, event = Admin(server), signed_fields(BOB)
        await publish(server, event)
        assert "banpubkey" in await admin.call("supportedmethods")
        assert await admin.call("banpubkey", pubkey(BOB), "spam") is True
        assert await found(server, {}) == []
        assert (await publish(server, event))[3].startswith("blocked: ")
        assert await admin.call("listbannedpubkeys") == [{"pubkey": pubkey(BOB), "reason": "spam"}]
        await admin.call("unbanpubkey", pubkey(BOB))
        assert (await publish(server, event))[2] is True
        await admin.call("banevent", event["id"])
        assert await found(server, {"ids": [event["id"]]}) == []
        assert (await publish(server, event))[2] is False


async def test_an_allow_list_and_a_name_show_in_the_information_document() -> None:
    async with running(ADMINS) as server:
        admin = Admin(server)
        await admin.call("allowkind", 1)
        await admin.call("changerelayname", "Another name")
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(f"{server.url}/relay", headers={"Accept": "application/nostr+json"})
        shown = answer.json()
        assert shown["name"] == "Another name"
        assert shown["limitation"]["restricted_writes"] is True
        assert {86, 98} <= set(shown["supported_nips"])
        assert (await publish(server, signed_fields(kind=7)))[3].startswith("restricted: ")


async def test_without_an_admins_fresh_signature_nothing_is_told() -> None:
    async with running(ADMINS) as server:
        admin = Admin(server)
        assert (await admin.post("supportedmethods", header="")).status_code == 401
        assert (await Admin(server, BOB).post("supportedmethods")).status_code == 401
        body = json.dumps({"method": "supportedmethods", "params": []}).encode()
        once = signature(admin.url, body, ALICE, 0)
        assert (await admin.post("supportedmethods", header=once)).status_code == 200
        elsewhere = signature("https://other.example/relay", body, ALICE, 0)
        assert (await admin.post("supportedmethods", header=elsewhere)).status_code == 401


async def test_a_signed_change_is_made_once_and_a_question_answered_as_often_as_it_is_asked() -> None:
    async with running(ADMINS) as server:
        admin = Admin(server)
        for call, repeated in ((("listbannedpubkeys",), 200), (("banpubkey", pubkey(BOB)), 401)):
            body = json.dumps({"method": call[0], "params": list(call[1:])}).encode()
            once = signature(admin.url, body, ALICE, 0)
            assert (await admin.post(*call, header=once)).status_code == 200
            assert (await admin.post(*call, header=once)).status_code == repeated


async def test_a_page_elsewhere_may_send_its_signature() -> None:
    async with running(ADMINS) as server, httpx.AsyncClient(timeout=30) as client:
        asked = {"Origin": "https://admin.example", "Access-Control-Request-Method": "POST"}
        answer = await client.options(f"{server.url}/relay", headers=asked)
        # Fetch: a star stands for every header but this one.
        assert {"*", "Authorization"} <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))


async def test_what_cannot_be_done_is_an_error_that_says_so() -> None:
    async with running(ADMINS) as server:
        answer = await Admin(server).post("banpubkey", "x")
        assert answer.status_code == 200
        assert answer.json()["error"].startswith("invalid: ")
        assert (await Admin(server).post("createrole", "x")).json()["error"].startswith("unsupported: ")
