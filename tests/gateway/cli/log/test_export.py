"""A log is carried elsewhere in one file, by name or through a pipe."""

from pathlib import Path

from gateway.cli.main import exit_code
from tests.gateway.cli.log.calls import run


async def test_a_log_goes_out_and_in_and_is_verified(data: Path, tmp_path: Path) -> None:
    file, target = tmp_path / "log.tar", tmp_path / "copy"
    result = run("export", str(file), "--data", str(data))
    assert result.exit_code == 0, result.output
    assert "exported: 5 records of log.example" in result.stderr
    assert not file.with_name("log.tar.part").exists()
    result = run("import", str(file), "--data", str(target))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("imported: 5 records of log.example, all verified\nroot: ")
    assert f"served once {target}/keys/log.pem is put there from a copy" in result.stdout
    assert run("verify", "--data", str(target)).stdout.startswith("ok: 5 records")
    assert run("show", "--data", str(target)).stdout == run("show", "--data", str(data)).stdout


async def test_a_pipe_carries_it_too(data: Path, tmp_path: Path) -> None:
    out = run("export", "-", "--data", str(data)).stdout_bytes
    result = run("import", "-", "--data", str(tmp_path / "copy"), input=out)
    assert result.stdout.startswith("imported: 5 records")


async def test_keys_that_were_asked_for_are_nobody_elses_to_read(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.tar"
    run("export", str(file), "--data", str(data), "--with-keys")
    assert file.stat().st_mode & 0o777 == 0o600
    result = run("import", str(file), "--data", str(tmp_path / "copy"))
    assert "no keys" not in result.stdout


async def test_what_cannot_be_is_said_in_a_sentence(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.tar"
    run("export", str(file), "--data", str(data))
    there = run("import", str(file), "--data", str(data))
    assert there.exception is not None
    assert exit_code(there.exception) == 3
    assert "there is a log under" in str(there.exception)
    assert run("import", str(tmp_path / "nothing"), "--data", str(tmp_path / "copy")).exit_code == 2
    missing = run("export", str(tmp_path / "other.tar"), "--data", str(tmp_path / "nowhere"))
    assert missing.exception is not None
    assert exit_code(missing.exception) == 3
    assert not (tmp_path / "other.tar.part").exists()
