"""``heliograph mirror`` against a real gateway: there and back, on and on, killed in between."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.client.worker import CONFIG, RELAY_ID, issued, rows
from tests.server import Server, process
from tests.worker import INTERNAL, SECRET, exit_code

OF_RELAY = ["--relay-id", RELAY_ID]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with process(tmp_path_factory.mktemp("gateway"), CONFIG) as one:
        yield one


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_REGISTRATION_SECRET", SECRET)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_rows_go_there_and_back_and_each_call_goes_on_where_the_last_ended(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, copy, pushed, pulled = (tmp_path / name for name in ("source", "copy", "pushed", "pulled"))
    at = ["--gateway", server.url]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows(range(2500))))
    push = ["mirror", "push", INTERNAL, str(source), *at, "--cursor", str(pushed)]
    pull = ["mirror", "pull", INTERNAL, *at, *OF_RELAY, "--out", str(copy), "--cursor", str(pulled)]
    assert (exit_code(push), exit_code(pull)) == (0, 0)
    assert lines(copy) == rows(range(2500))
    assert json.loads(pushed.read_text())["bytes"] == source.stat().st_size

    with source.open("a") as more:
        more.write("".join(json.dumps(row) + "\n" for row in rows(range(2500, 2600))))
    assert (exit_code(push), exit_code(pull), exit_code(pull)) == (0, 0, 0)
    assert lines(copy) == rows(range(2600))
    told = ["2500 rows, 0 refused", "2500 rows", "100 rows, 0 refused", "100 rows", "0 rows"]
    assert capfd.readouterr().err.splitlines() == told

    token = issued(server.url, 60)["replicationToken"]
    assert exit_code(["mirror", "pull", INTERNAL, *at, *OF_RELAY, "--token", token, "--kind", "30078"]) == 0
    assert [json.loads(line) for line in capfd.readouterr().out.splitlines()] == rows(range(2600))


def test_a_tail_that_is_killed_goes_on_and_repeats_nothing(server: Server, tmp_path: Path) -> None:
    copy, cursor, source = tmp_path / "copy", tmp_path / "cursor", tmp_path / "source"
    at = ["--gateway", server.url]
    tail = [sys.executable, "-m", "gateway.cli.main", "mirror", "tail", INTERNAL, *at, *OF_RELAY]
    tail += ["--out", str(copy), "--cursor", str(cursor)]
    exit_code(["mirror", "pull", INTERNAL, *at, *OF_RELAY, "--out", str(copy), "--cursor", str(cursor)])
    known = len(lines(copy))
    for part in (range(9000, 9300), range(9300, 9600)):
        source.write_text("".join(json.dumps(row) + "\n" for row in rows(part)))
        child = subprocess.Popen(tail, stderr=subprocess.DEVNULL)
        try:
            assert exit_code(["mirror", "push", INTERNAL, str(source), *at]) == 0
            known += len(part)
            until = time.monotonic() + 60
            while len(copy.read_bytes().splitlines()) < known:
                assert time.monotonic() < until, "the tail does not follow"
                time.sleep(0.02)
        finally:
            child.kill()
            child.wait()
    assert exit_code(["mirror", "pull", INTERNAL, *at, *OF_RELAY, "--out", str(copy), "--cursor", str(cursor)]) == 0
    ids = [row["id"] for row in lines(copy)]
    assert len(ids) == len(set(ids)) == known
    assert {row["id"] for row in rows(range(9000, 9600))} <= set(ids)


def test_a_relay_that_is_not_served_is_waited_for_by_nobody_who_waits_for_nothing_new(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.write_text(json.dumps(rows([1])[0]))
    with process(tmp_path, CONFIG + "[mirror]\nenabled = false\n") as off:
        for command in (["pull", INTERNAL, *OF_RELAY], ["push", INTERNAL, str(source)]):
            assert exit_code(["mirror", *command, "--gateway", off.url]) == 3
            assert "heliograph: 4404 Replication endpoint disabled" in capfd.readouterr().err


def test_what_is_wrong_has_its_exit_code_and_its_sentence(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--gateway", server.url]
    (tmp_path / "cursor").write_text('{"cursor":"ffffffffffffffffffffffffffff","bytes":0}')
    bad_row = {**rows([1])[0], "eventData": "not base64!"}
    (tmp_path / "bad").write_text(json.dumps(bad_row))
    out = ["--out", str(tmp_path / "rows")]

    assert exit_code(["mirror", "pull", INTERNAL, *at, *OF_RELAY, *out, "--cursor", str(tmp_path / "cursor")]) == 1
    assert "cursor-unknown" in capfd.readouterr().err
    assert exit_code(["mirror", "push", INTERNAL, str(tmp_path / "bad"), *at]) == 1
    said = capfd.readouterr().err.splitlines()
    assert said[0].startswith(f"refused {bad_row['id']}: invalid-event")
    assert said[1:] == ["1 rows, 1 refused"]
    assert exit_code(["mirror", "pull", "ab" * 32, *at]) == 1
    assert exit_code(["mirror", "pull", INTERNAL, "--gateway", "http://127.0.0.1:1"]) == 3
    assert exit_code(["mirror", "pull", INTERNAL, *at, "--secret", "another"]) == 1
    assert exit_code(["mirror", "pull", INTERNAL, *at, "--token", "bm8.00"]) == 1
    assert "auth-failed" in capfd.readouterr().err
    assert exit_code(["mirror", "push", INTERNAL, "-", *at, "--cursor", str(tmp_path / "cursor")]) == 2
    monkeypatch.delenv("GATEWAY_REGISTRATION_SECRET")
    assert exit_code(["mirror", "pull", INTERNAL, *at]) == 2
    assert "a secret is needed" in capfd.readouterr().err
