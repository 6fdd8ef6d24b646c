"""What is sent for one notification: which project, which message, within FCM's limits (push §5).

Invariant: the ids always arrive whole and the payload always fits; only the text is cut. A retried delivery has the
same collapse key on every platform, so that it shows once. Must not know how anything is sent.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from gateway.config import Project
from gateway.errors import ConfigInvalid
from gateway.limits.push import COLLAPSE_CHARS, PAYLOAD_BYTES_MAX, TITLE_BYTES_MAX
from gateway.push.envelope import Notification

_RESERVED = frozenset(("from", "message_type", "notification"))
_RESERVED_PREFIXES = ("google", "gcm")

FCM_KEEPS_S = 2_419_200  # four weeks: what FCM does where a message says nothing, and its most


def collapse_key(notification_id: str) -> str:
    """32 characters that stand for a notification on every platform: base64url of the start of its id's SHA-256."""
    return base64.urlsafe_b64encode(hashlib.sha256(notification_id.encode()).digest()).decode()[:COLLAPSE_CHARS]


def is_reserved(key: str) -> bool:
    """Whether FCM refuses this key in ``data``."""
    return key in _RESERVED or key.startswith(_RESERVED_PREFIXES)


def cut(text: str, bytes_max: int) -> str:
    """The longest start of a text that has at most so many bytes of UTF-8, ending between two characters."""
    raw = text.encode()
    return text if len(raw) <= bytes_max else raw[: max(0, bytes_max)].decode(errors="ignore")


def payload_bytes(data: Mapping[str, str], shown: Mapping[str, str]) -> int:
    """What FCM counts: keys and values of data and notification, in UTF-8."""
    return sum(len(key.encode()) + len(value.encode()) for part in (data, shown) for key, value in part.items())


def judge_title(title: str) -> None:
    """Refuse a configured title that would take the text's room; raise ConfigInvalid."""
    if len(title.encode()) > TITLE_BYTES_MAX:
        raise ConfigInvalid(f"push.title is longer than {TITLE_BYTES_MAX} bytes")


def message(
    notification: Notification, target_kind: str, target: str, title: str, *, collapse: str = "", is_urgent: bool = True
) -> dict[str, Any]:
    """Build the ``message`` of one send; exactly one of ``token`` and ``fid`` names the device.

    ``collapse`` is a `collapse_key`; "" stands for the notification's own.
    """
    data = {
        "notification_id": notification.id,
        "type": notification.type,
        "ref_type": notification.ref_type,
        "ref_id": notification.ref_id,
        "actor_id": notification.actor_id,
    }
    assert not any(map(is_reserved, data))
    room = PAYLOAD_BYTES_MAX - payload_bytes(data, {"title": title, "body": ""})
    key = collapse or collapse_key(notification.id)
    return {
        target_kind: target,
        "notification": {"title": title, "body": cut(notification.message, room)},
        "data": data,
        "android": {
            "priority": "HIGH" if is_urgent else "NORMAL",
            "collapse_key": key,
            "notification": {"tag": key},
        },
        "apns": {"headers": {"apns-priority": "10" if is_urgent else "5", "apns-collapse-id": key}},
        "webpush": {"headers": {"Topic": key, "Urgency": "high" if is_urgent else "normal"}},
    }


def timed(made: dict[str, Any], ttl_s: int, now_s: int) -> dict[str, Any]:
    """The message with how long it is kept for a device that is away, on each platform that it does not say so for.

    Nothing is added where that is what FCM does by itself.
    """
    if ttl_s >= FCM_KEEPS_S:
        return made
    android: Mapping[str, Any] = made.get("android", {})
    timed = {**made, "android": {"ttl": f"{ttl_s}s", **android}}
    for platform, header, value in (("apns", "apns-expiration", str(now_s + ttl_s)), ("webpush", "TTL", str(ttl_s))):
        part: Mapping[str, Any] = made.get(platform, {})
        timed[platform] = {**part, "headers": {header: value, **part.get("headers", {})}}
    return timed


class Projects:
    """Which Firebase project serves which ``appId``."""

    def __init__(self, projects: Mapping[str, Project]) -> None:
        self._by_app: dict[str, str] = {}
        for name, project in projects.items():
            for app_id in project.app_ids:
                if self._by_app.setdefault(app_id, name) != name:
                    raise ConfigInvalid(f"fcm.projects: {app_id!r} is listed by two projects")
        only = next(iter(projects)) if len(projects) == 1 else ""
        self._default = "default" if "default" in projects else only

    def chosen(self, app_id: str) -> str:
        """The project's name in the configuration; empty where none serves this app (its sends fail, with an alarm)."""
        return self._by_app.get(app_id, self._default)
