"""No log, or words that mean nothing, are told in a sentence."""

from pathlib import Path

import pytest

from gateway.cli.main import exit_code
from tests.gateway.cli.log.calls import run


@pytest.mark.parametrize("name", ["verify", "show", "stats", "replay"])
def test_no_log_is_unavailable_not_a_traceback(tmp_path: Path, name: str) -> None:
    result = run(name, "--data", str(tmp_path))
    assert result.exception is not None
    assert exit_code(result.exception) == 3
    assert "there is no log under" in str(result.exception)


@pytest.mark.parametrize(
    "words", [["show", "--since", "yesterday"], ["show", "--subject", "xyz"], ["replay", "--view", "nothing"]]
)
async def test_wrong_words_are_usage(data: Path, words: list[str]) -> None:
    assert run(*words, "--data", str(data)).exit_code == 2
