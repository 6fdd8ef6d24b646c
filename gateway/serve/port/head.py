"""The head of a request, looked at and not parsed: is it whole, does it ask for a WebSocket, who is behind the proxy.

Parsing, with all its refusals, is h11's or websockets': the bytes go on to them as they came. Invariant: no more than
``head_bytes_max`` plus one read is ever held. This module must not know what is served.
"""

import ipaddress
import re
from collections.abc import Sequence

import msgspec
import trio

from gateway.errors import ConfigInvalid

BLANK_LINE = re.compile(rb"\n\r?\n")
WEBSOCKET = re.compile(rb"\n[uU][pP][gG][rR][aA][dD][eE]:[ \t]*[wW][eE][bB][sS][oO][cC][kK][eE][tT][ \t]*\r?\n")
FORWARDED = re.compile(rb"\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HeadRefused(Exception):
    """A head that is answered with an HTTP status and the end of the connection; ``reason`` is its phrase."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Head(msgspec.Struct, frozen=True, gc=False):
    """A request's head up to and with its blank line, and what came behind it in the same reads."""

    data: bytes
    rest: bytes

    @property
    def wants_websocket(self) -> bool:
        """Whether the client asks to speak WebSocket; whether it asks rightly is the protocol's to judge."""
        return WEBSOCKET.search(self.data) is not None

    @property
    def forwarded(self) -> str:
        """The X-Forwarded-For chain, all its headers joined in order; empty without one."""
        return ",".join(value.decode("latin-1") for value in FORWARDED.findall(self.data))


def split_head(data: bytes) -> Head | None:
    """Part a head from what follows it; None where it is not whole."""
    found = BLANK_LINE.search(data)
    return Head(data[: found.end()], data[found.end() :]) if found else None


async def read_head(stream: trio.abc.Stream, bytes_max: int) -> Head | None:
    """Read until a blank line; None where the peer ends before it has said anything whole.

    Raises HeadRefused: 431 for one larger than ``bytes_max``, 400 for what cannot be HTTP (a TLS hello, a control
    byte), at the first byte rather than at a deadline. The deadline is the caller's.
    """
    data = bytearray()
    while True:
        received = await stream.receive_some(bytes_max)
        if not received:
            return None
        begin = max(0, len(data) - 3)
        data += received
        if data[0] < 0x21 or data[0] > 0x7E:
            raise HeadRefused(400, "Bad Request")
        found = BLANK_LINE.search(data, begin)
        if (found.end() if found else len(data)) > bytes_max:
            raise HeadRefused(431, "Request Header Fields Too Large")
        if found:
            return Head(bytes(data[: found.end()]), bytes(data[found.end() :]))


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read addresses and networks (``10.0.0.0/8``) of proxies that are believed; ConfigInvalid names a wrong one."""
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise ConfigInvalid(f"server.trusted_proxies: {error}") from error


def plain_address(text: str) -> str:
    """An address in one form: an IPv4 address in IPv6 clothing is the IPv4 address, a zone is dropped."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether the address is one of a proxy that is believed."""
    return bool(trusted) and any(ipaddress.ip_address(address) in network for network in trusted)


def client_address(peer: str, forwarded: str, trusted: Sequence[Network]) -> str:
    """The client's address: ``peer``, or behind trusted proxies the last of the chain that none of them vouches for.

    A chain is read from its end, since only what a trusted proxy appended is known to be true; an entry that is no
    address ends the reading.
    """
    client = peer
    for entry in reversed(forwarded.split(",")):
        if not is_trusted(client, trusted):
            break
        try:
            client = plain_address(entry.strip())
        except ValueError:
            break
    return client
