"""The second door: Matrix' push-gateway API, read into what a device is sent (push §7).

A request names one event and many devices. Each device becomes a notification of its own in the outbox, under a tenant
that no instance can have (``matrix:`` and the app id), so it shares nothing with the signed door but the fan-out.
What is kept of an event is what fits into a push, as text: fields cut to 1,024 bytes, content made flat (Sygnal's form
of the data that Matrix apps read). Invariant: any JSON whatever is a request or a PushRefused. Must not know HTTP.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.config import Matrix, MatrixApp
from gateway.errors import ConfigInvalid, PushRefused
from gateway.limits.push import COLLAPSE_CHARS, PAYLOAD_BYTES_MAX, TARGET_BYTES_MAX
from gateway.limits.ways import MATRIX_DEVICES_MAX, MATRIX_EXTRA_BYTES_MAX, MATRIX_FIELD_BYTES_MAX
from gateway.push.plan import collapse_key, cut, is_reserved, payload_bytes
from gateway.push.target import target_text

TENANT = "matrix:"
WAYS = ("fcm", "webpush", "unifiedpush", "apns")
_TEXTS = ("event_id", "type", "sender", "room_name", "room_alias", "membership", "sender_display_name", "room_id")
_ID_ONLY = frozenset(("event_id", "room_id"))
_COUNTS = ("unread", "missed_calls")
_SECONDS_MAX = 100_000_000_000  # a larger pushkey_ts is in milliseconds: the year 5138 otherwise


class MatrixEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event for one device, as the log keeps it; texts are flat and cut, absent ones are not there."""

    id: str  # what it collapses by
    texts: dict[str, str]  # event fields, and content_… of the event's content
    counts: dict[str, int] = {}
    is_urgent: bool = True
    extra: dict[str, Any] = {}  # the device's default_payload
    sound: str = ""
    options: dict[str, Any] = {}  # the operator's own part of FCM messages, as it was
    rest: dict[str, Any] = {}  # what of the content is no text, where that is little: browsers get it
    is_target: bool = False  # whether the event is about the user (an invitation, say)
    is_last_of_room: bool = False  # the device wants the last one of each room alone

    @property
    def is_about_event(self) -> bool:
        """Whether there is an event; else it is about counts alone."""
        return "event_id" in self.texts


@dataclass(frozen=True, slots=True)
class MatrixDevice:
    """One device of a request; ``since_ms`` is when its pushkey was last set, 0 where that is not told."""

    app_id: str
    pushkey: str
    since_ms: int
    data: Mapping[str, Any]
    event: MatrixEvent | None  # None: its default_payload is no object, or too large


def _refuse(why: str) -> PushRefused:
    return PushRefused(400, "invalid-field", f"{why}.")


