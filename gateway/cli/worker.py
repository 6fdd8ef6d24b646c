"""What `relay` and `token` share: whose secret signs, and a signed request with its answer.

Every request carries a nonce and the time, so that a captured one is worth nothing. Secrets come from options, files or
the environment, and are never printed. This module must not know which endpoint is asked for what.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import httpx

from gateway.cli.answer import ANSWER_S_MAX, tell
from gateway.cli.settings import read_text
from gateway.replication.signature import canonical, sign
from gateway.serve.clock import SystemClock

NONCE_BYTES = 12  # 24 hex digits, as the clients that exist
DEFAULT_GATEWAY = "http://127.0.0.1:8080"
DEFAULT_WORKER = "default"

Command = Callable[..., None]


def options(wrapped: Command) -> Command:
    """The options that every subcommand takes: which gateway, and as whom."""
    for option in (
        click.option("--worker", default=DEFAULT_WORKER, show_default=True, metavar="ID", help="Which worker signs."),
        click.option(
            "--secret-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="A file that holds the worker's secret.",
        ),
        click.option(
            "--secret",
            help="The worker's secret; better in a file, or in GATEWAY_REGISTRATION_SECRET "
            "(GATEWAY_WORKERS_<ID>_SECRET for another worker than the default).",
        ),
        click.option(
            "--gateway", default=DEFAULT_GATEWAY, show_default=True, metavar="URL", help="Where the gateway listens."
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def find_secret(secret: str | None, secret_file: Path | None, worker: str) -> str | None:
    """Find the secret: option, file, then environment; None where the default worker has none.

    click.UsageError where one that was named is empty, or not there: whoever means to sign must not ask as anybody.
    """
    if secret is not None and secret_file is not None:
        raise click.UsageError("give --secret or --secret-file, not both")
    is_default = worker == DEFAULT_WORKER
    variable = f"GATEWAY_{'REGISTRATION' if is_default else f'WORKERS_{_in_capitals(worker)}'}_SECRET"
    if secret is None and secret_file is None and (path := os.environ.get(f"{variable}_FILE")):
        secret_file = Path(path)
    if secret_file is not None:
        secret = read_text(secret_file, "the secret file").strip()
    if secret == "":
        raise click.UsageError("--secret is empty" if secret_file is None else f"{secret_file} is empty")
    found = secret or os.environ.get(variable) or None
    if found is None and not is_default:
        raise click.UsageError(f"the worker {worker!r} has no secret here: give --secret-file, --secret or {variable}")
    return found


def _in_capitals(worker: str) -> str:
    return re.sub("[^A-Z0-9]", "_", worker.upper())


class Gateway:
    """A gateway's relay API, as one worker (or, without a secret, as anybody) asks it."""

    def __init__(self, url: str, secret: str | None) -> None:
        self._url, self._secret, self._clock = url.rstrip("/"), secret, SystemClock()

    @property
    def signs(self) -> bool:
        """Whether there is a secret to sign with."""
        return self._secret is not None

    def signed(self, value: object) -> str:
        """Sign a value; click.UsageError without a secret."""
        if self._secret is None:
            raise click.UsageError("a secret is needed: --secret-file, --secret, or GATEWAY_REGISTRATION_SECRET")
        return sign(self._secret, value)

    def once(self) -> dict[str, Any]:
        """A fresh nonce and the present time."""
        return {"nonce": self._clock.random_bytes(NONCE_BYTES).hex(), "issuedAt": self._clock.now_ms()}

    def post(self, path: str, name: str, payload: dict[str, Any]) -> httpx.Response:
        """Post a payload under its name with its signature, and print the answer."""
        return self.ask("POST", path, body={name: payload, "signature": self.signed(payload)})

    def read(self, what: str, path: str) -> None:
        """Get and print: signed where there is a secret, so that private relays and tokens are shown too."""
        headers = {}
        if self.signs:
            issued_ms = self._clock.now_ms()
            signature = self.signed({"read": what, "issuedAt": issued_ms})
            headers = {"x-signature": signature, "x-issued-at": str(issued_ms)}
        self.ask("GET", path, headers)

    def delete(self, relay_key: str) -> None:
        """Delete a relay, with a nonce, and print the answer."""
        signed = {"relayKey": relay_key, **self.once()}
        headers = {"x-nonce": signed["nonce"], "x-issued-at": str(signed["issuedAt"])}
        self.ask("DELETE", relay_path(relay_key), {**headers, "x-signature": self.signed(signed)})

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, body: object = None) -> httpx.Response:
        """Send a request, print the answer, and end with the exit code that it means: 1 refused, 3 unavailable."""
        url, content = f"{self._url}{path}", None if body is None else canonical(body)
        sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        return tell(url, lambda: httpx.request(method, url, content=content, headers=sent, timeout=ANSWER_S_MAX))


def relay_path(relay_key: str) -> str:
    """The API's path of one relay."""
    return f"/api/relays/{quote(relay_key, safe='')}"
