"""Hostnames of instances: one spelling each, and never anything but a public domain name (push §1).

Whoever calls chooses the name, and the gateway then fetches from it: what could mean an address, a port, a user or a
name of the local network is refused before any look-up. Must not know DNS.
"""

import re

import idna

from gateway.errors import PushRefused
from gateway.limits.push import HOSTNAME_CHARS_MAX

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# WHATWG URL: a host whose last label is a number is read as an IPv4 address, whatever the others are.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
# RFC 6761, 6762, 7686, 8375, 9476 and what home and office networks use
_LOCAL = frozenset(
    (
        "alt",
        "arpa",
        "corp",
        "home",
        "internal",
        "intranet",
        "invalid",
        "lan",
        "local",
        "localdomain",
        "localhost",
        "onion",
        "private",
    )
)


def _refuse(why: str) -> PushRefused:
    return PushRefused(400, "invalid-field", f"The instance is not a public domain name: {why}.")


def _ascii(name: str) -> str:
    try:
        return idna.encode(name, uts46=True, transitional=False).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError):
        raise _refuse("it cannot be written as an internationalised domain name") from None


def normalise(name: str) -> str:
    """Give a name its one spelling for look-ups in the configuration: trimmed and lower-cased."""
    return name.strip().lower()


def spelling(name: str) -> str:
    """Give a configured or claimed name the spelling that `hostname` gives a domain; a slug is only normalised."""
    text = normalise(name)
    if (text.isascii() and "xn--" not in text) or ":" in text:
        return text
    try:
        return _ascii(text)
    except PushRefused:
        return text  # no domain at all, so it is nobody's name but its own


def hostname(name: str) -> str:
    """Give a domain name as lower-case A-labels; raise PushRefused 400 ``invalid-field``."""
    text = normalise(name)
    if not text or len(text) > HOSTNAME_CHARS_MAX:
        raise _refuse(f"it must have 1 to {HOSTNAME_CHARS_MAX} characters")
    if not text.isascii() or "xn--" in text:
        text = _ascii(text)
    labels = text.split(".")
    if len(text) > HOSTNAME_CHARS_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise _refuse("letters, digits, hyphens and single dots only, no port, user or path")
    if len(labels) < 2:
        raise _refuse("it has a single label")
    if _NUMBER.fullmatch(labels[-1]):
        raise _refuse("it is an address")
    if labels[-1] in _LOCAL:
        raise _refuse(f"names under .{labels[-1]} are not public")
    return text
