"""`heliograph config`: the example is the code's own defaults, and what is shown can be read back."""

import re
import tomllib
from importlib import resources
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from gateway.cli.config import command, toml
from gateway.config import Config
from gateway.configtext import known_paths, parse
from gateway.errors import Unavailable
from tests.server import process

EXAMPLE = resources.files("gateway.cli").joinpath("example.toml").read_text("utf-8")


NAMED_BY_THE_OPERATOR = {path.partition("*")[0] for path in known_paths() if "*" in path}


def keys(tree: dict[str, object], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in tree.items():
        name = prefix + ("*" if prefix in NAMED_BY_THE_OPERATOR else key)
        found |= keys(value, f"{name}.") if isinstance(value, dict) else {name}
    return found


def test_the_example_names_every_key_of_the_code_and_no_other() -> None:
    everything = re.sub(r"^# (?=\[|\w+ = )", "", EXAMPLE, flags=re.MULTILINE)
    assert keys(tomllib.loads(everything)) == set(known_paths())


def test_the_example_is_the_defaults() -> None:
    assert parse(EXAMPLE, {}) == Config()


def test_the_example_is_printed() -> None:
    assert CliRunner().invoke(command, ["example"]).output == EXAMPLE


def test_what_is_shown_is_what_is_in_force_with_secrets_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "h.toml"
    file.write_text('[registration]\nsecret = "hush"\n[instances."demo.example.com"]\nurl = "http://127.0.0.1:1/"\n')
    monkeypatch.setenv("GATEWAY_RELAY_NAME", 'A "quoted" 名前')
    shown = CliRunner().invoke(command, ["show", "--config", str(file)]).output
    assert "hush" not in shown
    config = parse(shown, {})
    assert config.registration.secret == "********"
    assert config.relay.name == 'A "quoted" 名前'
    assert config.instances["demo.example.com"].url == "http://127.0.0.1:1/"


def test_a_configuration_survives_being_written_and_read() -> None:
    assert parse(toml(msgspec.to_builtins(Config())), {}) == Config()


def test_a_running_server_goes_by_a_file_that_changed_and_says_why_it_does_not(tmp_path: Path) -> None:
    data = ["reload", "--data", str(tmp_path / "data")]
    with process(tmp_path, "[push]\nnotifications_per_day = 5\n") as server:
        file = next(tmp_path.glob("*.toml"))
        file.write_text('[push]\nnotifications_per_day = 6\ntitle = "new"\n', "utf-8")
        told = CliRunner().invoke(command, data)
        assert told.output.splitlines()[0] == "changed: push.notifications_per_day"
        assert "push.title" in told.output.splitlines()[1]
        file.write_text("[push]\nnotifications_pr_day = 6\n", "utf-8")
        told = CliRunner().invoke(command, data)
        assert told.exit_code == 2
        assert "the old configuration stays in force" in told.output
        assert server.stop(60) == 0
    assert isinstance(CliRunner().invoke(command, data).exception, Unavailable)
