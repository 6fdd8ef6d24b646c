"""Secrets that the gateway makes for itself at first start: files of mode 0600 in ``data/keys``.

Invariant: a key that exists is never overwritten; a new one is on disk before anything is signed with it. Its making is
told in the log, its content never. This module must not know what a key is for.
"""

import os
from pathlib import Path

import structlog
from msgspec import structs

from gateway.config import Config
from gateway.errors import Unavailable
from gateway.serve.clock import Clock

KEY_BYTES = 32


def stored_key(directory: Path, name: str, clock: Clock, *, is_told: bool = True) -> str:
    """Read the secret ``name`` (64 hex digits when it is our own making), or make it; ``is_told``: and say so.

    Raises Unavailable where the directory cannot be used, or the file is empty.
    """
    path = directory / name
    try:
        if not path.exists():
            _make(path, clock.random_bytes(KEY_BYTES).hex())
            if is_told:
                told_as_made(path)
        text = path.read_text("utf-8").strip()
    except OSError as error:
        raise Unavailable(f"the key {path} cannot be read or made: {error.strerror}") from error
    if not text:
        raise Unavailable(f"the key {path} is empty: remove it to have a new one made, or restore it")
    return text


def told_as_made(path: Path) -> None:
    """Say that a secret was made, and where: there is no other copy of it."""
    structlog.get_logger().warning("made a secret", path=str(path))


def with_registration_secret(config: Config, clock: Clock) -> Config:
    """The configuration with a secret for the worker ``default``: the operator's, or our own. Raises Unavailable."""
    if config.registration.secret:
        return config
    secret = stored_key(Path(config.data) / "keys", "registration.secret", clock)
    return structs.replace(config, registration=structs.replace(config.registration, secret=secret))


def _make(path: Path, text: str) -> None:
    """Write under another name, sync, rename, sync the directory: a crash leaves a whole key or none."""
    for private in (path.parent.parent, path.parent):  # the log comes into the first: nobody else's either
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(descriptor)
    fresh.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
