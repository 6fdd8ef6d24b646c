"""Envelopes: what an instance signs, read into values (push §3, §4).

Two shapes, never mistaken for each other although one key signs both and nothing on the wire separates them: a
registration is flat, has an ``action`` and no ``notification``; an event is the other way round. Reading is the cheap
part: shape, sizes and times are judged here, before any look-up or signature work. Must not know keys or tenants.
"""

import hashlib
import re
from typing import Any, Literal

import msgspec

from gateway.errors import PushRefused
from gateway.limits.push import FIELD_BYTES_MAX, LIFETIME_MS_MAX, PLATFORM_CHARS_MAX, SKEW_MS_MAX, TARGET_BYTES_MAX
from gateway.push.canonical import canonical, parse, spelled
from gateway.push.instant import instant_ms
from gateway.push.target import TARGET_KINDS, target_text

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Action = Literal["register", "deregister"]


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What both shapes share: the names that it claims, as sent, and what the signature covers."""

    names: tuple[str, ...]  # `instance` first, then `tenant`, as far as they were sent
    user: str
    signature: str  # "" where none came
    canonical: bytes
    body: bytes

    def digest(self) -> bytes:
        """SHA-256 of the signed bytes: equal for the same envelope, however it was signed or spaced."""
        return hashlib.sha256(self.canonical).digest()


class Registration(Envelope, frozen=True, gc=False):
    """A register or deregister envelope; times in ms since 1970."""

    action: Action
    target: str
    target_kind: str  # one of `TARGET_KINDS`
    platform: str
    app_id: str
    issued_ms: int
    expires_ms: int
    nonce: str
    receipts: bool = False  # whether the answer is to say where the record stands; not signed


class Notification(msgspec.Struct, frozen=True, gc=False):
    """What is shown on a device, and the references that the app reads; null became ``""``."""

    id: str
    type: str
    message: str
    actor_id: str
    ref_type: str
    ref_id: str
    created_ms: int | None


class Event(Envelope, frozen=True, gc=False):
    """A notification for one user's devices; ``dry_run`` asks FCM to validate only."""

    notification: Notification
    dry_run: bool


def _invalid(field: str, why: str) -> PushRefused:
    return PushRefused(400, "invalid-field", f"{field} {why}.")


def _string(fields: dict[str, Any], field: str) -> str:
    if field not in fields:
        raise PushRefused(400, "missing-field", f"{field} is missing.")
    value = fields[field]
    if not isinstance(value, str):
        raise _invalid(field, "is not a string")
    return value


def _name(fields: dict[str, Any], field: str, *, empty: bool = False, bytes_max: int = FIELD_BYTES_MAX) -> str:
    """A string that identifies something: bounded, printable, no space around it."""
    value = _string(fields, field)
    if not value and not empty:
        raise _invalid(field, "is empty")
    if len(value.encode()) > bytes_max:
        raise _invalid(field, f"is longer than {bytes_max} bytes")
    if _CONTROL.search(value) or value != value.strip():
        raise _invalid(field, "has a control character, or space around it")
    return value


def _optional(fields: dict[str, Any], field: str) -> str:
    return "" if fields.get(field) is None else _name(fields, field, empty=True)


def _names(fields: dict[str, Any]) -> tuple[str, ...]:
    # `tenant` in place of `instance` is the old form; where both came, both must mean the same instance.
    names = tuple(_string(fields, field) for field in ("instance", "tenant") if fields.get(field) is not None)
    if not names:
        raise PushRefused(400, "missing-field", "instance is missing.")
    return names


def _signature(header: str | None, sent: object) -> str:
    if sent is not None and not isinstance(sent, str):
        raise _invalid("signature", "is not a string")
    if header and sent and header != sent:
        raise PushRefused(401, "signature-invalid", "The signatures in the body and in X-Push-Signature differ.")
    return header or sent or ""


def judge_lifetime(issued_ms: int, expires_ms: int, now_ms: int) -> None:
    """Refuse an envelope that is over, not yet valid, or valid for too long: PushRefused 400 or 401."""
    if expires_ms <= issued_ms:
        raise _invalid("expiresAt", "is not after issuedAt")
    if expires_ms - issued_ms > LIFETIME_MS_MAX:
        raise _invalid("expiresAt", f"is more than {LIFETIME_MS_MAX // 60_000} minutes after issuedAt")
    if expires_ms <= now_ms:
        raise PushRefused(401, "envelope-expired", "The envelope has expired (expiresAt is past).")
    if issued_ms > now_ms + SKEW_MS_MAX:
        raise PushRefused(
            401, "envelope-not-yet-valid", f"issuedAt is more than {SKEW_MS_MAX // 1000} seconds in the future."
        )


