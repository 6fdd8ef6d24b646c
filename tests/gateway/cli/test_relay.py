"""``heliograph relay`` against a real gateway."""

import json

import pytest
import trio

from tests.server import running
from tests.worker import INTERNAL, KEY, SECRET, exit_code


@pytest.fixture
def run(capsys, monkeypatch):
    """Run one command against a gateway; (exit code, answer)."""
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", SECRET)

    async def run(gateway, *words: str):
        code = await trio.to_thread.run_sync(exit_code, ["relay", *words, "--gateway", gateway.url])
        return code, json.loads((capsys.readouterr().out.splitlines() or ["null"])[-1])

    return run


async def test_a_relay_is_registered_shown_listed_and_taken_away(run, monkeypatch, tmp_path):
    (tmp_path / "more.json").write_text('{"name": "overruled", "unknown": [1.5]}')
    async with running() as gateway:
        options = ["--identifier", "npub1a:b", "--name", "B", "--alias", "short", "--metadata", f"{tmp_path}/more.json"]
        code, answer = await run(
            gateway, "register", KEY, *options, "--private", "--open", "--peer", "ws://127.0.0.1:1"
        )
        assert (code, answer["status"]) == (0, "ok")
        assert answer["relay"]["metadata"] == {
            "identifier": "npub1a:b", "name": "B", "pathAliases": ["short"], "isPublic": False, "requiresAuth": False,
            "unknown": [1.5],
        }  # fmt: skip
        code, shown = await run(gateway, "show", KEY)
        assert (code, shown) == (0, answer["relay"])
        code, listed = await run(gateway, "list")
        assert [relay["relayKey"] for relay in listed["relays"]] == [KEY, INTERNAL]
        monkeypatch.delenv("GATEWAY_REGISTRATION_SECRET")
        assert (await run(gateway, "show", KEY))[0] == 1
        assert [relay["relayKey"] for relay in (await run(gateway, "list"))[1]["relays"]] == [INTERNAL]
        assert (await run(gateway, "unregister", KEY))[0] == 2, "without a secret nothing is signed"
        monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", SECRET)
        assert await run(gateway, "unregister", KEY) == (0, {"status": "ok"})
        assert (await run(gateway, "unregister", KEY))[0] == 1


async def test_a_peer_that_nobody_can_ask_is_said(run, capsys):
    async with running() as gateway:
        peers = ["--peer", "wss://peer.example", "--peer", KEY, "--peer", "https://peer.example"]
        words = ["relay", "register", KEY, *peers, "--gateway", gateway.url]
        assert await trio.to_thread.run_sync(exit_code, words) == 0
        assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["https://peer.example"]


async def test_a_refusal_is_exit_code_1_and_the_answer_is_printed(run, monkeypatch):
    async with running() as gateway:
        code, answer = await run(gateway, "register", "not-hex")
        assert (code, answer) == (1, {"error": "relayKey must be 64 lower-case hexadecimal characters"})
        monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", "wrong")
        assert await run(gateway, "register", KEY) == (1, {"error": "Invalid signature"})


@pytest.mark.parametrize("text", ["{", "[]"])
def test_metadata_that_is_no_object_is_a_usage_error(text, tmp_path):
    path = tmp_path / "more.json"
    path.write_text(text)
    assert exit_code(["relay", "register", KEY, "--secret", "s", "--metadata", str(path)]) == 2
