"""Token secrecy: what a server prints and exposes, whatever goes wrong, holds no secret that was used with it.

Every real server of the suite is searched when it ends (`tests.secrecy`). Here one is made to print and to refuse as
much as it can: push services that repeat the token in their errors, clients who send secrets where none belong, wrong
keys, a kill in the middle. And the search itself is shown to find what it is for.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.push.es256 import private_pem
from gateway.serve.fakes.webpush import Subscriber
from tests import secrecy
from tests.conformance.fakes import Reply, Site
from tests.conformance.worker import Worker, fresh_key
from tests.conformance.world import World, world
from tests.secrecy import secret
from tests.server import process

APP = "com.example.app"
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
ALARMS = 3  # of the failures below at least so many sound one


def made(kind: str = "token") -> str:
    """A new secret."""
    return secret(f"{kind}-{uuid.uuid4().hex}")


def until(holds: Callable[[], bool]) -> None:
    """Wait for what comes by itself."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def echo(status: int, code: str, target: str) -> Reply:
    """An error of a push service that repeats the token wherever a text has room."""
    details: list[dict[str, Any]] = [
        {"@type": FCM_ERROR, "errorCode": code or f"no {target}"},
        {"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": "message.topic", "description": target}]},
    ]
    error = {"code": status, "message": f"bad token {target}", "status": target, "details": details}
    return status, {"Retry-After": target, "X-Token": target}, json.dumps({"error": error}).encode()


# (app id, status, code). Of one project the last stops it; another's app has the one that stops the other.
ECHOES = [
    *(("", 400, "INVALID_ARGUMENT"), ("", 400, ""), ("", 404, ""), ("", 404, "UNREGISTERED"), ("", 418, "")),
    *(("", 401, "THIRD_PARTY_AUTH_ERROR"), ("", 500, ""), ("", 503, "UNAVAILABLE"), ("", 429, "QUOTA_EXCEEDED")),
    ("second", 403, ""),
]


@dataclass
class Stage:
    """A world with every way out and every door open, and a push service that echoes."""

    w: World
    service: Site
    bearer: str
    refusals: int = 0
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)  # by token
    asked: set[str] = field(default_factory=set)  # tokens that FCM was asked for

    def fcm_reply(self, path: str, headers: dict[str, str], body: bytes) -> Reply:
        """What FCM answers: as `failures` say for a token, else as the fake does."""
        message = {} if path == "/token" else json.loads(body)["message"]
        target = message.get("token") or message.get("fid") or ""
        self.asked.add(target)
        failure = self.failures.get(target)
        return echo(*failure, target) if failure else self.w.fcm._reply(path, headers, body)

    def refused(self, answer: Any) -> None:
        assert answer.status >= 400, answer
        self.refusals += 1


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("secrecy")
    key_file, bearer = directory / "apple.p8", made("bearer")
    key_file.write_text(private_pem(ec.generate_private_key(ec.SECP256R1())))
    service = Site(lambda path, headers, body: (410 if "gone" in path else 500, {}, path.encode()))
    extra = f"""
[fcm.projects.second]
credentials = "{directory / "account.json"}"
app_ids = ["second"]
[webpush]
local_origins = ["{service.url}"]
[apns]
base_url = "https://localhost:1"
[apns.apps."{APP}"]
key_file = "{key_file}"
key_id = "KEYID12345"
team_id = "TEAMID1234"
[matrix]
secret = "{bearer}"
[matrix.apps."{APP}"]
"""
    # At the end, and at each kill, the server is searched.
    with world(directory, extra, push="answer_wait_s = 0.2") as w:
        stage = Stage(w, service, bearer)
        w.fcm.site.reply = stage.fcm_reply
        yield stage
        assert w.traces() == []
    service.close()


def test_push_services_that_repeat_the_token_in_their_errors_teach_the_log_nothing(stage: Stage) -> None:
    w = stage.w
    for app, status, code in ECHOES:
        user, token = made("user"), made()
        stage.failures[token] = (status, code)
        assert w.register(w.demo.signed(user, token, appId=app)).status == 200
        answer = w.notify(w.demo.event(user), w.demo)
        assert answer.status == 200
        assert token not in answer.text
        until(lambda token=token: token in stage.asked)
    until(lambda: len([line for line in w.server.lines if "push alarm" in line]) >= ALARMS)


def test_endpoints_and_device_tokens_of_every_kind_stay_unseen(stage: Stage) -> None:
    w = stage.w
    for kind, path, status in (("webpush", "gone", 200), ("unifiedpush", "busy", 200), ("apns", "", 200)):
        endpoint = f"{stage.service.url}/{path}/{made('endpoint')}"
        subscriber = Subscriber(endpoint)
        for text in (base64.urlsafe_b64encode(subscriber.auth).decode().rstrip("="), endpoint):
            secret(text)
        target = {"webpush": subscriber.json, "unifiedpush": endpoint, "apns": secret(uuid.uuid4().hex * 2)}[kind]
        user = made("user")
        registered = w.register(w.demo.signed(user, target, targetKind=kind, appId=APP))
        assert registered.status == status, registered
        assert w.notify(w.demo.event(user), w.demo).status == 200
    for target in (f"http://127.0.0.1/{made()}", f"https://10.0.0.1/{made()}", f"{{{made()}"):
        stage.refused(w.register(w.demo.signed("u", target, targetKind="unifiedpush")))


