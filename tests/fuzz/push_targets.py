"""The parsers of the push gateway: what instances, their documents, FCM and token endpoints send."""

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import PushRefused
from gateway.limits.push import RETRY_AFTER_MS_MAX
from gateway.push import address, canonical, envelope, es256, fcm, hostname, instant, oauth, plan, retry, wellknown
from tests.fuzz.target import Target

NOW_MS = instant.instant_ms("2026-11-22T16:28:00.000Z", "now")
DAY_MS = 86_400_000
DOMAIN = "demo.example.com"
KEY = ec.derive_private_key(7, ec.SECP256R1())
REGISTRATION: dict[str, Any] = {
    "action": "register",
    "appId": "",
    "expiresAt": "2026-11-22T16:32:54.133Z",
    "instance": DOMAIN,
    "issuedAt": "2026-11-22T16:27:54.133Z",
    "nonce": "8ca5806f-aba4-403c-818e-c781dadc6660",
    "platform": "web",
    "token": "fcm-token-abc",
    "userId": "alice",
}
NOTIFICATION: dict[str, Any] = {
    "id": "n1",
    "user_id": "alice",
    "type": "like",
    "actor_id": "bob",
    "ref_type": "post",
    "ref_id": None,
    "message": 'Bob さんが "いいね"\n😀',
    "created_at": "2026-11-22T13:27:52.000Z",
    "read": 0,
    "data_json": None,
}
EVENT: dict[str, Any] = {"instance": DOMAIN, "tenant": DOMAIN, "userId": "alice", "notification": NOTIFICATION}
NUMBERS = {"a": [1, -0.5, 1e21, 1e-7, 123456789012345680, {"é": 0.1, "\ufb00": 2, "😀": 3}], "b": {"c": {"d": [{}]}}}
UNREGISTERED = {
    "error": {
        "code": 404,
        "status": "NOT_FOUND",
        "details": [
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "message.token"}]},
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": "device:abc"}]},
        ],
    }
}
VERDICTS = (
    fcm.Delivered, fcm.Gone, fcm.Mismatched, fcm.Failed, fcm.Forbidden, fcm.Unauthenticated, fcm.Braked, fcm.Transient,
)  # fmt: skip


def packed(*values: object) -> tuple[bytes, ...]:
    """As JSON, in both spellings that are in use."""
    spaced = tuple(json.dumps(value, ensure_ascii=True).encode() for value in values)
    return (*(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() for value in values), *spaced)


def canonical_json(data: bytes) -> object:
    """What was read and written canonically reads as the same object, and is written the same."""
    value = canonical.parse(data)
    text = canonical.canonical(value)
    again = canonical.parse(text)
    assert again == value
    assert canonical.canonical(again) == text
    return value


def registration(data: bytes) -> object:
    read = envelope.registration(data, None, NOW_MS)
    assert read.user
    assert read.expires_ms > NOW_MS
    assert 0 < len(read.target.encode()) <= 2_048
    return read


def event(data: bytes) -> object:
    """What was accepted can be read again from the log, and fits into a message for FCM."""
    read = envelope.event(data, None, NOW_MS, DAY_MS)
    assert envelope.notification_of(read.body) == (read.notification, read.dry_run)
    message = plan.message(read.notification, "token", token := "t" * 163, "通知")
    body = fcm.request_body("token", token, fcm.shared_part(message, "token"), validate_only=read.dry_run)
    assert json.loads(body)["message"] == message
    return read


def document(data: bytes) -> object:
    return wellknown.judge(data, DOMAIN)


def fcm_answer(data: bytes) -> object:
    """Every status, and any body, is a verdict."""
    status = (200, 400, 401, 403, 404, 429, 500, 503)[len(data) % 8]
    verdict = fcm.classify(status, "", data, "fcm-token-abc")
    assert isinstance(verdict, VERDICTS)
    assert not isinstance(verdict, fcm.Gone) or b"UNREGISTERED" in data or b"token" in data or b"\\u" in data
    return verdict


def retry_after(data: bytes) -> object:
    wait = retry.retry_after_ms(data.decode("latin-1"), NOW_MS)
    assert wait is None or 0 <= wait <= RETRY_AFTER_MS_MAX
    return wait


def token_answer(data: bytes) -> object:
    return oauth.token_of(200, data)


def pem(data: bytes) -> object:
    """Only the two forms that instances publish are keys, whatever else a reader of PEM would take."""
    key = es256.public_key(data.decode("utf-8", "replace"))
    assert key.curve.name == "secp256r1"
    return key


def signature(data: bytes) -> object:
    raw = es256.signature_bytes(data.decode("utf-8", "replace"))
    assert len(raw) == 64
    return es256.verifies(KEY.public_key(), raw, b"message") if data[0] < 0x42 else raw


def domain(data: bytes) -> object:
    """A name that passes is one spelling of a public name."""
    name = hostname.hostname(data.decode("utf-8", "replace"))
    assert hostname.hostname(name) == name
    assert name.isascii()
    assert not address.globally_routable(name)
    return name


def ip_address(data: bytes) -> object:
    answer = address.globally_routable(data.decode("utf-8", "replace"))
    assert isinstance(answer, bool)
    return answer


def moment(data: bytes) -> object:
    text = data.decode("utf-8", "replace")
    at_ms = instant.instant_ms(text, "issuedAt")
    assert instant.instant_text(at_ms) == text
    return at_ms


PEM = es256.public_pem(KEY.public_key())
DOCUMENT = wellknown.document(DOMAIN, KEY.public_key())
FOLDED = {**DOCUMENT, "tenant": DOMAIN, "registrationPublicKey": PEM.replace("\n", "\\n")}
DEREGISTRATION = {**REGISTRATION, "action": "deregister", "platform": "", "targetKind": "fid"}
DATES = (b"120", b"0", b"Sun, 22 Nov 2026 16:30:00 GMT", b"Sunday, 22-Nov-26 16:30:00 GMT", b"Sun Nov 22 16:30:00 2026")
NAMES = (b"demo.example.com", "demo.münchen.example".encode(), b"xn--mnchen-3ya.example", b" A.B-C.d1.org ")
IPS = (b"8.8.8.8", b"10.0.0.1", b"2606:4700::1111", b"::ffff:127.0.0.1", b"64:ff9b::7f00:1", b"fe80::1%eth0")
TARGETS = (
    Target("push.canonical", canonical_json, (PushRefused,), packed(REGISTRATION, EVENT, NUMBERS)),
    Target("push.registration", registration, (PushRefused,), packed(REGISTRATION, DEREGISTRATION)),
    Target("push.event", event, (PushRefused,), packed(EVENT, {**EVENT, "dryRun": True})),
    Target("push.wellknown", document, (PushRefused,), packed(DOCUMENT, FOLDED)),
    Target("push.fcm", fcm_answer, (), packed(UNREGISTERED, {"error": {"code": 500}}, {"name": "projects/p/m"})),
    Target("push.retry-after", retry_after, (), DATES),
    Target("push.oauth", token_answer, (oauth.AnswerInvalid,), packed({"access_token": "ya29.x", "expires_in": 3599})),
    Target("push.pem", pem, (es256.KeyInvalid,), (PEM.encode(), PEM.replace("\n", "\\n").encode())),
    Target("push.signature", signature, (PushRefused,), (es256.sign(KEY, b"message").encode(), b"A" * 86 + b"==")),
    Target("push.hostname", domain, (PushRefused,), NAMES),
    Target("push.address", ip_address, (), IPS),
    Target("push.instant", moment, (PushRefused,), (b"2026-11-22T16:27:54.133Z", b"2026-02-28T00:00:00.000Z")),
)
