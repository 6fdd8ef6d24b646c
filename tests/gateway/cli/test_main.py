"""What `heliograph` says of itself, and what its exit codes mean."""

import errno
import importlib
import subprocess
import sys

import click
import pytest

from eventlog.errors import Corrupt, Locked, LogFailed
from gateway.cli.main import COMMANDS, cli, exit_code, main
from gateway.errors import ApiRefused, ConfigInvalid, PushRefused, Unavailable
from gateway.facts import FactUnknown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_its_line_in_the_list_is_its_own(name: str) -> None:
    module, attribute, line = COMMANDS[name]
    command = getattr(importlib.import_module(module), attribute)
    assert command.get_short_help_str(limit=200).rstrip(".") == line.rstrip(".")


def commands(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    names = command.list_commands(context)
    inner = [commands(one, f"{path} {name}") for name in names if (one := command.get_command(context, name))]
    return [(path, command), *(pair for pairs in inner for pair in pairs)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_in_its_help(name: str) -> None:
    for path, command in commands(importlib.import_module(COMMANDS[name][0]).command, name):
        assert f"heliograph {path}" in (command.help or "") + (command.epilog or ""), path


def test_the_list_of_commands_needs_neither_trio_nor_any_group() -> None:
    code = "import sys; from gateway.cli.main import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "serve" in told
    assert "'trio'" not in told
    assert "'gateway.cli.serve'" not in told


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--version"], 0, "heliograph"),
        (["serv"], 2, "serve"),
        (["serve", "--bnd", "x"], 2, "--bind"),
        (["serve", "--bind", "nowhere"], 2, "server.bind"),
        (["serve", "--config", "/nowhere.toml"], 2, "/nowhere.toml"),
    ],
)
def test_a_wrong_call_exits_2_and_says_what_was_wrong(
    arguments: list[str], code: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capfd.readouterr()
    assert ended.value.code == code
    assert says in (err if code else out)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigInvalid("x"), 2),
        (ApiRefused(401, "x"), 1),
        (ApiRefused(503, "x"), 3),
        (PushRefused(400, "c", "x"), 1),
        (PushRefused(502, "c", "x"), 3),
        (Unavailable("x"), 3),
        (LogFailed("x"), 3),
        (Locked("data/LOCK", 4711), 3),
        (Corrupt("x"), 3),
        (FactUnknown("x"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "report.html"), 3),
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (OSError(errno.EBADF, "Bad file descriptor"), None),
        (ExceptionGroup("", [ExceptionGroup("", [Unavailable("x")])]), 3),
        (AssertionError("a bug of ours"), None),
        (ExceptionGroup("", [Unavailable("x"), KeyError("a bug of ours")]), None),
    ],
)
def test_a_refusal_is_1_an_unavailable_service_3_and_a_bug_keeps_its_traceback(
    error: Exception, code: int | None
) -> None:
    assert exit_code(error) == code


def test_a_configuration_at_fault_stops_any_command_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FCM_SERVER_KEY", "AAAA")
    with pytest.raises(SystemExit) as ended:
        main(["serve"])
    assert ended.value.code == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_the_group_is_quick_to_list() -> None:
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
