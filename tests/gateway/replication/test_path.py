"""Paths of sockets, and the form of names."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SocketRefused
from gateway.replication.path import name_form, socket_path, url_path

HEX = "ab" * 32


@pytest.mark.parametrize(
    ("path", "name", "mirror"),
    [
        ("/relay", "relay", False),
        ("/relay/", "relay", False),
        ("//relay", "relay", False),
        ("/mirror/relay", "relay", True),
        ("/public-gateway/hyperbee", "public-gateway:hyperbee", False),
        ("/public-gateway:hyperbee", "public-gateway:hyperbee", False),
        ("/public-gateway%3Ahyperbee", "public-gateway:hyperbee", False),
        ("/mirror/public-gateway/hyperbee", "public-gateway:hyperbee", True),
        ("/mirror/public-gateway%3ahyperbee", "public-gateway:hyperbee", True),
        ("/npub1abc/My-Relay", "npub1abc:My-Relay", False),
        ("/npub1abc%2FMy-Relay", "npub1abc:My-Relay", False),
        ("/npub1abc/R%C3%A9seau", "npub1abc:Réseau", False),
        ("/npub1abc/My%20%20Room", "npub1abc:My Room", False),
        ("/mirror/%20npub1abc:My%20Room%20", "npub1abc:My Room", True),
        (f"/{HEX}", HEX, False),
        (f"/mirror/{HEX.upper()}", HEX, True),
        ("/mirrored", "mirrored", False),
    ],
)
def test_a_path_names_a_relay_and_a_socket(path, name, mirror):
    assert socket_path(path) == (name, mirror)


@pytest.mark.parametrize(
    "path", ["", "/", "///", "/mirror", "/mirror/", "/a%00b", "/%20", "/a%09b", "/%ff", "/a%0ab", "/" + "a" * 600]
)
def test_a_path_that_cannot_name_a_relay_is_refused(path):
    with pytest.raises(SocketRefused) as refused:
        socket_path(path)
    assert (refused.value.code, refused.value.reason) == (4404, "Invalid relay key")


@given(st.text())
def test_any_text_is_a_path_or_refused(text):
    with suppress(SocketRefused):
        name = socket_path(text).name
        assert name_form(name) == name


@given(
    st.text(st.characters(exclude_characters="\\?#%/:", exclude_categories=["C", "Z"]), min_size=1, max_size=40).filter(
        "mirror".__ne__
    )
)
def test_a_name_comes_back_from_its_url(name):
    assert socket_path("/" + url_path(name)).name == name_form(name)
