"""Who an instance is, and whose devices are its own: domains, slugs, access policy (push §3).

Invariant: the tenant follows from who verified, that is from the configuration and the domain whose key signed, never
from what a body or a document claims; a slug and its domain are one tenant. Must not know keys' bytes or requests.
"""

import ipaddress
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.config import Instance, Matrix, Push
from gateway.errors import ConfigInvalid, PushRefused
from gateway.push.es256 import KeyInvalid
from gateway.push.hostname import hostname, normalise, spelling
from gateway.push.matrix import TENANT, Apps, is_matrix
from gateway.push.quota import QUOTA_FIELDS, Quota, quota
from gateway.push.wellknown import WellKnown, pinned

SECRET_NEVER = "takos-default-push-secret"  # noqa: S105 - sent by old clients everywhere, so it proves nothing
# Two words; a number behind the colon is a port, of a host whose name is a single label.
_SLUG = re.compile(r"[\w-]+:(?![0-9]+$)[\w-]+")


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

    @property
    def known_as(self) -> frozenset[str]:
        """Every name that a list may have for it."""
        return frozenset((self.domain, self.tenant, self.claimable)) - {""}

    def tenant_by(self, keys: WellKnown) -> str:
        """The effective tenant, once its document is known."""
        return self.claimable if self.claimable and keys.tenant == self.claimable else self.tenant


class Directory:
    """All that the configuration says of instances; resolves a name in a request to its Signer."""

    def __init__(self, push: Push, instances: Mapping[str, Instance], matrix: Matrix | None = None) -> None:
        if push.policy not in ("open", "allowlist"):
            raise ConfigInvalid(f'push.policy is {push.policy!r}; it may be "open" or "allowlist"')
        self._open = push.policy == "open"
        self._allow = frozenset(map(spelling, push.allow))
        self._block = frozenset(map(spelling, push.block))
        self._signers: dict[str, Signer] = {}
        self._push, self._quota = push, quota(push)
        self._apps = Apps(matrix or Matrix())
        self._quotas: dict[str, Quota] = {}
        self._domains: dict[str, str] = {}
        slugs = {spelling(name): entry for name, entry in instances.items() if entry.domain}
        domains = {spelling(name): entry for name, entry in instances.items() if not entry.domain}
        for domain, entry in domains.items():
            self._enter(push, _signer(domain, domain, entry), entry)
        for slug, entry in slugs.items():
            domain = spelling(entry.domain)
            if domain in self._signers and self._signers[domain].tenant != domain:
                raise ConfigInvalid(f"instances: two slugs name the domain {domain!r}")
            merged = _merged(slug, entry, domains.get(domain))
            self._enter(push, _signer(domain, slug, merged), merged)
        for key, names in (("allow", push.allow), ("block", push.block)):
            for name in names:
                self._judge_name(name, f"push.{key}")
        for name, entry in instances.items():
            if not (self._signers[spelling(name)].url or self._signers[spelling(name)].keys):
                _judge_domain(entry.domain or name, f'instances."{name}"')

    def _enter(self, push: Push, signer: Signer, entry: Instance) -> None:
        self._signers[signer.tenant] = self._signers[signer.domain] = signer
        for tenant in {signer.tenant, signer.claimable} - {""}:
            self._quotas[tenant] = quota(push, entry)
            self._domains[tenant] = signer.domain

    def _judge_name(self, name: str, where: str) -> None:
        """Refuse what is nobody's name: an instance that is blocked by a URL would not be blocked at all."""
        if spelling(name) not in self._signers.keys() | self._quotas.keys() and not _SLUG.fullmatch(name.strip()):
            _judge_domain(name, where)

    def quota(self, tenant: str) -> Quota:
        """What a tenant may use."""
        found = self._quotas.get(tenant, self._quota)
        return quota(self._push, self._apps.serving(tenant.removeprefix(TENANT))) if is_matrix(tenant) else found

    def tenants(self) -> list[str]:
        """The tenants that the configuration names."""
        return sorted({signer.tenant for signer in self._signers.values()})

    def domain(self, tenant: str) -> str:
        """Whose document a tenant's requests are verified with."""
        return self._domains.get(tenant, tenant)

    def is_pinned(self, tenant: str) -> bool:
        """Whether the configuration has the tenant's key."""
        signer = self._signers.get(tenant)
        return signer is not None and signer.keys is not None

    def is_admitted(self, tenant: str) -> bool:
        """Whether the policy lets a tenant in, as far as its name alone tells."""
        signer = self._signers.get(tenant)
        return self._admits({tenant} if signer is None else signer.known_as)

    def _admits(self, known_as: AbstractSet[str]) -> bool:
        return not known_as & self._block and (self._open or bool(known_as & self._allow))

    def resolve(self, names: tuple[str, ...]) -> Signer:
        """Find whom ``instance`` (and ``tenant``) name; raise PushRefused 400 or 403, before any look-up."""
        signer = self._one(names[0])
        if any(not self._same(signer, name) for name in names[1:]):
            raise PushRefused(403, "instance-not-allowed", "tenant names another instance than instance does.")
        if not self._admits(signer.known_as):
            raise PushRefused(403, "instance-not-allowed", "This instance may not use this gateway.")
        return signer

    def _one(self, name: str) -> Signer:
        known = self._signers.get(spelling(name))
        if known is not None:
            return known
        if _SLUG.fullmatch(name.strip()):
            raise PushRefused(403, "instance-not-allowed", "This gateway knows no such slug.")
        domain = hostname(name)
        return self._signers.get(domain) or Signer(domain, domain)

    def _same(self, signer: Signer, name: str) -> bool:
        return normalise(name) == signer.claimable != "" or self._one(name) == signer


def _merged(slug: str, entry: Instance, other: Instance | None) -> Instance:
    if other is None:
        return entry
    both = {}
    for field in ("url", "public_key", "secret", "tenant", *QUOTA_FIELDS):
        mine, theirs = getattr(entry, field), getattr(other, field)
        if mine and theirs and mine != theirs:
            raise ConfigInvalid(f'instances."{slug}".{field} differs from what its domain\'s entry says')
        both[field] = mine or theirs
    return Instance(**both)


def _signer(domain: str, tenant: str, entry: Instance) -> Signer:
    where = f'instances."{tenant}"'
    if entry.url and entry.public_key:
        raise ConfigInvalid(f"{where} has a url and a public_key (a slug has its domain's too); one of them is enough")
    if entry.secret == SECRET_NEVER:
        raise ConfigInvalid(f"{where}.secret is the one that old clients send everywhere; choose another")
    _judge_url(entry.url, where)
    try:
        keys = pinned(entry.public_key) if entry.public_key else None
    except KeyInvalid as why:
        raise ConfigInvalid(f"{where}.public_key {why}") from None
    return Signer(domain, tenant, entry.url, keys, entry.secret, normalise(entry.tenant), configured=True)


def _judge_domain(name: str, where: str) -> None:
    """Refuse a name that no document could be fetched from; raise ConfigInvalid."""
    try:
        hostname(name)
    except PushRefused as why:
        raise ConfigInvalid(f"{where}: {name!r} is neither a domain nor a slug. {why.sentence}") from None


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
