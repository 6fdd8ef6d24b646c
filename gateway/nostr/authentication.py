"""Authentication (NIP-42): what makes an AUTH event a proof that the other end of a connection holds a key.

Invariant: nothing is proved by an event that was signed for another relay, another connection or another time. The
Host header is not asked: whoever passes a challenge on to its victim chooses that. This module must not know sessions.
"""

from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from gateway.limits.nostr import AUTH_SKEW_S_MAX
from gateway.nostr.event import AUTHENTICATION, Event, first_value, made
from gateway.nostr.signature import Claim, Signer, holds

PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARD = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound


def auth_flaw(event: Event, challenge: str, names_us: Callable[[str], bool], now_s: int) -> str | None:
    """Say why an AUTH event whose id is right proves nothing, with NIP-01's prefix; None where it proves its key."""
    if event.kind != AUTHENTICATION:
        return f"invalid: an AUTH event has kind {AUTHENTICATION}"
    if abs(event.created_at - now_s) > AUTH_SKEW_S_MAX:
        return f"invalid: created_at is more than {AUTH_SKEW_S_MAX} seconds away"
    if first_value(event, "challenge") != challenge:
        return "invalid: the challenge is not the one that this connection was sent"
    if not names_us(first_value(event, "relay") or ""):
        return "invalid: the relay tag names another relay"
    if not holds(Claim(event.pubkey, event.id, event.sig)):
        return "invalid: the signature does not verify"
    return None


def proof(signer: Signer, challenge: str, relay: str, now_s: int, dice: bytes) -> Event:
    """Make the AUTH event that proves a key to the relay of a URL; ``dice`` as for `Signer.sign`."""
    tags = (("relay", relay), ("challenge", challenge))
    return made(signer.pubkey, AUTHENTICATION, tags, now_s, lambda name: signer.sign(name, dice))


def path_here(url: str, base_url: str) -> str | None:
    """Give the path of a URL at the server that ``base_url`` names, "" for none; None for another server.

    ws and http are one, as are the names of this machine for itself. A port that is left out passes where ours is 80 or
    443: a proxy may speak TLS for us. A server that listens everywhere and was told no name goes by every name.
    """
    theirs, ours = _split(url), _split(base_url)
    if theirs is None or ours is None or (ours.hostname not in WILDCARD and _host(theirs) != _host(ours)):
        return None
    port = ours.port or PORTS[ours.scheme]
    if theirs.port != port and not (theirs.port is None and port in PORTS.values()):
        return None
    return theirs.path.rstrip("/")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number
        return None
    return parts if known else None


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return "localhost" if host in LOOPBACK else host
