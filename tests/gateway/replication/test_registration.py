"""Registrations and the relays that they describe."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ApiRefused
from gateway.replication.binding import relay_id
from gateway.replication.path import socket_path, url_path
from gateway.replication.payload import STALE, Once
from gateway.replication.registration import INTERNAL, internal_payload, registration, relay_of

NOW = 1_763_818_354_133
KEY = "ab" * 32
SIGNED = {"relayKey": KEY, "nonce": "0123", "issuedAt": NOW, "peers": [], "metadata": {}}


def described(**metadata):
    return registration({**SIGNED, "metadata": metadata}, NOW).relay


def refused(payload) -> tuple[int, str]:
    with pytest.raises(ApiRefused) as refusal:
        registration(payload, NOW)
    return refusal.value.status, refusal.value.text


def test_a_bare_registration_takes_every_default():
    found = registration(SIGNED, NOW)
    relay = found.relay
    assert found.once == Once("0123", NOW)
    assert (relay.identifier, relay.gateway_path, relay.names) == (KEY, KEY, {KEY})
    assert (relay.requires_auth, relay.requires_auth_for_replication, relay.is_public) == (True, True, True)
    assert relay.replication_endpoint == f"/mirror/{KEY}"


def test_a_gateway_path_follows_from_the_identifier():
    relay = described(identifier="npub1abc:My-Relay")
    assert relay.gateway_path == "npub1abc/My-Relay"
    assert relay.names == {KEY, "npub1abc:My-Relay"}
    assert relay.replication_endpoint == "/mirror/npub1abc/My-Relay"


def test_an_identifier_may_hold_spaces_as_those_do_that_relayids_are_made_of():
    relay = described(identifier=" npub1abc:My  Room ")
    assert relay.identifier == " npub1abc:My  Room "
    assert relay.names == {KEY, "npub1abc:My Room"}
    assert socket_path(f"/mirror/{url_path(relay.gateway_path)}") == ("npub1abc:My Room", True)
    assert relay_id("npub1abc:my room") in map(relay_id, relay.public_names)


def test_metadata_is_kept_whole():
    metadata = {"identifier": "npub1a:b", "unknown": {"deep": [1, 2.5, None]}, "delegateReqToPeers": True}
    assert described(**metadata).metadata == metadata


def test_only_an_endpoint_that_leads_to_its_own_mirror_is_advertised():
    assert described(gatewayPath="a/b", replicationEndpoint=f"/mirror/{KEY}").replication_endpoint == f"/mirror/{KEY}"
    for endpoint in ("/mirror/other", "/a/b", "https://evil.example/mirror/a/b", "", 5, "/mirror/%zz"):
        assert described(gatewayPath="a/b", replicationEndpoint=endpoint).replication_endpoint == "/mirror/a/b"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"relayKey": ""}, "relayKey is required"),
        ({"relayKey": None}, "relayKey is required"),
        ({"relayKey": INTERNAL}, "relayKey must be 64 lower-case hexadecimal characters"),
        ({"relayKey": KEY.upper()}, "relayKey must be 64 lower-case hexadecimal characters"),
        ({"relayKey": ["x"]}, "relayKey must be 64 lower-case hexadecimal characters"),
        ({"extra": 1}, "unexpected key: extra"),
        ({"metadata": []}, "metadata must be an object"),
        ({"peers": "x"}, "peers must be a list of strings of at most 1024 characters"),
        ({"peers": [5]}, "peers must be a list of strings of at most 1024 characters"),
        ({"peers": ["x"] * 1025}, "peers has more than 1024 entries"),
        ({"nonce": 5}, "nonce must be a string of 1 to 128 characters"),
        ({"issuedAt": None}, "issuedAt must be milliseconds since 1970"),
        ({"metadata": {"identifier": 5}}, "identifier must be a string"),
        ({"metadata": {"gatewayPath": []}}, "gatewayPath must be a string"),
        ({"metadata": {"requiresAuth": "no"}}, "requiresAuth must be true or false"),
        ({"metadata": {"pathAliases": ["a"] * 33}}, "pathAliases has more than 32 entries"),
        ({"metadata": {"identifier": "a\tb"}}, "not usable as a path: 'a\\tb'"),
        ({"metadata": {"identifier": "../a"}}, "not usable as a path: '../a'"),
        ({"metadata": {"gatewayPath": "../.."}}, "not usable as a path: '../..'"),
        ({"metadata": {"pathAliases": ["a/../b"]}}, "not usable as a path: 'a/../b'"),
        ({"metadata": {"identifier": "npub1a:."}}, "not usable as a path: 'npub1a:.'"),
        ({"metadata": {"gatewayPath": " relay "}}, "reserved name: relay"),
        ({"metadata": {"gatewayPath": "a%2fb"}}, "not usable as a path: 'a%2fb'"),
        ({"metadata": {"pathAliases": [""]}}, "not usable as a path: ''"),
        ({"metadata": {"gatewayPath": "relay"}}, "reserved name: relay"),
        ({"metadata": {"gatewayPath": "/relay/"}}, "reserved name: relay"),
        ({"metadata": {"gatewayPath": "api/relays"}}, "reserved name: api:relays"),
        ({"metadata": {"identifier": "public-gateway:other"}}, "reserved name: public-gateway:other"),
        ({"metadata": {"pathAliases": ["public-gateway/hyperbee"]}}, "reserved name: public-gateway:hyperbee"),
        ({"metadata": {"pathAliases": ["cd" * 32]}}, f"reserved name: {'cd' * 32}"),
        ({"metadata": {"pathAliases": ["mirror/x"]}}, "not usable as a path: 'mirror/x'"),
    ],
)
def test_a_registration_that_is_not_right_is_refused_with_its_reason(change, text):
    status, found = refused({**SIGNED, **change})
    assert status == 400
    if "mirror/x" not in str(change):
        assert found == text


@pytest.mark.parametrize("key", ["nonce", "issuedAt", "peers", "metadata"])
def test_no_key_may_be_missing(key):
    assert refused({name: value for name, value in SIGNED.items() if name != key}) == (400, f"missing key: {key}")


def test_a_registration_signed_an_hour_ago_is_stale():
    assert refused({**SIGNED, "issuedAt": NOW - 3_600_000}) == (401, STALE)


@pytest.mark.parametrize("name", ["../..", "a%2fb", "relay", "a\tb"])
def test_what_was_registered_under_another_rule_is_read_as_it_stands(name):
    relay = relay_of({**SIGNED, "metadata": {"gatewayPath": name, "pathAliases": [name]}})
    assert (relay.gateway_path, relay.aliases) == (name, (name,))
    assert relay.names == {KEY, name.replace("/", ":")}


def test_the_gateways_own_relay_is_open_and_its_mirror_is_not():
    relay = relay_of(internal_payload("Heliograph", NOW))
    assert (relay.relay_key, relay.gateway_path, relay.aliases) == (INTERNAL, "relay", ("public-gateway/hyperbee",))
    assert (relay.requires_auth, relay.requires_auth_for_replication) == (False, True)
    assert relay.replication_endpoint == "/mirror/relay"
    assert relay.names == {"relay", INTERNAL}


def test_the_relayids_are_those_of_the_public_names():
    assert relay_id("npub1abc:My-Relay") in map(relay_id, described(identifier="npub1abc:My-Relay").public_names)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
METADATA = st.dictionaries(
    st.sampled_from(
        ["identifier", "gatewayPath", "pathAliases", "requiresAuth", "isPublic", "replicationEndpoint", "x"]
    ),
    JSON,
)


@given(
    st.fixed_dictionaries({"relayKey": JSON | st.just(KEY), "nonce": JSON, "issuedAt": JSON | st.just(NOW)}),
    METADATA,
    JSON,
)
def test_anything_is_a_registration_or_refused(payload, metadata, peers):
    for each in (payload, {**payload, "metadata": metadata, "peers": peers}, {**SIGNED, "metadata": metadata}):
        with suppress(ApiRefused):
            registration(each, NOW)
