"""``heliograph push``: signed requests, as a takos instance makes them.

Prints the gateway's answer as it came, on stdout. Exit codes: 0 accepted, 1 refused, 2 usage, 3 unreachable or 5xx.
"""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx

from gateway.cli.answer import ANSWER_S_MAX, tell
from gateway.push.canonical import canonical
from gateway.push.es256 import KeyInvalid, PrivateKey, private_key, sign
from gateway.push.instant import instant_text
from gateway.push.target import TARGET_KINDS
from gateway.serve.clock import SystemClock

LIFETIME_MS = 300_000  # as real clients choose it
TYPE = {"Content-Type": "application/json"}

Command = Callable[..., None]

ON_TARGETS = "What the device is called there: FCM's token or installation id, a subscription as JSON, a URL."
of_a_kind = click.option(
    "--target-kind",
    type=click.Choice(TARGET_KINDS),
    default="token",
    show_default=True,
    help="What --token is: FCM's (token, fid), a browser's (webpush), an endpoint (unifiedpush), Apple's (apns).",
)


@click.group()
def command() -> None:
    """Send signed push requests as a takos instance would.

    \b
    Examples:
      heliograph keygen --instance demo.example.com --out keys
      heliograph push register --key keys/private.pem --instance demo.example.com \\
          --gateway http://127.0.0.1:8080 --user alice --token TOKEN --platform ios
      heliograph push send --key keys/private.pem --instance demo.example.com \\
          --gateway http://127.0.0.1:8080 --user alice --message 'Hello'
    """


def common(wrapped: Command) -> Command:
    """The options of every subcommand that is about a user."""
    return click.option("--user", required=True, help="The user's id on the instance.")(signing(wrapped))


def signing(wrapped: Command) -> Command:
    """The options that every subcommand takes."""
    for option in (
        click.option("--gateway", required=True, metavar="URL", help="The gateway, like http://127.0.0.1:8080."),
        click.option("--instance", required=True, metavar="DOMAIN", help="The instance (or slug) that signs."),
        click.option(
            "--key",
            "key_path",
            required=True,
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="The instance's private key, a PEM file.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


@command.command()
@common
@click.option("--token", required=True, help=ON_TARGETS)
@click.option("--platform", default="unknown", show_default=True, help="ios, android, web or unknown.")
@click.option("--app-id", default="", help="The app, where the gateway serves several.")
@of_a_kind
def register(
    *, key_path: Path, instance: str, gateway: str, user: str, token: str, platform: str, app_id: str, target_kind: str
) -> None:
    """Register a device.

    \b
    Example:
      heliograph push register --key private.pem --instance demo.example.com \\
          --gateway http://127.0.0.1:8080 --user alice --token TOKEN --platform ios
    """
    fields = envelope("register", instance, user, token) | {"platform": platform, "appId": app_id}
    if target_kind != "token":
        fields["targetKind"] = target_kind
    post_envelope(gateway, read_key(key_path), fields)


@command.command()
@common
@click.option("--token", required=True, help=ON_TARGETS)
@of_a_kind
def deregister(*, key_path: Path, instance: str, gateway: str, user: str, token: str, target_kind: str) -> None:
    """Deregister a device.

    \b
    Example:
      heliograph push deregister --key private.pem --instance demo.example.com \\
          --gateway http://127.0.0.1:8080 --user alice --token TOKEN
    """
    fields = envelope("deregister", instance, user, token)
    if target_kind != "token":
        fields["targetKind"] = target_kind
    post_envelope(gateway, read_key(key_path), fields)


@command.command()
@common
@click.option("--message", required=True, help="The text that is shown.")
@click.option("--type", "kind", default="test", show_default=True, help="like, comment, mention, …")
@click.option("--id", "notification_id", help="The notification's id (default: a new UUID).")
@click.option("--actor-id", help="Who did it.")
@click.option("--ref-type", help="What it is about: post, user, …")
@click.option("--ref-id", help="Which one.")
@click.option("--dry-run", is_flag=True, help="Let FCM validate the message and deliver nothing.")
def send(
    *,
    key_path: Path,
    instance: str,
    gateway: str,
    user: str,
    message: str,
    kind: str,
    dry_run: bool,
    **rest: str | None,
) -> None:
    """Send a notification to a user's devices.

    \b
    Examples:
      heliograph push send --key private.pem --instance demo.example.com \\
          --gateway http://127.0.0.1:8080 --user alice --message 'Hello'
      heliograph push send … --message 'Hello' --dry-run
    """
    notification = {
        "id": rest["notification_id"] or str(uuid.uuid4()),
        "user_id": user,
        "type": kind,
        "actor_id": rest["actor_id"],
        "ref_type": rest["ref_type"],
        "ref_id": rest["ref_id"],
        "message": message,
        "created_at": instant_text(SystemClock().now_ms()),
        "read": 0,
        "data_json": None,
    }
    body: dict[str, Any] = {"instance": instance, "userId": user, "notification": notification}
    if dry_run:
        body["dryRun"] = True
    signature = sign(read_key(key_path), canonical(body))
    post(f"{gateway.rstrip('/')}/internal/push/events", body, {"X-Push-Signature": signature})


@command.command()
@signing
@click.option("--since", metavar="TIME", help="Dead devices since then, like 2026-11-22T16:27:54.133Z.")
@click.option("--after", metavar="SEQ", help="The next page of them: what the last answer called after.")
@click.option("--limit", metavar="COUNT", help="So many of them at most.")
def report(*, key_path: Path, instance: str, gateway: str, **asked: str | None) -> None:
    """Ask what the instance used, what it may use, and which of its devices are gone.

    \b
    Example:
      heliograph push report --key private.pem --instance demo.example.com --gateway http://127.0.0.1:8080
    """
    whole = envelope("tenant", instance, "", "") | asked
    fields = {name: value for name, value in whole.items() if value}  # no user, token or app
    signature = sign(read_key(key_path), canonical(fields))
    url = f"{gateway.rstrip('/')}/push/tenant"
    tell(url, lambda: httpx.get(url, params=fields, headers={"X-Push-Signature": signature}, timeout=ANSWER_S_MAX))


def envelope(action: str, instance: str, user: str, token: str) -> dict[str, Any]:
    """The fields of an envelope, unsigned; platform and app are empty, as on a deregistration."""
    now_ms = SystemClock().now_ms()
    return {
        "action": action,
        "instance": instance,
        "userId": user,
        "token": token,
        "platform": "",
        "appId": "",
        "issuedAt": instant_text(now_ms),
        "expiresAt": instant_text(now_ms + LIFETIME_MS),
        "nonce": str(uuid.uuid4()),
    }


def read_key(path: Path) -> PrivateKey:
    """Read the private key, PEM in lines or on one line."""
    try:
        return private_key(path.read_text())
    except (KeyInvalid, UnicodeDecodeError) as why:
        raise click.UsageError(f"{path} {why}") from None


def post_envelope(gateway: str, key: PrivateKey, fields: dict[str, Any]) -> None:
    """Sign an envelope in its body, as real clients do, and post it."""
    post(f"{gateway.rstrip('/')}/push/register", fields | {"signature": sign(key, canonical(fields))}, {})


def post(url: str, body: dict[str, Any], headers: dict[str, str]) -> None:
    """Post JSON, print the answer, and end with the exit code that it means."""
    tell(url, lambda: httpx.post(url, content=json.dumps(body), headers=headers | TYPE, timeout=ANSWER_S_MAX))
