"""nostr-tools publishes to and queries /relay of a real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import process

HERE = Path(__file__).parent
NODE, NPM = shutil.which("node"), shutil.which("npm")


@pytest.fixture(scope="module")
def modules() -> Path:
    """The packages of the lock beside this file, installed once."""
    if not (HERE / "node_modules" / "@nostr-dev-kit").is_dir():
        assert NPM is not None, "node is here, and npm is not"
        subprocess.run([NPM, "ci", "--no-audit", "--no-fund"], cwd=HERE, check=True, timeout=300, capture_output=True)
    return HERE / "node_modules"


def checked(script: str, directory: Path) -> dict[str, object]:
    """What a script of the lock's clients found at /relay of a real server: true, or what was wrong, by check."""
    with process(directory) as server:
        command = [str(NODE), script, f"{server.ws_url}/relay"]
        ran = subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, object] = json.loads(ran.stdout)
    return found


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_nostr_tools_finds_a_complete_relay(modules: Path, tmp_path: Path) -> None:
    assert modules.is_dir()
    checks = checked("client.mjs", tmp_path)
    assert {name: result for name, result in checks.items() if result is not True} == {}
    assert len(checks) == 27
