"""An instance's document: two public keys and, in older forms, a tenant (push §1).

Everything in it is a stranger's word, so it counts for the domain that it was fetched from and no other. Must not
know how it was fetched.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

from gateway.errors import PushRefused
from gateway.limits.push import WELLKNOWN_BYTES_MAX
from gateway.push.canonical import parse
from gateway.push.es256 import KeyInvalid, PublicKey, public_key, public_pem
from gateway.push.hostname import normalise, spelling

PATH = "/.well-known/takos-push.json"


@dataclass(frozen=True, slots=True)
class WellKnown:
    """The keys of one instance; ``tenant`` is what it claims, which counts only where the configuration allows it."""

    registration_key: PublicKey
    webhook_key: PublicKey
    tenant: str | None = None


def _invalid(what: str) -> NoReturn:
    raise PushRefused(502, "well-known-invalid", f"The instance's takos-push.json {what}.")


def _string(fields: dict[str, Any], field: str) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or not value:
        _invalid(f"has no {field}")
    return value


def _key(fields: dict[str, Any], field: str, shown: str) -> PublicKey:
    try:
        return public_key(_string(fields, field))
    except KeyInvalid as why:
        _invalid(f"has a {shown} that {why}")


def judge(body: bytes, domain: str) -> WellKnown:
    """Read the document that was fetched from ``domain`` (A-labels); raise PushRefused 502 ``well-known-invalid``."""
    if len(body) > WELLKNOWN_BYTES_MAX:
        _invalid(f"is larger than {WELLKNOWN_BYTES_MAX} bytes")
    try:
        fields = parse(body)
    except PushRefused as why:
        _invalid(f"cannot be read: {why.sentence.rstrip('.')}")
    if spelling(_string(fields, "instance")) != domain:
        _invalid("names another instance")
    webhook = fields.get("webhook")
    if not isinstance(webhook, dict):
        _invalid("has no webhook")
    if webhook.get("algorithm") != "ES256":
        _invalid("has a webhook.algorithm other than ES256")
    tenant = fields.get("tenant")
    if tenant is not None and not isinstance(tenant, str):
        _invalid("has a tenant that is not a string")
    return WellKnown(
        _key(fields, "registrationPublicKey", "registrationPublicKey"),
        _key(webhook, "publicKey", "webhook.publicKey"),
        normalise(tenant) if tenant else None,
    )


def pinned(pem: str) -> WellKnown:
    """The keys of an instance whose key the operator has pinned; raise KeyInvalid."""
    key = public_key(pem)
    return WellKnown(key, key)


def document(instance: str, key: PublicKey) -> dict[str, Any]:
    """The document that an instance publishes for one key."""
    pem = public_pem(key)
    return {
        "instance": instance,
        "registrationPublicKey": pem,
        "webhook": {"algorithm": "ES256", "publicKey": pem},
    }
