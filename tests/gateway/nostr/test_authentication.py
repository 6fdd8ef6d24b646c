"""A URL names this server by any of its right spellings and by no other. (AUTH events: with sessions.)"""

import pytest

from gateway.nostr.authentication import path_here


@pytest.mark.parametrize(
    ("url", "base", "path"),
    [
        ("wss://gw.example/relay", "https://gw.example", "/relay"),
        ("ws://gw.example/relay/", "https://gw.example", "/relay"),
        ("wss://GW.example.", "https://gw.example", ""),
        ("wss://gw.example:443/x", "https://gw.example", "/x"),
        ("ws://localhost:8080/relay", "http://127.0.0.1:8080", "/relay"),
        ("ws://[::1]:8080", "http://127.0.0.1:8080", ""),
        ("ws://anything.example:8080", "http://0.0.0.0:8080", ""),
        ("ws://127.0.0.1:8081/relay", "http://127.0.0.1:8080", None),
        ("ws://127.0.0.1/relay", "http://127.0.0.1:8080", None),
        ("wss://gw.example:8443", "https://gw.example", None),
        ("wss://gw.example.evil/relay", "https://gw.example", None),
        ("wss://evil@gw.example/relay", "https://gw.example", "/relay"),
        ("wss://gw.example@evil/relay", "https://gw.example", None),
        ("gw.example", "https://gw.example", None),
        ("ftp://gw.example", "https://gw.example", None),
        ("wss://[::1", "https://gw.example", None),
        ("wss://gw.example:x", "https://gw.example", None),
        ("", "https://gw.example", None),
    ],
)
def test_a_url_names_us_or_another(url: str, base: str, path: str | None) -> None:
    assert path_here(url, base) == path
