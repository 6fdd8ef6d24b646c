"""Heads: when one is whole, what it wants, and who is behind a proxy."""

import ipaddress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigInvalid
from gateway.serve.port.head import (
    Head,
    HeadRefused,
    client_address,
    is_trusted,
    networks,
    plain_address,
    read_head,
)


async def read(*pieces: bytes, bytes_max: int = 100) -> Head | None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def feed() -> None:
            for piece in pieces:
                await theirs.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await theirs.send_eof()

        nursery.start_soon(feed)
        try:
            outcome = await read_head(ours, bytes_max)
        except HeadRefused as refused:
            outcome = refused
        nursery.cancel_scope.cancel()
    return outcome


async def test_a_head_ends_at_its_blank_line() -> None:
    """Whatever follows is kept apart; bare line feeds count, as h11 reads them."""
    assert await read(b"GET / HTTP/1.1\r\n\r\nbody") == Head(b"GET / HTTP/1.1\r\n\r\n", b"body")
    assert await read(b"GET / HTTP/1.1\n\nbody") == Head(b"GET / HTTP/1.1\n\n", b"body")


async def test_a_blank_line_may_be_split_anywhere() -> None:
    """Byte by byte gives the same head."""
    assert await read(*[bytes([byte]) for byte in b"GET / HTTP/1.1\r\nA: b\r\n\r\n"]) == Head(
        b"GET / HTTP/1.1\r\nA: b\r\n\r\n", b""
    )


async def test_a_peer_that_ends_early_has_no_head() -> None:
    """Nothing, or half a head, is nothing."""
    assert await read() is None
    assert await read(b"GET / HT") is None


@pytest.mark.parametrize(("data", "status"), [(b"\x16\x03", 400), (b"\r\n", 400), (b"\xff", 400), (b"A" * 101, 431)])
async def test_what_cannot_be_a_head_is_refused_early(data: bytes, status: int) -> None:
    """At the first byte, or as soon as it is too long; not at the deadline."""
    refused = await read(data)
    assert isinstance(refused, HeadRefused)
    assert refused.status == status


async def test_the_limit_is_on_the_head_alone() -> None:
    """A short head with a long body behind it is a short head."""
    head = await read(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 70, b"x" * 100)
    assert head is not None


@pytest.mark.parametrize(
    ("line", "wants"),
    [
        (b"Upgrade: websocket", True),
        (b"uPGRADE:WebSocket ", True),
        (b"Upgrade: h2c", False),
        (b"X-Upgrade: websocket", False),
        (b"Upgrade: websocket, h2c", False),
        (b"A: Upgrade: websocket", False),
    ],
)
def test_who_asks_for_a_websocket(line: bytes, *, wants: bool) -> None:
    """The header's name and value count, in any case; not a text like it elsewhere."""
    assert Head(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", b"").wants_websocket is wants


def test_a_chain_is_all_its_headers() -> None:
    """Several headers are one list, in order."""
    data = b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nx-forwarded-for:3.3.3.3\r\n\r\n"
    assert Head(data, b"").forwarded.replace(" ", "") == "1.1.1.1,2.2.2.2,3.3.3.3"


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not a proxy: what it says counts for nothing
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the first was said by the client itself
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),  # two proxies of ours
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
    ],
)
def test_a_chain_is_believed_from_its_end(peer: str, chain: str, client: str) -> None:
    """Only what a trusted proxy appended is known."""
    assert client_address(peer, chain, networks(["10.0.0.0/8"])) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    """The default."""
    assert client_address("127.0.0.1", "1.2.3.4", ()) == "127.0.0.1"
    assert not is_trusted("127.0.0.1", ())


def test_a_proxy_that_is_no_address_is_refused() -> None:
    """By name, at the start."""
    with pytest.raises(ConfigInvalid, match=r"server\.trusted_proxies: 'proxy'"):
        networks(["10.0.0.1", "proxy"])


def test_addresses_have_one_form() -> None:
    """Mapped IPv4 is IPv4, a zone is dropped."""
    assert [plain_address(text) for text in ("::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3.4")] == [
        "1.2.3.4",
        "fe80::1",
        "1.2.3.4",
    ]


@given(st.text(max_size=80), st.sampled_from(["10.0.0.1", "::1", "9.9.9.9"]))
def test_any_chain_gives_an_address(chain: str, peer: str) -> None:
    """Whatever stands in the header, the result is an address and no exception."""
    ipaddress.ip_address(client_address(peer, chain, networks(["10.0.0.0/8", "::1"])))
