"""``heliograph log check-proof``: yes with the facts, no with the reason, and nothing but the file is read."""

import json
from pathlib import Path

from click.testing import CliRunner

from eventlog.checkpoint import verifier_key
from eventlog.prooftext import encode
from gateway.cli.log.group import command
from tests.eventlog.test_prooftext import PUBLIC, included

KEY = verifier_key("log.example", PUBLIC)


def test_what_is_proven_is_told_as_json(tmp_path: Path) -> None:
    (tmp_path / "proof").write_bytes(encode(included(17)))
    result = CliRunner().invoke(command, ["check-proof", str(tmp_path / "proof"), "--key", KEY])
    found = json.loads(result.output)
    assert (found["proven"], found["origin"], found["size"]) == (True, "log.example", 300)
    assert (found["record"]["seq"], found["record"]["kind"]) == (17, "thing.happened")
    assert "payload" in found["record"]


def test_a_proof_without_its_payload_does_not_tell_one(tmp_path: Path) -> None:
    (tmp_path / "proof").write_bytes(encode(included(17, payload=False)))
    result = CliRunner().invoke(command, ["check-proof", str(tmp_path / "proof"), "--key", KEY])
    assert "payload" not in json.loads(result.output)["record"]


def test_a_changed_proof_and_another_key_are_refused(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    proof.write_bytes(encode(included(17)).replace(b"index 17", b"index 18"))
    assert CliRunner().invoke(command, ["check-proof", str(proof), "--key", KEY]).exit_code == 1
    proof.write_bytes(encode(included(17)))
    other = verifier_key("log.example", bytes(32))
    refused = CliRunner().invoke(command, ["check-proof", str(proof), "--key", other])
    assert refused.exit_code == 1
    assert "not proven" in refused.output
    assert CliRunner().invoke(command, ["check-proof", str(proof), "--key", "nonsense"]).exit_code == 2
