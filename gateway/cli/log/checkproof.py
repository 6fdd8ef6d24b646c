"""``heliograph log check-proof``: whether a proof holds, offline, with nothing but public keys."""

import json
from pathlib import Path
from typing import Any

import click

from eventlog import prooftext
from eventlog.checkpoint import VerifierKey, parse_verifier_key
from eventlog.errors import Corrupt
from eventlog.proof import Unproven
from eventlog.prooftext import Proven
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.show import describe


class Key(click.ParamType[Any]):
    """A verifier key as C2SP signed-note writes it."""

    name = "name+id+base64"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VerifierKey:
        """Parse, or fail with a sentence."""
        try:
            return parse_verifier_key(value)
        except Corrupt as flaw:
            self.fail(str(flaw), param, ctx)


@click.command("check-proof")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--key", required=True, type=Key(), help="The log's verifier key, from `log key` or /log/key.")
@click.option("--witness", "witnesses", multiple=True, type=Key(), help="A witness that must have cosigned; again.")
def check_proof(file: Path, key: VerifierKey, witnesses: tuple[VerifierKey, ...]) -> None:
    """Check a proof with the log's public key alone.

    Prints what is proven as JSON; exit code 1 where the proof does not hold. Nothing but the file is
    read, and nothing is asked of a server.

    \b
    Examples:
      heliograph log check-proof 4711.tlog-proof --key "example.com/log+0a1b2c3d+AQID…"
      heliograph log check-proof since-monday --key "$(cat log.key)" --witness "$(cat witness.key)"
    """
    try:
        proven = prooftext.check(prooftext.decode(_read(file)), key, witnesses)
    except (Unproven, Corrupt) as flaw:
        click.echo(f"not proven: {flaw}", err=True)
        raise SystemExit(CHECK_FAILED) from None
    click.echo(json.dumps(told(proven, witnesses), ensure_ascii=False))


def _read(file: Path) -> bytes:
    with click.open_file(str(file), "rb") as opened:
        data = opened.read(prooftext.PROOF_BYTES_MAX + 1)
    assert isinstance(data, bytes)
    return data


def told(proven: Proven, witnesses: tuple[VerifierKey, ...]) -> dict[str, Any]:
    """Put what is proven into plain values."""
    checkpoint = proven.checkpoint
    found: dict[str, Any] = {"proven": True, "origin": checkpoint.origin, "size": checkpoint.size}
    found["root"] = checkpoint.root.hex()
    if witnesses:
        found["witnesses"] = [witness.name for witness in witnesses]
    if proven.old is not None:
        found["grew_from"] = proven.old.size
    if proven.record is not None:
        found["record"] = describe(proven.record)
        if proven.record.payload is None:
            found["record"].pop("payload")  # it is not in the proof; erased or not is not said
    return found
