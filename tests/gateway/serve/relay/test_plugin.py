"""A policy written for strfry runs, and whatever it does wrong lets nothing pass."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.nostr.event import Event
from gateway.serve.relay import plugin as module
from gateway.serve.relay.plugin import SILENT, Plugin
from tests.signing import signed, signed_fields

POLICY = """#!{python}
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    {body}
"""
ANSWER = 'print(json.dumps({{"id": asked["event"]["id"], {rest}}}), flush=True)'


def script(path: Path, body: str) -> str:
    file = path / "policy.py"
    file.write_text(POLICY.format(python=sys.executable, body=body))
    file.chmod(0o755)
    return str(file)


async def ask(plugin: Plugin, event: Event) -> tuple[bool, str] | None:
    with trio.fail_after(60):
        return await plugin.ask(event, "192.0.2.1", 1_000_000)


@pytest.mark.parametrize(
    ("rest", "verdict"),
    [
        ('"action": "accept"', None),
        ('"action": "accept", "msg": ""', None),
        ('"action": "reject", "msg": "blocked: not on the list"', (False, "blocked: not on the list")),
        ('"action": "reject", "msg": "no"', (False, "blocked: no")),
        ('"action": "reject", "msg": None', (False, "blocked: this relay's policy does not take it")),
        ('"action": "shadowReject"', (True, "")),
        ('"action": "later"', (False, "error: the write policy gave no answer that is known")),
    ],
)
async def test_each_action_becomes_its_answer(tmp_path: Path, rest: str, verdict: tuple[bool, str] | None) -> None:
    plugin = Plugin(script(tmp_path, ANSWER.format(rest=rest)), 60)
    assert await ask(plugin, signed()) == verdict
    assert await ask(plugin, signed(content="b")) == verdict
    await plugin.end()


async def test_it_is_told_what_strfry_would_tell_it(tmp_path: Path) -> None:
    told = tmp_path / "told"
    plugin = Plugin(
        script(tmp_path, f'open("{told}", "w").write(line); ' + ANSWER.format(rest='"action": "accept"')), 60
    )
    await ask(plugin, signed(tags=[["t", "x"]]))
    await plugin.end()
    said: dict[str, Any] = json.loads(told.read_text())
    assert said.pop("event") == signed_fields(tags=[["t", "x"]])
    assert said == {"type": "new", "receivedAt": 1_000, "sourceType": "IP4", "sourceInfo": "192.0.2.1"}


@pytest.mark.parametrize(
    "body",
    ["sys.exit(1)", 'print("rubbish", flush=True)', "print(json.dumps({'id': 'x', 'action': 'accept'}), flush=True)"],
)
async def test_one_that_fails_lets_nothing_pass_and_is_started_anew_later(
    tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Plugin(script(tmp_path, body), 60)
    for _ in range(2):
        assert await ask(plugin, signed()) == (False, SILENT)
        assert plugin._process is None
    monkeypatch.setattr(module, "PLUGIN_RESTART_S", 0.0)
    plugin._command = script(tmp_path, ANSWER.format(rest='"action": "accept"'))
    assert await ask(plugin, signed()) is None
    await plugin.end()


async def test_one_that_crashes_over_an_event_lets_the_next_pass(tmp_path: Path) -> None:
    crash = 'if asked["event"]["content"] == "crash": sys.exit(1)\n    '
    plugin = Plugin(script(tmp_path, crash + ANSWER.format(rest='"action": "accept"')), 60)
    for _ in range(2):
        assert await ask(plugin, signed()) is None
        assert await ask(plugin, signed(content="crash")) == (False, SILENT)
    assert await ask(plugin, signed()) is None
    await plugin.end()


async def test_one_that_is_not_there_lets_nothing_pass(tmp_path: Path) -> None:
    assert await ask(Plugin(str(tmp_path / "nothing"), 60), signed()) == (False, SILENT)


async def test_silence_is_ended(tmp_path: Path) -> None:
    plugin = Plugin(script(tmp_path, "pass"), 0.5)
    assert await ask(plugin, signed()) == (False, SILENT)
    assert plugin._process is None


async def test_questions_wait_for_each_other(tmp_path: Path) -> None:
    plugin = Plugin(script(tmp_path, ANSWER.format(rest='"action": "reject", "msg": asked["event"]["content"]')), 60)
    answers: dict[str, tuple[bool, str] | None] = {}

    async def put(text: str) -> None:
        answers[text] = await ask(plugin, signed(content=text))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(put, str(number))
    await plugin.end()
    assert answers == {str(number): (False, f"blocked: {number}") for number in range(20)}


async def test_a_question_that_is_given_up_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    plugin = Plugin(script(tmp_path, ANSWER.format(rest='"action": "accept"')), 60)
    with trio.CancelScope() as scope:
        scope.cancel()
        await plugin.ask(signed(), "", 0)
    assert await ask(plugin, signed(content="b")) is None
    await plugin.end()