def _object(value: object, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refuse(f"{field} is not an object")
    return value


def _name(fields: Mapping[str, Any], field: str, bytes_max: int) -> str:
    value = fields.get(field)
    if not isinstance(value, str) or not value:
        raise PushRefused(400, "missing-field", f"devices[].{field} is missing, or is not a string.")
    if len(value.encode()) > bytes_max:
        raise _refuse(f"devices[].{field} is longer than {bytes_max} bytes")
    return value


def _texts(event: Mapping[str, Any]) -> dict[str, str]:
    """The event's fields and, flat, the texts of its content, each cut; what is no text is left out."""
    content = _object(event.get("content"), "notification.content")
    flat = {f"content_{key}": value for key, value in content.items()}
    named = {field: event.get(field) for field in _TEXTS} | flat
    return {
        key: cut(value, MATRIX_FIELD_BYTES_MAX)
        for key, value in named.items()
        if isinstance(value, str) and len(key) <= MATRIX_FIELD_BYTES_MAX and not is_reserved(key)
    }


def _rest(event: Mapping[str, Any]) -> dict[str, Any]:
    """What of the content is no text, unless it is much."""
    content = _object(event.get("content"), "notification.content")
    rest = {key: value for key, value in content.items() if not isinstance(value, str)}
    return rest if len(msgspec.json.encode(rest)) <= MATRIX_FIELD_BYTES_MAX else {}


def _counts(event: Mapping[str, Any]) -> dict[str, int]:
    counts = _object(event.get("counts"), "notification.counts")
    return {
        key: value
        for key in _COUNTS
        if isinstance(value := counts.get(key), int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    }


def _since_ms(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
        return 0
    return int(value * 1000 if value <= _SECONDS_MAX else value)


def _extra(data: Mapping[str, Any]) -> dict[str, Any] | None:
    extra = data.get("default_payload", {})
    if not isinstance(extra, dict) or len(msgspec.json.encode(extra)) > MATRIX_EXTRA_BYTES_MAX:
        return None
    return extra


def _device(fields: object, whole: MatrixEvent) -> MatrixDevice:
    if not isinstance(fields, dict):
        raise _refuse("a device is not an object")
    data = _object(fields.get("data"), "devices[].data")
    tweaks = _object(fields.get("tweaks"), "devices[].tweaks")
    extra, event = _extra(data), None
    if extra is not None:
        only_ids = data.get("format") == "event_id_only"
        texts = {key: text for key, text in whole.texts.items() if key in _ID_ONLY} if only_ids else whole.texts
        sound = tweaks.get("sound")
        event = msgspec.structs.replace(
            whole,
            texts=texts,
            extra=extra,
            sound=cut(sound, MATRIX_FIELD_BYTES_MAX) if isinstance(sound, str) else "",
            rest={} if only_ids else whole.rest,
            is_target=whole.is_target and not only_ids,
            is_last_of_room=data.get("only_last_per_room") is True and "room_id" in texts,
        )
    return MatrixDevice(
        _name(fields, "app_id", MATRIX_FIELD_BYTES_MAX),
        _name(fields, "pushkey", TARGET_BYTES_MAX),
        _since_ms(fields.get("pushkey_ts")),
        data,
        event,
    )


def notify(body: bytes) -> tuple[MatrixDevice, ...]:
    """Read ``POST /_matrix/push/v1/notify``: every device with what it is to be sent. Raise PushRefused 400.

    Unlike the signed door's parser this one is lenient: nothing here is signed, and content is anybody's JSON.
    """
    try:
        fields = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # msgspec tells of bytes that are not UTF-8 by another error than of JSON
        raise PushRefused(400, "malformed-json", "The body is not JSON.") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("notification"), dict):
        raise PushRefused(400, "missing-field", "notification is missing, or is not an object.")
    event = fields["notification"]
    devices = event.get("devices")
    if not isinstance(devices, list) or not devices:
        raise PushRefused(400, "missing-field", "notification.devices is missing, or names no device.")
    if len(devices) > MATRIX_DEVICES_MAX:
        raise _refuse(f"notification.devices names more than {MATRIX_DEVICES_MAX} devices")
    texts = _texts(event)
    whole = MatrixEvent(
        texts.get("event_id", ""),
        texts,
        _counts(event),
        event.get("prio") != "low",
        rest=_rest(event),
        is_target=event.get("user_is_target") is True,
    )
    return tuple(_device(device, whole) for device in devices)


def event_bytes(event: MatrixEvent) -> bytes:
    """What the log keeps of an event for one device."""
    return msgspec.json.encode(event)


def event_of(body: bytes) -> MatrixEvent:
    """Read back what `event_bytes` made."""
    return msgspec.json.decode(body, type=MatrixEvent)


def notification_id(event: MatrixEvent, pushkey: str) -> str:
    """What a repeat of this event for this device has too."""
    return f"{hashlib.sha256(pushkey.encode()).hexdigest()[:16]} {event.id}"


def target(way: str, device: MatrixDevice) -> tuple[str, str]:
    """(kind, target) of a pushkey, by what its app's pushkeys are; raise PushRefused 400 where it is none.

    As with Sygnal, a browser's pushkey is its ``p256dh``, and its ``data`` has ``endpoint`` and ``auth``.
    """
    match way:
        case "fcm":
            return "token", device.pushkey
        case "apns":
            return "apns", target_text("apns", device.pushkey, leaving=False)
        case "unifiedpush":
            return "unifiedpush", target_text("unifiedpush", device.pushkey, leaving=False)
        case _:
            keys = {"p256dh": device.pushkey, "auth": device.data.get("auth")}
            text = msgspec.json.encode({"endpoint": device.data.get("endpoint"), "keys": keys}).decode()
            return "webpush", target_text("webpush", text, leaving=False)


def holder(target_kind: str, target: str) -> str:
    """Under which name a target is remembered: a browser's public key, which its pushkey is, else all of it."""
    return str(msgspec.json.decode(target)["keys"]["p256dh"]) if target_kind == "webpush" else target


def is_matrix(tenant: str) -> bool:
    """Whether a tenant is an app of this door; no instance's is, since its configuration refuses such slugs."""
    return tenant.startswith(TENANT)


class Apps:
    """Which configured entry serves an app id: its own name, or the one pattern with ``*`` that fits."""

    def __init__(self, config: Matrix) -> None:
        self._apps = dict(config.apps)
        self._patterns = {
            name: re.compile(".+".join(map(re.escape, name.split("*")))) for name in config.apps if "*" in name
        }
        for name, app in config.apps.items():
            if app.way not in WAYS:
                raise ConfigInvalid(f'matrix.apps."{name}".way is {app.way!r}; it may be {", ".join(WAYS)}')
            options(app, name)

    def __bool__(self) -> bool:
        return bool(self._apps)

    def serving(self, app_id: str) -> MatrixApp | None:
        """The entry; None where none fits, or more than one pattern does."""
        if app_id in self._apps:
            return self._apps[app_id]
        fitting = [name for name, pattern in self._patterns.items() if pattern.fullmatch(app_id)]
        return self._apps[fitting[0]] if len(fitting) == 1 else None


def options(app: MatrixApp, name: str) -> dict[str, Any]:
    """The operator's own part of each FCM message; raise ConfigInvalid."""
    try:
        found = msgspec.json.decode(app.fcm_options or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise ConfigInvalid(f'matrix.apps."{name}".fcm_options is not a JSON object') from None
    if len(app.fcm_options) > MATRIX_EXTRA_BYTES_MAX:
        raise ConfigInvalid(f'matrix.apps."{name}".fcm_options is longer than {MATRIX_EXTRA_BYTES_MAX} characters')
    if {"token", "fid", "topic", "condition", "data"} & found.keys():
        raise ConfigInvalid(f'matrix.apps."{name}".fcm_options may not name a target or data')
    return found


def flat(event: MatrixEvent) -> dict[str, str]:
    """Everything as text, as FCM's ``data`` wants it, within its limit: content goes first, then names, ids never."""
    extra = {key: value for key, value in event.extra.items() if not is_reserved(key)}
    data = {key: value if isinstance(value, str) else _json(value) for key, value in extra.items()}
    data |= event.texts | {"prio": "high" if event.is_urgent else "normal"}
    data |= {key: str(value) for key, value in event.counts.items()}
    for key in sorted(data, key=lambda key: (not key.startswith("content_"), key in _ID_ONLY, -len(data[key]))):
        over = payload_bytes(data, {}) - PAYLOAD_BYTES_MAX
        if over <= 0 or key in _ID_ONLY:
            break
        data[key] = cut(data[key], len(data[key].encode()) - over)
        if not data[key]:
            del data[key]
    return data


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def collapse_of(event: MatrixEvent) -> str:
    """The collapse key: by event, or by room where the device asked; one for counts, of which the newest counts."""
    by_room = f"\0room\0{event.texts['room_id']}" if event.is_last_of_room and event.is_about_event else ""
    key = collapse_key(by_room or (event.id if event.is_about_event else "counts"))
    assert len(key) == COLLAPSE_CHARS
    return key


def fcm_message(event: MatrixEvent, target_kind: str, target: str) -> dict[str, Any]:
    """Build the ``message`` of one FCM send: data alone, which the app shows as it likes (Sygnal does the same).

    No ``collapse_key``: FCM stores four of them for a device that is away, and each event would have its own; Matrix
    apps know a repeated event by its id.
    """
    base = dict(event.options)
    android = {"priority": "high" if event.is_urgent else "normal"} | base.pop("android", {})
    return base | {target_kind: target, "data": flat(event), "android": android}
