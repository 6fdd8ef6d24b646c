"""A key comes from a file or the environment, in either spelling; what is none is a wrong use of the command."""

from pathlib import Path

import click
import pytest

from gateway.cli.nostrkey import VARIABLE, identity_of
from tests.gateway.nostr.test_key import NSEC, SECRET
from tests.signing import BOB, pubkey


def test_a_key_is_read_from_a_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert identity_of(None) is None
    monkeypatch.setenv(VARIABLE, "02" * 32)
    found = identity_of(None)
    assert found is not None
    assert found.signer.pubkey == pubkey(BOB)
    keys = []
    for text in (SECRET, f"{NSEC}\n"):
        (tmp_path / "key").write_text(text)
        found = identity_of(tmp_path / "key")
        assert found is not None
        keys.append(found.signer.pubkey)
    assert keys[0] == keys[1] != pubkey(BOB)


@pytest.mark.parametrize("data", [b"", b"nsec1" + b"q" * 58, b"00" * 32, b"ff" * 32, b"\xff\xfe", b"npub1" + b"q" * 58])
def test_what_is_no_key_is_said_without_showing_it(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(click.UsageError, match="holds no secret nostr key") as refused:
        identity_of(tmp_path / "key")
    assert not data or data.decode("latin-1") not in refused.value.message
