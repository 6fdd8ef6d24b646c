"""One spelling for a public domain name, and a refusal for everything that only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.hostname import hostname, spelling


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("demo.example.com", "demo.example.com"),
        ("  Demo.Example.COM ", "demo.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("日本。example", "xn--wgv71a.example"),
        ("1.example", "1.example"),
        ("a-b.c1.example", "a-b.c1.example"),
    ],
)
def test_a_domain_has_one_spelling(name: str, spelled: str) -> None:
    assert hostname(name) == spelled


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "localhost", "example", "127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3.4.", "a.0x1f"),
        *("[::1]", "::1", "[2606:4700::1]", "example.com:8443", "user@example.com", "example.com/..", "evil%00.com"),
        *("example.com.", ".example.com", "a..example", "-a.example", "a-.example", "a_b.example", "a b.example"),
        *("foo.local", "a.internal", "a.localhost", "router.lan", "x.home.arpa", "x.onion", "x.invalid"),
        *("a" * 64 + ".example", "a." * 127 + "com", "xn--.example", "xn--a\x00.example", "\u200d.example"),
        *(
            "１２７.0.0.1",
            "ⓛocalhost",
            "a.ｌocal",
            "exam\u00adple",
            "a\u2024com",
            "https://example.com",
            "ex?.com",
            "a#.com",
        ),
    ],
)
def test_what_is_no_public_domain_name_is_refused(name: str) -> None:
    with pytest.raises(PushRefused) as refused:
        hostname(name)
    assert (refused.value.status, refused.value.code) == (400, "invalid-field")


@given(st.text(max_size=80) | st.text("abcx1.-:%[]@/é\u3002", max_size=40))
def test_any_text_is_a_name_in_its_final_spelling_or_a_refusal(text: str) -> None:
    try:
        name = hostname(text)
    except PushRefused:
        return
    else:
        assert hostname(name) == name
        assert name.isascii()
        assert "." in name


def test_a_configured_name_is_spelled_as_requests_are_and_a_slug_is_left_alone() -> None:
    assert spelling(" BÜCHER.example") == spelling("xn--bcher-kva.example") == hostname("bücher.example")
    assert spelling("Extern:Büro") == "extern:büro"
    assert spelling("Localhost") == "localhost"
    assert spelling("\u200d.example") == "\u200d.example"


@given(st.text(max_size=80))
def test_whatever_is_a_name_has_one_spelling(text: str) -> None:
    try:
        name = hostname(text)
    except PushRefused:
        return
    if ":" not in text:
        assert spelling(text) == name
