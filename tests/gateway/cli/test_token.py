"""``heliograph token`` against a real gateway."""

import io
import json
import sys

import pytest
import trio

from gateway.replication.token import Claims, mint
from tests.server import running
from tests.worker import INTERNAL, SECRET, exit_code

PUBKEY = "e1" * 32


@pytest.fixture
def run(capsys, monkeypatch):
    """Run one command against a gateway; (exit code, answer)."""
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", SECRET)

    async def run(gateway, *words: str):
        code = await trio.to_thread.run_sync(exit_code, ["token", *words, "--gateway", gateway.url])
        return code, json.loads((capsys.readouterr().out.splitlines() or ["null"])[-1])

    return run


async def test_a_token_is_issued_refreshed_and_revoked(run, capsys):
    async with running() as gateway:
        code, issued = await run(gateway, "issue", INTERNAL, "--pubkey", PUBKEY, "--ttl", "60")
        assert (code, issued["sequence"]) == (0, 1)
        code, refreshed = await run(gateway, "refresh", INTERNAL, issued["token"])
        assert (code, refreshed["sequence"]) == (0, 2)
        code, revoked = await run(gateway, "revoke", INTERNAL, "--pubkey", PUBKEY, "--reason", "left")
        assert (code, revoked) == (0, {"status": "revoked", "disconnected": 0, "sequence": 2})
        assert await run(gateway, "refresh", INTERNAL, refreshed["token"]) == (1, {"error": "token-revoked"})
        code, again = await run(gateway, "issue", INTERNAL, "--pubkey", PUBKEY)
        assert (code, again["sequence"]) == (0, 3), "our own requests are newer than the revocation"
        nobody = ["token", "revoke", INTERNAL, "--pubkey", "e2" * 32, "--gateway", gateway.url]
        assert await trio.to_thread.run_sync(exit_code, nobody) == 0
        assert capsys.readouterr().err == f"no token was ever issued to {'e2' * 32} on this relay\n"


async def test_a_token_for_an_unknown_relay_is_refused(run):
    async with running() as gateway:
        assert await run(gateway, "issue", "ab" * 32) == (1, {"error": "relay-not-registered"})


def inspected(capsys, *words: str):
    code = exit_code(["token", "inspect", *words])
    return code, json.loads(capsys.readouterr().out or "null")


def test_inspect_shows_the_claims_and_masks_the_auth_token(capsys, tmp_path):
    token = mint(b"key", Claims(2**52, 1, None, "secret-auth", INTERNAL, "relay-access", 4))
    (tmp_path / "key").write_text("key\n")
    (tmp_path / "other").write_text("other\n")
    code, shown = inspected(capsys, token)
    assert (code, shown["sequence"], shown["relayAuthToken"], shown["mac"]) == (0, 4, "…", "not checked")
    assert inspected(capsys, token, "--key-file", str(tmp_path / "key"))[1]["mac"] == "true"
    assert inspected(capsys, token, "--key-file", str(tmp_path / "other"))[0] == 1


def test_an_expired_token_and_no_token_are_exit_code_1(capsys, monkeypatch):
    assert inspected(capsys, mint(b"key", Claims(5, 1, None, "", INTERNAL, "relay-access", 1)))[0] == 1
    for text in ("", "garbage", "e30.x", "bnVsbA.x", "é"):
        assert inspected(capsys, text) == (1, None)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"garbage\n")))
    assert inspected(capsys, "-") == (1, None)
