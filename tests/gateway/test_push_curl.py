r"""The push API by hand: ``openssl`` signs, a raw r||s conversion, ``curl`` posts to a real server.

The shell below is what a reader can type; each refusal of push §6 is one line of it. `$URL` is the gateway.

    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out public.pem             # pin it: [instances."demo.example.com"] public_key = …

    raw_signature() {                                          # DER to r||s, 32 bytes each, base64
        openssl dgst -sha256 -sign key.pem -binary | openssl asn1parse -inform DER |
            sed -n 's/.*INTEGER *:\([0-9A-F]*\).*/\1/p' |
            while read -r n; do printf '%064s' "$n" | tr ' ' 0; done | xxd -r -p | base64 -w0
    }
    BODY='{"action":"register","appId":"","expiresAt":"…","instance":"demo.example.com",…}'   # keys sorted, no spaces
    SIG=$(printf %s "$BODY" | raw_signature)
    curl "$URL/push/register" -H 'Content-Type: application/json' -H "X-Push-Signature: $SIG" -d "$BODY"

`REFUSALS` below holds, for each code, the arguments of the ``curl`` that gets it.
"""

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.server import Server, process
from tests.takos import iso

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl") and shutil.which("bash")), reason="needs curl and openssl"
)

SIGN = r"""
openssl dgst -sha256 -sign "$KEY" -binary | openssl asn1parse -inform DER |
    sed -n 's/.*INTEGER *:\([0-9A-F]*\).*/\1/p' |
    while read -r n; do printf '%64s' "$n" | tr ' ' 0; done | python3 -c '
import base64, sys
print(base64.b64encode(bytes.fromhex(sys.stdin.read())).decode(), end="")'
"""  # xxd is not everywhere; the last step is `xxd -r -p | base64 -w0`


@dataclass
class Shell:
    """A server, and a shell with openssl and curl beside it."""

    server: Server
    key: Path

    def sign(self, body: str) -> str:
        return subprocess.run(
            ["bash", "-c", SIGN],
            input=body,
            capture_output=True,
            text=True,
            check=True,
            env={"KEY": str(self.key)} | PATH,
        ).stdout

    def curl(self, path: str, *arguments: str) -> tuple[int, dict[str, object], str]:
        """(status, body, headers)."""
        typed = ["curl", "-s", "-i", f"{self.server.url}{path}", "-H", "Content-Type: application/json", *arguments]
        told = subprocess.run(typed, capture_output=True, text=True, check=True).stdout
        head, _, body = told.rpartition("\n\n")
        return int(head.split()[1]), json.loads(body), head

    def envelope(self, **changes: str) -> str:
        now = int(time.time() * 1000)
        fields = {
            "action": "register",
            "appId": "",
            "expiresAt": iso(now + 300_000),
            "instance": "demo.example.com",
            "issuedAt": iso(now),
            "nonce": str(uuid.uuid4()),
            "platform": "ios",
            "token": "token-1",
            "userId": "alice",
        } | changes
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def event(self, **changes: str) -> str:
        now = iso(int(time.time() * 1000))
        inner = {"created_at": now, "id": str(uuid.uuid4()), "message": "さん", "type": "like"} | changes
        fields = {"instance": "demo.example.com", "notification": inner, "userId": "alice"}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    directory = tmp_path_factory.mktemp("curl")
    key = directory / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    public = subprocess.run(["openssl", "ec", "-in", key, "-pubout"], capture_output=True, text=True, check=True).stdout
    pinned = json.dumps(public)
    config = (
        "[push]\nrate_per_instance = 200\n"
        f'block = ["blocked.example"]\n[instances."demo.example.com"]\npublic_key = {pinned}\n'
        f'[instances."busy.example"]\npublic_key = {pinned}\n'
    )
    with process(directory, config) as server:
        yield Shell(server, key)


def test_a_registration_signed_with_openssl_is_accepted_in_the_header_and_in_the_body(shell: Shell) -> None:
    body = shell.envelope()
    status, answer, _ = shell.curl("/push/register", "-H", f"X-Push-Signature: {shell.sign(body)}", "-d", body)
    assert (status, answer["ok"], answer["duplicate"], answer["tenant"]) == (200, True, False, "demo.example.com")
    status, answer, _ = shell.curl("/push/register", "-H", f"X-Push-Signature: {shell.sign(body)}", "-d", body)
    assert (status, answer["duplicate"]) == (200, True)
    body = shell.envelope()
    signed = json.dumps(json.loads(body) | {"signature": shell.sign(body)})
    assert shell.curl("/push/register", "-d", signed)[0] == 200


