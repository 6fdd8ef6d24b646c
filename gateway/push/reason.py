"""Reasons as labels: the closed set that figures may use for why a push was not delivered.

Reasons come from push services, which strangers choose in part, so their texts stay in the log's records; a figure with
them would grow without end. Invariant: any text whatever has one label of a set that is known beforehand. Must not
know figures.
"""

import re

OTHER = "other"
_HTTP = re.compile(r"http-([1-9])[0-9]{2}", re.ASCII)
_HTTP_CLASSES = tuple(f"http-{hundred}xx" for hundred in range(1, 10))
# Ours, FCM's error codes as `gateway.push.fcm` spells them, then Apple's.
_KNOWN = frozenset(
    (
        *(
            "braked",
            "crowded",
            "deregistered",
            "device-quota-exceeded",
            "device-rate",
            "endpoint-refused",
            "erased",
            "gone",
            "moved",
        ),
        *("invalid-token", "no-project", "not-authorised", "permission-denied", "quota-exceeded", "redirected"),
        *("resting", "sender-id-mismatch", "timeout", "too-large", "unauthenticated", "unreachable", "unregistered"),
        *("internal", "invalid-argument", "third-party-auth-error", "unavailable", "unspecified-error"),
        *("BadPath", "BadTopic", "Forbidden", "IdleTimeout", "InternalServerError", "MissingTopic"),
        *("PayloadEmpty", "PayloadTooLarge", "ServiceUnavailable", "Shutdown", "TooManyRequests", "TopicDisallowed"),
    )
)
LABELS = (*sorted(_KNOWN), *_HTTP_CLASSES, OTHER)


def label(reason: str) -> str:
    """The label of a reason: itself where it is known, its hundred where it is an HTTP status, else ``other``."""
    if reason in _KNOWN:
        return reason
    status = _HTTP.fullmatch(reason)
    return f"http-{status[1]}xx" if status else OTHER
