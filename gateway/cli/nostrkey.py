"""A nostr key for commands that speak to relays which ask for a proof of one (NIP-42): from a file or the environment.

Invariant: a key is never an argument, which ``ps`` shows to everybody on the machine, and is never printed.
This module must not know relays.
"""

import os
from pathlib import Path

import click

from gateway.client.clock import SystemClock as ClientClock
from gateway.client.proving import Identity
from gateway.nostr.key import secret_key
from gateway.nostr.signature import Signer
from gateway.serve.clock import SystemClock

VARIABLE = "HELIOGRAPH_NOSTR_KEY"  # not GATEWAY_…: those are the server's, which refuses what it does not know
WANTED = f"give it in a file by --nostr-key-file, or in {VARIABLE}"

nostr_key_option = click.option(
    "--nostr-key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar=f"{VARIABLE}_FILE",
    show_envvar=True,
    help="A file that holds a secret nostr key (64 hexadecimal digits, or nsec1…), to be proved to relays that ask for "
    f"one; or the key itself in {VARIABLE}.",
)


def identity_of(path: Path | None) -> Identity | None:
    """Read the key that the option or the environment names; None without. click.UsageError where it is none."""
    try:
        text = (os.environ.get(VARIABLE) or None) if path is None else path.read_text("utf-8")
        if text is None:
            return None
        signer = Signer(secret_key(text.strip()) or "")
    except (OSError, ValueError):  # also what is no text, and what is no number below the curve's order
        place = VARIABLE if path is None else path
        raise click.UsageError(f"{place} holds no secret nostr key: 64 hexadecimal digits, or nsec1…") from None
    return Identity(signer, ClientClock().now_ms, SystemClock().random_bytes)
