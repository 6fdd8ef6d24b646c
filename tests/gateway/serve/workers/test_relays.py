"""The relay API over HTTP, with a worker that was written from the specification."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from gateway.config import Config, Registration, Tokens
from gateway.config import Worker as WorkerConfig
from gateway.errors import Unavailable
from gateway.serve.workers.relays import token_key, worker_secrets
from tests.fakes import FakeClock
from tests.server import Running, running
from tests.worker import INTERNAL, KEY, NAME, SECRET, Worker, once, registration, sign

OTHER = "cd" * 32
PUBKEY = "ef" * 32
CLOCK_MS = 1_763_126_872_000


@asynccontextmanager
async def served(config: Config | None = None, clock: FakeClock | None = None) -> AsyncIterator[tuple[Running, Worker]]:
    async with running(config, clock) as gateway, httpx.AsyncClient(base_url=gateway.url, timeout=60) as client:
        yield gateway, Worker(client, now_ms=clock.now_ms() if clock else None)


def error(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


async def test_a_registration_is_answered_with_both_urls_and_read_back_without_tokens():
    async with served() as (gateway, worker):
        metadata = {"identifier": NAME, "name": "Réseau", "isPublic": True, "unknown": {"deep": [1, None]}}
        answer = (await worker.submit({**registration(), "metadata": metadata})).json()
        assert answer["status"] == "ok"
        assert answer["hyperbee"] is None
        relay = answer["relay"]
        assert relay["connectionUrl"].startswith(f"{gateway.ws_url}/npub1abc/My-Relay?token=")
        assert relay["replicationConnectionUrl"].startswith(f"{gateway.ws_url}/mirror/npub1abc/My-Relay?token=")
        read = (await worker.client.get(f"/api/relays/{KEY}")).json()
        assert read == {
            "relayKey": KEY,
            "identifier": NAME,
            "gatewayPath": "npub1abc/My-Relay",
            "online": True,
            "metadata": metadata,
            "requiresAuth": True,
            "requiresAuthForReplication": True,
            "replicationEndpoint": "/mirror/npub1abc/My-Relay",
            "connectionUrl": f"{gateway.ws_url}/npub1abc/My-Relay",
            "replicationConnectionUrl": f"{gateway.ws_url}/mirror/npub1abc/My-Relay",
            "events": 0,
            "updatedAt": relay["updatedAt"],
        }
        assert set(relay) == set(read)


async def test_the_gateways_own_relay_is_registered_before_the_first_request():
    async with served() as (gateway, worker):
        for relay in (
            (await worker.client.get(f"/api/relays/{INTERNAL}")).json(),
            (await worker.client.get("/api/relays")).json()["relays"][0],
            (await worker.client.get("/status")).json()["relays"][0],
        ):
            assert relay["relayKey"] == INTERNAL
            assert (relay["requiresAuth"], relay["requiresAuthForReplication"]) == (False, True)
            assert relay["metadata"]["requiresAuth"] is False
            assert relay["metadata"]["requiresAuthForReplication"] is True
            assert relay["metadata"]["pathAliases"] == ["public-gateway/hyperbee"]
            assert relay["replicationEndpoint"] == relay["metadata"]["replicationEndpoint"] == "/mirror/relay"
            assert relay["connectionUrl"] == f"{gateway.ws_url}/relay"
            assert relay["replicationConnectionUrl"] == f"{gateway.ws_url}/mirror/relay"
            assert relay["online"] is True


async def test_pages_of_any_origin_read_what_is_public_and_nothing_that_is_signed():
    async with served() as (_, worker):
        for path in ("/api/relays", f"/api/relays/{INTERNAL}", "/status"):
            assert (await worker.client.get(path)).headers["access-control-allow-origin"] == "*"
        asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
        signed = {**asked, "Access-Control-Request-Headers": "x-signature,x-issued-at"}
        answer = await worker.client.request("OPTIONS", "/api/relays", headers=signed)
        assert "access-control-allow-headers" not in answer.headers
        assert "access-control-allow-origin" not in (await worker.submit(registration())).headers


async def test_a_restart_does_not_register_the_gateways_own_relay_again():
    async with served() as (gateway, _):
        log = gateway.ledger.log
        before = log.durable_size
    async with running(log=log) as again:
        assert again.ledger.log.durable_size == before


REGISTRATION = registration(now_ms=CLOCK_MS)
REFUSED = [
    ({}, 400, "Missing registration payload or signature"),
    ({"registration": REGISTRATION}, 400, "Missing registration payload or signature"),
    ({"signature": "x"}, 400, "Missing registration payload or signature"),
    ({"registration": {}, "signature": "x"}, 400, "Missing registration payload or signature"),
    ({"registration": "x", "signature": "x"}, 400, "Missing registration payload or signature"),
    ({"registration": {"nonce": "n"}, "signature": "x"}, 400, "relayKey is required"),
    ({"registration": REGISTRATION, "signature": "0" * 64}, 401, "Invalid signature"),
    ({"registration": REGISTRATION, "signature": 5}, 401, "Invalid signature"),
    ({"registration": REGISTRATION, "signature": sign(REGISTRATION, "other")}, 401, "Invalid signature"),
]


async def test_each_refusal_of_a_registration_has_its_status_and_text():
    async with served(clock=FakeClock()) as (gateway, worker):
        before = gateway.ledger.log.durable_size
        for body, status, text in REFUSED:
            assert error(await worker.post("/api/relays", body)) == (status, text)
        for change, status, text in (
            ({"extra": 1}, 400, "unexpected key: extra"),
            ({"relayKey": INTERNAL}, 400, "relayKey must be 64 lower-case hexadecimal characters"),
            ({"metadata": {"gatewayPath": "relay"}}, 400, "reserved name: relay"),
            ({"issuedAt": 5}, 401, "issuedAt is not within 5 minutes of the gateway's clock"),
        ):
            assert error(await worker.submit({**REGISTRATION, **change})) == (status, text)
        assert error(await worker.client.post("/api/relays", content=b"{"))[0] == 400
        assert gateway.ledger.log.durable_size == before, "nothing that was refused leaves a record"


async def test_without_any_secret_registrations_and_tokens_are_disabled():
    async with served(Config()) as (_, worker):
        assert error(await worker.submit(registration())) == (503, "Registration disabled")
        assert error(await worker.send("issue", {"relayKey": KEY})) == (503, "Token service disabled")
        assert error(await worker.unregister()) == (503, "Registration disabled")


async def test_an_identical_resend_changes_nothing_and_a_replayed_nonce_is_a_conflict():
    async with served() as (gateway, worker):
        payload = registration()
        first = (await worker.submit(payload)).json()
        size = gateway.ledger.log.durable_size
        assert (await worker.submit(payload)).json() == first
        assert gateway.ledger.log.durable_size == size
        changed = {**payload, "metadata": {"identifier": "npub1abc:another"}}
        assert error(await worker.submit(changed)) == (409, "this nonce was used before")
        assert error(await worker.submit({**changed, "relayKey": OTHER})) == (409, "this nonce was used before")


async def test_a_captured_registration_does_not_bring_a_relay_back():
    async with served() as (_, worker):
        payload = registration()
        await worker.submit(payload)
        assert (await worker.unregister()).json() == {"status": "ok"}
        assert error(await worker.submit(payload)) == (409, "this nonce was used before")


async def test_of_concurrent_requests_with_one_nonce_one_takes_effect():
    async with served() as (_, worker):
        payloads = [{**registration(), "nonce": "same", "metadata": {"identifier": f"npub1:{n}"}} for n in range(8)]
        statuses: list[int] = []

        async def submit(payload):
            statuses.append((await worker.submit(payload)).status_code)

        async with trio.open_nursery() as nursery:
            for payload in payloads:
                nursery.start_soon(submit, payload)
        assert sorted(statuses) == [200] + [409] * 7


async def test_names_are_unique_over_all_relays_in_every_spelling():
    async with served() as (_, worker):
        await worker.register(identifier=NAME, pathAliases=["short"])
        for metadata in (
            {"identifier": NAME},
            {"identifier": "npub1x:y", "gatewayPath": "npub1abc/My-Relay"},
            {"identifier": "npub1x:y", "pathAliases": ["/short/"]},
        ):
            answer = await worker.submit(registration(OTHER, **metadata))
            assert answer.status_code == 409
            assert answer.json()["error"].startswith("this name belongs to another relay: ")
        await worker.register(identifier=NAME)  # gives its alias up
        await worker.register(OTHER, identifier="npub1x:y", pathAliases=["short"])


async def test_a_worker_that_does_not_renew_counts_as_offline_and_its_relay_stays():
    clock = FakeClock()
    async with served(clock=clock) as (_, worker):
        await worker.register()
        clock.advance(300)
        assert (await worker.client.get(f"/api/relays/{KEY}")).json()["online"] is True
        clock.advance(1)
        assert (await worker.client.get(f"/api/relays/{KEY}")).json()["online"] is False


async def test_a_private_relay_is_read_by_its_worker_alone():
    async with served() as (_, worker):
        await worker.register(isPublic=False)
        assert error(await worker.client.get(f"/api/relays/{KEY}")) == (404, "Relay not registered")
        listed = (await worker.client.get("/api/relays")).json()["relays"]
        assert [relay["relayKey"] for relay in listed] == [INTERNAL]
        assert "?token=" in (await worker.read(KEY)).json()["replicationConnectionUrl"]
        assert KEY in [relay["relayKey"] for relay in (await worker.read()).json()["relays"]]
        assert error(await worker.client.get("/api/relays/nothing")) == (404, "Relay not registered")


async def test_a_signed_read_demands_its_own_object_and_a_fresh_time():
    async with served(clock=FakeClock()) as (_, worker):
        await worker.register(isPublic=False)
        get = worker.client.get
        deletion = {"x-signature": sign({"relayKey": KEY}), "x-issued-at": str(CLOCK_MS)}
        assert error(await get(f"/api/relays/{KEY}", headers=deletion)) == (401, "Invalid signature")
        listing = {"x-signature": sign({"read": "*", "issuedAt": CLOCK_MS}), "x-issued-at": str(CLOCK_MS)}
        assert error(await get(f"/api/relays/{KEY}", headers=listing)) == (401, "Invalid signature")
        old = CLOCK_MS - 300_001
        stale = {"x-signature": sign({"read": KEY, "issuedAt": old}), "x-issued-at": str(old)}
        assert (await get(f"/api/relays/{KEY}", headers=stale)).status_code == 401
        for issued in ("", "x", "1.5", "9" * 20):
            headers = {"x-signature": stale["x-signature"], "x-issued-at": issued}
            assert (await get(f"/api/relays/{KEY}", headers=headers)).status_code == 400


async def test_a_worker_gets_the_same_tokens_again_until_it_is_time_to_refresh_them():
    clock = FakeClock()
    async with served(clock=clock) as (_, worker):
        relay = await worker.register()
        assert (await worker.read(KEY)).json()["connectionUrl"] == relay["connectionUrl"]
        clock.advance(3_301)
        worker.now_ms = clock.now_ms()
        assert (await worker.read(KEY)).json()["connectionUrl"] != relay["connectionUrl"]


async def test_urls_are_the_gateways_own_and_never_a_workers():
    async with served() as (gateway, worker):
        evil = "wss://evil.example/relay?token=stolen"
        relay = await worker.register(connectionUrl=evil, replicationConnectionUrl=evil, replicationEndpoint=evil)
        read = (await worker.client.get(f"/api/relays/{KEY}")).json()
        for each in (relay, read):
            assert each["metadata"]["connectionUrl"] == each["connectionUrl"]
            assert each["connectionUrl"].startswith(gateway.ws_url)
            assert each["replicationEndpoint"] == "/mirror/npub1abc/My-Relay"
        assert "token" not in read["metadata"]["connectionUrl"]


async def test_the_public_url_is_the_base_of_both_urls_where_it_is_configured():
    server = Config().server.__class__(public_url="https://gateway.example")
    async with served(Config(server=server, registration=Registration(secret=SECRET))) as (_, worker):
        relay = (await worker.client.get(f"/api/relays/{INTERNAL}")).json()
        assert relay["connectionUrl"] == "wss://gateway.example/relay"
        assert relay["replicationConnectionUrl"] == "wss://gateway.example/mirror/relay"


async def test_a_relay_is_taken_away_by_its_signed_deletion():
    async with served() as (_, worker):
        await worker.register()
        path = f"/api/relays/{KEY}"
        assert error(await worker.client.delete(path)) == (401, "Missing signature")
        bad = {"x-signature": sign({"relayKey": OTHER})}
        assert error(await worker.client.delete(path, headers=bad)) == (401, "Invalid signature")
        assert (await worker.unregister()).json() == {"status": "ok"}
        assert error(await worker.unregister()) == (404, "Relay not registered")
        assert error(await worker.client.get(path)) == (404, "Relay not registered")


async def test_a_deletion_with_a_nonce_works_once():
    async with served() as (_, worker):
        await worker.register()
        signed = {"relayKey": KEY, **once()}
        headers = {
            "x-signature": sign(signed), "x-nonce": signed["nonce"], "x-issued-at": str(signed["issuedAt"]),
        }  # fmt: skip
        assert (await worker.client.delete(f"/api/relays/{KEY}", headers=headers)).json() == {"status": "ok"}
        await worker.register()
        answer = await worker.client.delete(f"/api/relays/{KEY}", headers=headers)
        assert error(answer) == (409, "this nonce was used before")


TWO = Config(registration=Registration(secret=SECRET), workers={"second": WorkerConfig(secret="another secret")})


async def test_only_its_owner_re_registers_deletes_issues_refreshes_or_revokes():
    async with served(TWO) as (_, first):
        second = Worker(first.client, "another secret")
        await first.register()
        token = (await first.issue())["token"]
        refused = (403, "this relay belongs to another worker")
        assert error(await second.submit(registration())) == refused
        assert error(await second.unregister()) == refused
        for action, more in (
            ("issue", {"relayAuthToken": "x"}),
            ("refresh", {"token": token}),
            ("revoke", {}),
        ):
            assert error(await second.send(action, {"relayKey": KEY, **once(), **more})) == refused
        assert "?token=" not in (await second.read(KEY)).json()["connectionUrl"]
        assert [relay["relayKey"] for relay in (await second.read()).json()["relays"]] == [INTERNAL]


async def test_what_a_former_owners_tokens_opened_the_next_owner_does_not_inherit():
    async with served(TWO) as (_, first):
        second = Worker(first.client, "another secret")
        await first.register()
        token = (await first.issue())["token"]
        await first.unregister()
        await second.register()
        answer = await second.send("refresh", {"relayKey": KEY, "token": token, **once()})
        assert error(answer) == (400, "token-revoked")


async def test_an_issue_is_answered_with_both_tokens_and_both_urls():
    clock = FakeClock()
    async with served(clock=clock) as (gateway, worker):
        await worker.register()
        answer = await worker.issue(pubkey=PUBKEY)
        assert answer["sequence"] == 1
        assert answer["expiresAt"] == clock.now_ms() + 3_600_000
        assert answer["refreshAfter"] == clock.now_ms() + 3_300_000
        assert answer["connectionUrl"] == f"{gateway.ws_url}/npub1abc/My-Relay?token={answer['token']}"
        assert answer["replicationConnectionUrl"] == (
            f"{gateway.ws_url}/mirror/npub1abc/My-Relay?token={answer['replicationToken']}"
        )
        assert set(answer) == {
            "token", "expiresAt", "refreshAfter", "sequence", "replicationToken", "connectionUrl",
            "replicationConnectionUrl",
        }  # fmt: skip


async def test_the_gateways_own_relay_gives_tokens_without_an_auth_token():
    async with served() as (_, worker):
        answer = await worker.send("issue", {"relayKey": INTERNAL})
        assert answer.status_code == 200
        assert "/mirror/relay?token=" in answer.json()["replicationConnectionUrl"]


async def test_each_refusal_of_a_token_request_has_its_status_and_text():
    async with served() as (_, worker):
        await worker.register()
        body = {"payload": {"relayKey": KEY, "relayAuthToken": "a"}, "signature": "0" * 64}
        for action in ("issue", "refresh", "revoke"):
            for wrong in (body, {}, {"payload": body["payload"]}, {"signature": "x"}, {"payload": 5, "signature": "x"}):
                answer = await worker.post(f"/api/relay-tokens/{action}", wrong)
                assert error(answer) == (401, "Invalid signature")
        required = "relayKey and relayAuthToken are required"
        for action, payload, text in (
            ("issue", {"relayKey": KEY}, required),
            ("issue", {"relayAuthToken": "a"}, required),
            ("issue", {"relayKey": OTHER, "relayAuthToken": "a"}, "relay-not-registered"),
            ("issue", {"relayKey": KEY, "relayAuthToken": "a", "token": "t"}, "unexpected key: token"),
            ("refresh", {"relayKey": KEY}, "relayKey and token are required"),
            ("refresh", {"token": "t"}, "relayKey and token are required"),
            ("refresh", {"relayKey": KEY, "token": "t"}, "no-active-token"),
            ("refresh", {"relayKey": OTHER, "token": "t"}, "no-active-token"),
            ("revoke", {"reason": "x"}, "relayKey is required"),
            ("revoke", {"relayKey": OTHER}, "relay-not-registered"),
        ):
            assert error(await worker.send(action, payload)) == (400, text)


async def test_peers_count_while_their_worker_is_online_and_an_empty_list_leaves_them():
    clock = FakeClock()
    async with served(clock=clock) as (_, worker):
        await worker.submit({**registration(now_ms=clock.now_ms()), "peers": ["ws://one", "wss://two", "ef" * 32]})
        await worker.register()
        assert "gateway_active_peers 2.0" in (await worker.client.get("/metrics")).text
        clock.advance(301)
        assert "gateway_active_peers 0.0" in (await worker.client.get("/metrics")).text


async def test_requests_are_counted_by_their_outcome():
    async with served() as (_, worker):
        await worker.register()
        await worker.issue()
        await worker.send("issue", {"relayKey": OTHER, "relayAuthToken": "a"})
        text = (await worker.client.get("/metrics")).text
        assert 'gateway_relay_token_issues_total{result="success"} 1.0' in text
        assert 'gateway_relay_token_issues_total{result="error"} 1.0' in text


async def test_no_token_and_no_auth_token_reaches_the_log():
    async with served() as (gateway, worker):
        relay = await worker.register()
        issued = await worker.issue(pubkey=PUBKEY, relayAuthToken="relay-auth-secret")
        refreshed = (await worker.send("refresh", {"relayKey": KEY, "token": issued["token"]})).json()
        await worker.revoke()
        log = b"".join(record.payload or b"" for batch in gateway.ledger.log.read(0) for record in batch)
        tokens = [relay["connectionUrl"].partition("=")[2], issued["token"], refreshed["replicationToken"]]
        for secret in [*tokens, *(token.partition(".")[2] for token in tokens), "relay-auth-secret"]:
            assert secret
            assert secret.encode() not in log


def test_the_token_key_is_made_once_and_is_the_owners_alone(tmp_path):
    config = Config(data=str(tmp_path))
    made = token_key(config, FakeClock())
    assert token_key(config, FakeClock(5)) == made
    assert (tmp_path / "keys" / "token.key").stat().st_mode & 0o777 == 0o600
    assert len(made) == 64


def test_the_operators_own_key_file_is_used_and_must_be_there(tmp_path):
    (tmp_path / "mine").write_text("test-shared-secret\n")
    assert token_key(Config(tokens=Tokens(key_file=str(tmp_path / "mine"))), FakeClock()) == "test-shared-secret"
    with pytest.raises(Unavailable):
        token_key(Config(tokens=Tokens(key_file=str(tmp_path / "other"))), FakeClock())
    assert not (tmp_path / "other").exists()


def test_workers_without_a_secret_are_no_signers():
    assert worker_secrets(TWO) == {"default": SECRET, "second": "another secret"}
    assert worker_secrets(Config(workers={"x": WorkerConfig()})) == {}
