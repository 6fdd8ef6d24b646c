"""nostr-sdk publishes to, queries and syncs with /relay of a real server."""

import json
import subprocess
import sys
from pathlib import Path

from tests.server import process


def test_nostr_sdk_publishes_subscribes_counts_authenticates_deletes_and_syncs_both_ways(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        script = Path(__file__).with_name("sdk.py")
        command = [sys.executable, str(script), f"{server.ws_url}/relay"]
        ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    checks = json.loads(ran.stdout)
    assert {name: result for name, result in checks.items() if result is not True} == {}
    assert len(checks) == 16
