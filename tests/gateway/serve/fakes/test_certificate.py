"""A fake's certificate: which clients accept it, and who may read its key."""

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.serve.fakes.certificate import server_context, write_certificate


def shake(server: ssl.SSLContext, trusted: Path, host: str) -> str | None:
    """Shake hands in memory; give the protocol that was agreed on."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=trusted).wrap_bio(down, up, server_hostname=host)
    sides = (client, server.wrap_bio(up, down, server_side=True))
    for side in sides * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.version()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_who_trusts_the_certificate_shakes_hands_and_nobody_else_does(tmp_path: Path, host: str) -> None:
    ours, theirs = (write_certificate(tmp_path, name) for name in ("ours", "theirs"))
    assert shake(server_context(*ours), ours[0], host) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*ours), theirs[0], host)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(*ours), ours[0], "elsewhere.example")


def test_the_files_are_named_as_asked_and_the_key_is_its_owners_alone(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path, "fake-x")
    assert (cert.name, key.name) == ("fake-x.pem", "fake-x.key")
    assert key.stat().st_mode & 0o077 == 0