@pytest.mark.parametrize(
    "path", ["/internal/push/events", "//internal/push/events", "/push/webhook", "//push//webhook"]
)
def test_an_event_signed_with_openssl_is_accepted_on_every_spelling_of_its_path(shell: Shell, path: str) -> None:
    body = shell.event()
    status, answer, _ = shell.curl(path, "-H", f"X-Push-Signature: {shell.sign(body)}", "-d", body)
    assert (status, answer["ok"], answer["duplicate"]) == (200, True, False)


REFUSALS = [
    ("/push/register", ["-d", "{"], 400, "malformed-json"),
    ("/push/register", ["-d", '{"a":1,"a":2}'], 400, "duplicate-key"),
    ("/push/register", ["-d", "{}"], 400, "missing-field"),
    ("/push/register", ["-d", '{"action":"x"}'], 400, "invalid-field"),
    ("/internal/push/events", ["-d", "EVENT created_at 2020-01-01T00:00:00.000Z"], 400, "stale"),
    ("/push/register", ["-d", "ENVELOPE"], 401, "signature-missing"),
    ("/internal/push/events", ["-d", "EVENT"], 401, "signature-missing"),
    ("/push/register", ["-H", "X-Push-Signature: AAAA", "-d", "ENVELOPE"], 401, "signature-invalid"),
    (
        "/push/register",
        ["-d", "ENVELOPE issuedAt 2020-01-01T00:00:00.000Z expiresAt 2020-01-01T00:05:00.000Z"],
        401,
        "envelope-expired",
    ),
    (
        "/push/register",
        ["-d", "ENVELOPE issuedAt 2090-01-01T00:00:00.000Z expiresAt 2090-01-01T00:05:00.000Z"],
        401,
        "envelope-not-yet-valid",
    ),
    ("/push/register", ["-d", "ENVELOPE instance blocked.example"], 403, "instance-not-allowed"),
    ("/push/register", ["-d", "ENVELOPE instance 127.0.0.1"], 400, "invalid-field"),
    ("/push/register", ["-d", "ENVELOPE instance external:nobody"], 403, "instance-not-allowed"),
    ("/push/register", ["-d", "x" * 20_000], 413, "too-large"),
    ("/push/register", ["-H", "Content-Type: text/plain", "-d", "{}"], 415, "unsupported-media-type"),
    ("/push/register", ["-H", "Content-Encoding: gzip", "-d", "{}"], 415, "unsupported-media-type"),
    (
        "/push/register",
        ["-H", f"X-Push-Signature: {'B' * 85}A==", "-d", "ENVELOPE instance nowhere.invalid-tld-example"],
        502,
        "well-known-unreachable",
    ),
]


@pytest.mark.parametrize(("path", "arguments", "status", "code"), REFUSALS)
def test_each_refusal_is_had_with_one_curl(
    shell: Shell, path: str, arguments: list[str], status: int, code: str
) -> None:
    typed = [filled(shell, argument) for argument in arguments]
    if typed[0] == "-H" and typed[1].startswith("Content-Type"):
        typed = ["-H", "Content-Type:", *typed]  # curl would send both
    got, answer, _ = shell.curl(path, *typed)
    assert (got, answer["code"], answer["ok"]) == (status, code, False)
    assert isinstance(answer["error"], str)


def filled(shell: Shell, argument: str) -> str:
    """``ENVELOPE`` and ``EVENT`` stand for a fresh body, with fields changed as named behind."""
    name, *words = argument.split(" ")
    make = {"ENVELOPE": shell.envelope, "EVENT": shell.event}.get(name)
    return make(**dict(zip(words[::2], words[1::2], strict=True))) if make else argument


def test_a_nonce_that_was_used_is_refused_for_another_envelope(shell: Shell) -> None:
    nonce = str(uuid.uuid4())
    first, second = shell.envelope(nonce=nonce), shell.envelope(nonce=nonce, userId="bob")
    assert shell.curl("/push/register", "-H", f"X-Push-Signature: {shell.sign(first)}", "-d", first)[0] == 200
    got = shell.curl("/push/register", "-H", f"X-Push-Signature: {shell.sign(second)}", "-d", second)
    assert (got[0], got[1]["code"]) == (409, "nonce-reused")


def test_too_many_requests_are_told_when_to_come_again(shell: Shell) -> None:
    body = shell.envelope(instance="busy.example")
    typed = ["curl", "-s", "-o", "/dev/null", "-H", "Content-Type: application/json", "-d", body]
    url = f"{shell.server.url}/push/register"
    many = [part for _ in range(210) for part in ("--next", *typed[1:], url)][1:]
    subprocess.run(["curl", *many], capture_output=True, check=True)
    status, answer, head = shell.curl("/push/register", "-d", body)
    assert (status, answer["code"]) == (429, "rate-limited")
    assert "\nretry-after: " in head.lower()
