"""A registration signed with the ``openssl`` command, sent with the ``curl`` command, and each refusal with its curl.

The commands are run exactly as they stand here: whoever has a shell and an EC key can speak to the gateway. openssl
writes signatures as DER; the wire wants r and s as 32 bytes each, one behind the other, in base64: `RAW` does that with
nothing but what openssl itself prints. With ``-s`` pytest shows every command and its answer.
"""

import json
import resource
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.fakes import iso, now_ms
from tests.conformance.world import World, world

pytestmark = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is missing"
)

KEYGEN = (
    "openssl ecparam -name prime256v1 -genkey -noout -out key.pem && openssl ec -in key.pem -pubout -out public.pem"
)
SIGN = "openssl dgst -sha256 -sign key.pem -out signature.der canonical.json"
# The two INTEGERs of the DER, left-padded to 64 hexadecimal digits (or cut, where a sign byte stands before them).
RAW = r"""openssl asn1parse -inform DER -in signature.der | sed -n 's/.*INTEGER *://p' |
while read -r n; do n=$(printf %064d 0)$n; printf %s "$n" | tail -c 64; done |
sed 's/../\\x&/g' | xargs -0 printf | openssl base64 -A"""


@dataclass
class Shell:
    """A directory with a key in it, and a gateway that knows the instance."""

    w: World
    directory: Path

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=self.directory,
            capture_output=True,
            check=True,
            timeout=60,
        )
        return done.stdout.decode()

    def sign(self, body: dict[str, object]) -> str:
        """The signature of a body, by openssl and sed."""
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        (self.directory / "canonical.json").write_text(text, "utf-8")
        self.run(SIGN)
        return self.run(RAW)

    def curl(self, path: str, body: str, *options: str) -> tuple[int, dict[str, object]]:
        """Post with curl; the command is shown."""
        (self.directory / "body.json").write_text(body, "utf-8")
        kind = [] if any("Content-Type" in option for option in options) else ["-H", "Content-Type: application/json"]
        words = ["curl", "-sS", "-w", "\n%{http_code}", *kind, *options, "-d", "@body.json", self.w.server.url + path]
        answer, _, status = self.run(shlex.join(words)).rpartition("\n")
        sys.stdout.write(f"\n$ {shlex.join(words)}\n  {status} {answer}\n")
        return int(status), json.loads(answer)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with opened(tmp_path_factory.mktemp("curl")) as found:
        yield found


@contextmanager
def opened(directory: Path, per_instance: int = 600) -> Iterator[Shell]:
    subprocess.run(["bash", "-c", KEYGEN], cwd=directory, check=True, capture_output=True)
    pem = (directory / "public.pem").read_text("ascii")
    pinned = f"[instances.\"curl.example.com\"]\npublic_key = '''{pem}'''\n"
    rates = f"rate_per_instance = {per_instance}\n"
    with world(directory, extra=pinned, push=rates) as w:
        yield Shell(w, directory)
        assert w.traces() == []


def envelope(**changes: object) -> dict[str, object]:
    now = now_ms()
    return {
        "action": "register",
        "instance": "curl.example.com",
        "userId": "alice",
        "token": "fcm-token-of-a-phone",
        "platform": "web",
        "appId": "",
        "issuedAt": iso(now),
        "expiresAt": iso(now + 300_000),
        "nonce": str(uuid.uuid4()),
        **changes,
    }


def test_a_registration_signed_with_openssl_is_accepted_with_curl(shell: Shell) -> None:
    body = envelope()
    signature = shell.sign(body)
    assert len(signature) == 88
    status, answer = shell.curl("/push/register", json.dumps({**body, "signature": signature}))
    assert (status, answer["ok"], answer["duplicate"]) == (200, True, False)
    status, answer = shell.curl("/push/register", json.dumps(body), "-H", f"X-Push-Signature: {signature}")
    assert (status, answer["duplicate"]) == (200, True)


def test_an_event_signed_with_openssl_is_accepted_with_curl(shell: Shell) -> None:
    notification = {"id": str(uuid.uuid4()), "type": "like", "message": "Bob さん", "created_at": iso(now_ms())}
    body = {"instance": "curl.example.com", "userId": "nobody", "notification": notification}
    header = f"X-Push-Signature: {shell.sign(body)}"
    status, answer = shell.curl("/internal/push/events", json.dumps(body), "-H", header)
    assert (status, answer) == (200, {"ok": True, "delivered": 0, "queued": 0, "duplicate": False})


