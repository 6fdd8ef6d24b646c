"""The parsers of the relay gateway: nostr messages, replication frames, tokens, paths, and what workers sign."""

import hashlib
import hmac
import json
from typing import Any

import msgspec

from gateway.config import Mirror
from gateway.errors import ApiRefused, NostrRefused, SocketRefused
from gateway.negentropy import neg_error
from gateway.nostr import event, message
from gateway.nostr.filter import parse_filter
from gateway.replication import filter as replication_filter
from gateway.replication import frame, path, payload, registration, row, signature, token
from gateway.replication.grant import Grant
from gateway.replication.session import Refuse, Session
from tests.fuzz.push_targets import NOW_MS, packed
from tests.fuzz.target import SKIP, Target
from tests.signing import signed_fields

KEY = b"k" * 32
RELAY_KEY = "ab" * 32
TAGGED = signed_fields(kind=30_023, tags=[["d", "x"], ["e", "0" * 64], ["t", "ü"]], content='q"\\\n\x01😀')
FILTERS: tuple[dict[str, Any], ...] = (
    {"ids": ["0" * 64], "authors": ["1" * 64], "kinds": [1, 30_023], "#t": ["x"], "#e": ["2" * 64]},
    {"since": 1, "until": 2**53 - 1, "limit": 0},
)
ROW: dict[str, Any] = {
    "id": "0" * 64,
    "relayID": "1" * 64,
    "kind": 30_078,
    "created_at": 1_700_000_000,
    "fileKey": "f",
    "driveKey": "d",
    "eventData": "aGVsbG8=",
    "extra": {"é": [1.5]},
}
RELAY_FILTER = {"relayID": "1" * 64, "ids": ["2" * 64], "kinds": [30_078], "since": 1, "until": 2, "limit": 10}
MESSAGES = (
    ["EVENT", TAGGED],
    ["EVENT", signed_fields()],
    ["REQ", "sub", *FILTERS],
    ["CLOSE", "sub"],
    ["EVENT", ROW],
    ["REQ", "repl", RELAY_FILTER],
    ["AUTH", "token"],
    ["COUNT", "sub", FILTERS[0]],
    ["NEG-OPEN", "neg", FILTERS[1], "6100000200"],
    ["NEG-OPEN", "rows", RELAY_FILTER, "61"],
    ["NEG-MSG", "neg", "61000001" + "ab" * 16],
    ["NEG-CLOSE", "neg"],
)
REGISTRATION: dict[str, Any] = {
    "relayKey": RELAY_KEY,
    "nonce": "0123456789abcdef01234567",
    "issuedAt": NOW_MS,
    "peers": ["ws://127.0.0.1:1/x", "cd" * 32],
    "metadata": {
        "identifier": "npub1abc:My-Relay",
        "name": "Réseau",
        "gatewayPath": "npub1abc/My-Relay",
        "isPublic": True,
        "requiresAuth": False,
        "requiresAuthForReplication": True,
        "replicationEndpoint": "/mirror/npub1abc/My-Relay",
        "pathAliases": ["my/alias"],
        "metadataUpdatedAt": 1.5,
        "unknown": {"kept": [None]},
    },
}
ISSUE = {"relayKey": RELAY_KEY, "relayAuthToken": "auth-1", "pubkey": "ef" * 32, "scope": "relay-access"}
ISSUE |= {"ttlSeconds": 60, "nonce": "n", "issuedAt": NOW_MS}
REFRESH = {"relayKey": RELAY_KEY, "token": "a.b", "ttlSeconds": 60.0}
REVOKE = {"relayKey": RELAY_KEY, "pubkey": None, "reason": "gone"}
CLAIMS = token.Claims(NOW_MS + 1, NOW_MS, None, "auth-1", RELAY_KEY, "relay-access", 1)
TOKEN = token.mint(KEY, CLAIMS)
KINDS = (
    message.Authenticate,
    message.Close,
    message.Count,
    message.NegClose,
    message.NegMessage,
    message.NegOpen,
    message.Replication,
    message.Request,
)


def text_of(data: bytes) -> str:
    """As a socket hands it over: bad UTF-8 never gets this far."""
    return data.decode("utf-8", "replace")


def decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return SKIP


def nostr_message(data: bytes) -> object:
    """Any text is a message or says why not, in words that can be sent."""
    read = message.decode(text_of(data))
    match read:
        case message.BadEvent(event_id, reason):
            message.ok(event_id, False, reason).encode()
        case message.BadRequest(sub_id, reason):
            message.closed(sub_id, reason).encode()
        case message.BadComparison(sub_id, reason):
            neg_error(sub_id, reason).encode()
        case message.Malformed(text):
            message.notice(text).encode()
        case message.Publish(published):
            assert event.flaw(event.stored_event(event.stored_form(published))) is None
        case _:
            assert isinstance(read, KINDS)
    return read


