"""``heliograph token``: relay tokens, as a worker asks for them.

Prints the gateway's answer as it came, on stdout. Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable or 5xx.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.worker import Gateway, find_secret, options
from gateway.replication.registration import INTERNAL
from gateway.replication.token import TokenInvalid, open_token
from gateway.serve.clock import SystemClock

AUTH_TOKEN_BYTES = 16
MASKED = "…"


@click.group()
def command() -> None:
    """Issue, refresh, revoke and inspect relay tokens.

    \b
    Examples:
      export GATEWAY_REGISTRATION_SECRET=…
      heliograph token issue public-gateway:hyperbee
      heliograph token issue KEY --pubkey PUBKEY --ttl 600
      heliograph token revoke KEY --pubkey PUBKEY --reason 'left the group'
      heliograph token inspect TOKEN
    """


@command.command()
@click.argument("relay_key", metavar="KEY")
@options
@click.option("--pubkey", help="Whose token: 64 hexadecimal digits (default: the relay's own).")
@click.option("--scope", type=click.Choice(["relay-access", "relay-replication"]), help="What it opens.")
@click.option("--ttl", "ttl_s", type=click.IntRange(min=1), help="Its life in seconds (default: the gateway's).")
@click.option("--auth-token", help="The relay's own auth token, carried inside (default: a new random one).")
def issue(
    *,
    relay_key: str,
    gateway: str,
    secret: str | None,
    secret_file: Path | None,
    worker: str,
    pubkey: str | None,
    scope: str | None,
    ttl_s: int | None,
    auth_token: str | None,
) -> None:
    """Ask for a token, and the URLs that hold it.

    \b
    Example:
      heliograph token issue KEY --pubkey PUBKEY --scope relay-replication
    """
    at = Gateway(gateway, find_secret(secret, secret_file, worker))
    auth = auth_token or (None if relay_key == INTERNAL else SystemClock().random_bytes(AUTH_TOKEN_BYTES).hex())
    asked = {"relayAuthToken": auth, "pubkey": pubkey, "scope": scope, "ttlSeconds": ttl_s}
    at.post("/api/relay-tokens/issue", "payload", {"relayKey": relay_key, **at.once(), **given(asked)})


@command.command()
@click.argument("relay_key", metavar="KEY")
@click.argument("token")
@options
@click.option("--ttl", "ttl_s", type=click.IntRange(min=1), help="Its life in seconds (default: the gateway's).")
def refresh(
    *,
    relay_key: str,
    token: str,
    gateway: str,
    secret: str | None,
    secret_file: Path | None,
    worker: str,
    ttl_s: int | None,
) -> None:
    """Ask for a token in the place of one that is still good (- reads it from stdin).

    \b
    Example:
      heliograph token refresh KEY TOKEN
    """
    at = Gateway(gateway, find_secret(secret, secret_file, worker))
    asked = {"token": read_token(token), "ttlSeconds": ttl_s}
    at.post("/api/relay-tokens/refresh", "payload", {"relayKey": relay_key, **at.once(), **given(asked)})


@command.command()
@click.argument("relay_key", metavar="KEY")
@options
@click.option("--pubkey", help="Whose tokens (default: all of the relay's).")
@click.option("--reason", help="What the sessions that are closed are told.")
def revoke(
    *,
    relay_key: str,
    gateway: str,
    secret: str | None,
    secret_file: Path | None,
    worker: str,
    pubkey: str | None,
    reason: str | None,
) -> None:
    """Revoke a subject's tokens, or all of a relay's, and close the sessions that hold them.

    \b
    Example:
      heliograph token revoke KEY --pubkey PUBKEY --reason 'left the group'
    """
    at = Gateway(gateway, find_secret(secret, secret_file, worker))
    asked = {"pubkey": pubkey, "reason": reason}
    answer = at.post("/api/relay-tokens/revoke", "payload", {"relayKey": relay_key, **at.once(), **given(asked)})
    if pubkey is not None and answer.json().get("sequence") == 0:
        click.echo(f"no token was ever issued to {pubkey} on this relay", err=True)


@command.command()
@click.argument("token")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The gateway's token key (data/keys/token.key): checks the MAC too.",
)
def inspect(*, token: str, key_file: Path | None) -> None:
    """Show what a token says (- reads it from stdin). Exit code 1 where it is no token, false, or expired.

    \b
    Examples:
      heliograph token inspect TOKEN
      heliograph token inspect - --key-file data/keys/token.key < token.txt
    """
    text = read_token(token)
    claims = read_claims(text)
    verdict = "not checked" if key_file is None else check_mac(key_file, text)
    left_s = (claims["expiresAt"] - SystemClock().now_ms()) // 1000
    if claims.get("relayAuthToken"):
        claims["relayAuthToken"] = MASKED
    click.echo(json.dumps({**claims, "secondsLeft": max(0, left_s), "mac": verdict}, ensure_ascii=False, indent=2))
    if left_s < 0 or verdict == "false":
        raise SystemExit(CHECK_FAILED)


def read_claims(token: str) -> dict[str, Any]:
    """Decode a token's claims without checking its MAC; exit code 1 where there are none."""
    try:
        body = token.partition(".")[0]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, RecursionError):
        claims = None
    if not isinstance(claims, dict) or not isinstance(claims.get("expiresAt"), int):
        click.echo("this is no relay token", err=True)
        raise SystemExit(CHECK_FAILED)
    return claims


def check_mac(key_file: Path, token: str) -> str:
    """Say whether the key made the token."""
    try:
        open_token(key_file.read_text("utf-8").strip().encode(), token)
    except TokenInvalid:
        return "false"
    return "true"


def read_token(token: str) -> str:
    """Take a token from the argument, or from stdin for ``-``."""
    return sys.stdin.read().strip() if token == "-" else token  # noqa: S105 - no secret


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was not given."""
    return {key: value for key, value in values.items() if value is not None}
