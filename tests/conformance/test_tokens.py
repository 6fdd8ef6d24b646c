"""Tokens as relay-and-mirror.md §2 has them: their form, their refusals, what makes them stale and what does not."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.fakes import now_ms
from tests.conformance.worker import INTERNAL, Worker, fresh_key, hmac_of
from tests.conformance.world import World, world

ALICE, BOB = "aa" * 32, "bb" * 32


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("tokens")) as made:
        yield made
        assert made.traces() == []


@pytest.fixture(scope="module")
def worker(w: World) -> Worker:
    return Worker(w)


@pytest.fixture
def key(worker: Worker) -> str:
    made = fresh_key()
    assert worker.register(made, f"t{made[:12]}").status == 200
    return made


def claims_of(token: str) -> dict[str, Any]:
    body, _, mac = token.partition(".")
    assert len(mac) == 64
    assert "=" not in body
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    claims: dict[str, Any] = json.loads(raw)
    assert raw == json.dumps(claims, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return claims


def test_an_issue_is_answered_in_the_stated_shape(w: World, worker: Worker, key: str) -> None:
    before = now_ms()
    answer = worker.issue(key, ALICE, ttlSeconds=600)
    assert set(answer) >= {
        "token", "expiresAt", "refreshAfter", "sequence", "replicationToken", "connectionUrl",
        "replicationConnectionUrl",
    }  # fmt: skip
    assert before + 600_000 <= answer["expiresAt"] <= now_ms() + 600_000
    assert answer["refreshAfter"] == answer["expiresAt"] - 300_000
    path = f"npub1conform/t{key[:12]}"
    assert answer["connectionUrl"] == f"{w.server.ws_url}/{path}?token={answer['token']}"
    prefix = f"{w.server.ws_url}/mirror/{path}?token="
    assert answer["replicationConnectionUrl"] in {prefix + answer["token"], prefix + answer["replicationToken"]}


def test_a_token_holds_the_claims_and_nothing_else(worker: Worker, key: str) -> None:
    answer = worker.issue(key, ALICE)
    claims = claims_of(answer["token"])
    assert claims == {
        "expiresAt": answer["expiresAt"],
        "issuedAt": claims["issuedAt"],
        "pubkey": ALICE,
        "relayAuthToken": "auth-1",
        "relayKey": key,
        "scope": "relay-access",
        "sequence": answer["sequence"],
    }
    assert answer["expiresAt"] - claims["issuedAt"] == 3_600_000
    replication = claims_of(answer["replicationToken"])
    assert replication == claims | {"scope": "relay-replication"}


def test_no_worker_can_mint_a_token_with_the_secret_it_holds(worker: Worker, key: str) -> None:
    token = worker.issue(key, ALICE)["token"]
    raw = base64.urlsafe_b64decode(token.partition(".")[0] + "==")
    assert hmac.new(worker.secret.encode(), raw, hashlib.sha256).hexdigest() != token.partition(".")[2]


def test_sequences_count_per_subject(worker: Worker, key: str) -> None:
    first = [worker.issue(key, subject)["sequence"] for subject in (ALICE, BOB, ALICE, None)]
    assert first[2] == first[0] + 1
    assert first[1] == first[0] == first[3]


def test_issues_are_refused_with_the_stated_texts(worker: Worker, key: str) -> None:
    required = (400, "relayKey and relayAuthToken are required")
    assert worker.token("issue", {"relayKey": key}).error() == required
    assert worker.token("issue", {"relayAuthToken": "a"}).error() == required
    unknown = {"relayKey": fresh_key(), "relayAuthToken": "a"}
    assert worker.token("issue", unknown).error() == (400, "relay-not-registered")
    for action in ("issue", "refresh", "revoke"):
        body = {"payload": {"relayKey": key, "relayAuthToken": "a"}, "signature": "0" * 64}
        assert worker.w.post(f"/api/relay-tokens/{action}", body).error() == (401, "Invalid signature")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pubkey": "ALICE"}, {"pubkey": ALICE.upper()}, {"ttlSeconds": -1}, {"ttlSeconds": "x"}, {"ttlSeconds": 0},
        {"unknown": 1}, {"nonce": 5}, {"issuedAt": 5}, {"scope": 7},
    ],
)  # fmt: skip
def test_wrong_payloads_are_refused(worker: Worker, key: str, wrong: dict[str, Any]) -> None:
    assert worker.token("issue", {"relayKey": key, "relayAuthToken": "a", **wrong}).status in {400, 401}


def test_a_signature_for_one_endpoint_serves_no_other(worker: Worker, key: str) -> None:
    registration = worker.registration(key, "x")
    for action in ("issue", "refresh", "revoke"):
        body = {"payload": registration, "signature": worker.sign(registration)}
        assert worker.w.post(f"/api/relay-tokens/{action}", body).status in {400, 401}
    issue = {"relayKey": key, "relayAuthToken": "a"}
    body = {"payload": issue, "signature": worker.sign(issue)}
    assert worker.w.post("/api/relay-tokens/revoke", body).status in {400, 401}


def test_nonce_and_time_are_optional_and_checked_where_they_are_given(worker: Worker, key: str) -> None:
    payload = {"relayKey": key, "relayAuthToken": "a", "pubkey": ALICE}
    assert worker.token("issue", payload, once=False).status == 200
    once = payload | {"nonce": "n-" + fresh_key()[:20], "issuedAt": now_ms()}
    assert worker.token("issue", once, once=False).status == 200
    assert worker.token("issue", once | {"pubkey": BOB}, once=False).status in {400, 401, 409}
    stale = payload | {"nonce": fresh_key()[:20], "issuedAt": now_ms() - 400_000}
    assert worker.token("issue", stale, once=False).status in {400, 401}


def test_a_refresh_carries_on_with_the_next_sequence(worker: Worker, key: str) -> None:
    first = worker.issue(key, ALICE)
    second = worker.token("refresh", {"relayKey": key, "token": first["token"]})
    assert second.status == 200
    assert second.body["sequence"] == first["sequence"] + 1
    assert set(second.body) == set(first)
    assert claims_of(second.body["token"])["pubkey"] == ALICE
    assert claims_of(second.body["token"])["relayAuthToken"] == "auth-1"


def test_a_refresh_never_widens_scope(worker: Worker, key: str) -> None:
    first = worker.issue(key, ALICE)
    answer = worker.token("refresh", {"relayKey": key, "token": first["replicationToken"]})
    if answer.status == 200:
        assert claims_of(answer.body["token"])["scope"] == "relay-replication"
    narrow = worker.issue(key, ALICE, scope="relay-replication")
    answer = worker.token("refresh", {"relayKey": key, "token": narrow["token"]})
    assert answer.status == 200
    assert {claims_of(answer.body[name])["scope"] for name in ("token", "replicationToken")} == {"relay-replication"}


def test_refreshes_are_refused_with_the_stated_texts(worker: Worker, key: str) -> None:
    required = (400, "relayKey and token are required")
    assert worker.token("refresh", {"relayKey": key}).error() == required
    assert worker.token("refresh", {"token": "x"}).error() == required
    assert worker.token("refresh", {"relayKey": key, "token": "x.y"}).error() in {
        (400, "no-active-token"),
        (400, "token-invalid"),
    }
    held = worker.issue(key, ALICE)["token"]
    body, _, mac = held.partition(".")
    forged = f"{body}.{'0' * 64 if mac[0] != '0' else '1' * 64}"
    assert worker.token("refresh", {"relayKey": key, "token": forged}).error() == (400, "token-invalid")
    other = fresh_key()
    assert worker.register(other, f"o{other[:12]}").status == 200
    answer = worker.token("refresh", {"relayKey": other, "token": held})
    assert answer.error() in {(400, "token-mismatch"), (400, "no-active-token")}
    worker.token("revoke", {"relayKey": key, "pubkey": ALICE})
    assert worker.token("refresh", {"relayKey": key, "token": held}).error() == (400, "token-revoked")


def test_an_expired_token_is_not_refreshed(worker: Worker, key: str) -> None:
    import time  # noqa: PLC0415 - the one place that has to wait for a real clock

    held = worker.issue(key, ALICE, ttlSeconds=1)["token"]
    time.sleep(1.1)
    assert worker.token("refresh", {"relayKey": key, "token": held}).error() == (400, "token-expired")


def test_a_revocation_is_of_a_subject_or_of_the_whole_relay(worker: Worker, key: str) -> None:
    held = {subject: worker.issue(key, subject)["token"] for subject in (ALICE, BOB, None)}
    answer = worker.token("revoke", {"relayKey": key, "pubkey": ALICE, "reason": "gone"})
    assert answer.status == 200
    assert set(answer.body) == {"status", "disconnected", "sequence"}
    assert (answer.body["status"], answer.body["disconnected"]) == ("revoked", 0)
    good = {s: worker.token("refresh", {"relayKey": key, "token": held[s]}).status for s in held}
    assert good == {ALICE: 400, BOB: 200, None: 200}
    assert worker.token("revoke", {"relayKey": key}).status == 200
    assert all(worker.token("refresh", {"relayKey": key, "token": held[s]}).status == 400 for s in held)


def test_a_captured_issue_does_not_undo_a_revocation(worker: Worker, key: str) -> None:
    captured = {"relayKey": key, "relayAuthToken": "a", "pubkey": ALICE}
    with_once = captured | {"nonce": fresh_key()[:20], "issuedAt": now_ms() - 1_000}
    assert worker.token("issue", captured, once=False).status == 200
    assert worker.token("issue", with_once, once=False).status == 200
    assert worker.token("revoke", {"relayKey": key, "pubkey": ALICE}).status == 200
    assert worker.token("issue", captured, once=False).error() == (400, "token-revoked")
    assert worker.token("issue", with_once, once=False).status in {400, 401, 409}
    assert worker.token("issue", captured).status == 200


def test_the_gateways_own_relay_gives_tokens_without_an_auth_token(worker: Worker) -> None:
    answer = worker.token("issue", {"relayKey": INTERNAL, "pubkey": ALICE})
    assert answer.status == 200
    assert answer.body["connectionUrl"].startswith(f"{worker.w.server.ws_url}/relay?token=")
    assert answer.body["replicationConnectionUrl"].startswith(f"{worker.w.server.ws_url}/mirror/relay?token=")


def test_revocations_and_sequences_survive_a_crash(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        worker, key = Worker(w), fresh_key()
        worker.register(key, "crash")
        alice, bob = worker.issue(key, ALICE), worker.issue(key, BOB)
        used = {"relayKey": key, "relayAuthToken": "a", "pubkey": BOB, "nonce": "used-once", "issuedAt": now_ms()}
        assert worker.token("issue", used, once=False).status == 200
        worker.token("revoke", {"relayKey": key, "pubkey": ALICE})
        w.crash()
        held = {"relayKey": key, "token": alice["token"]}
        assert worker.token("refresh", held).error() == (400, "token-revoked")
        refreshed = worker.token("refresh", {"relayKey": key, "token": bob["token"]})
        assert (refreshed.status, refreshed.body["sequence"]) == (200, bob["sequence"] + 2)
        assert worker.token("issue", used | {"relayAuthToken": "b"}, once=False).status in {400, 401, 409}
        assert w.traces() == []


def test_no_usable_token_stands_in_the_log(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        worker, key = Worker(w), fresh_key()
        relay = worker.register(key, "secret").body["relay"]
        answer = worker.issue(key, ALICE, relayAuthToken="very-secret-auth")
        worker.token("refresh", {"relayKey": key, "token": answer["token"]})
        macs = [answer[name].partition(".")[2] for name in ("token", "replicationToken")]
        macs.append(relay["connectionUrl"].rpartition(".")[2])
        data = b"".join(path.read_bytes() for path in (w.directory / "data" / "log").rglob("*") if path.is_file())
        assert len(data) > 500
        for secret in (*macs, "very-secret-auth", w.demo.pem[40:60], "worker-secret"):
            assert secret.encode() not in data
        assert not any(mac in line for mac in macs for line in w.server.lines)


def test_hmac_here_agrees_with_itself() -> None:
    assert hmac_of({"b": "é", "a": 1}, "s") == hmac.new(b"s", '{"a":1,"b":"é"}'.encode(), "sha256").hexdigest()
