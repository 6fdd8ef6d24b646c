"""FCM HTTP v1: one request, and what each answer means (push §5).

The code is in ``error.details[]`` of type ``…FcmError``, field ``errorCode``; HTTP status and ``error.status`` alone
are too coarse: a 404 with no such detail is a wrong project id, and must not cost a single device.
Invariant: any bytes whatever are some verdict. Must not know retries' times, records or sockets.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

_CODE = re.compile(r"[A-Z_]{1,64}", re.ASCII)
_TOKEN_FIELDS = frozenset(("message.token", "message.fid", "token", "fid"))


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """FCM took it; or was not ``asked``, for a dry run that a way out answers by itself."""

    asked: bool = True


class Gone(msgspec.Struct, frozen=True, gc=False):
    """The device is no more: settle, and remove it."""

    reason: str


class Mismatched(msgspec.Struct, frozen=True, gc=False):
    """The token belongs to another sender: remove it if this project works otherwise, else hold it, with an alarm."""


class Failed(msgspec.Struct, frozen=True, gc=False):
    """It will never work, and the device stays; ``alarm`` where the operator must act."""

    reason: str
    alarm: bool = False


class Forbidden(msgspec.Struct, frozen=True, gc=False):
    """The project as a whole is refused: stop it for a while, with an alarm."""

    reason: str


class Unauthenticated(msgspec.Struct, frozen=True, gc=False):
    """The OAuth token is not accepted: mint a new one, once."""


class Braked(msgspec.Struct, frozen=True, gc=False):
    """Too many: wait, with the whole project, or with this device alone."""

    scope: Literal["project", "device"]
    retry_after: str


class Transient(msgspec.Struct, frozen=True, gc=False):
    """It may work later; it may even have worked. ``scope`` says whether it tells of more than this device."""

    reason: str
    retry_after: str = ""
    scope: Literal["project", "device"] = "project"


Verdict = Delivered | Gone | Mismatched | Failed | Forbidden | Unauthenticated | Braked | Transient


def shared_part(message: dict[str, Any], target_kind: str) -> bytes:
    """What the sends of one notification share: its message as JSON, without its target."""
    return msgspec.json.encode({name: value for name, value in message.items() if name != target_kind})


def request_body(target_kind: str, target: str, shared: bytes, *, validate_only: bool) -> bytes:
    """The JSON to post to ``/v1/projects/{id}/messages:send``: put together, since only the target differs."""
    end = b',"validate_only":true}' if validate_only else b"}"
    return b'{"message":{"%b":%b,%b%b' % (target_kind.encode(), msgspec.json.encode(target), shared[1:], end)


@dataclass(frozen=True, slots=True)
class _Error:
    code: str  # errorCode of the FcmError, "" where there is none
    violations: tuple[dict[str, Any], ...]  # of BadRequest
    quotas: tuple[dict[str, Any], ...]  # of QuotaFailure


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (member for member in value if isinstance(member, dict))


def _error(body: bytes) -> _Error:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    details = tuple(_dicts(error.get("details"))) if isinstance(error, dict) else ()
    of = {name: [d for d in details if str(d.get("@type", "")).endswith(name)] for name in _DETAILS}
    codes = [d["errorCode"] for d in of["FcmError"] if isinstance(d.get("errorCode"), str)]
    return _Error(
        codes[0] if codes else "",
        tuple(v for d in of["BadRequest"] for v in _dicts(d.get("fieldViolations"))),
        tuple(v for d in of["QuotaFailure"] for v in _dicts(d.get("violations"))),
    )


_DETAILS = ("FcmError", "BadRequest", "QuotaFailure")


def _names_token(error: _Error) -> bool:
    return any(violation.get("field") in _TOKEN_FIELDS for violation in error.violations)


def _names_device(error: _Error, target: str) -> bool:
    texts = [str(quota.get(key, "")) for quota in error.quotas for key in ("subject", "description", "quotaId")]
    return any("device" in text.lower() or target in text for text in texts)


def classify(status: int, retry_after: str, body: bytes, target: str) -> Verdict:
    """Say what an answer means; ``retry_after`` is the header or "", ``target`` the device it was about."""
    if 200 <= status < 300:
        return Delivered()
    error = _error(body)
    match status:
        case 429:
            return Braked("device" if _names_device(error, target) else "project", retry_after)
        case 400 if error.code in ("", "INVALID_ARGUMENT") and _names_token(error):
            return Gone("invalid-token")
        case 401 if error.code not in ("THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"):
            return Unauthenticated()
        case 403 if not error.code:
            return Forbidden("permission-denied")
        case _ if status >= 500:
            return Transient(_reason(error, status), retry_after)
        case _:
            return _refused(status, error)


def _refused(status: int, error: _Error) -> Verdict:
    match status, error.code:
        case 404, "UNREGISTERED":
            return Gone("unregistered")
        case 403, "SENDER_ID_MISMATCH":
            return Mismatched()
        case 400, _:
            return Failed(_reason(error, status))
        case _:
            # A bare 404 is a wrong project id or URL; every other answer is one that this table does not know.
            return Failed(_reason(error, status), alarm=True)


def _reason(error: _Error, status: int) -> str:
    # A code is a word of FCM's own; what is none might repeat the token, and reasons are told to operators.
    return error.code.lower().replace("_", "-") if _CODE.fullmatch(error.code) else f"http-{status}"
