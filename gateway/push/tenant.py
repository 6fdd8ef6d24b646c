"""Who an instance is, and whose devices are its own: domains, slugs, access policy (push §3).

Invariant: the tenant follows from who verified, that is from the configuration and the domain whose key signed, never
from what a body or a document claims; a slug and its domain are one tenant. Must not know keys' bytes or requests.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.config import Instance, Push
from gateway.errors import ConfigInvalid, PushRefused
from gateway.push.es256 import KeyInvalid
from gateway.push.hostname import hostname, normalise
from gateway.push.wellknown import WellKnown, pinned

SECRET_NEVER = "takos-default-push-secret"  # noqa: S105 - sent by old clients everywhere, so it proves nothing


@dataclass(frozen=True, slots=True)
class Signer:
    """An instance as the gateway knows it before anything was fetched."""

    domain: str
    tenant: str
    url: str = ""  # a document on this machine, "" = https://domain/.well-known/takos-push.json
    keys: WellKnown | None = None  # pinned
    secret: str = ""
    claimable: str = ""  # the well-known tenant that this one may claim
    configured: bool = False

    def tenant_by(self, keys: WellKnown) -> str:
        """The effective tenant, once its document is known."""
        return self.claimable if self.claimable and keys.tenant == self.claimable else self.tenant


class Directory:
    """All that the configuration says of instances; resolves a name in a request to its Signer."""

    def __init__(self, push: Push, instances: Mapping[str, Instance]) -> None:
        if push.policy not in ("open", "allowlist"):
            raise ConfigInvalid(f'push.policy is {push.policy!r}; it may be "open" or "allowlist"')
        self._open = push.policy == "open"
        self._allow = frozenset(map(normalise, push.allow))
        self._block = frozenset(map(normalise, push.block))
        self._signers: dict[str, Signer] = {}
        slugs = {normalise(name): entry for name, entry in instances.items() if entry.domain}
        domains = {normalise(name): entry for name, entry in instances.items() if not entry.domain}
        for domain, entry in domains.items():
            self._signers[domain] = _signer(domain, domain, entry)
        for slug, entry in slugs.items():
            domain = normalise(entry.domain)
            if domain in self._signers and self._signers[domain].tenant != domain:
                raise ConfigInvalid(f"instances: two slugs name the domain {domain!r}")
            signer = _signer(domain, slug, _merged(slug, entry, domains.get(domain)))
            self._signers[slug] = self._signers[domain] = signer

    def resolve(self, names: tuple[str, ...]) -> Signer:
        """Find whom ``instance`` (and ``tenant``) name; raise PushRefused 400 or 403, before any look-up."""
        signer = self._one(names[0])
        if any(not self._same(signer, name) for name in names[1:]):
            raise PushRefused(403, "instance-not-allowed", "tenant names another instance than instance does.")
        known_as = {signer.domain, signer.tenant}
        if known_as & self._block or not (self._open or known_as & self._allow):
            raise PushRefused(403, "instance-not-allowed", "This instance may not use this gateway.")
        return signer

    def _one(self, name: str) -> Signer:
        known = self._signers.get(normalise(name))
        if known is not None:
            return known
        if ":" in name and "." not in name:
            raise PushRefused(403, "instance-not-allowed", "This gateway knows no such slug.")
        domain = hostname(name)
        return self._signers.get(domain) or Signer(domain, domain)

    def _same(self, signer: Signer, name: str) -> bool:
        return normalise(name) == signer.claimable != "" or self._one(name) == signer


def _merged(slug: str, entry: Instance, other: Instance | None) -> Instance:
    if other is None:
        return entry
    both = {}
    for field in ("url", "public_key", "secret", "tenant"):
        mine, theirs = getattr(entry, field), getattr(other, field)
        if mine and theirs and mine != theirs:
            raise ConfigInvalid(f'instances."{slug}".{field} differs from what its domain\'s entry says')
        both[field] = mine or theirs
    return Instance(**both)


def _signer(domain: str, tenant: str, entry: Instance) -> Signer:
    where = f'instances."{tenant}"'
    if entry.url and entry.public_key:
        raise ConfigInvalid(f"{where} has a url and a public_key; one of them is enough")
    if entry.secret == SECRET_NEVER:
        raise ConfigInvalid(f"{where}.secret is the one that old clients send everywhere; choose another")
    _judge_url(entry.url, where)
    try:
        keys = pinned(entry.public_key) if entry.public_key else None
    except KeyInvalid as why:
        raise ConfigInvalid(f"{where}.public_key {why}") from None
    return Signer(domain, tenant, entry.url, keys, entry.secret, normalise(entry.tenant), configured=True)


def _judge_url(url: str, where: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        host, port_fits = parts.hostname or "", parts.port is None or parts.port > 0
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        port_fits = loopback = False
    if not (url.startswith("http://") and loopback and port_fits):
        raise ConfigInvalid(
            f"{where}.url must be plain http on this machine, like http://127.0.0.1:9001/…; it is {url!r}"
        )
