"""HTTP authentication (NIP-98): which key signed a request, by its ``Authorization: Nostr …`` header.

Invariant: a header is good for one URL, one method, one body and about a minute. Whether it was used before is the
caller's to remember. This module must not know HTTP frameworks or who may do what.
"""

import base64
import hashlib
from collections.abc import Callable

import msgspec

from gateway.errors import NostrRefused
from gateway.limits.nostr import HTTP_AUTH_CHARS_MAX, HTTP_AUTH_SKEW_S_MAX
from gateway.nostr.event import Event, first_value, flaw
from gateway.nostr.signature import Claim, holds

HTTP_AUTHENTICATION = 27_235
SCHEME = "nostr "

_decoder = msgspec.json.Decoder(Event)


def signer(header: str, body: bytes, names_us: Callable[[str], bool], now_s: int, method: str = "POST") -> Event:
    """Give the event that signs a request; raises NostrRefused with a sentence for whatever is wrong with it."""
    event = _event(header)
    found = flaw(event)
    if found is None and event.kind != HTTP_AUTHENTICATION:
        found = f"the event's kind must be {HTTP_AUTHENTICATION}"
    if found is None and abs(event.created_at - now_s) > HTTP_AUTH_SKEW_S_MAX:
        found = f"created_at is more than {HTTP_AUTH_SKEW_S_MAX} seconds away"
    if found is None and not names_us(first_value(event, "u") or ""):
        found = "the u tag names another address"
    if found is None and (first_value(event, "method") or "").upper() != method:
        found = f"the method tag is not {method}"
    if found is None and first_value(event, "payload") != hashlib.sha256(body).hexdigest():
        found = "the payload tag is not the SHA-256 of the body"
    if found is None and not holds(Claim(event.pubkey, event.id, event.sig)):
        found = "the signature does not verify"
    if found is not None:
        raise NostrRefused(f"invalid: {found}")
    return event


def _event(header: str) -> Event:
    if not header[: len(SCHEME)].lower() == SCHEME or len(header) > HTTP_AUTH_CHARS_MAX:
        raise NostrRefused("auth-required: send Authorization: Nostr and a signed event in base64 (NIP-98)")
    try:
        return _decoder.decode(base64.b64decode(header[len(SCHEME) :].strip(), validate=True))
    except (ValueError, RecursionError):
        raise NostrRefused("invalid: the Authorization header holds no event in base64") from None