def nostr_event(data: bytes) -> object:
    """No other spelling of an event keeps its id unless it is the same event."""
    try:
        read = event.stored_event(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return SKIP
    return event.flaw(read), event.identifier(read), event.indexed_tags(read), event.keeping(read.kind)


def nostr_filter(data: bytes) -> object:
    raw = decoded(data)
    return SKIP if raw is SKIP else parse_filter(raw).matches(PUBLISHED)


def replication_frame(data: bytes) -> object:
    """Any text has an answer that can be sent, through the whole session."""
    effects = Session(GRANT, MIRROR).take(text_of(data), NOW_MS)
    for effect in effects:
        if isinstance(effect, Refuse):
            assert all(each.encode() for each in effect.texts)
    return effects


def replicated(data: bytes) -> object:
    """What the normal socket takes for replication is a frame of it, or is refused as one."""
    read = message.decode(text_of(data))
    return frame.decode(read.text) if isinstance(read, message.Replication) else SKIP


def row_filter(data: bytes) -> object:
    fields = decoded(data)
    if fields is SKIP or not replication_filter.is_replication(fields):
        return SKIP
    return replication_filter.filter_of(fields, limit_default=5, limit_max=5)


def one_row(data: bytes) -> object:
    fields = decoded(data)
    if not isinstance(fields, dict):
        return SKIP
    read = row.row_of(fields, data)
    return msgspec.json.encode(row.stored(read, RELAY_KEY, "", is_open=True))


def any_token(data: bytes) -> object:
    """One text opens, and no other."""
    text = text_of(data)
    claims = token.open_token(KEY, text)
    assert text == TOKEN
    return claims


def sealed_token(data: bytes) -> object:
    """Claims of any shape under a good MAC."""
    body = token.base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return token.open_token(KEY, f"{body}.{hmac.new(KEY, data, hashlib.sha256).hexdigest()}")


def socket_path(data: bytes) -> object:
    """A path's name is a form that stays what it is."""
    read = path.socket_path("/" + data.decode("latin-1"))
    assert path.name_form(read.name) == read.name
    assert path.socket_path("/mirror/" + path.url_path(read.name)) == path.SocketPath(read.name, True)
    return read


def relay_registration(data: bytes) -> object:
    """What was read can be signed, compared and spelled as a URL."""
    fields = payload.json_body(data)
    signature.signer_of(fields, "0" * 64, {"default": "secret"})
    return path.url_path(registration.registration(fields, NOW_MS).relay.gateway_path)


def requests(data: bytes) -> object:
    """Each of the three reads only its own shape."""
    fields, read = payload.json_body(data), []
    for one in (
        lambda f, now: payload.issue(f, now, internal_relay=registration.INTERNAL),
        payload.refresh,
        payload.revoke,
    ):
        try:
            read.append(one(fields, NOW_MS))
        except ApiRefused:
            continue
    assert len(read) < 3 or fields.keys() <= {"relayKey", "nonce", "issuedAt"}
    return read


def signed_text(data: bytes) -> object:
    """Any JSON object has one canonical text, whose object has the same."""
    fields = payload.json_body(data)
    text = signature.canonical(fields)
    assert signature.canonical(json.loads(text)) == text
    return text


PUBLISHED = event.stored_event(json.dumps(TAGGED).encode())
GRANT = Grant(registration.relay_of(REGISTRATION), True, CLAIMS, "127.0.0.1")
MIRROR = Mirror()
PATHS = (
    b"relay",
    b"mirror/relay",
    b"mirror/npub1abc%3AMy-Relay",
    b"npub1abc/My-Relay",
    b"public-gateway/hyperbee",
    b"%C3%BC",
)
TARGETS = (
    Target("nostr.message", nostr_message, (), packed(*MESSAGES)),
    Target("nostr.event", nostr_event, (), packed(TAGGED, signed_fields())),
    Target("nostr.filter", nostr_filter, (NostrRefused,), packed(*FILTERS)),
    Target("replication.frame", replication_frame, (), packed(*MESSAGES[2:])),
    Target("replication.decoded", replicated, (), packed(MESSAGES[4], MESSAGES[5])),
    Target("replication.filter", row_filter, (replication_filter.FilterInvalid,), packed(RELAY_FILTER)),
    Target("replication.row", one_row, (row.RowInvalid,), packed(ROW, {**ROW, **signed_fields()})),
    Target("replication.token", any_token, (token.TokenInvalid,), (TOKEN.encode(),)),
    Target("replication.token.sealed", sealed_token, (token.TokenInvalid,), packed(msgspec.to_builtins(CLAIMS))),
    Target("replication.path", socket_path, (SocketRefused,), PATHS),
    Target("replication.registration", relay_registration, (ApiRefused,), packed(REGISTRATION)),
    Target("replication.payload", requests, (ApiRefused,), packed(ISSUE, REFRESH, REVOKE)),
    Target(
        "replication.signature", signed_text, (ApiRefused,), packed(REGISTRATION, ISSUE, {"n": [1e21, 1e-7, 5e-324]})
    ),
)
