"""``heliograph instance``: an instance's well-known document, fetched and judged as the gateway would.

The same code fetches (`gateway.serve.push.fetch`) and judges; nothing is cached and no server is asked. Exit codes: 0
the gateway would take it, 1 it would not, 2 usage.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import trio

from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.push import read_key
from gateway.cli.settings import load
from gateway.errors import PushRefused
from gateway.push.diagnosis import Finding, diagnose, fault, unfetched
from gateway.push.es256 import PublicKey
from gateway.push.tenant import Directory, Signer
from gateway.push.wellknown import PATH, WellKnown, judge
from gateway.serve.push.fetch import Fetcher


@click.group()
def command() -> None:
    """Check the document that a takos instance publishes.

    \b
    Examples:
      heliograph instance check demo.example.com
      heliograph instance check demo.example.com --key private.pem
    """


@command.command()
@click.argument("domain", metavar="DOMAIN")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The server's configuration: lists, pinned keys, slugs and documents on this machine count as they do there.",
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The instance's private key: is it the one whose public half is published?",
)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def check(domain: str, config: Path | None, key_path: Path | None, as_json: bool) -> None:
    """Fetch an instance's document and judge it as the gateway would.

    Says everything that is wrong with it, and how to mend it. DOMAIN is the instance's name, or a slug that --config
    has. Only public names are fetched, by HTTPS on port 443, unless --config names a document on this machine.

    \b
    Examples:
      heliograph instance check demo.example.com
      heliograph instance check demo.example.com --config heliograph.toml --json
    """
    settings = load(config)
    directory = Directory(settings.push, settings.instances)
    own = None if key_path is None else read_key(key_path).public_key()
    source, found = _found(directory, domain, own)
    is_good = not any(one.level == "fault" for one in found)
    if as_json:
        told: dict[str, Any] = {"instance": domain, "url": source, "ok": is_good, "findings": list(map(asdict, found))}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(_text(source or domain, found, is_good=is_good))
    if not is_good:
        raise SystemExit(CHECK_FAILED)


def _found(directory: Directory, domain: str, own: PublicKey | None) -> tuple[str, list[Finding]]:
    """Where the document is ("" where none is asked for), and everything about it."""
    try:
        signer = directory.resolve((domain,))
    except PushRefused as refused:
        mend = "Use the instance's public domain name, as in its address: no scheme, port or path."
        if refused.status == 403:
            mend = "The gateway's operator decides: push.policy, push.allow, push.block, and slugs under instances."
        return "", [fault(refused.sentence, mend)]
    if signer.keys is not None:
        pinned = Finding("note", "The configuration pins its key, so its document is never asked for.")
        return "", [pinned, *_of_own(own, signer.keys)]
    source = signer.url or f"https://{signer.domain}{PATH}"
    try:
        body = trio.run(Fetcher(), signer)
    except PushRefused as refused:
        return source, [unfetched(refused, signer.domain)]
    return source, _of_body(body, signer, own)


def _of_body(body: bytes, signer: Signer, own: PublicKey | None) -> list[Finding]:
    found = diagnose(body, signer.domain, signer.claimable)
    if any(one.level == "fault" for one in found):
        return found
    return found + _of_own(own, judge(body, signer.domain))


def _of_own(own: PublicKey | None, keys: WellKnown) -> list[Finding]:
    """Hold the private key that was given against what is published."""
    if own is None:
        return []
    published = {"registrationPublicKey": keys.registration_key, "webhook.publicKey": keys.webhook_key}
    others = [name for name, key in published.items() if key.public_numbers() != own.public_numbers()]
    if not others:
        return [Finding("note", "The private key belongs to what is published.")]
    mend = "Publish this key's public half, or sign with the key that is published; a rotation needs no more than that."
    return [fault(f"The private key does not belong to {' and '.join(others)}.", mend)]


def _text(source: str, found: list[Finding], *, is_good: bool) -> str:
    lines = [source]
    for one in found:
        lines.append(f"  {'wrong' if one.level == 'fault' else 'note '}  {one.what}")
        lines += [f"         {one.mend}"] if one.mend else []
    return "\n".join([*lines, "  good   The gateway takes it." if is_good else "  refused by the gateway"])