def test_a_secret_in_the_wrong_place_is_not_repeated(stage: Stage) -> None:
    w, token = stage.w, made()
    signed = w.demo.signed("u", token)
    event = w.demo.event("u")
    for body in (
        signed | {"signature": w.other.sign(signed)},
        signed | {"platform": token * 3},
        signed | {"appId": [token]},
        signed | {token: token, "action": token},
        json.dumps(signed)[:-5].encode(),
        (json.dumps(signed)[:-1] + f',"{token}":1,"{token}":1}}').encode(),
        b" " * 20_000 + json.dumps(signed).encode(),
    ):
        stage.refused(w.register(body))
    stage.refused(w.register(signed, {"Content-Type": f"text/{token}"}))
    for headers in ({"X-Push-Secret": made()}, {"X-Push-Signature": made()}, {"Authorization": f"Bearer {made()}"}):
        stage.refused(w.post("/internal/push/events", event, headers))
    for path in ("/push/register?token=", "/relay?token=", "/mirror/relay?token=", "/api/relays/x?secret=", "/none?t="):
        stage.refused(w.get(path + made(), {"Cookie": made(), "Authorization": f"Bearer {made()}"}))


def test_the_matrix_door_repeats_pushkeys_to_nobody_but_who_sent_them(stage: Stage) -> None:
    w, pushkey = stage.w, made("pushkey")
    stage.failures[pushkey] = (404, "")
    body = {"notification": {"event_id": f"${uuid.uuid4()}", "devices": [{"app_id": APP, "pushkey": pushkey}]}}
    door, bearer = "/_matrix/push/v1/notify", {"Authorization": f"Bearer {stage.bearer}"}
    answer = w.post(door, body, bearer)
    assert [pushkey] in (answer.body["failed"], answer.body["retryable"])
    stage.refused(w.post(door, body, {"Authorization": f"Bearer {made()}"}))
    stage.refused(w.post(door, body))
    stage.refused(w.post(door, {"notification": {"devices": pushkey}}, bearer))


def test_relay_tokens_and_workers_secrets_stay_unseen(stage: Stage) -> None:
    worker, key = Worker(stage.w), fresh_key()
    assert worker.register(key, f"s{key[:12]}").status == 200
    issued = worker.issue(key, "aa" * 32, relayAuthToken=made("auth"))
    stage.refused(worker.token("refresh", {"relayKey": fresh_key(), "token": issued["token"]}))
    stage.refused(worker.token("refresh", {"relayKey": key, "token": issued["token"] + "0"}))
    stage.refused(Worker(stage.w, made("hmac")).token("issue", {"relayKey": key, "relayAuthToken": made("auth")}))
    path = f"/npub1conform/s{key[:12]}"
    for token in (issued["token"], issued["replicationToken"], made()):
        for socket in (path, f"/mirror{path}"):
            stage.refused(stage.w.get(f"{socket}?token={token}"))
    assert worker.token("revoke", {"relayKey": key, "pubkey": "aa" * 32, "reason": "test"}).status == 200


def test_after_a_kill_what_is_read_back_is_not_printed_either(stage: Stage) -> None:
    w, token = stage.w, made()
    stage.failures[token] = (503, "UNAVAILABLE")
    assert w.register(w.demo.signed("killed", token)).status == 200
    assert w.notify(w.demo.event("killed"), w.demo).body["queued"] == 1
    assert stage.refusals > 0
    w.crash()  # searches what the killed one said
    assert w.register(w.demo.signed("killed", token)).status == 200
    assert w.notify(w.demo.event("killed"), w.demo).status == 200


def test_what_one_tenant_registered_stands_on_no_page(stage: Stage) -> None:
    """Pages are for anybody: they name no tenant, no user and no device."""
    w, user, token = stage.w, made("user"), made()
    assert w.register(w.other.signed(user, token)).status == 200
    assert w.notify(w.other.event(user), w.other).status == 200
    shown = secrecy.pages(w.server.url)
    assert [page for page, _ in shown] == list(secrecy.PAGES)
    assert secrecy.leaks(shown, [user, token, w.other.domain, w.demo.domain]) == []


# -- the search itself -------------------------------------------------------------------------------------------------


def test_the_search_finds_a_secret_in_what_was_printed_and_says_where() -> None:
    planted = "planted-0123456789"
    seen = [("stdout", "listening"), ("stderr", f'{{"event":"x"}}\n{{"token":"{planted}"}}\n')]
    (found,) = secrecy.leaks(seen, [planted, "another-0123456789"])
    assert found.startswith("stderr")
    assert '{"token"' in found


def test_the_secrets_of_a_server_are_those_of_its_configuration_its_key_files_and_its_keys(tmp_path: Path) -> None:
    pem = private_pem(ec.generate_private_key(ec.SECP256R1()))
    account, key_file, keys = tmp_path / "a.json", tmp_path / "k.pem", tmp_path / "data" / "keys"
    account.write_text(json.dumps({"private_key": pem, "project_id": "not-a-secret"}))
    key_file.write_text("file-secret-0123\n")
    keys.mkdir(parents=True)
    (keys / "token.key").write_text("made-secret-0123\n")
    config = f'[a]\nsecret = "own-secret-0123"\n[b.c]\nkey_file = "{key_file}"\n[d]\ncredentials = "{account}"\n'
    found = secrecy.secrets_of(config, tmp_path / "data")
    assert {"own-secret-0123", "file-secret-0123", "made-secret-0123"} < found
    assert set(pem.splitlines()[1:-1]) - found == set()
    assert "not-a-secret" not in found


def test_a_server_that_shows_a_secret_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("shown-to-all-0123456789")
    config = f'[registration]\nsecret_file = "{tmp_path / "secret"}"\n'
    with (
        pytest.raises(AssertionError, match="the refusal of GET /x holds the secret"),
        process(tmp_path, config) as run,
    ):
        secrecy.heard(run.url, "GET /x", "it is shown-to-all-0123456789")
