"""A key pair that an instance can use as it is printed."""

import json
from pathlib import Path

from click.testing import CliRunner

from gateway.cli.keygen import command
from gateway.push.es256 import private_key, public_key, public_pem, sign, signature_bytes, verifies
from gateway.push.wellknown import judge


def test_the_printed_pair_fits_together_and_the_document_is_one_that_the_gateway_accepts() -> None:
    told = CliRunner().invoke(command, ["--instance", "A.example.com", "--json"])
    made = json.loads(told.output)
    secret, public = private_key(made["privateKey"]), public_key(made["publicKey"])
    assert verifies(public, signature_bytes(sign(secret, b"m")), b"m")
    assert judge(json.dumps(made["document"]).encode(), "a.example.com").webhook_key == public


def test_the_text_holds_both_keys_on_one_line_too() -> None:
    text = CliRunner().invoke(command, ["--instance", "a.example.com"]).output
    lines = text.splitlines()
    (secret,) = [line for line in lines if line.startswith("-----BEGIN PRIVATE KEY-----\\n")]
    (public,) = [line for line in lines if line.startswith("-----BEGIN PUBLIC KEY-----\\n")]
    assert public_pem(private_key(secret).public_key()) == public_pem(public_key(public))
    assert "https://a.example.com/.well-known/takos-push.json" in text


def test_a_name_that_no_instance_can_have_is_a_usage_error() -> None:
    assert CliRunner().invoke(command, ["--instance", "localhost"]).exit_code == 2


def test_files_are_private_and_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "keys"
    assert CliRunner().invoke(command, ["--out", str(out)]).exit_code == 0
    assert (out / "private.pem").stat().st_mode & 0o777 == 0o600
    before = (out / "private.pem").read_text()
    again = CliRunner().invoke(command, ["--out", str(out)])
    assert again.exit_code == 2
    assert "not overwritten" in again.output
    assert (out / "private.pem").read_text() == before
    assert public_key((out / "public.pem").read_text())
