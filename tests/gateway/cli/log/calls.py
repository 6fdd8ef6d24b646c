"""What the tests of the log's commands share: a call as the shell makes it, and its lines."""

import json

from click.testing import CliRunner, Result

from gateway.cli.log.group import command

AT = 1_763_126_872_000_000_000  # 2025-11-14T13:27:52Z
SECOND = 1_000_000_000
WORDS = [b"one", b"two", b"three"]


def run(*words: str, input: bytes | None = None) -> Result:  # noqa: A002 - click's own name
    return CliRunner().invoke(command, words, input=input)


def lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
