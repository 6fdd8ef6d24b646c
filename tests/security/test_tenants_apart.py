"""The cross-tenant matrix: every endpoint, however the victim is named, with every credential that another may have.

Invariant: none takes effect, none leaves a record, and no answer tells whether a user, a device, a nonce or a
notification of the victim exists. What an attacker does in its own name, with the victim's users and tokens, stays in
its own tenant.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conformance.fakes import Instance
from tests.conformance.worker import INTERNAL, Worker
from tests.conformance.world import Answer, World, world
from tests.secrecy import secret

USER, TOKEN = "victims-user-4711", secret(f"victims-{uuid.uuid4().hex}")
Body = dict[str, Any]
Sent = tuple[Body, dict[str, str]]  # body, headers

ENDPOINTS: dict[str, tuple[str, Callable[[Instance, str, str], Body]]] = {
    "register a device": ("/push/register", lambda of, user, _token: of.registration(user, f"mine-{uuid.uuid4().hex}")),
    "take a device over": ("/push/register", lambda of, _user, token: of.registration("mallory", token)),
    "deregister": ("/push/register", lambda of, user, token: of.registration(user, token, action="deregister")),
    "notify": ("/internal/push/events", lambda of, user, _token: of.event(user)),
    "notify by the alias": ("/push/webhook", lambda of, user, _token: of.event(user)),
    "read": ("/push/tenant", lambda of, _user, _token: inquiry(of)),
}

# How the body names whom it is about.
NAMINGS: dict[str, Callable[[World], Body]] = {
    "the victim": lambda w: {"instance": w.demo.domain},
    "the victim in capitals": lambda w: {"instance": w.demo.domain.upper()},
    "the attacker, tenant the victim": lambda w: {"instance": w.other.domain, "tenant": w.demo.domain},
    "the victim, tenant the attacker": lambda w: {"instance": w.demo.domain, "tenant": w.other.domain},
    "tenant the victim": lambda w: {"instance": None, "tenant": w.demo.domain},
}

# What an attacker may hold: its own key and secret, what everybody knows, what it captured, tokens of other doors.
CREDENTIALS: dict[str, Callable[[World, Body], Sent]] = {
    "nothing": lambda _w, body: (body, {}),
    "its own signature": lambda w, body: (body, {"X-Push-Signature": w.other.sign(body)}),
    "its own signature in the body": lambda w, body: (body | {"signature": w.other.sign(body)}, {}),
    "its own secret": lambda _w, body: (body, {"X-Push-Secret": "other-shared-secret"}),
    "the secret that old clients send": lambda _w, body: (body, {"X-Push-Secret": "takos-default-push-secret"}),
    "a signature captured from the victim": lambda w, body: (body, {"X-Push-Signature": w.demo.sign(w.demo.event())}),
    "a worker's HMAC": lambda w, body: (body, {"x-signature": Worker(w).sign(body)}),
    "a relay token": lambda w, body: (body, {"Authorization": f"Bearer {Worker(w).issue(INTERNAL)['token']}"}),
}


def inquiry(of: Instance) -> Body:
    """What asks for a tenant's usage and dead devices."""
    signed = of.registration()
    kept = {name: signed[name] for name in ("instance", "issuedAt", "expiresAt", "nonce")}
    return {"action": "tenant", **kept}


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    rates = "answer_wait_s = 20\nrate_per_address = 100000\nrate_per_instance = 100000"
    with world(tmp_path_factory.mktemp("apart"), push=rates) as made:
        assert made.register(made.demo.signed(USER, TOKEN)).status == 200
        yield made
        assert made.traces() == []


def asked(w: World, path: str, body: Body, headers: dict[str, str]) -> Answer:
    """Send it as the endpoint wants it: in the body, or in the query."""
    if path == "/push/tenant":
        return w.get(f"{path}?{urlencode(body)}", headers)
    return w.post(path, body, headers)


def attempt(w: World, endpoint: str, naming: str, credential: str, user: str = USER, token: str = TOKEN) -> Answer:
    path, make = ENDPOINTS[endpoint]
    body = {
        name: value for name, value in (make(w.demo, user, token) | NAMINGS[naming](w)).items() if value is not None
    }
    return asked(w, path, *CREDENTIALS[credential](w, body))


def records(w: World) -> int:
    return int(w.get("/status").body["log"]["size"])


def sends(w: World) -> list[str]:
    return [token for token in w.fcm.tokens() if token == TOKEN or token.startswith("mine-")]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_no_credential_of_another_opens_an_endpoint_and_the_refusal_tells_nothing(w: World, endpoint: str) -> None:
    Worker(w).issue(INTERNAL)
    sent = sends(w)
    for credential in CREDENTIALS:
        for naming in NAMINGS:
            before = records(w) + (credential == "a relay token") * 2  # each try takes a token, which is a record
            known = attempt(w, endpoint, naming, credential)
            unknown = attempt(w, endpoint, naming, credential, "nobody", f"none-{uuid.uuid4().hex}")
            assert known.status in (400, 401, 403, 404, 405), (credential, naming, known)
            assert (known.status, known.body) == (unknown.status, unknown.body), (credential, naming)
            assert TOKEN not in known.text
            assert USER not in known.text
            assert records(w) == before, (credential, naming, "a refusal left a record")
    assert sends(w) == sent


def test_after_all_attempts_the_victim_has_its_device_and_nobody_else_its_pushes(w: World) -> None:
    before = sends(w)
    answer = w.notify(w.demo.event(USER), w.demo)
    assert (answer.body["delivered"], answer.body["queued"]) == (1, 0)
    assert sends(w) == [*before, TOKEN]


def test_in_its_own_name_an_attacker_learns_nothing_of_ids_nonces_users_and_devices(w: World) -> None:
    nonce, event = str(uuid.uuid4()), w.demo.event(USER)
    assert w.register(w.demo.signed(USER, TOKEN, nonce=nonce)).status == 200
    assert w.notify(event, w.demo).status == 200
    mine = w.notify(event | {"instance": w.other.domain}, w.other)
    other = w.notify(w.other.event("nobody"), w.other)
    assert (mine.status, mine.body) == (other.status, other.body) == (200, mine.body | {"duplicate": False})
    assert mine.body["delivered"] == 0
    again = w.register(w.other.signed("mallory", TOKEN, nonce=nonce))
    fresh = w.register(w.other.signed("mallory", f"fresh-{uuid.uuid4().hex}"))
    assert (again.status, again.body) == (fresh.status, fresh.body)


def test_a_device_that_two_tenants_registered_is_two_and_each_takes_away_its_own(w: World) -> None:
    assert w.register(w.other.signed("twin", TOKEN)).status == 200
    assert w.register(w.other.signed("twin", TOKEN, action="deregister")).status == 200
    assert w.notify(w.other.event("twin"), w.other).body["delivered"] == 0
    assert w.notify(w.demo.event(USER), w.demo).body["delivered"] == 1


def test_what_an_instance_reads_of_its_tenant_holds_nothing_of_another(w: World) -> None:
    body = inquiry(w.other)
    answer = asked(w, "/push/tenant", body, {"X-Push-Signature": w.other.sign(body)})
    assert answer.status == 200, answer
    assert USER not in answer.text
    assert TOKEN not in answer.text
    assert w.demo.domain not in answer.text
