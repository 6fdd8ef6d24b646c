"""Targets: what each kind of push service calls a device, in one spelling, and which of them are the same device.

Invariant: a target is kept in one spelling, so that registering and deregistering mean the same device however it was
written. Must not know tenants, or how anything is sent.
"""

import binascii
import json
import re

from gateway.errors import PushRefused
from gateway.push.subscription import KINDS, subscription
from gateway.push.vapid import base64url_bytes

FCM_KINDS = ("token", "fid")
TARGET_KINDS = (*FCM_KINDS, *KINDS, "apns")
_HEX = re.compile(r"[0-9a-fA-F]{64,200}", re.ASCII)


def device_token(text: str) -> str:
    """A device token as lower-case hex, from hex or (as Matrix apps send it) base64; raise PushRefused 400."""
    if _HEX.fullmatch(text):
        return text.lower()
    try:
        raw = base64url_bytes(text)
    except (ValueError, binascii.Error):
        raw = b""
    if not 32 <= len(raw) <= 100:
        raise PushRefused(400, "invalid-field", "token is not an APNs device token, in hex or base64.")
    return raw.hex()


def target_text(target_kind: str, text: str, *, leaving: bool) -> str:
    """The one spelling of a target as it was sent; to deregister, a subscription's endpoint alone is enough.

    Raises PushRefused 400 ``invalid-field``; where an endpoint leads is not judged here.
    """
    if target_kind == "apns":
        return device_token(text)
    if target_kind not in KINDS:
        return text
    read = subscription(text)
    if target_kind == "webpush" and not read.p256dh and not leaving:
        raise PushRefused(
            400, "invalid-field", "token is not a subscription with keys, as PushSubscription.toJSON() gives."
        )
    return read.text


def identity(target_kind: str, target: str) -> str:
    """What makes a target the same device: of a subscription its endpoint, of anything else all of it."""
    if target_kind not in KINDS or not target.startswith("{"):
        return target
    return str(json.loads(target)["endpoint"])
