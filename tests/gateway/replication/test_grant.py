"""Who is admitted, and which reason the others get."""

import pytest

from gateway.errors import SocketRefused
from gateway.replication.grant import Grant, admit
from gateway.replication.registration import internal_payload, relay_of
from gateway.replication.token import Claims, mint

KEY = b"key of the gateway"
NOW = 1_763_818_354_133
A, B = "aa" * 32, "bb" * 32


def relay(relay_key: str, **metadata):
    return relay_of({"relayKey": relay_key, "peers": [], "metadata": metadata})


def token(relay_key: str = A, scope: str = "relay-access", expires: int = NOW + 1, key: bytes = KEY) -> str:
    return mint(key, Claims(expires, NOW - 10, None, "auth", relay_key, scope, 1))


def outcome(text, of, *, mirror=True, revoked=False) -> tuple[str, str] | Claims | None:
    try:
        return admit(text, of, KEY, lambda _: revoked, NOW, mirror=mirror)
    except SocketRefused as refused:
        return (refused.reason, refused.metric) if refused.code == 4403 else (str(refused.code), "")


REASONS = [
    (None, False, ("Token required", "missing-token")),
    ("", False, ("Token required", "missing-token")),
    ("garbage", False, ("Invalid token", "invalid-token")),
    (token(key=b"a worker's secret"), False, ("Invalid token", "invalid-token")),
    (token(B), False, ("Relay mismatch", "relay-mismatch")),
    (token(B, scope="other", expires=NOW), True, ("Relay mismatch", "relay-mismatch")),
    (token(scope="other"), False, ("Scope not allowed", "scope")),
    (token(scope="other", expires=NOW), True, ("Scope not allowed", "scope")),
    (token(expires=NOW), False, ("Token expired", "expired-token")),
    (token(expires=NOW), True, ("Token expired", "expired-token")),
    (token(), True, ("Token revoked", "revoked-token")),
]


@pytest.mark.parametrize(("text", "revoked", "reason"), REASONS)
def test_the_mirror_gives_the_first_reason_that_applies(text, revoked, reason):
    assert outcome(text, relay(A), revoked=revoked) == reason


@pytest.mark.parametrize(("text", "revoked", "reason"), REASONS)
def test_a_closed_relays_normal_socket_gives_the_same_reasons(text, revoked, reason):
    assert outcome(text, relay(A), mirror=False, revoked=revoked) == reason


@pytest.mark.parametrize(("text", "revoked", "_reason"), REASONS)
def test_an_open_relay_admits_whoever_fails_as_untokened(text, revoked, _reason):
    assert outcome(text, relay(A, requiresAuth=False), mirror=False, revoked=revoked) is None


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("requires_auth", [True, False])
def test_an_access_token_opens_both_sockets(mirror, requires_auth):
    claims = outcome(token(), relay(A, requiresAuth=requires_auth), mirror=mirror)
    assert isinstance(claims, Claims)


def test_a_replication_token_opens_the_mirror_alone():
    text = token(scope="relay-replication")
    assert isinstance(outcome(text, relay(A)), Claims)
    assert outcome(text, relay(A), mirror=False) == ("Scope not allowed", "scope")
    assert outcome(text, relay(A, requiresAuth=False), mirror=False) is None


def test_a_token_opens_its_own_relay_and_no_other():
    relays = {key: relay(key, requiresAuth=False) for key in (A, B)}
    relays["public-gateway:hyperbee"] = relay_of(internal_payload("x", NOW))
    for of in relays:
        for on, found_relay in relays.items():
            found = outcome(token(of), found_relay)
            assert isinstance(found, Claims) if of == on else found == ("Relay mismatch", "relay-mismatch")


def test_a_mirror_demands_a_token_even_of_a_relay_that_says_otherwise():
    assert outcome(None, relay(A, requiresAuth=False, requiresAuthForReplication=False))[0] == "Token required"


def test_a_grant_is_tokened_until_its_token_expires():
    grant = Grant(relay(A), True, Claims(NOW + 5, NOW, None, "", A, "relay-access", 1), "192.0.2.1")
    assert grant.tokened(NOW + 4)
    assert not grant.tokened(NOW + 5)
    assert not Grant(relay(A), False, None, "192.0.2.1").tokened(NOW)
