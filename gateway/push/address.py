"""Addresses that may be dialled for a stranger's sake: globally routable unicast, and nothing that leads elsewhere.

`ipaddress.is_global` alone is not enough: on Python 3.11 it is True for ``64:ff9b::7f00:1``, ``2002:7f00:1::``,
``::127.0.0.1``, ``fec0::1`` and ``224.0.0.1`` (push §1). So IPv6 is an allow-list: 2000::/3 without its special parts,
and the forms that hold an IPv4 address count as the IPv4 that they hold. Must not know sockets.
"""

import ipaddress

from gateway.limits.tenants import PREFIX6_BITS

_V4_REFUSED = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local: cloud metadata
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_V6_GLOBAL = ipaddress.IPv6Network("2000::/3")
_V6_REFUSED = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarking and the rest of the IETF's own
            "2001:db8::/32",
            "2002::/16",  # 6to4: holds an IPv4, but a relay of unknown ownership delivers it
            "3fff::/20",
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _held(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def globally_routable(text: str) -> bool:
    """Whether this literal address may be dialled; False also for what is no address, or has a zone."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        held = _held(address)
        if held is None:
            in_global = address in _V6_GLOBAL and address.scope_id is None
            return in_global and not any(address in network for network in _V6_REFUSED)
        address = held
    return not any(address in network for network in _V4_REFUSED)


def source_of(text: str) -> str:
    """Give whom a request's address stands for where sources are counted: of IPv6 its network, else the address."""
    if ":" not in text:
        return text
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), PREFIX6_BITS), strict=False))