def test_signing_by_hand_works_whatever_r_and_s_look_like(shell: Shell) -> None:
    for _ in range(12):  # a leading zero byte, or a sign byte, every other time
        body = envelope()
        assert shell.curl("/push/register", json.dumps({**body, "signature": shell.sign(body)}))[0] == 200


def signed(shell: Shell, **changes: object) -> str:
    body = {key: value for key, value in envelope(**changes).items() if value is not None}
    return json.dumps({**body, "signature": shell.sign(body)})


def test_each_refusal_has_its_curl(shell: Shell) -> None:
    past, ahead = now_ms() - 900_000, now_ms() + 300_000
    times = {"issuedAt": iso(past), "expiresAt": iso(past + 300_000)}
    early = {"issuedAt": iso(ahead), "expiresAt": iso(ahead + 300_000)}
    refusals = {
        (400, "malformed-json"): "{",
        (400, "duplicate-key"): '{"action":"register","action":"deregister"}',
        (400, "missing-field"): signed(shell, token=None),
        (400, "invalid-field"): signed(shell, action="delete"),
        (401, "signature-missing"): json.dumps(envelope()),
        (401, "signature-invalid"): signed(shell).replace("alice", "mallory"),
        (401, "envelope-expired"): signed(shell, **times),
        (401, "envelope-not-yet-valid"): signed(shell, **early),
        (403, "instance-not-allowed"): signed(shell, instance="blocked.example.com"),
        (413, "too-large"): signed(shell, padding="x" * 16_384),
        (502, "well-known-unreachable"): signed(shell, instance="gone.example.com"),
    }
    got = {shell_answer(shell.curl("/push/register", body)) for body in refusals.values()}
    assert got == set(refusals)


def shell_answer(answer: tuple[int, dict[str, object]]) -> tuple[int, object]:
    status, body = answer
    assert body["ok"] is False
    return status, body["code"]


def test_a_nonce_again_with_another_body_is_refused_with_curl(shell: Shell) -> None:
    nonce = str(uuid.uuid4())
    assert shell.curl("/push/register", signed(shell, nonce=nonce))[0] == 200
    again = shell.curl("/push/register", signed(shell, nonce=nonce, token="another"))
    assert shell_answer(again) == (409, "nonce-reused")


def test_a_stale_event_is_refused_with_curl(shell: Shell) -> None:
    notification = {"id": "old", "type": "like", "message": "m", "created_at": "2020-01-01T00:00:00.000Z"}
    body = {"instance": "curl.example.com", "userId": "nobody", "notification": notification}
    header = f"X-Push-Signature: {shell.sign(body)}"
    assert shell_answer(shell.curl("/push/webhook", json.dumps(body), "-H", header)) == (400, "stale")


def test_another_content_type_is_refused_with_curl(shell: Shell) -> None:
    status, answer = shell.curl("/push/register", signed(shell), "-H", "Content-Type: text/plain")
    assert (status, answer["ok"]) == (415, False)


def test_a_document_that_is_none_is_refused_with_curl(shell: Shell) -> None:
    shell.w.other.broken = b"<html>"
    answer = shell.curl("/push/register", signed(shell, instance="other.example.com"))
    assert shell_answer(answer) == (502, "well-known-invalid")


def test_while_the_log_takes_nothing_the_refusal_is_503_with_curl(tmp_path: Path) -> None:
    with opened(tmp_path) as own:
        resource.prlimit(own.w.server.process.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
        assert shell_answer(own.curl("/push/register", signed(own))) == (503, "log-unavailable")


def test_too_many_requests_are_refused_with_curl(tmp_path: Path) -> None:
    with opened(tmp_path, per_instance=2) as own:  # a minute: however slow the machine, the third comes too early
        (own.directory / "body.json").write_text(json.dumps(envelope()), "utf-8")
        words = ["curl", "-sS", "-i", "-H", "Content-Type: application/json", "-d", "@body.json"]
        answers = [own.run(shlex.join([*words, own.w.server.url + "/push/register"])).lower() for _ in range(3)]
    assert [answer.split()[1] for answer in answers] == ["401", "401", "429"]
    assert "retry-after: " in answers[-1]
    assert '"code":"rate-limited"' in answers[-1]
