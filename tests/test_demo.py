"""`heliograph demo --once`, as a script would run it."""

import io
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from gateway.cli.demo.telling import StoryBroken, Telling, check

STORY_S_MAX = 300.0  # four seconds on a machine of its own; a hang is what this is for


def test_the_whole_story_holds_quickly_and_says_so() -> None:
    command = [sys.executable, "-m", "gateway.cli.main", "demo", "--once"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as demo:
        assert demo.stdout
        first = os.read(demo.stdout.fileno(), 1 << 20)
        told = (first + demo.stdout.read()).decode()
        code = demo.wait(STORY_S_MAX)
    assert code == 0, told
    assert len(re.findall("✓", told)) == 22
    assert first.count("✓".encode()) < 22, "whoever waits is told what is going on"
    assert re.search("kill -9 \\d+", told)
    assert "25 of 25, each once" in told
    assert "decrypted: これはブラウザに届きます" in told
    assert "decrypted by the app: こんにちは、erin" in told
    assert "rejected: unregistered:old-phone" in told
    assert "✗" not in told


def test_a_promise_that_is_not_kept_is_told_with_a_cross_and_ends_the_story() -> None:
    out = io.StringIO()
    telling = Telling(Console(file=out, width=80))
    with pytest.raises(StoryBroken, match="a promise"), telling.step("something"):
        check(False, "a promise")
    assert "✗ something" in out.getvalue()
    assert telling.held == 0
