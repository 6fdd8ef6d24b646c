"""``heliograph keygen``: what an operator of a takos instance needs once."""

import json
import os
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import PushRefused
from gateway.push.es256 import private_pem, public_pem
from gateway.push.hostname import hostname
from gateway.push.wellknown import PATH, document

FILES = ("private.pem", "public.pem", "takos-push.json")


def one_line(pem: str) -> str:
    r"""A PEM with ``\n`` written out, as environment variables take it."""
    return pem.strip().replace("\n", "\\n")


@click.command()
@click.option("--instance", default="demo.example.com", show_default=True, help="The domain that the key is for.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write the files into this directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def command(instance: str, out: Path | None, as_json: bool) -> None:
    """Make a P-256 key pair for a takos instance.

    Prints the pair as PEM and as one line each, and the document to publish. The private key is shown once and kept
    nowhere, unless --out names a directory for it.

    \b
    Examples:
      heliograph keygen --instance demo.example.com
      heliograph keygen --instance demo.example.com --out keys
      heliograph keygen --json | jq -r .privateKey > private.pem
    """
    try:
        domain = hostname(instance)
    except PushRefused as refused:
        raise click.BadParameter(refused.sentence, param_hint="--instance") from None
    key = ec.generate_private_key(ec.SECP256R1())
    secret, public = private_pem(key), public_pem(key.public_key())
    published = document(domain, key.public_key())
    if out is not None:
        write(out, secret, public, json.dumps(published, indent=2) + "\n")
        click.echo("\n".join(str(out / name) for name in FILES))
    elif as_json:
        click.echo(json.dumps({"privateKey": secret, "publicKey": public, "document": published}))
    else:
        click.echo(text(domain, secret, public, json.dumps(published, indent=2)))


def text(domain: str, secret: str, public: str, published: str) -> str:
    """What is printed for a reader."""
    return "\n".join(
        (
            f"# Private key: keep it secret (PUSH_REGISTRATION_PRIVATE_KEY)\n{secret}",
            f"# The same on one line\n{one_line(secret)}\n",
            f"# Public key (PUSH_REGISTRATION_PUBLIC_KEY)\n{public}",
            f"# The same on one line\n{one_line(public)}\n",
            f"# Publish at https://{domain}{PATH}\n{published}",
        )
    )


def write(out: Path, secret: str, public: str, published: str) -> None:
    """Write the three files; an existing private key is never overwritten."""
    out.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(out / FILES[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.UsageError(f"{out / FILES[0]} exists already; it is not overwritten") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
    (out / FILES[1]).write_text(public)
    (out / FILES[2]).write_text(published)