def registration(body: bytes, header: str | None, now_ms: int) -> Registration:
    """Read a registration (push §3); ``header`` is X-Push-Signature. Raise PushRefused 400 or 401."""
    fields = parse(body)
    signature = _signature(header, fields.pop("signature", None))
    receipts = fields.pop("receipts", False)
    if not isinstance(receipts, bool):
        raise _invalid("receipts", "is neither true nor false")
    if "notification" in fields:
        raise _invalid("notification", "does not belong into a registration")
    action = _string(fields, "action")
    if action not in ("register", "deregister"):
        raise _invalid("action", "is neither register nor deregister")
    target_kind = _string(fields, "targetKind") if "targetKind" in fields else "token"
    if target_kind not in TARGET_KINDS:
        raise _invalid("targetKind", f"is none of {', '.join(TARGET_KINDS)}")
    platform = _name(fields, "platform", empty=True)
    if len(platform) > PLATFORM_CHARS_MAX:
        raise _invalid("platform", f"is longer than {PLATFORM_CHARS_MAX} characters")
    nonce = _string(fields, "nonce")
    if not UUID.fullmatch(nonce):
        raise _invalid("nonce", "is not a UUID")
    read = Registration(
        names=_names(fields),
        user=_name(fields, "userId"),
        signature=signature,
        canonical=canonical(fields),
        body=body,
        action="register" if action == "register" else "deregister",
        target=target_text(
            target_kind, _name(fields, "token", bytes_max=TARGET_BYTES_MAX), leaving=action == "deregister"
        ),
        target_kind=target_kind,
        platform=platform,
        app_id=_name(fields, "appId", empty=True),
        issued_ms=instant_ms(_string(fields, "issuedAt"), "issuedAt"),
        expires_ms=instant_ms(_string(fields, "expiresAt"), "expiresAt"),
        nonce=nonce,
        receipts=receipts,
    )
    judge_lifetime(read.issued_ms, read.expires_ms, now_ms)
    return read


def _notification(fields: dict[str, Any]) -> Notification:
    created = fields.get("created_at")
    return Notification(
        id=_name(fields, "id"),
        type=_name(fields, "type"),
        message="" if fields.get("message", ...) is None else _string(fields, "message"),
        actor_id=_optional(fields, "actor_id"),
        ref_type=_optional(fields, "ref_type"),
        ref_id=_optional(fields, "ref_id"),
        created_ms=None if created is None else instant_ms(_string(fields, "created_at"), "created_at", loose=True),
    )


def _judge_age(created_ms: int | None, now_ms: int, stale_ms: int) -> None:
    if created_ms is None:
        return
    if created_ms < now_ms - stale_ms:
        raise PushRefused(400, "stale", "The notification is too old to be pushed (created_at).")
    if created_ms > now_ms + SKEW_MS_MAX:
        raise PushRefused(400, "stale", f"created_at is more than {SKEW_MS_MAX // 1000} seconds in the future.")


def event(body: bytes, header: str | None, now_ms: int, stale_ms: int) -> Event:
    """Read an event (push §4); ``header`` is X-Push-Signature. Raise PushRefused 400 or 401."""
    fields, signed = spelled(body)
    if "action" in fields:
        raise _invalid("action", "does not belong into an event")
    inner = fields.get("notification")
    if "notification" not in fields:
        raise PushRefused(400, "missing-field", "notification is missing.")
    if not isinstance(inner, dict):
        raise _invalid("notification", "is not an object")
    dry_run = fields.get("dryRun", False)
    if not isinstance(dry_run, bool):
        raise _invalid("dryRun", "is neither true nor false")
    read = Event(
        names=_names(fields),
        user=_name(fields, "userId"),
        signature=header or "",
        canonical=signed,
        body=body,
        notification=_notification(inner),
        dry_run=dry_run,
    )
    _judge_age(read.notification.created_ms, now_ms, stale_ms)
    return read


def notification_of(body: bytes) -> tuple[Notification, bool]:
    """Read an accepted event's notification again, and whether it is a dry run; the log holds the body as it came."""
    fields = parse(body)
    return _notification(fields["notification"]), fields.get("dryRun", False)
