"""Subscriptions: push targets that are an address which somebody else chose, with keys or without (RFC 8030, 8291).

Browsers give a subscription as JSON, ``{"endpoint":…,"keys":{"p256dh":…,"auth":…}}``; UnifiedPush gives the same, or
a bare URL. The endpoint is its identity: the same endpoint with new keys is the same device.
The address rules are those for instances' documents (push §1): https on port 443, a public domain name, nothing that
could mean another place; addresses are checked where they are dialled. The one exception are plain-http origins on this
machine that the configuration names. Must not know DNS.
"""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import PushRefused
from gateway.limits.ways import ENDPOINT_BYTES_MAX
from gateway.push.hostname import hostname
from gateway.push.jwt import base64url
from gateway.push.vapid import base64url_bytes

KINDS = ("webpush", "unifiedpush")
AUTH_BYTES = 16
HTTPS = 443

# Path and query as they go into a request line: printable, no fragment, nothing that RFC 3986 leaves out.
_URL = re.compile(r"(https?)://([A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[!$-;=?-\[\]_a-z~]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one push goes."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def origin(self) -> str:
        """Scheme, host and, where it is not the scheme's own, port: what VAPID calls the audience."""
        usual = self.port == (HTTPS if self.scheme == "https" else 80)
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    @property
    def url(self) -> str:
        """The one spelling of it."""
        return self.origin + self.path


@dataclass(frozen=True, slots=True)
class Subscription:
    """An endpoint, and the keys to encrypt for it; both keys are empty where a UnifiedPush endpoint came without."""

    endpoint: Endpoint
    p256dh: bytes = b""
    auth: bytes = b""

    @property
    def text(self) -> str:
        """The one spelling of it, as devices are kept."""
        if not self.p256dh:
            return self.endpoint.url
        keys = {"auth": base64url(self.auth), "p256dh": base64url(self.p256dh)}
        return json.dumps({"endpoint": self.endpoint.url, "keys": keys}, separators=(",", ":"))


def _refuse(why: str) -> PushRefused:
    return PushRefused(400, "invalid-field", f"token {why}.")


def endpoint(url: object) -> Endpoint:
    """Read an endpoint's URL, without judging where it leads; raise PushRefused 400 ``invalid-field``."""
    found = _URL.fullmatch(url) if isinstance(url, str) and len(url) <= ENDPOINT_BYTES_MAX else None
    if found is None:
        raise _refuse(f"names no endpoint: a URL of at most {ENDPOINT_BYTES_MAX} printable characters")
    scheme, host, port, path = found.groups()
    return Endpoint(scheme, host.lower(), int(port or (HTTPS if scheme == "https" else 80)), path or "/")


def judge_address(to: Endpoint, local_origins: Collection[str]) -> None:
    """Refuse an endpoint that is not on the public web; raise PushRefused 400 ``invalid-field``."""
    if to.origin in local_origins:
        return
    if to.scheme != "https" or to.port != HTTPS:
        raise _refuse("names an endpoint that is not https on port 443")
    try:
        fits = hostname(to.host) == to.host
    except PushRefused:
        fits = False
    if not fits:
        raise _refuse("names an endpoint whose host is not a public domain name")


def _key(keys: dict[str, Any], name: str, size: int) -> bytes:
    try:
        raw = base64url_bytes(keys[name])
    except (KeyError, AttributeError, ValueError):
        raw = b""
    if len(raw) != size:
        raise _refuse(f"has no keys.{name} of {size} bytes in base64url")
    return raw


def subscription(text: str) -> Subscription:
    """Read a subscription; raise PushRefused 400 ``invalid-field``."""
    if not text.startswith("{"):
        return Subscription(endpoint(text))
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise _refuse("is not a subscription in JSON") from None
    keys = fields.get("keys")
    if not isinstance(keys, dict):
        raise _refuse("is a subscription without keys")
    made = Subscription(endpoint(fields.get("endpoint")), _key(keys, "p256dh", 65), _key(keys, "auth", AUTH_BYTES))
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), made.p256dh)
    except ValueError:
        raise _refuse("has a keys.p256dh that is no point of P-256") from None
    return made
