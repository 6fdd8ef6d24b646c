"""A relay's events to and from JSON lines, each call going on where the last one stood."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.client.test_syncing import events
from tests.server import Server, process
from tests.worker import exit_code


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with process(tmp_path_factory.mktemp("gateway")) as one:
        yield one


def test_events_go_there_and_back_as_they_were_and_each_once(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, copy, place, read = (tmp_path / name for name in ("source", "copy", "place", "read"))
    at, some = ["--gateway", server.url], events(range(1_300))
    source.write_text("".join(json.dumps(one) + "\n" for one in some))
    load = ["mirror", "import", str(source), *at, "--cursor", str(place)]
    assert (exit_code(load), exit_code(load)) == (0, 0)
    assert json.loads(place.read_text())["bytes"] == source.stat().st_size
    store = ["mirror", "export", *at, "--out", str(copy), "--cursor", str(read)]
    assert (exit_code(store), exit_code(store)) == (0, 0)
    found = [json.loads(line) for line in copy.read_text().splitlines()]
    assert sorted(found, key=lambda one: one["id"]) == sorted(some, key=lambda one: one["id"])
    assert [one["created_at"] for one in found] == sorted((one["created_at"] for one in found), reverse=True)

    kept = copy.read_bytes()
    with copy.open("ab") as torn:  # killed behind the events, before the place
        torn.write(b'{"id":')
    assert exit_code(store) == 0
    assert copy.read_bytes() == kept

    capfd.readouterr()
    newest = json.dumps({"since": some[3]["created_at"], "kinds": [1]})
    assert exit_code(["mirror", "export", f"{server.ws_url}/relay", "--filter", newest]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 4


def test_a_relay_that_is_not_there_is_tried_twice_and_no_more(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    nobody = f"{server.ws_url}/npub1nobody/nothing"
    for command in (["export", nobody], ["sync", nobody, "--once", "--gateway", server.url]):
        assert exit_code(["mirror", *command]) == 3
        said = capfd.readouterr().err
        assert said.count("opened again") == 1
        assert "heliograph: 4404 Relay not registered" in said


def test_a_place_of_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "place").write_text('{"cursor":"ffff","bytes":0}')
    out = ["--out", str(tmp_path / "out"), "--cursor", str(tmp_path / "place")]
    assert exit_code(["mirror", "export", "--gateway", server.url, *out]) == 2
    assert exit_code(["mirror", "export", "--gateway", "http://127.0.0.1:1"]) == 3
