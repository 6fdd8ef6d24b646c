"""Every endpoint and socket of a running server, and how each is given damaged input.

What goes in is signed after it was damaged, where it still can be: so it gets past the signature, to the code behind.
"""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from websockets.frames import Opcode

from tests.conformance.fakes import Instance, now_ms
from tests.conformance.world import World
from tests.fuzz import relay_targets
from tests.fuzz.door_targets import FRAMES, POST, UPGRADE, sent
from tests.fuzz.peer import NOTHING, Answer, Closed, Connection, Frames, Sender
from tests.signing import ALICE, signed_fields

SECRET = "worker-secret"
RELAY_KEY = "5a" * 32
IDENTIFIER = "npub1fuzz:relay"
HEADERS = {"Content-Type": "application/json"}
ONCE = b"8ca5806f-aba4-403c-818e-c781dadc6660"  # stands for a fresh nonce or id in every corpus
MATRIX = json.loads((Path(__file__).parents[1] / "vectors/matrix.json").read_bytes())["specification"]["request"]
MATRIX["notification"]["devices"][0]["app_id"] = "fuzz.app"
MANAGEMENT = (
    {"method": "supportedmethods", "params": []},
    {"method": "banpubkey", "params": ["ab" * 32, "spam"]},
    {"method": "unbanpubkey", "params": ["ab" * 32]},
    {"method": "banevent", "params": ["cd" * 32, "spam"]},
    {"method": "listbannedpubkeys", "params": []},
    {"method": "changerelayname", "params": ["fuzz"]},
    {"method": "allowkind", "params": [1]},
)
NOTHING_OF_MIRROR = {"relayID": "0" * 64, **NOTHING}
CODES = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1013, 4403, 4404, 4429}
PER_SOCKET = 50  # messages, then a fresh socket


@dataclass
class Live:
    """A running server, connections to it, and tokens for its sockets."""

    world: World
    sender: Sender
    tokens: dict[str, str] = field(default_factory=dict)
    sockets: dict[str, Frames] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.world.server.url

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        return judged(self.sender.ask("POST", path, body, {**HEADERS, **(headers or {})}))


@dataclass(frozen=True)
class Door:
    """One way in: ``enter`` gives one input to the server and raises AssertionError for a wrong answer."""

    name: str
    enter: Callable[[Live, bytes], None]
    corpus: tuple[bytes, ...]


def judged(answer: Answer) -> Answer:
    """No answer is a mistake of the server's; every refusal says why, as JSON."""
    assert answer.status < 500 or answer.status in {502, 503, 505}, answer
    if answer.status >= 400 and answer.body:
        assert answer.headers["content-type"].startswith("application/json"), answer
        assert isinstance(answer.json()["error"], str), answer
    return answer


