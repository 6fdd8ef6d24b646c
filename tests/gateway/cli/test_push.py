"""The push commands against a real server and the fake FCM, each a process of its own; and the fake's own command."""

import json
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli.push import command
from tests.server import ROOT, process

HELIOGRAPH = [sys.executable, "-m", "gateway.cli.main"]
DOMAIN = "demo.example.com"


@dataclass
class World:
    url: str
    fake_url: str
    keys: Path

    def push(self, name: str, *options: str, keys: Path | None = None) -> Any:
        key = (keys or self.keys) / "private.pem"
        common = ["--key", str(key), "--instance", DOMAIN, "--gateway", self.url, "--user", "alice"]
        return CliRunner().invoke(command, [name, *common, *options])

    def sent(self) -> list[dict[str, Any]]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(f"{self.fake_url}/sent", context=context) as answer:
            read: list[dict[str, Any]] = json.loads(answer.read())["sent"]
            return read


@contextmanager
def fake_fcm(*options: str) -> Iterator[str]:
    child = subprocess.Popen(
        [*HELIOGRAPH, "fake-fcm", *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout
    try:
        line = child.stdout.readline()
        assert line.startswith("listening on "), line
        yield line.split()[-1]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("push")
    keys, account = directory / "keys", directory / "account.json"
    subprocess.run([*HELIOGRAPH, "keygen", "--instance", DOMAIN, "--out", keys], cwd=ROOT, check=True)
    with fake_fcm("--account", str(account), "--tls", str(directory)) as fake_url:
        config = (
            f'[fcm]\nbase_url = "{fake_url}"\nallow_any_token_uri = true\nca_file = "{directory}/fake-fcm.pem"\n'
            f'[fcm.projects.default]\ncredentials = "{account}"\n'
            "[push]\nanswer_wait_s = 30\n"  # also a slow machine's answers say what became of it
            f'[instances."{DOMAIN}"]\npublic_key = {json.dumps((keys / "public.pem").read_text())}\n'
        )
        with process(directory, config) as server:
            yield World(server.url, fake_url, keys)


def test_a_device_is_registered_pushed_to_and_deregistered_by_hand(world: World) -> None:
    told = world.push("register", "--token", "t1", "--platform", "ios")
    assert (told.exit_code, json.loads(told.output)["action"]) == (0, "register")
    told = world.push("send", "--message", "Hello", "--type", "like", "--ref-id", "p1")
    assert (told.exit_code, json.loads(told.output)["delivered"]) == (0, 1)
    assert world.sent()[-1]["message"]["notification"]["body"] == "Hello"
    assert world.sent()[-1]["message"]["data"]["ref_id"] == "p1"
    told = world.push("send", "--message", "Try", "--dry-run")
    assert (told.exit_code, json.loads(told.output)["delivered"]) == (0, 1)
    assert world.sent()[-1]["validate_only"] is True
    assert world.push("deregister", "--token", "t1").exit_code == 0
    assert json.loads(world.push("send", "--message", "Gone").output)["delivered"] == 0


def test_an_instance_asks_what_it_used_and_which_of_its_devices_are_gone(world: World) -> None:
    assert world.push("register", "--token", "unregistered:gone").exit_code == 0
    assert world.push("send", "--message", "m").exit_code == 0
    common = ["--key", str(world.keys / "private.pem"), "--instance", DOMAIN, "--gateway", world.url]
    result = CliRunner().invoke(command, ["report", *common, "--since", "2020-01-01T00:00:00.000Z", "--limit", "5"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["tenant"] == DOMAIN
    assert told["usage"]["accepted"] >= 1
    assert "alice" in [one["userId"] for one in told["dead"]]
    refused = CliRunner().invoke(command, ["report", *common, "--limit", "many"])
    assert (refused.exit_code, "limit is not a number" in refused.output) == (1, True)


def test_a_refusal_is_printed_and_exits_1(world: World, tmp_path: Path) -> None:
    subprocess.run([*HELIOGRAPH, "keygen", "--out", tmp_path / "other"], cwd=ROOT, check=True)
    told = world.push("send", "--message", "x", keys=tmp_path / "other")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["code"] == "signature-invalid"
    assert "401" in told.stderr


def test_an_unreachable_gateway_exits_3_with_one_sentence(world: World) -> None:
    options = ["--key", str(world.keys / "private.pem"), "--instance", DOMAIN, "--user", "a", "--message", "x"]
    told = subprocess.run(
        [*HELIOGRAPH, "push", "send", *options, "--gateway", "http://127.0.0.1:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 3
    assert told.stderr.count("\n") == 1
    assert "cannot be reached" in told.stderr


def test_a_file_that_is_no_key_is_a_usage_error(world: World, tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_text("nonsense")
    told = world.push("send", "--message", "x", keys=tmp_path)
    assert told.exit_code == 2
