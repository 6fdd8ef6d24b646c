"""NDK (and its sync) publishes to, subscribes at, counts, deletes and compares with /relay of a real server."""

from pathlib import Path

import pytest

from tests.interop.test_nostr_tools import NODE, checked, modules

__all__ = ["modules"]


@pytest.mark.skipif(NODE is None, reason="there is no node here")
def test_ndk_publishes_subscribes_counts_authenticates_deletes_and_compares(modules: Path, tmp_path: Path) -> None:
    assert (modules / "@nostr-dev-kit").is_dir()
    checks = checked("ndk.mjs", tmp_path)
    assert {name: result for name, result in checks.items() if result is not True} == {}
    assert len(checks) == 14
