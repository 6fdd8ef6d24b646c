"""Socket paths: which relay a path names, and which of its two sockets (relay-and-mirror §3).

Invariant: every spelling of a name (percent-encoded or not, ``npub1…/name`` or ``npub1…:name``) gives one form, and
that form is what relays are registered under. This module must not know which relays there are.
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from gateway.errors import SocketRefused
from gateway.limits.relays import NAME_CHARS_MAX

HEX_64 = re.compile(r"[0-9a-f]{64}")
UNFIT = re.compile(r"[\x00-\x1f\x7f\\?#]|%(?![0-9A-Fa-f]{2})")
MIRROR = "mirror"


class SocketPath(NamedTuple):
    """A relay's name in its one form, and whether its mirror is meant."""

    name: str
    mirror: bool


def name_form(name: str) -> str:
    """Give the form that names are compared in.

    Slashes and spaces are trimmed, inner slashes are colons, runs of spaces are one, 64 hex digits are in lower case.
    """
    form = " ".join(filter(None, name.split(" "))).strip("/ ").replace("/", ":")
    return form.lower() if HEX_64.fullmatch(form.lower()) else form


def socket_path(path: str) -> SocketPath:
    """Read the path of a request (no query); SocketRefused 4404 where it cannot name a relay."""
    try:
        decoded = unquote(path, errors="strict").strip("/") if len(path) <= 3 * NAME_CHARS_MAX else ""
    except UnicodeDecodeError:
        decoded = ""
    head, _, rest = decoded.partition("/")
    mirror = head == MIRROR
    name = name_form(rest if mirror else decoded)
    if not name or UNFIT.search(name) or len(name) > NAME_CHARS_MAX:
        raise SocketRefused(4404, "Invalid relay key", "invalid-path")
    return SocketPath(name, mirror)


def url_path(gateway_path: str) -> str:
    """Spell a gateway path for a URL."""
    return quote(gateway_path, safe="/:@!$&'()*+,;=-._~")
