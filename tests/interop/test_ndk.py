"""NDK (and its sync) publishes to, subscribes at, counts, deletes and compares with /relay of a real server."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.interop.test_nostr_tools import HERE, NODE, modules
from tests.server import process

__all__ = ["modules"]


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_ndk_publishes_subscribes_counts_authenticates_deletes_and_compares(modules: Path, tmp_path: Path) -> None:
    assert (modules / "@nostr-dev-kit").is_dir()
    with process(tmp_path) as server:
        command = [str(NODE), "ndk.mjs", f"{server.ws_url}/relay"]
        ran = subprocess.run(command, check=False, cwd=HERE, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    checks = json.loads(ran.stdout)
    assert {name: result for name, result in checks.items() if result is not True} == {}
    assert len(checks) == 14
