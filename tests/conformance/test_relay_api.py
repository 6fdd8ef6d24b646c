"""Registrations of relays over HTTP: every row of relay-and-mirror.md §1, and the vectors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.fakes import now_ms
from tests.conformance.worker import INTERNAL, Worker, fresh_key, hmac_of, relay_id
from tests.conformance.world import World, world

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "relay.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("relays")) as made:
        yield made
        assert made.traces() == []


@pytest.fixture(scope="module")
def worker(w: World) -> Worker:
    return Worker(w)


def name_of(key: str) -> str:
    return f"n{key[:12]}"


def registered(worker: Worker, **changes: Any) -> tuple[str, dict[str, Any]]:
    """A new relay: (relayKey, the R of the answer)."""
    key = fresh_key()
    answer = worker.register(key, name_of(key), **changes)
    assert answer.status == 200, answer
    assert set(answer.body) == {"status", "hyperbee", "relay"}
    assert answer.body["status"] == "ok"
    return key, answer.body["relay"]


def test_the_vectors_hold_for_this_reader() -> None:
    assert hmac_of(VECTORS["hmac"]["object"], VECTORS["hmac"]["secret"]) == VECTORS["hmac"]["signature"]
    assert relay_id(VECTORS["relay_id"]["identifier"]) == VECTORS["relay_id"]["relayID"]


def test_a_registration_is_answered_with_the_relay_and_tokened_urls(w: World, worker: Worker) -> None:
    key, relay = registered(worker, metadata={"unknown": {"kept": [1, "é"]}, "description": "d"})
    path, base = f"npub1conform/{name_of(key)}", w.server.ws_url
    fields = {"relayKey", "identifier", "gatewayPath", "online", "metadata", "requiresAuth"}
    fields |= {"requiresAuthForReplication", "replicationEndpoint", "connectionUrl", "replicationConnectionUrl"}
    assert fields | {"events", "updatedAt"} <= set(relay)
    assert (relay["relayKey"], relay["gatewayPath"], relay["online"]) == (key, path, True)
    assert relay["identifier"] == f"npub1conform:{name_of(key)}"
    assert (relay["requiresAuth"], relay["requiresAuthForReplication"]) == (True, True)
    assert relay["replicationEndpoint"] == f"/mirror/{path}"
    assert relay["metadata"]["unknown"] == {"kept": [1, "é"]}
    assert relay["connectionUrl"].startswith(f"{base}/{path}?token=")
    assert relay["replicationConnectionUrl"].startswith(f"{base}/mirror/{path}?token=")
    assert isinstance(relay["events"], int)
    assert abs(relay["updatedAt"] - now_ms()) < 60_000


def test_what_is_read_without_a_signature_holds_no_token(w: World, worker: Worker) -> None:
    key, _ = registered(worker)
    relay = w.get(f"/api/relays/{key}").body
    path, base = f"npub1conform/{name_of(key)}", w.server.ws_url
    assert relay["connectionUrl"].partition("?")[0] == f"{base}/{path}"
    assert relay["replicationConnectionUrl"].partition("?")[0] == f"{base}/mirror/{path}"
    listed = {each["relayKey"]: each for each in w.get("/api/relays").body["relays"]}
    assert listed[key] == relay
    status = {each["relayKey"]: each for each in w.get("/status").body["relays"]}
    for one in (relay, listed[key], status[key]):
        assert not any("eyJ" in str(value) for value in one.values()), "a token in a public answer"


def test_signed_reads_give_tokened_urls_of_the_workers_own_relays(w: World, worker: Worker) -> None:
    key, _ = registered(worker, metadata={"isPublic": False})
    assert w.get(f"/api/relays/{key}").error()[0] == 404
    assert key not in {each["relayKey"] for each in w.get("/api/relays").body["relays"]}
    one = worker.read(key)
    assert one.status == 200
    assert "token=eyJ" in one.body["connectionUrl"]
    assert "token=eyJ" in one.body["replicationConnectionUrl"]
    assert key in {each["relayKey"] for each in worker.read(None).body["relays"]}
    second = Worker(w, "second-secret")
    assert second.read(key).status == 404
    assert key not in {each["relayKey"] for each in second.read(None).body["relays"]}


def test_the_signature_of_a_read_is_checked_and_is_not_that_of_a_delete(w: World, worker: Worker) -> None:
    key, _ = registered(worker, metadata={"isPublic": False})
    delete = worker.sign({"relayKey": key})
    assert w.get(f"/api/relays/{key}", {"x-signature": delete, "x-issued-at": str(now_ms())}).status in {401, 404}
    old = now_ms() - 400_000
    stale = worker.sign({"read": key, "issuedAt": old})
    assert w.get(f"/api/relays/{key}", {"x-signature": stale, "x-issued-at": str(old)}).status in {401, 404}
    assert worker.delete(key, {"read": key}).error() == (401, "Invalid signature")
    assert worker.read(key).status == 200


@pytest.mark.parametrize(
    "body", [{}, {"registration": {}}, {"signature": "x"}, {"registration": None, "signature": "x"}]
)
def test_a_registration_needs_its_payload_and_signature(w: World, body: dict[str, Any]) -> None:
    assert w.post("/api/relays", body).error() == (400, "Missing registration payload or signature")


def test_a_registration_needs_a_relay_key(worker: Worker) -> None:
    assert worker.register("", "x").error() == (400, "relayKey is required")
    assert worker.post_registration(worker.registration("x", "x", relayKey=None)).error() == (
        400,
        "relayKey is required",
    )


def test_a_wrong_signature_is_refused(w: World, worker: Worker) -> None:
    registration = worker.registration(fresh_key(), "x")
    for signature in ("", "0" * 64, hmac_of(registration, "other"), worker.sign(registration).upper(), 5):
        answer = w.post("/api/relays", {"registration": registration, "signature": signature})
        assert answer.error() in {(401, "Invalid signature"), (400, "Missing registration payload or signature")}
    tampered = registration | {"peers": ["ws://evil.example"]}
    answer = w.post("/api/relays", {"registration": tampered, "signature": worker.sign(registration)})
    assert answer.error() == (401, "Invalid signature")


def test_an_identical_registration_is_idempotent_and_a_replayed_nonce_is_not(worker: Worker) -> None:
    key = fresh_key()
    registration = worker.registration(key, name_of(key))
    assert worker.post_registration(registration).status == 200
    assert worker.post_registration(registration).status == 200
    other = registration | {"peers": ["ws://127.0.0.1:1/other"]}
    assert worker.post_registration(other).status == 409


def test_a_registration_must_be_fresh(worker: Worker) -> None:
    for drift in (-330_000, 330_000):
        answer = worker.register(fresh_key(), "drift", issuedAt=now_ms() + drift)
        assert answer.status in {400, 401}, answer
    for missing in ("nonce", "issuedAt"):
        assert worker.register(fresh_key(), "missing", **{missing: None}).status == 400


def test_a_registration_that_is_sent_again_does_not_undo_a_later_one(w: World, worker: Worker) -> None:
    key = fresh_key()
    first = worker.registration(key, name_of(key), metadata={"description": "old"})
    assert worker.post_registration(first).status == 200
    assert worker.register(key, name_of(key), metadata={"description": "new"}).status == 200
    assert worker.post_registration(first).status in {200, 409}
    assert w.get(f"/api/relays/{key}").body["metadata"]["description"] == "new"


def test_a_registration_that_is_sent_again_does_not_bring_a_relay_back(w: World, worker: Worker) -> None:
    key = fresh_key()
    first = worker.registration(key, name_of(key))
    worker.post_registration(first)
    assert worker.delete(key).status == 200
    assert worker.post_registration(first).status in {200, 409}
    assert w.get(f"/api/relays/{key}").status == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"relayKey": "short"}, {"relayKey": "Z" * 64}, {"metadata": {"gatewayPath": "api"}},
        {"metadata": {"gatewayPath": "relay"}}, {"metadata": {"gatewayPath": "mirror/x"}},
        {"metadata": {"pathAliases": ["push"]}}, {"metadata": {"identifier": "public-gateway:mine"}},
        {"metadata": {"pathAliases": ["relay"]}}, {"metadata": {"pathAliases": ["public-gateway/hyperbee"]}},
        {"metadata": {"gatewayPath": "status"}}, {"peers": "x"}, {"peers": [5]}, {"metadata": {"gatewayPath": 5}},
        {"relayKey": "public-gateway:other"}, {"extra": 1},
    ],
)  # fmt: skip
def test_wrong_shapes_and_reserved_names_are_refused(worker: Worker, changes: dict[str, Any]) -> None:
    key = fresh_key()
    assert worker.post_registration(worker.registration(key, name_of(key)) | changes).status in {400, 403, 409}
    merged = worker.registration(key, name_of(key), **changes)
    assert worker.post_registration(merged).status in {400, 403, 409}


def test_names_belong_to_whoever_came_first(w: World, worker: Worker) -> None:
    key, _ = registered(worker)
    for metadata in ({"pathAliases": [f"npub1conform/{name_of(key)}"]}, {"identifier": f"npub1conform:{name_of(key)}"}):
        assert worker.register(fresh_key(), "thief", metadata=metadata).status in {400, 403, 409}
    second = Worker(w, "second-secret")
    assert second.register(fresh_key(), name_of(key)).status in {400, 403, 409}


def test_only_the_owner_changes_or_deletes(w: World, worker: Worker) -> None:
    key, _ = registered(worker)
    second = Worker(w, "second-secret")
    assert second.register(key, name_of(key)).status in {401, 403}
    assert second.delete(key).status in {401, 403, 404}
    payload = {"relayKey": key, "relayAuthToken": "a"}
    assert second.token("issue", payload).status in {400, 401, 403}
    assert second.token("revoke", {"relayKey": key}).status in {400, 401, 403}
    assert w.get(f"/api/relays/{key}").status == 200


def test_live_peers_survive_a_registration_without_any(worker: Worker) -> None:
    key = fresh_key()
    first = worker.register(key, name_of(key), peers=["ab" * 32])
    again = worker.register(key, name_of(key), peers=[])
    assert (first.status, again.status) == (200, 200)


def test_delete_is_signed_and_final(w: World, worker: Worker) -> None:
    key, _ = registered(worker)
    assert w.get(f"/api/relays/{key}").status == 200
    for signed in ({}, {"relayKey": fresh_key()}, {"relayKey": key, "x": 1}):
        assert worker.delete(key, signed).error() == (401, "Invalid signature")
    answer = worker.delete(key)
    assert (answer.status, answer.body) == (200, {"status": "ok"})
    assert w.get(f"/api/relays/{key}").status == 404
    assert worker.delete(key).status == 404
    assert worker.register(key, name_of(key)).status == 200


def test_urls_are_the_gateways_own_never_the_workers(w: World, worker: Worker) -> None:
    lies = {"connectionUrl": "wss://evil.example/x", "replicationConnectionUrl": "wss://evil.example/y"}
    key, relay = registered(worker, metadata=lies)
    shown = w.get(f"/api/relays/{key}").body
    for one in (relay, shown):
        assert one["connectionUrl"].startswith(w.server.ws_url)
        assert one["replicationConnectionUrl"].startswith(w.server.ws_url)


def test_flags_are_kept(worker: Worker) -> None:
    _, relay = registered(worker, metadata={"requiresAuth": False, "requiresAuthForReplication": False})
    assert (relay["requiresAuth"], relay["requiresAuthForReplication"]) == (False, False)


def test_the_gateway_registers_its_own_relay(w: World) -> None:
    relay = w.get("/api/relays/public-gateway%3Ahyperbee").body
    assert relay == w.get(f"/api/relays/{INTERNAL}").body
    assert (relay["requiresAuth"], relay["requiresAuthForReplication"]) == (False, True)
    assert (relay["gatewayPath"], relay["replicationEndpoint"]) == ("relay", "/mirror/relay")
    assert relay["connectionUrl"].partition("?")[0] == f"{w.server.ws_url}/relay"
    assert relay["replicationConnectionUrl"].partition("?")[0] == f"{w.server.ws_url}/mirror/relay"


def test_no_worker_takes_the_gateways_own_relay(worker: Worker) -> None:
    assert worker.register(INTERNAL, "mine").status in {400, 401, 403}
    assert worker.delete(INTERNAL).status in {400, 401, 403, 404}


def test_the_gateways_pages_have_their_shapes(w: World) -> None:
    assert w.get("/health").status == w.get("/ready").status == 200
    status = w.get("/status").body
    assert {"origin", "version", "uptimeSeconds", "sessions", "log", "views", "relays"} <= set(status)
    assert {"size", "root", "durableSeq"} <= set(status["log"])
    assert all({"position", "lag"} <= set(view) for view in status["views"].values())
    metrics = w.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in (
        "gateway_active_sessions", "gateway_active_peers", "gateway_relay_events_total", "gateway_relay_requests_total",
        "gateway_replication_frames_total", "gateway_relay_token_issues_total", "gateway_relay_token_refresh_total",
        "gateway_relay_token_revocations_total", "gateway_push_", "gateway_log_",
    ):  # fmt: skip
        assert name in metrics.text, name


def test_errors_are_json_at_every_path(w: World) -> None:
    assert w.get("/api/nothing").error()[0] == 404
    assert w.post("/api/relays/x", {}).error()[0] == 405
    assert w.post("/api/relays", b"{").error()[0] == 400
    assert w.post("/api/relays", b"[]").error()[0] == 400
    assert w.post("/api/relays", b" " * 262_145).error()[0] == 413
    assert w.post("/api/relays", b"{}", {"Content-Type": "text/plain"}).error()[0] in {400, 415}


def test_relays_survive_a_crash(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        worker = Worker(w)
        key, _ = registered(worker)
        gone, _ = registered(worker)
        replayed = worker.registration(fresh_key(), "replayed")
        assert worker.post_registration(replayed).status == 200
        worker.delete(gone)
        before = w.get(f"/api/relays/{key}").body
        w.crash()
        after = w.get(f"/api/relays/{key}").body
        for one in (before, after):
            del one["connectionUrl"], one["replicationConnectionUrl"]  # another port
        assert after == before
        assert w.get(f"/api/relays/{gone}").status == 404
        other = replayed | {"peers": ["ab" * 32]}
        assert worker.post_registration(other).status == 409
        assert w.traces() == []
