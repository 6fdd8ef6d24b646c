"""`tenant` tells the operator the same beside a running server and without one."""

import json
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from gateway.cli.tenant import command, table
from gateway.errors import Unavailable
from gateway.serve.clock import SystemClock
from tests.server import process
from tests.takos import Instance

TAKOS = Instance()
PEM = TAKOS.pem.replace("\n", "\\n")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_where_there_is_no_log_none_is_made(tmp_path: Path) -> None:
    result = run("list", "--data", str(tmp_path))
    assert isinstance(result.exception, Unavailable)
    assert list(tmp_path.iterdir()) == []


def test_tenants_are_told_by_the_server_while_it_runs_and_from_its_data_afterwards(tmp_path: Path) -> None:
    config = f'[instances."{TAKOS.domain}"]\npublic_key = "{PEM}"\ndevices_per_tenant_max = 5\n'
    data = ("--data", str(tmp_path / "data"))
    with process(tmp_path, config) as server:
        envelope = TAKOS.registration(SystemClock().now_ms())
        assert httpx.post(f"{server.url}/push/register", json=envelope, timeout=60).status_code == 200
        (running,) = json.loads(run("list", "--json", *data).output)
        assert (running["tenant"], running["usage"]["devices"]) == (TAKOS.domain, 1)
        assert (running["limits"]["devices"], running["document"]) == (5, {"state": "pinned"})
        assert server.stop(60) == 0
    (stopped,) = json.loads(run("list", "--json", *data).output)
    assert stopped["usage"] == running["usage"]
    (tmp_path / "own.toml").write_text(f'data = "{tmp_path / "data"}"\n{config}', "utf-8")
    shown = json.loads(run("show", TAKOS.domain, "--config", str(tmp_path / "own.toml")).output)
    assert (shown["usage"], shown["limits"]) == (running["usage"], running["limits"])
    other = run("show", f"x{TAKOS.domain}", *data)
    assert (other.exit_code, other.stderr.endswith(f"did you mean {TAKOS.domain!r}?\n")) == (1, True)


@pytest.mark.parametrize(("admitted", "last"), [(True, "good"), (False, "not admitted")])
def test_the_table_has_a_line_for_each(admitted: bool, last: str) -> None:
    usage = dict.fromkeys(("devices", "accepted", "acceptedToday", "delivered", "removed", "expired", "queued"), 7)
    one = {"tenant": "a.example", "admitted": admitted, "usage": usage | {"failed": {"x": 2, "y": 3}}}
    head, line = table([one | {"document": {"state": "good"}}]).splitlines()
    assert head.split()[:2] == ["TENANT", "DEVICES"]
    assert line.split()[:6] == ["a.example", "7", "7", "7", "7", "5"]
    assert line.endswith(last)
