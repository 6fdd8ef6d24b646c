"""Tokens: their spelling, their MAC, what is refused."""

import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.token import Claims, TokenInvalid, mint, open_token, token_hash

VECTOR = json.loads(Path("tests/vectors/relay.json").read_text())["token"]
KEY = VECTOR["key"].encode()


def sealed(text: bytes) -> str:
    body = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    return f"{body}.{hmac.new(KEY, text, hashlib.sha256).hexdigest()}"


def test_the_vector_is_met_byte_for_byte_both_ways():
    claims = open_token(KEY, VECTOR["token"])
    assert claims == Claims(1795365382067, 1795364782070, None, "auth-1", "public-gateway:hyperbee", "relay-access", 1)
    assert mint(KEY, claims) == VECTOR["token"]


@given(st.builds(Claims))
def test_what_was_minted_opens_to_the_same_claims(claims):
    try:
        token = mint(KEY, claims)
    except UnicodeEncodeError:
        return
    if len(token) <= 8192:
        assert open_token(KEY, token) == claims


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[0-9a-f]{64}", fullmatch=True))
def test_any_other_text_is_refused(text):
    with pytest.raises(TokenInvalid):
        open_token(KEY, text)


@given(st.binary(max_size=300) | st.dictionaries(st.text(), st.integers()).map(lambda d: json.dumps(d).encode()))
def test_a_good_mac_over_anything_but_claims_is_refused(text):
    with pytest.raises(TokenInvalid):
        open_token(KEY, sealed(text))


def test_another_key_does_not_open_it():
    with pytest.raises(TokenInvalid):
        open_token(b"another", VECTOR["token"])


@pytest.mark.parametrize("index", range(0, len(VECTOR["token"]), 7))
def test_a_changed_character_anywhere_is_refused(index):
    token = VECTOR["token"]
    with pytest.raises(TokenInvalid):
        open_token(KEY, token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :])


def test_a_token_has_one_spelling():
    """base64 has spare bits at its end; a second spelling would have another hash."""
    claims = VECTOR["claims"] | {"relayAuthToken": "auth-12"}
    token = sealed(json.dumps(claims, sort_keys=True, separators=(",", ":")).encode())
    body, mac = token.split(".")
    assert len(body) % 4, "the last character has spare bits"
    other = f"{body[:-1]}{chr(ord(body[-1]) + 1)}.{mac}"
    assert open_token(KEY, token).relay_auth_token == "auth-12"
    with pytest.raises(TokenInvalid):
        open_token(KEY, other)


def test_padding_and_upper_case_macs_are_refused():
    body, mac = VECTOR["token"].split(".")
    for token in (f"{body}=.{mac}", f"{body}.{mac.upper()}", f"{body}.{mac}\n", f" {body}.{mac}", f"{body}.{mac}.x"):
        with pytest.raises(TokenInvalid):
            open_token(KEY, token)


def test_a_token_longer_than_the_limit_is_refused_before_its_mac():
    with pytest.raises(TokenInvalid):
        open_token(KEY, mint(KEY, Claims(1, 1, None, "a" * 9000, "r", "s", 1)))


def test_the_hash_is_of_the_whole_text():
    assert token_hash("a.b") == hashlib.sha256(b"a.b").digest()
