"""The behaviour table, held against the Python client and the page's module; what a table cannot say is beside it."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.client.address import addresses
from gateway.client.behaviour import Behaviour
from gateway.client.happening import Granted, Happening, Heard, Opened, Publish, Start, Subscribe
from gateway.limits import client as limits

HERE = Path(__file__).parent
TABLE = json.loads((HERE / "behaviour.json").read_text("utf-8"))
CASES = {case["name"]: case for case in TABLE["cases"]}
RELAY = {"connectionUrl": "ws://gw/a", "replicationConnectionUrl": "ws://gw/mirror/a"}
PAGE_MODULE = HERE.parents[2] / "gateway" / "client" / "behaviour.js"
NODE = shutil.which("node")


def steps_of(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(steps_of(CASES[case["like"]]) if "like" in case else []), *case["steps"]]


@pytest.mark.parametrize("name", CASES)
def test_the_python_client_behaves_as_the_table_says(name: str) -> None:
    case = CASES[name]
    behaviour = Behaviour(addresses(case.get("relay", RELAY)))
    for at, step in enumerate(steps_of(case)):
        effects = behaviour.take(msgspec.convert(step["in"], Happening), step["now"])
        assert msgspec.to_builtins(effects) == step["out"], (at, step["in"])


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_the_page_module_behaves_as_the_table_says() -> None:
    command = [str(NODE), str(HERE / "table.mjs"), str(PAGE_MODULE), str(HERE / "behaviour.json")]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["failures"] == []
    assert said["checked"] == len(CASES) + len(TABLE["addresses"])


def test_the_page_module_has_the_same_numbers() -> None:
    text = PAGE_MODULE.read_text("utf-8")
    for name in (
        "RECONNECT_MS_MIN",
        "RECONNECT_MS_MAX",
        "RECONNECT_DOUBLINGS_MAX",
        "SESSION_GOOD_MS",
        "REFRESH_MS_MIN",
        "UNANSWERED_MAX",
        "PUBLISH_BATCH_ROWS",
        "PUBLISH_BATCH_CHARS",
        "PLAIN_OVERLAP_S",
        "SEEN_CHARS_MAX",
    ):
        line = next(one for one in text.splitlines() if f"const {name} = " in one)
        written = line.partition(" = ")[2].rstrip(";").replace("16 << 20", str(16 << 20))
        assert int(written) == getattr(limits, name), name


def begun() -> Behaviour:
    behaviour = Behaviour(addresses(RELAY))
    for what in (Start(), Granted("T"), Opened("mirror")):
        behaviour.take(what, 0)
    return behaviour


def test_as_many_wait_for_their_answers_as_the_limit_says_and_one_more_is_refused() -> None:
    behaviour = begun()
    rows = [{"id": f"e{number}", "relayID": "r"} for number in range(limits.UNANSWERED_MAX + 1)]
    said = behaviour.take(Publish(rows), 1)
    refused = [one for one in msgspec.to_builtins(said) if one["do"] == "answer"]
    assert [one["id"] for one in refused] == [f"e{limits.UNANSWERED_MAX}"]
    assert behaviour.unanswered == limits.UNANSWERED_MAX
    sent = [one["frame"][1] for one in msgspec.to_builtins(said) if one["do"] == "say"]
    assert max(map(len, sent)) == limits.PUBLISH_BATCH_ROWS
    assert sum(map(len, sent)) == limits.UNANSWERED_MAX


@pytest.mark.parametrize(
    "frame", [[], ["EVENT"], ["EOSE"], ["OK"], ["OKS", 7], ["EVENT", "s", 7], [7], ["CLOSED", "s"]]
)
def test_rubbish_from_a_gateway_changes_nothing(frame: list[Any]) -> None:
    behaviour = begun()
    behaviour.take(Subscribe("s", [{"relayID": "r"}]), 1)
    assert behaviour.take(Heard("mirror", frame), 2) == []
