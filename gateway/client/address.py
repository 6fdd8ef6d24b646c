"""Where a relay's two sockets are, from its state as a registration or a GET of the relay API gives it. Pure.

Invariant: the mirror's URL never stands in for the normal one, nor the other way round, and a URL holds the token that
it is opened with or none. `behaviour.js` has the same functions; one table holds the two to the same answers.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

URL = re.compile(r"(?:ws|http)(s?)://([^/?#]+)([^#]*)")


class NoAddress(Exception):
    """The relay's state does not say where to connect; the text says what is missing."""


class Addresses(msgspec.Struct, frozen=True):
    """Both URLs, without tokens; ``normal_needs_token``: the normal socket is not open."""

    normal: str
    mirror: str
    normal_needs_token: bool


def addresses(state: Mapping[str, Any]) -> Addresses:
    """Read ``connectionUrl`` and ``replicationConnectionUrl``, else ``replicationEndpoint`` (relay-and-mirror §7).

    Metadata inside ``metadata`` counts where the state itself is silent. Raises NoAddress.
    """
    inner = state.get("metadata")
    known = {**(inner if isinstance(inner, dict) else {}), **state}
    normal = _socket_url(known.get("connectionUrl"))
    if normal is None:
        raise NoAddress("the relay's state has no connectionUrl")
    mirror = _socket_url(known.get("replicationConnectionUrl"))
    if mirror is None and known.get("requiresAuthForReplication") is not False:
        mirror = _endpoint(normal, known.get("replicationEndpoint"))
    if mirror is None:
        raise NoAddress("the relay's state has no replicationConnectionUrl and no replicationEndpoint")
    return Addresses(normal, mirror, known.get("requiresAuth") is not False)


def with_token(url: str, token: str) -> str:
    """Put a token into a URL, in the place of one that it has."""
    bare, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] != "token"]
    pairs = [*kept, f"token={quote(token, safe='')}"] if token else kept
    return f"{bare}?{'&'.join(pairs)}" if pairs else bare


def names_relay(value: object) -> bool:
    """Tell whether a filter is one for replication rows: it names relayIDs."""
    return isinstance(value, Mapping) and bool(value.get("relayID") or value.get("#relay"))


def _socket_url(value: object) -> str | None:
    """Give a ws(s) URL without its token; None where the value is no URL of a host."""
    found = URL.match(value) if isinstance(value, str) else None
    if found is None:
        return None
    secure, host, rest = found.groups()
    return with_token(f"{'wss' if secure else 'ws'}://{host}{rest or '/'}", "")


def _endpoint(normal: str, endpoint: object) -> str | None:
    """Give the URL of a path beside the normal one, or of a whole URL."""
    if not isinstance(endpoint, str) or not endpoint:
        return None
    if "://" in endpoint:
        return _socket_url(endpoint)
    found = URL.match(normal)
    assert found is not None
    return f"{normal[: found.end(2)]}/{endpoint.lstrip('/')}"
