"""Registrations, and the relay that one describes: its names, its paths, what it demands.

Invariant: a `Relay` answers only to names that its registration gives; all of them are in the form that paths are
compared in. What may be a name is judged once, where it is registered, never where a stored registration is read: the
rules grow stricter, and the log opens. Unknown metadata is kept as it came. This module must not know which names are
taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import ApiRefused, SocketRefused
from gateway.limits.relays import ALIASES_MAX, NAME_CHARS_MAX, PEER_CHARS_MAX, PEERS_MAX
from gateway.replication.path import HEX_64, name_form, socket_path
from gateway.replication.payload import Once, demand_keys, once

INTERNAL = "public-gateway:hyperbee"
"""The relay that the gateway itself hosts; the name is historical."""

KEYS = frozenset({"relayKey", "nonce", "issuedAt", "peers", "metadata"})
RESERVED = frozenset(
    {"relay", "mirror", "api", "push", "internal", "health", "ready", "metrics", "status", "log", "console", "assets"}
    | {"client", "docs", "public-gateway", ".well-known", "favicon.ico", "robots.txt"}
)
HEAD = re.compile(r"[:/]")
DOTS = frozenset({".", ".."})
"""Parts of a path that clients resolve before they ask: a URL with one leads elsewhere."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A registered relay, as its registration describes it. ``names`` are in the form of `name_form`."""

    relay_key: str
    metadata: Mapping[str, Any]
    peers: tuple[str, ...]
    identifier: str
    gateway_path: str
    aliases: tuple[str, ...]
    names: frozenset[str]
    requires_auth: bool
    requires_auth_for_replication: bool
    replication_endpoint: str
    is_public: bool

    @property
    def public_names(self) -> tuple[str, ...]:
        """The names whose hashes are this relay's relayIDs."""
        return (self.identifier, self.gateway_path, self.relay_key, *self.aliases)


@dataclass(frozen=True, slots=True)
class Registration:
    """A signed registration that is complete and fresh."""

    relay: Relay
    once: Once


def registration(payload: Mapping[str, Any], now_ms: int) -> Registration:
    """Read what a worker signed; ApiRefused 400 (shape, reserved names) or 401 (not fresh)."""
    if not payload.get("relayKey"):
        raise ApiRefused(400, "relayKey is required")
    demand_keys(payload, KEYS, KEYS)
    relay_key = payload["relayKey"]
    if not isinstance(relay_key, str) or not HEX_64.fullmatch(relay_key):
        raise ApiRefused(400, "relayKey must be 64 lower-case hexadecimal characters")
    relay = relay_of(payload)
    for name in relay.public_names:
        _demand_fit(name)
    for name in sorted(relay.names - {relay_key}):
        if HEAD.split(name, 1)[0] in RESERVED or HEX_64.fullmatch(name):
            raise ApiRefused(400, f"reserved name: {name}")
    signed = once(payload, now_ms)
    assert signed is not None, "both keys were demanded"
    return Registration(relay, signed)


def relay_of(payload: Mapping[str, Any]) -> Relay:
    """Describe the relay of a registration's payload, defaults filled in; ApiRefused 400 for wrong shapes.

    Its names are taken as they stand: `registration` judges them.
    """
    relay_key, metadata = payload["relayKey"], payload["metadata"]
    if not isinstance(metadata, dict):
        raise ApiRefused(400, "metadata must be an object")
    identifier = _name(metadata, "identifier") or relay_key
    gateway_path = (_name(metadata, "gatewayPath") or identifier.replace(":", "/", 1)).strip("/")
    aliases = _texts(metadata.get("pathAliases") or [], "pathAliases", ALIASES_MAX, NAME_CHARS_MAX)
    names = frozenset(map(name_form, (relay_key, identifier, gateway_path, *aliases)))
    return Relay(
        relay_key=relay_key,
        metadata=metadata,
        peers=_texts(payload["peers"], "peers", PEERS_MAX, PEER_CHARS_MAX),
        identifier=identifier,
        gateway_path=gateway_path,
        aliases=aliases,
        names=names,
        requires_auth=_flag(metadata, "requiresAuth"),
        requires_auth_for_replication=_flag(metadata, "requiresAuthForReplication"),
        replication_endpoint=_endpoint(metadata.get("replicationEndpoint"), names) or f"/mirror/{gateway_path}",
        is_public=_flag(metadata, "isPublic"),
    )


def internal_payload(name: str, now_ms: int) -> dict[str, Any]:
    """Write the registration by which the gateway registers its own relay."""
    metadata = {
        "identifier": INTERNAL,
        "name": name,
        "gatewayPath": "relay",
        "pathAliases": ["public-gateway/hyperbee"],
        "isPublic": True,
        "isGatewayReplica": True,
        "requiresAuth": False,
        "requiresAuthForReplication": True,
        "replicationEndpoint": "/mirror/relay",
        "delegateReqToPeers": False,
    }
    return {"relayKey": INTERNAL, "nonce": "", "issuedAt": now_ms, "peers": [], "metadata": metadata}


def _name(metadata: Mapping[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise ApiRefused(400, f"{key} must be a string")
    return value


def _flag(metadata: Mapping[str, Any], key: str) -> bool:
    value = metadata.get(key)
    if value is not None and not isinstance(value, bool):
        raise ApiRefused(400, f"{key} must be true or false")
    return value is not False


def _texts(values: object, key: str, count_max: int, chars_max: int) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) and len(value) <= chars_max for value in values):
        raise ApiRefused(400, f"{key} must be a list of strings of at most {chars_max} characters")
    if len(values) > count_max:
        raise ApiRefused(400, f"{key} has more than {count_max} entries")
    return tuple(values)


def _demand_fit(name: str) -> None:
    """Refuse a name that no path can spell."""
    form = name_form(name)
    try:
        fits = bool(form) and socket_path(form).name == form
    except SocketRefused:
        fits = False
    if not fits or "%" in form or not DOTS.isdisjoint(form.split(":")):
        raise ApiRefused(400, f"not usable as a path: {name[:NAME_CHARS_MAX]!r}")


def _endpoint(value: object, names: frozenset[str]) -> str | None:
    """The worker's own replicationEndpoint, where it leads to this relay's mirror; any other is not advertised."""
    try:
        path = socket_path(value) if isinstance(value, str) else None
    except SocketRefused:
        return None
    return f"/{str(value).strip('/')}" if path is not None and path.mirror and path.name in names else None
