"""Web Push: one message encrypted for one browser, its headers, and what the push service's answer means.

RFC 8291 over RFC 8188 in one record: ``salt | record size | our public key | AES-128-GCM(text | 0x02)``. The key and
the salt are handed in, fresh for each message. `http_ece`, which does the same, was weighed: its last release is of
2024, it has no types, and what it saves over `cryptography`'s own primitives is the twenty lines of `encrypt`; the
RFC's example holds those. Invariant: a body never has more than the 4,096 bytes that every push service must take.
A push service is anybody's: what it answers is only ever about the device. Must not know clocks, dice or sockets.
"""

from typing import Any, assert_never

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.limits.ways import WEBPUSH_BODY_BYTES_MAX
from gateway.push.content import Content
from gateway.push.envelope import Notification
from gateway.push.fcm import Braked, Delivered, Failed, Gone, Transient, Verdict
from gateway.push.manner import Manner
from gateway.push.matrix import MatrixEvent
from gateway.push.plan import cut, message
from gateway.push.subscription import Subscription
from gateway.push.vapid import point

SALT_BYTES = 16
_HEAD_BYTES = SALT_BYTES + 4 + 1 + 65
_TAG_BYTES = 16
_LAST_RECORD = b"\x02"  # the delimiter after the text; no padding follows: notifications are of all lengths anyway
TEXT_BYTES_MAX = WEBPUSH_BODY_BYTES_MAX - _HEAD_BYTES - _TAG_BYTES - len(_LAST_RECORD)
_CONTENT = "content_"


def _derived(material: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    return HKDF(SHA256(), size, salt, info).derive(material)


def encrypt(text: bytes, to: Subscription, ours: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """Encrypt for one subscription (RFC 8291 §3.4): the whole body, content coding ``aes128gcm``."""
    assert len(salt) == SALT_BYTES
    assert len(text) <= TEXT_BYTES_MAX
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to.p256dh)
    our_point = point(ours.public_key())
    shared = ours.exchange(ec.ECDH(), theirs)
    material = _derived(shared, to.auth, b"WebPush: info\0" + to.p256dh + our_point, 32)
    key = _derived(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(material, salt, b"Content-Encoding: nonce\0", 12)
    head = salt + WEBPUSH_BODY_BYTES_MAX.to_bytes(4) + bytes((len(our_point),)) + our_point
    return head + AESGCM(key).encrypt(nonce, text + _LAST_RECORD, None)


def text_of(content: Content, title: str, target_kind: str, bytes_max: int = TEXT_BYTES_MAX) -> bytes:
    """The JSON that the service worker, or the app, gets; only texts are cut to fit, ids never."""
    match content:
        case Notification():
            whole = message(content, "token", "", title)
            return _fitted({"notification": whole["notification"], "data": whole["data"]}, bytes_max)
        case MatrixEvent():
            return _matrix_text(content, target_kind, bytes_max)
        case _:
            assert_never(content)


def _fitted(fields: dict[str, Any], bytes_max: int) -> bytes:
    text: str = fields["notification"]["body"]
    while (over := len(raw := msgspec.json.encode(fields)) - bytes_max) > 0 and text:
        text = cut(text, len(text.encode()) - over)
        fields["notification"] = fields["notification"] | {"body": text}
    return raw


def _matrix_text(event: MatrixEvent, target_kind: str, bytes_max: int) -> bytes:
    """Sygnal's form for browsers, flat; Matrix' own form for UnifiedPush, whose apps know that one."""
    texts = {key: text for key, text in event.texts.items() if not key.startswith(_CONTENT)}
    content = {key.removeprefix(_CONTENT): text for key, text in event.texts.items() if key.startswith(_CONTENT)}
    prio, rest = "high" if event.is_urgent else "low", event.rest
    about: dict[str, Any] = {"user_is_target": True} if event.is_target else {}
    while True:
        whole = content | rest
        inner: dict[str, Any] = {**texts, **about, **({"content": whole} if whole else {})}
        if target_kind == "unifiedpush":
            fields = {"notification": inner | {"prio": prio, "counts": event.counts}}
        else:
            fields = event.extra | inner | event.counts
        raw = msgspec.json.encode(fields)
        if len(raw) <= bytes_max:
            return raw
        if rest:
            rest = {}
            continue
        longest = max(content or texts.keys() - {"event_id", "room_id"}, key=lambda key: len((content or texts)[key]))
        (content or texts).pop(longest)


def headers(manner: Manner, ttl_s: int, *, is_encrypted: bool) -> list[tuple[bytes, bytes]]:
    """The headers of one push, but for its authorisation; ``ttl_s`` is how long the service may keep it.

    A later message with the same topic replaces this one, while neither was fetched (RFC 8030 §5.4).
    """
    kind = [(b"content-type", b"application/octet-stream"), (b"content-encoding", b"aes128gcm")]
    return [
        *(kind if is_encrypted else [(b"content-type", b"application/json")]),
        (b"ttl", b"%d" % max(manner.device_ttl_s or ttl_s, 0)),
        (b"urgency", b"high" if manner.is_urgent else b"normal"),
        (b"topic", manner.collapse.encode()),
    ]


def judge(status: int, retry_after: str) -> Verdict:
    """Say what a push service's answer means (RFC 8030 §5, §7.3, §8.4; RFC 8292 §4.2)."""
    match status:
        case _ if 200 <= status < 300:
            return Delivered()
        case 404 | 410:
            return Gone("gone")
        case 429:
            return Braked("device", retry_after)
        case 413:
            return Failed("too-large")
        case 401 | 403:
            # The subscription was made for another sender's key. No alarm: it is a stranger who says so.
            return Failed("not-authorised")
        case 408 | 425:
            return Transient(f"http-{status}", retry_after, scope="device")
        case _ if status >= 500:
            return Transient(f"http-{status}", retry_after, scope="device")
        case _:
            return Failed("redirected" if 300 <= status < 400 else f"http-{status}")
