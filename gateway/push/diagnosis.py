"""What is wrong with an instance's document, all of it at once, and how its operator mends it (push §1).

`wellknown.judge` stops at the first fault, which is enough for a refusal; whoever has to repair the document wants
them all. Invariant: what `judge` refuses has a fault here. Must not know how the document was fetched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from gateway.errors import PushRefused
from gateway.limits.push import WELLKNOWN_BYTES_MAX
from gateway.push.canonical import parse
from gateway.push.es256 import KeyInvalid, public_key
from gateway.push.hostname import normalise, spelling
from gateway.push.wellknown import judge

KEYGEN = "`heliograph keygen --instance {}` prints a whole document"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a document: a ``fault`` has it refused, a ``note`` is good to know; ``mend`` says what to do."""

    level: Literal["fault", "note"]
    what: str
    mend: str = ""


def fault(what: str, mend: str) -> Finding:
    """What has the document refused."""
    return Finding("fault", what, mend)


def diagnose(body: bytes, domain: str, claimable: str = "") -> list[Finding]:
    """Find all about a document that was fetched from ``domain``; ``claimable`` is the tenant that it may claim."""
    found = list(_of_text(body, domain, claimable))
    try:
        judge(body, domain)
    except PushRefused as refused:
        if not any(one.level == "fault" for one in found):
            found.append(fault(refused.sentence, KEYGEN.format(domain)))
    return found


def _of_text(body: bytes, domain: str, claimable: str) -> Iterator[Finding]:
    if b"PRIVATE KEY" in body:
        yield fault("It publishes a private key.", "Take it down now, make a new pair, and publish the public half.")
    if len(body) > WELLKNOWN_BYTES_MAX:
        yield fault(f"It has more than {WELLKNOWN_BYTES_MAX} bytes.", "Publish the four fields and nothing else.")
        return
    try:
        fields = parse(body)
    except PushRefused as refused:
        if body.lstrip()[:1] == b"<":
            mend = "A page is served in its place: answer this path before the rule that gives the application's page."
            yield fault("It is not JSON but a web page.", mend)
        else:
            yield fault(f"It cannot be read: {refused.sentence}", f"Publish one JSON object; {KEYGEN.format(domain)}.")
        return
    yield from _of_fields(fields, domain, claimable)


def _of_fields(fields: dict[str, Any], domain: str, claimable: str) -> Iterator[Finding]:
    instance = fields.get("instance")
    if not isinstance(instance, str) or not instance:
        yield fault("It has no instance.", f'Add "instance": "{domain}".')
    elif spelling(instance) != domain:
        mend = f'Set "instance" to "{domain}"; if both names lead here, clients must use the one that it names.'
        yield fault(f"Its instance is {instance[:100]!r}, not the domain that it was fetched from.", mend)
    yield from _of_key(fields, "registrationPublicKey", "registrationPublicKey")
    webhook = fields.get("webhook")
    if isinstance(webhook, dict):
        yield from _of_webhook(webhook, fields)
    else:
        yield fault("It has no webhook.", 'Add "webhook": {"algorithm": "ES256", "publicKey": "…PEM…"}.')
    yield from _of_tenant(fields.get("tenant"), domain, claimable)


def _of_webhook(webhook: dict[str, Any], fields: dict[str, Any]) -> Iterator[Finding]:
    if webhook.get("algorithm") != "ES256":
        yield fault("webhook.algorithm is not ES256.", 'Set "algorithm" to "ES256"; no other is supported.')
    yield from _of_key(webhook, "publicKey", "webhook.publicKey")
    keys = (webhook.get("publicKey"), fields.get("registrationPublicKey"))
    if all(isinstance(pem, str) and pem for pem in keys) and keys[0] != keys[1]:
        mend = "Fine, if registrations are signed with one key and events with the other."
        yield Finding("note", "The two keys differ.", mend)


def _of_key(fields: dict[str, Any], field: str, shown: str) -> Iterator[Finding]:
    pem = fields.get(field)
    if not isinstance(pem, str) or not pem:
        yield fault(f"It has no {shown}.", "Publish the public half of the key that the instance signs with, as PEM.")
        return
    try:
        public_key(pem)
    except KeyInvalid as why:
        mend = "It must be one PEM of type PUBLIC KEY (SPKI) with a P-256 key: `heliograph keygen` makes such a pair."
        yield fault(f"{shown} {why}.", mend)
        return
    if "\\n" in pem:
        yield Finding("note", f"{shown} has \\n written out in place of line breaks.", "This gateway takes it so.")


def _of_tenant(tenant: object, domain: str, claimable: str) -> Iterator[Finding]:
    if tenant is None or tenant == "":
        return
    if not isinstance(tenant, str):
        yield fault("Its tenant is not a string.", "Leave tenant out.")
    elif normalise(tenant) not in {domain, claimable}:
        mend = f'It counts only if the gateway\'s operator sets [instances."{domain}"] tenant.'
        yield Finding("note", f"It claims the tenant {tenant[:100]!r}, which is ignored.", mend)


_FETCHING = (
    ("(redirects", "Answer with the document itself, at this very address: no redirect to another host or to /path/."),
    ("answered 404", "Publish it there; " + KEYGEN + "."),
    ("answered 410", "Publish it there; " + KEYGEN + "."),
    ("answered 4", "Let everybody read this path: no login, no bot check, no filter by user agent in front of it."),
    ("answered 5", "The instance's server fails on this path: look into its log."),
    ("encoded body", "Do not compress this answer: the request says Accept-Encoding: identity."),
    ("certificate", "Serve a certificate for {} from a public authority, with its whole chain, and not expired."),
    ("seconds", "Everything, from the look-up of the name to the last byte, must be done in 5 seconds."),
    ("no address", "Point the name at public addresses only; one private or reserved among them is too many."),
    ("bytes", "Publish the four fields and nothing else, in at most 16 KiB."),
    ("cannot be reached", "Does the name resolve, and is port 443 open to everybody? Check A and AAAA: {}."),
)


def unfetched(refusal: PushRefused, domain: str) -> Finding:
    """Say how to mend what kept a document from being fetched."""
    mends = (mend for words, mend in _FETCHING if words in refusal.sentence)
    mend = next(mends, "Serve it by plain HTTPS with HTTP/1.1 on port 443 of {}.")
    return fault(refusal.sentence, mend.format(domain))
