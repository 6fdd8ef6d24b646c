"""A server in its own process with everybody it needs around it, and one way to ask it something.

``with world(tmp_path) as w`` starts fakes and server; ``w.post(path, body)`` asks. `Answer` keeps what a client sees.
"""

import http.client
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.fakes import FCM, Instance
from tests.secrecy import heard
from tests.server import Server, process

WAIT_S = 30.0  # no request of these takes longer, or the server hangs
REFUSED = "http://127.0.0.1:1/.well-known/takos-push.json"  # nobody listens at port 1


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``body`` is its JSON where it is JSON."""

    status: int
    headers: dict[str, str]
    text: str
    body: Any

    def refusal(self) -> tuple[int, str]:
        """(status, code) of a refusal of the push API, whose form is checked (push §6)."""
        assert self.headers["content-type"].startswith("application/json"), self
        assert self.body["ok"] is False, self
        assert isinstance(self.body["error"], str), self
        assert len(self.body["error"]) > 5, self
        return self.status, self.body["code"]

    def error(self) -> tuple[int, str]:
        """(status, text) of a refusal of the relay API (relay-and-mirror §1)."""
        assert self.headers["content-type"].startswith("application/json"), self
        return self.status, self.body["error"]


def ask(url: str, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own; ``path`` goes out as it is."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        raw = response.read()
    finally:
        connection.close()
    named = {name.lower(): value for name, value in response.getheaders()}
    if response.status >= 400:
        heard(url, f"{method} {path}", raw.decode("utf-8", "replace"))
    is_json = named.get("content-type", "").startswith(("application/json", "application/nostr+json"))
    return Answer(response.status, named, raw.decode(), json.loads(raw) if is_json and raw else None)


@dataclass
class World:
    """The server, the fakes, and how to talk to it."""

    directory: Path
    config: str
    fcm: FCM
    demo: Instance
    other: Instance
    slug: Instance
    server: Server
    stack: ExitStack = field(repr=False)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.server.url, "GET", path, None, headers)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> Answer:
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return ask(self.server.url, "POST", path, raw, {"Content-Type": "application/json", **(headers or {})})

    def register(self, body: object, headers: dict[str, str] | None = None) -> Answer:
        return self.post("/push/register", body, headers)

    def notify(self, body: dict[str, Any], by: Instance, path: str = "/internal/push/events") -> Answer:
        return self.post(path, body, {"X-Push-Signature": by.sign(body)})

    def at_once(self, asks: Sequence[Callable[[], Answer]]) -> list[Answer]:
        """Ask side by side, each on its own connection."""
        with ThreadPoolExecutor(len(asks)) as pool:
            return [future.result(WAIT_S) for future in [pool.submit(one) for one in asks]]

    def crash(self) -> None:
        """kill -9, and start again on the same data."""
        self.server.kill()
        self.stack.close()
        self.server = self.stack.enter_context(process(self.directory, self.config))

    def traces(self) -> list[str]:
        """What must never stand in the server's log: a bug that reached a client."""
        return [line for line in self.server.lines if "Traceback" in line]


def configuration(fcm: FCM, demo: Instance, other: Instance, slug: Instance, account: Path, extra: str) -> str:
    return f"""
[registration]
secret = "worker-secret"
[workers.second]
secret = "second-secret"
[fcm]
base_url = "{fcm.site.url}"
allow_any_token_uri = true
[fcm.projects.default]
credentials = "{account}"
[instances."{demo.domain}"]
url = "{demo.document_url}"
[instances."{other.domain}"]
url = "{other.document_url}"
secret = "other-shared-secret"
[instances."external:slug"]
domain = "{slug.domain}"
url = "{slug.document_url}"
[instances."gone.example.com"]
url = "{REFUSED}"
{extra}
"""


@contextmanager
def world(directory: Path, extra: str = "", push: str = "") -> Iterator[World]:
    """Start the fakes and the server; ``extra`` is more TOML, ``push`` more keys of [push]."""
    fcm, demo, slug = FCM(), Instance("demo.example.com"), Instance("slug.example.com")
    other = Instance("other.example.com", folded=True)
    account = directory / "account.json"
    account.write_bytes(fcm.account())
    # What can be delivered is, also on a busy machine, before the first answer: a test that waits for less says so.
    patience = "" if "answer_wait_s" in push else "answer_wait_s = 20\n"
    policy = f'[push]\nblock = ["blocked.example.com"]\n{patience}{push}\n'
    config = configuration(fcm, demo, other, slug, account, policy + extra)
    with ExitStack() as stack:
        server = stack.enter_context(process(directory, config))
        yield World(directory, config, fcm, demo, other, slug, server, stack)
    for site in (fcm.site, demo.site, other.site, slug.site):
        site.close()