def hmac_of(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hmac.new(SECRET.encode(), text.encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()


def renewed(data: bytes) -> bytes:
    return data.replace(ONCE, str(uuid.uuid4()).encode())


def decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


# -- push -------------------------------------------------------------------------------------------------------------


def push(path: str) -> Callable[[Live, bytes], None]:
    def enter(live: Live, data: bytes) -> None:
        data = renewed(data)
        fields = decoded(data)
        headers = {}
        if isinstance(fields, dict):
            with suppress(UnicodeEncodeError, TypeError):  # else nothing that could be signed
                headers = {"X-Push-Signature": live.world.demo.sign(fields)}
        answer = live.post(path, data, headers)
        assert answer.status not in {404, 405, 415}
        assert answer.status != 200 or answer.json()["ok"] is True

    return enter


def push_header(live: Live, data: bytes) -> None:
    """Signatures and secrets are anything that a header can hold."""
    text = "".join(chr(byte) for byte in data if 0x20 <= byte != 0x7F).strip()
    body = json.dumps(live.world.other.event("x")).encode()
    for name in ("X-Push-Signature", "X-Push-Secret"):
        assert live.post("/push/webhook", body, {name: text}).status in {200, 400, 401, 431}


# -- relay API --------------------------------------------------------------------------------------------------------


def api(path: str, key: str) -> Callable[[Live, bytes], None]:
    def enter(live: Live, data: bytes) -> None:
        data = renewed(data)
        inner = decoded(data)
        if inner is None:
            body = b'{"%s":%s,"signature":"%s"}' % (key.encode(), data, b"0" * 64)
        else:
            try:
                body = b'{"%s":%s,"signature":"%s"}' % (key.encode(), data, hmac_of(inner).encode())
            except (TypeError, RecursionError):
                body = data
        assert live.post(path, body).status != 404

    return enter


def bare(path: str) -> Callable[[Live, bytes], None]:
    def enter(live: Live, data: bytes) -> None:
        live.post(path, data)

    return enter


def target_of(data: bytes) -> str:
    return quote(data, safe="/%:?=&@!$'()*+,;~")


def relay_path(live: Live, data: bytes) -> None:
    """Both methods that take a relay key in the path; a DELETE is signed for what it names."""
    path = f"/api/relays/{target_of(data)}"
    key = data.decode("utf-8", "replace")
    judged(live.sender.ask("GET", path))
    judged(live.sender.ask("GET", path, None, {"x-signature": hmac_of({"read": key}), "x-issued-at": str(now_ms())}))
    judged(live.sender.ask("DELETE", path, None, {"x-signature": hmac_of({"relayKey": key})}))


def pages(live: Live, data: bytes) -> None:
    for accept in ("*/*", "application/nostr+json"):
        judged(live.sender.ask("GET", "/" + target_of(data), None, {"Accept": accept}))


def tenant(live: Live, data: bytes) -> None:
    """A report's query, signed as it then reads; the corpus is a query string."""
    query = renewed(data).decode("utf-8", "replace").encode()
    signature = live.world.demo.sign(dict(parse_qsl(query.decode(), keep_blank_values=True)))
    judged(live.sender.ask("GET", f"/push/tenant?{target_of(query)}", None, {"X-Push-Signature": signature}))


def management(live: Live, data: bytes) -> None:
    """A management call (NIP-86) by an admin, signed over the body as it is (NIP-98)."""
    tags = [["u", f"{live.url}/relay"], ["method", "POST"], ["payload", hashlib.sha256(data).hexdigest()]]
    event = signed_fields(ALICE, 27_235, uuid.uuid4().hex, tags, now_ms() // 1000)
    authorization = f"Nostr {base64.b64encode(json.dumps(event).encode()).decode()}"
    headers = {"Content-Type": "application/nostr+json+rpc", "Authorization": authorization}
    assert live.post("/relay", data, headers).status == 200


# -- HTTP and WebSocket by hand ---------------------------------------------------------------------------------------


def http(live: Live, data: bytes) -> None:
    """Any bytes to the port: an answer that is none of 500, or the end."""
    connection = Connection(live.url)
    with suppress(Closed):
        connection.send(data)
    said = connection.end()
    connection.close()
    if said:
        assert said.startswith(b"HTTP/1."), said[:80]
        assert int(said[9:12]) not in {500, 504}, said[:200]


def meant(closed: Closed) -> None:
    """A close without a code is a reset, one with 1011 a mistake of the server's."""
    assert closed.args[:1] and closed.args[0] in CODES, f"closed with {closed.args}"  # noqa: PT018 - one sentence


def handshake(live: Live, data: bytes) -> None:
    """Any path and token: a close with a code that is meant, or a socket that works."""
    frames = Frames(live.url, "/" + target_of(data))
    try:
        if frames.status != 101:
            assert frames.status in {400, 404, 414, 426, 431}, frames.status
            return
        try:
            frames.settle()
        except Closed as closed:
            meant(closed)
    finally:
        frames.close()


def raw_frames(live: Live, data: bytes) -> None:
    """Any bytes in place of frames: messages are answered, and the rest ends with a code."""
    frames = Frames(live.url, "/relay")
    try:
        frames.connection.send(data)
        said = frames.connection.end()
    except Closed:
        return
    finally:
        frames.close()
    at = said.rfind(b"\x88")
    assert at < 0 or b"\x03\xf3" not in said[at + 2 : at + 4], said[-200:]


def parting(live: Live, data: bytes) -> None:
    """Messages and the end in one packet, on both sockets; then something new, that nobody may still be told of."""
    rows = json.dumps(["REQ", "s", {"relayID": "1" * 64, "limit": 0}]).encode()
    mirror = f"/mirror/relay?token={live.tokens['internal']}"
    for path, asked, nothing in (("/relay", b'["REQ","s",{"limit":0}]', NOTHING), (mirror, rows, NOTHING_OF_MIRROR)):
        frames = Frames(live.url, path)
        frames.text(asked)
        frames.settle(nothing)
        said = (data.decode("utf-8", "replace").encode(), b'["CLOSE","s"]')
        packet = b"".join(sent(Opcode.TEXT, text) for text in said) + sent(Opcode.CLOSE, b"\x03\xe8")
        with suppress(Closed):
            frames.connection.send(packet)
        frames.connection.end()
        frames.close()
    fresh = uuid.uuid4().hex
    for text in packed(["EVENT", {**relay_targets.ROW, "id": fresh * 2}], ["EVENT", signed_fields(content=fresh)]):
        messages("/relay", "internal", NOTHING)(live, text)


def messages(path: str, scope: str, nothing: dict[str, Any]) -> Callable[[Live, bytes], None]:
    """Any text as a message, many on one socket; after each, the socket still answers."""
    count = 0

    def enter(live: Live, data: bytes) -> None:
        nonlocal count
        count += 1
        frames = live.sockets.get(path + scope)
        if frames is None:
            frames = live.sockets[path + scope] = Frames(
                live.url, path + (f"?token={live.tokens[scope]}" if scope else "")
            )
            assert frames.status == 101
        try:
            frames.text(data.decode("utf-8", "replace").encode())
            for frame in frames.settle(nothing):
                assert frame[0] in {"OK", "EVENT", "EOSE", "CLOSED", "NOTICE", "AUTH", "COUNT", "NEG-MSG", "NEG-ERR"}, (
                    frame
                )
        except Closed as closed:
            meant(closed)
            count = 0
        if count % PER_SOCKET == 0:
            live.sockets.pop(path + scope).close()

    return enter


# -- what is valid ----------------------------------------------------------------------------------------------------


def registration() -> dict[str, Any]:
    metadata = {**relay_targets.REGISTRATION["metadata"], "identifier": IDENTIFIER, "gatewayPath": "npub1fuzz/relay"}
    metadata |= {"replicationEndpoint": "/mirror/npub1fuzz/relay", "pathAliases": ["fuzz/alias"], "requiresAuth": True}
    return {
        "relayKey": RELAY_KEY,
        "nonce": ONCE.decode(),
        "issuedAt": now_ms(),
        "peers": ["ws://127.0.0.1:1/x"],
        "metadata": metadata,
    }


def inquiry(by: Instance) -> dict[str, str]:
    """What an instance asks for its report, not signed yet; its times are those of a registration."""
    times = by.registration("fuzz")
    asked = {"action": "tenant", "instance": by.domain, "nonce": ONCE.decode(), "limit": "10", "after": "0"}
    return asked | {name: times[name] for name in ("issuedAt", "expiresAt")}


def open_live(world: World) -> Live:
    """Register a relay and get the tokens that the doors need."""
    live = Live(world, Sender(world.server.url))
    asked = {**registration(), "nonce": str(uuid.uuid4())}
    body = json.dumps({"registration": asked, "signature": hmac_of(asked)}).encode()
    assert live.post("/api/relays", body).status == 200
    for name, key in (("internal", "public-gateway:hyperbee"), ("user", RELAY_KEY)):
        payload = {"relayKey": key, "relayAuthToken": "auth", "nonce": str(uuid.uuid4()), "issuedAt": now_ms()}
        body = json.dumps({"payload": payload, "signature": hmac_of(payload)}).encode()
        answer = live.post("/api/relay-tokens/issue", body)
        assert answer.status == 200, answer
        live.tokens[name] = answer.json()["token"]
    return live


def packed(*values: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() for value in values)


def doors(live: Live) -> tuple[Door, ...]:
    """All ways in, with inputs that are valid now."""
    demo = live.world.demo
    fresh = {"nonce": ONCE.decode(), "issuedAt": now_ms()}
    issue = {"relayKey": RELAY_KEY, "relayAuthToken": "auth", "pubkey": "ef" * 32, "ttlSeconds": 60, **fresh}
    refresh = {"relayKey": RELAY_KEY, "token": live.tokens["user"], "ttlSeconds": 60, **fresh}
    revoke = {"relayKey": RELAY_KEY, "pubkey": "ab" * 32, "reason": "gone", **fresh}
    registered = packed(demo.registration("fuzz", nonce=ONCE.decode()), demo.registration("fuzz", action="deregister"))
    notified = packed(demo.event("eve", id=ONCE.decode()), demo.event("eve", id=ONCE.decode(), created_at=None))
    wire = packed(*relay_targets.MESSAGES)
    token = live.tokens["internal"].encode()
    paths = (b"relay", b"mirror/relay?token=" + token, b"npub1fuzz/relay?token=" + live.tokens["user"].encode())
    signature = base64.b64encode(b"s" * 64)
    return (
        Door("push/register", push("/push/register"), registered),
        Door("push/events", push("/internal/push/events"), notified),
        Door("push/webhook", push("//push/webhook"), notified),
        Door("push headers", push_header, (signature, b"other-shared-secret")),
        Door("api/relays", api("/api/relays", "registration"), packed(registration())),
        Door("api/relays bare", bare("/api/relays"), packed({"registration": registration(), "signature": "0" * 64})),
        Door("api/relays/key", relay_path, (b"public-gateway%3Ahyperbee", b"6b" * 32)),
        Door("tokens/issue", api("/api/relay-tokens/issue", "payload"), packed(issue)),
        Door("tokens/refresh", api("/api/relay-tokens/refresh", "payload"), packed(refresh)),
        Door("tokens/revoke", api("/api/relay-tokens/revoke", "payload"), packed(revoke)),
        Door("pages", pages, (b"status", b"health", b"ready", b"relay", b"console/index.html", b"api/relays?x=1")),
        Door("matrix", bare("/_matrix/push/v1/notify"), packed(MATRIX)),
        Door("push/tenant", tenant, (urlencode(inquiry(demo)).encode(),)),
        Door("log", pages, (b"log/checkpoint", b"log/key", b"log/tile/0/000", b"log/tile/0/x001/000.p/7")),
        Door("management", management, packed(*MANAGEMENT)),
        Door(
            "http",
            http,
            (POST, UPGRADE, b"GET /health HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        Door("ws handshake", handshake, paths),
        Door("ws frames", raw_frames, FRAMES),
        Door("ws parting", parting, wire),
        Door("ws relay", messages("/relay", "", NOTHING), wire),
        Door("ws user", messages("/npub1fuzz/relay", "user", NOTHING), wire),
        Door("ws mirror", messages("/mirror/relay", "internal", NOTHING_OF_MIRROR), wire),
    )
