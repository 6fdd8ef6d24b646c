"""Connections to hosts that somebody else chose: instances, push endpoints, peers of relays.

Invariants: a name is resolved once for each connection, every address that it has must be globally routable, and an
address that was checked is the one that is dialled: nothing is looked up again. Port 443, TLS verified against the
name.
This module must not know what is asked of the host, or what a refusal means.
"""

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import trio

from gateway.limits.tenants import RESOLVING_MAX
from gateway.push.address import globally_routable
from gateway.serve.delivery.httpclient import client_context, secure

HTTPS = 443

Resolve = Callable[[str], Awaitable[Sequence[str]]]
Dial = Callable[[str, str], Awaitable[trio.abc.Stream]]  # (address, hostname) -> a stream secured for the hostname


class NotPublic(Exception):
    """The name has no address, or one that is not globally routable; nothing was dialled."""


def resolver() -> Resolve:
    """Make what looks up all addresses of a name by the system's resolver, on threads of its own; it raises OSError."""
    threads = trio.CapacityLimiter(RESOLVING_MAX)

    async def resolve(name: str) -> Sequence[str]:
        # The final dot keeps the resolver from trying the name under this machine's own search domains.
        lookup = partial(socket.getaddrinfo, f"{name}.", HTTPS, type=socket.SOCK_STREAM)
        found = await trio.to_thread.run_sync(lookup, abandon_on_cancel=True, limiter=threads)
        return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))

    return resolve


def dialler() -> Dial:
    """Dial with the system's trust."""
    context = client_context()

    async def dial(address: str, hostname: str) -> trio.abc.Stream:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await raw.connect((address, HTTPS))
        except BaseException:
            raw.close()
            raise
        return await secure(trio.SocketStream(raw), context, hostname)

    return dial


async def connected(name: str, resolve: Resolve, dial: Dial) -> trio.abc.Stream:
    """Connect to a name, by one of its addresses after the other; raise NotPublic, or the last one's OSError.

    The caller has a deadline, which holds for all of them together.
    """
    addresses = await resolve(name)
    if not addresses or not all(map(globally_routable, addresses)):
        raise NotPublic
    for address in addresses[:-1]:
        with suppress(OSError):
            return await dial(address, name)
    return await dial(addresses[-1], name)
