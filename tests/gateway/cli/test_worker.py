"""Where a worker's secret comes from, and what an answer means for the exit code."""

import click
import pytest
from click.testing import CliRunner

from gateway.cli import relay, token
from gateway.cli.worker import Gateway, find_secret, relay_path
from gateway.errors import ConfigInvalid
from tests.worker import exit_code


@pytest.fixture(autouse=True)
def _no_secret(monkeypatch):
    for name in ("GATEWAY_REGISTRATION_SECRET", "GATEWAY_REGISTRATION_SECRET_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_an_option_wins_over_the_environment_and_a_file_is_stripped(monkeypatch, tmp_path):
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", "from the environment")
    (tmp_path / "secret").write_text("from a file\n")
    assert find_secret("given", None, "default") == "given"
    assert find_secret(None, tmp_path / "secret", "default") == "from a file"
    assert find_secret(None, None, "default") == "from the environment"


def test_another_worker_has_its_own_variable(monkeypatch):
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", "default's")
    with pytest.raises(click.UsageError, match="GATEWAY_WORKERS_SECOND_ONE_SECRET"):
        find_secret(None, None, "second-one")
    monkeypatch.setenv("GATEWAY_WORKERS_SECOND_ONE_SECRET", "second's")
    assert find_secret(None, None, "second-one") == "second's"


def test_the_environment_may_name_a_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from a file\n")
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET_FILE", str(tmp_path / "secret"))
    assert find_secret(None, None, "default") == "from a file"


def test_a_secret_file_that_is_not_there_or_no_text_is_named(monkeypatch, tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("nowhere", "bytes"):
        monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET_FILE", str(tmp_path / name))
        with pytest.raises(ConfigInvalid, match=name):
            find_secret(None, None, "default")


def test_a_secret_that_is_named_and_empty_is_not_none(monkeypatch, tmp_path):
    (tmp_path / "empty").write_text("\n")
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", "another one")
    with pytest.raises(click.UsageError, match="empty"):
        find_secret(None, tmp_path / "empty", "default")
    with pytest.raises(click.UsageError, match="--secret is empty"):
        find_secret("", None, "default")


def test_two_secrets_are_one_too_many(tmp_path):
    with pytest.raises(click.UsageError):
        find_secret("given", tmp_path, "default")


def test_signing_without_a_secret_is_a_usage_error():
    with pytest.raises(click.UsageError):
        Gateway("http://127.0.0.1:1", None).signed({})


def test_a_relay_key_is_one_segment_of_a_path():
    assert relay_path("public-gateway:hyperbee/x") == "/api/relays/public-gateway%3Ahyperbee%2Fx"


def test_a_gateway_that_cannot_be_reached_is_exit_code_3(capsys):
    assert exit_code(["relay", "list", "--gateway", "http://127.0.0.1:1"]) == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["relay", "token"])
def test_every_command_has_an_example_in_its_help(group):
    command = {"relay": relay, "token": token}[group].command
    for name in command.commands:
        help_text = CliRunner().invoke(command, [name, "--help"]).output
        assert f"heliograph {group} {name}" in help_text
