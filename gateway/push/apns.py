"""Apple's push service without Firebase: its token, its message, and what its answers mean.

The table is Apple's "Handling notification responses from APNs". A device token of the other environment (sandbox or
production) is answered BadDeviceToken, for every device there is: so it removes one only where others got through,
as with FCM's SENDER_ID_MISMATCH. Must not know HTTP/2, files or clocks.
"""

from typing import Any, assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.limits.push import PAYLOAD_BYTES_MAX
from gateway.push.content import Content
from gateway.push.envelope import Notification
from gateway.push.fcm import (
    Braked,
    Delivered,
    Failed,
    Gone,
    Mismatched,
    Transient,
    Unauthenticated,
    Verdict,
)
from gateway.push.jwt import es256_jwt
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent
from gateway.push.plan import cut, message

_TOKEN_STALE = frozenset(("ExpiredProviderToken", "InvalidProviderToken", "MissingProviderToken"))
_OTHER_APP = frozenset(("BadDeviceToken", "DeviceTokenNotForTopic", "BadEnvironmentKeyInToken"))
_COUNTS = (("unread", "unread_count"), ("missed_calls", "missed_calls"))
_OPERATORS = frozenset(("BadTopic", "MissingTopic", "TopicDisallowed", "BadPath", "BadCertificate", "Forbidden"))


def provider_token(key: ec.EllipticCurvePrivateKey, key_id: str, team_id: str, now_s: int) -> str:
    """The JWT that authenticates a team; Apple takes it for an hour."""
    return es256_jwt(key, {"kid": key_id}, {"iss": team_id, "iat": now_s})


def headers(manner: Manner, topic: str, expires_s: int) -> dict[str, str]:
    """The headers of one push, but for its authorisation; until ``expires_s`` Apple keeps it."""
    return {
        "apns-topic": topic,
        "apns-push-type": "alert",
        "apns-priority": "10" if manner.is_urgent else "5",
        "apns-expiration": str(expires_s),
        "apns-collapse-id": manner.collapse,
    }


def payload(content: Content, title: str) -> bytes:
    """The JSON of one push, within Apple's 4,096 bytes: only texts are cut."""
    match content:
        case Notification():
            whole = message(content, "token", "", title)
            fields: dict[str, Any] = {"aps": {"alert": whole["notification"], "sound": "default"}, **whole["data"]}
            return _fitted(fields, whole["notification"]["body"])
        case MatrixEvent():
            return _matrix(content)
        case _:
            assert_never(content)


def _fitted(fields: dict[str, Any], text: str) -> bytes:
    while (over := len(raw := msgspec.json.encode(fields)) - PAYLOAD_BYTES_MAX) > 0 and text:
        text = cut(text, len(text.encode()) - over)
        fields["aps"] = fields["aps"] | {"alert": fields["aps"]["alert"] | {"body": text}}
    return raw


def _matrix(event: MatrixEvent) -> bytes:
    """Sygnal's form: the device's own payload, ids beside it, a localised alert where the event tells enough.

    Where the event tells its ids alone, counts stand beside them for the app to use; else they are the badge. A push
    of counts alone is a badge and nothing of the device's own, which may hold an alert.
    """
    texts, counts = event.texts, event.counts
    extra = event.extra if event.is_about_event else {}
    aps = dict(extra["aps"]) if isinstance(extra.get("aps"), dict) else {}
    if "alert" not in aps and (shown := _alert(event)):
        aps["alert"] = shown
    told: dict[str, Any] = {key: texts[key] for key in ("room_id", "event_id") if key in texts}
    if event.is_about_event and "type" not in texts:
        told |= {name: counts[key] for key, name in _COUNTS if key in counts}
    elif counts:
        aps["badge"] = sum(counts.values())
    if event.sound:
        aps["sound"] = event.sound
    raw = msgspec.json.encode({**extra, **told, "aps": aps})
    assert len(raw) <= PAYLOAD_BYTES_MAX + 3 * 1024, "MatrixEvent bounds each of its parts"
    if len(raw) > PAYLOAD_BYTES_MAX:
        aps["alert"] = {"loc-key": "SINGLE_UNREAD", "loc-args": []}
        raw = msgspec.json.encode({**told, "aps": aps})
    return raw


def _alert(event: MatrixEvent) -> dict[str, Any] | None:
    """The localised alert, by the keys that Sygnal gave to Matrix apps; None where nothing is told but counts."""
    texts = event.texts
    sender = texts.get("sender_display_name") or texts.get("sender", "")
    room = texts.get("room_name") or texts.get("room_alias", "")
    key, args = "MSG_FROM_USER", [sender]
    match texts.get("type"):
        case _ if not sender:
            key, args = "SINGLE_UNREAD", []
        case "m.room.message" | "m.room.encrypted":
            key, args = _message(sender, room, texts.get("content_body", ""), texts.get("content_msgtype", ""))
        case "m.call.invite":
            key = "VIDEO_CALL_FROM_USER" if "m=video" in str(event.rest.get("offer")) else "VOICE_CALL_FROM_USER"
        case "m.room.member" if event.is_target and texts.get("membership") == "invite":
            key, args = ("USER_INVITE_TO_NAMED_ROOM", [sender, room]) if room else ("USER_INVITE_TO_CHAT", [sender])
        case _:
            pass  # of a type that nobody here knows, but a push rule let it through
    return {"loc-key": key, "loc-args": args} if sender or event.is_about_event else None


def _message(sender: str, room: str, body: str, msgtype: str) -> tuple[str, list[str]]:
    """The key of a message, and what is put into its sentence."""
    where, named = ("_IN_ROOM", [room]) if room else ("", [])
    if not body:
        return f"MSG_FROM_USER{where}", [sender, *named]
    match msgtype:
        case "m.image":
            return f"IMAGE_FROM_USER{where}", [sender, body, *named]
        case "m.emote":
            return f"ACTION_FROM_USER{where}", [*named, sender, body]
        case _:
            return f"MSG_FROM_USER{where}_WITH_CONTENT", [sender, *named, body]


def _reason(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, Any]).get("reason")
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, str) and found.isalnum() and len(found) <= 64 else ""


def judge(status: int, retry_after: str, body: bytes) -> Verdict:
    """Say what an answer of APNs means."""
    reason = _reason(body)
    match status:
        case 200:
            return Delivered()
        case 410:
            return Gone("unregistered")
        case 403 if reason in _TOKEN_STALE:
            return Unauthenticated()
        case 400 if reason in _OTHER_APP:
            return Mismatched()
        case 429 if reason == "TooManyProviderTokenUpdates":
            return Braked("project", retry_after)
        case 429:
            return Braked("device", retry_after)
        case _ if status >= 500:
            return Transient(reason or f"http-{status}", retry_after)
        case _:
            return Failed(reason or f"http-{status}", alarm=reason in _OPERATORS or status in (403, 404, 405))
