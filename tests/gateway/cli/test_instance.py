"""`instance check` says what the gateway would say of a document, and what to do about it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.instance import command
from gateway.push.es256 import private_pem
from tests.takos import Instance

TAKOS, OTHER = Instance(), Instance()


@contextmanager
def published(body: bytes, status: int = 200) -> Iterator[str]:
    """A document on this machine; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/.well-known/takos-push.json"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(tmp_path: Path, instance: str, *options: str, name: str = TAKOS.domain) -> Result:
    config = tmp_path / "h.toml"
    config.write_text(f'[instances."{TAKOS.domain}"]\n{instance}\n', "utf-8")
    return CliRunner().invoke(command, ["check", name, "--config", str(config), *options])


def test_a_good_document_is_taken(tmp_path: Path) -> None:
    with published(TAKOS.document()) as url:
        result = check(tmp_path, f'url = "{url}"')
    assert result.exit_code == 0
    assert result.output.splitlines() == [url, "  good   The gateway takes it."]


def test_every_fault_of_a_bad_one_is_told_with_its_mend(tmp_path: Path) -> None:
    with published(TAKOS.document(instance="x.example", registrationPublicKey="")) as url:
        result = check(tmp_path, f'url = "{url}"')
        as_json = json.loads(check(tmp_path, f'url = "{url}"', "--json").output)
    assert result.exit_code == 1
    assert "'x.example'" in result.output
    assert f'Set "instance" to "{TAKOS.domain}"' in result.output
    assert "no registrationPublicKey" in result.output
    assert (as_json["ok"], as_json["url"]) == (False, url)
    assert [one["level"] for one in as_json["findings"]] == ["fault", "fault"]


def test_one_that_cannot_be_had_is_told_with_the_reason(tmp_path: Path) -> None:
    with published(b"no", 404) as url:
        result = check(tmp_path, f'url = "{url}"')
    assert (result.exit_code, "404" in result.output, "heliograph keygen" in result.output) == (1, True, True)
    result = check(tmp_path, f'url = "{url}"')  # nobody listens there any more
    assert (result.exit_code, "cannot be reached" in result.output) == (1, True)


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "localhost", "https://demo.example.com/", "demo.example.com:443", "a.local"]
)
def test_a_name_that_the_gateway_would_not_look_up_is_not_looked_up(tmp_path: Path, name: str) -> None:
    result = check(tmp_path, "", name=name)
    assert result.exit_code == 1
    assert "no scheme, port or path" in result.output


def test_the_policy_counts_as_it_does_for_the_server(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(f'[push]\nblock = ["{TAKOS.domain}"]\n', "utf-8")
    result = CliRunner().invoke(command, ["check", TAKOS.domain, "--config", str(config)])
    assert (result.exit_code, "push.block" in result.output) == (1, True)


def test_a_private_key_is_held_against_what_is_published(tmp_path: Path) -> None:
    keys = {"own": TAKOS, "other": OTHER}
    for name, one in keys.items():
        (tmp_path / name).write_text(private_pem(one.key))
    with published(TAKOS.document()) as url:
        own, other = (check(tmp_path, f'url = "{url}"', "--key", str(tmp_path / name)) for name in keys)
    assert (own.exit_code, "belongs to what is published" in own.output) == (0, True)
    assert (other.exit_code, "does not belong to registrationPublicKey and webhook" in other.output) == (1, True)
    pinned = check(tmp_path, f'public_key = """{TAKOS.pem}"""', "--key", str(tmp_path / "other"))
    assert (pinned.exit_code, "never asked for" in pinned.output) == (1, True)
